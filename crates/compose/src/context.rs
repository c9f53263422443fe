//! What one loading carries along: the texts for carets, and everything found wrong so far.

use crate::tree::{At, Node};
use model::diagnostic::{Diagnostic, Severity, Span};
use std::sync::OnceLock;

/// More diagnostics than this help nobody.
const MAX_DIAGNOSTICS: usize = 200;

/// Most bytes that may come from files and variables, all uses counted: what a hostile project can
/// make of small files ends here.
const MAX_BYTES: usize = 96 << 20;

/// A text that places point into.
#[derive(Debug, Clone)]
struct Text {
    path: String,
    name: String,
    text: String,
    /// Byte offset of each line; only diagnostics ask for them.
    lines: OnceLock<Vec<usize>>,
}

impl Text {
    fn lines(&self) -> &[usize] {
        let find = || std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.lines.get_or_init(find)
    }
}

/// Texts and diagnostics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    texts: Vec<Text>,
    found: Vec<(At, Diagnostic)>,
    /// Bytes that came from files and variables.
    spent: usize,
    /// Working folder, to show short names.
    cwd: String,
    /// Remember also what only `explain` tells.
    pub(crate) trace: bool,
}

impl Context {
    /// Nothing yet; names are shown relative to the working folder.
    pub(crate) fn new(cwd: &str) -> Context {
        Context { cwd: cwd.to_owned(), ..Context::default() }
    }

    /// Remembers a text under the name that messages show, and gives its number.
    pub(crate) fn add_text(&mut self, path: &str, text: &str) -> u32 {
        let name = self.short(path).to_owned();
        self.texts.push(Text { path: path.to_owned(), name, text: text.to_owned(), lines: OnceLock::new() });
        u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
    }

    /// A path as messages show it: without the working folder.
    pub(crate) fn short<'p>(&self, path: &'p str) -> &'p str {
        let inside = path.strip_prefix(self.cwd.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        inside.unwrap_or(path)
    }

    /// The name of a text.
    pub(crate) fn text_name(&self, file: u32) -> &str {
        self.texts.get(file as usize).map_or("", |text| text.name.as_str())
    }

    /// Path and content of a text.
    pub(crate) fn text(&self, file: u32) -> Option<(&str, &str)> {
        self.texts.get(file as usize).map(|text| (text.path.as_str(), text.text.as_str()))
    }

    /// A place as clients see it.
    pub(crate) fn span(&self, at: At) -> Option<Span> {
        at.is_known().then(|| Span {
            file: self.text_name(at.file).to_owned(),
            line: at.line,
            column: at.column,
            length: at.length.max(1),
        })
    }

    /// Counts bytes that came from a file or a variable; false when it is too much.
    pub(crate) fn spend(&mut self, bytes: usize) -> bool {
        self.spent = self.spent.saturating_add(bytes);
        !self.is_spent()
    }

    /// The same for a text with variables, of which each line becomes one.
    pub(crate) fn spend_lines(&mut self, bytes: &[u8]) -> bool {
        /// About what a variable takes in memory beside its text, in bytes.
        const SIZE: usize = 100;
        self.spend(bytes.len() + SIZE * bytes.iter().filter(|byte| **byte == b'\n').count())
    }

    /// Was it too much?
    pub(crate) fn is_spent(&self) -> bool {
        self.spent > MAX_BYTES
    }

    fn line(&self, at: At) -> Option<String> {
        let text = self.texts.get(at.file as usize)?;
        let start = *text.lines().get(at.line.checked_sub(1)? as usize)?;
        let line = text.text.get(start..)?.lines().next()?;
        Some(line.trim_end_matches('\r').chars().take(500).collect())
    }

    fn report(&mut self, mut diagnostic: Diagnostic, at: At) {
        let errors = self.found.len();
        if errors >= MAX_DIAGNOSTICS && (diagnostic.severity == Severity::Warning || errors >= 2 * MAX_DIAGNOSTICS) {
            return;
        }
        diagnostic.span = self.span(at);
        diagnostic.source_line = self.line(at);
        self.found.push((at, diagnostic));
    }

    /// An error at a place (or nowhere, when it has none).
    pub(crate) fn error(&mut self, code: &str, at: At, message: impl Into<String>) {
        self.report(Diagnostic::error(code, message), at);
    }

    /// An error with advice.
    pub(crate) fn error_hint(&mut self, code: &str, at: At, message: impl Into<String>, hint: impl Into<String>) {
        self.report(Diagnostic::error(code, message).hint(hint), at);
    }

    /// An error about a value, with the story of how it came there.
    pub(crate) fn error_on(&mut self, code: &str, node: &Node, message: impl Into<String>, hint: Option<String>) {
        let mut diagnostic = Diagnostic::error(code, message);
        diagnostic.hint = hint;
        diagnostic.chain = self.chain(node);
        self.report(diagnostic, node.place());
    }

    /// A warning about a value.
    pub(crate) fn warn_on(&mut self, code: &str, node: &Node, message: impl Into<String>, hint: Option<String>) {
        let mut diagnostic = Diagnostic::warning(code, message);
        diagnostic.hint = hint;
        diagnostic.chain = self.chain(node);
        self.report(diagnostic, node.place());
    }

    /// An error that points at a second place as well.
    pub(crate) fn error_two(
        &mut self,
        code: &str,
        at: At,
        message: impl Into<String>,
        other: (&str, At),
        hint: Option<String>,
    ) {
        let mut diagnostic = Diagnostic::error(code, message);
        diagnostic.hint = hint;
        diagnostic.chain = self.span(other.1).map(|span| (other.0.to_owned(), span)).into_iter().collect();
        self.report(diagnostic, at);
    }

    /// An error about two places of the same rank: the later one is pointed at.
    pub(crate) fn error_pair(&mut self, code: &str, (one, two): (At, At), message: impl Into<String>, note: &str) {
        let (first, second) = if one <= two { (one, two) } else { (two, one) };
        self.error_two(code, second, message, (note, first), None);
    }

    fn chain(&self, node: &Node) -> Vec<(String, Span)> {
        let mut chain = Vec::new();
        let mut step = node.via.as_deref();
        while let Some(via) = step {
            if let Some(span) = self.span(via.at).filter(|_| !via.quiet) {
                chain.push((via.note.clone(), span));
            }
            step = via.before.as_deref();
            if chain.len() == 8 {
                break;
            }
        }
        chain
    }

    /// Is there an error among what was found?
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error)
    }

    /// Is there one that is not only about running?
    pub(crate) fn is_broken(&self) -> bool {
        let broken = |diagnostic: &Diagnostic| {
            diagnostic.severity == Severity::Error && !crate::codes::is_about_running(&diagnostic.code)
        };
        self.found.iter().any(|(_, diagnostic)| broken(diagnostic))
    }

    /// Everything found, in the order of the files, each thing once.
    pub(crate) fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        self.found
            .sort_by(|(a, x), (b, y)| (a.file, a.line, a.column, &x.code).cmp(&(b.file, b.line, b.column, &y.code)));
        let mut diagnostics: Vec<Diagnostic> = Vec::with_capacity(self.found.len());
        for (_, diagnostic) in std::mem::take(&mut self.found) {
            if diagnostics.last().is_none_or(|last| {
                last.code != diagnostic.code || last.message != diagnostic.message || last.span != diagnostic.span
            }) {
                diagnostics.push(diagnostic);
            }
        }
        diagnostics
    }
}
