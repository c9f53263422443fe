//! What is wrong with an input, said so that a person can put it right.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Told, and carried on.
    Warning,
    /// Nothing is applied.
    Error,
}

/// A place in a source text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The file as the user named it.
    pub file: String,
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Characters to underline, at least 1.
    pub length: u32,
}

/// One problem, with its place and advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable code such as `RS0104`.
    pub code: String,
    /// What went wrong, lower-case, no full stop, naming the offending value.
    pub message: String,
    /// Where, if it has a place.
    pub span: Option<Span>,
    /// The source line that `span` points into, for the caret.
    pub source_line: Option<String>,
    /// Short text beside the caret.
    pub label: Option<String>,
    /// How the value came there (anchor, merge, extends, interpolation), nearest first.
    pub chain: Vec<(String, Span)>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code: code.to_owned(),
            message: message.into(),
            span: None,
            source_line: None,
            label: None,
            chain: Vec::new(),
            hint: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }
}
