//! Where a value of the normalised project came from: `config --explain KEY.PATH`.

mod defaults;
mod path;
mod unsaid;
mod variables;

use crate::context::Context;
use crate::emit;
use crate::input::Input;
use crate::loader::{Loader, Scope};
use crate::pipeline;
use crate::project::Loaded;
use crate::tree::{At, Node, Value};
use crate::yaml;
use model::diagnostic::Span;
use path::Found;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The path that was asked for.
    pub path: String,
    /// The value in one line; lists and mappings in words.
    pub value: String,
    /// How it came about, the nearest first.
    pub steps: Vec<Step>,
}

/// One step of a value's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happened, such as ``written as `${PORT:-80}` ``.
    pub text: String,
    /// Where, if that is a place in a file.
    pub span: Option<Span>,
}

impl Explanation {
    /// As lines of text, with a newline at the end.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}: {}\n", self.path, self.value);
        for step in &self.steps {
            let _ = match &step.span {
                Some(span) => writeln!(out, "  {} at {}:{}:{}", step.text, span.file, span.line, span.column),
                None => writeln!(out, "  {}", step.text),
            };
        }
        out
    }
}

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotThere {
    /// What is not there, such as ``there is no `prots` in services.web``.
    pub message: String,
    /// What there is.
    pub hint: Option<String>,
}

/// Loads the project and explains the value at `path`; also gives what was loaded, for its
/// diagnostics. The explanation is `None` when there is no project.
pub(crate) fn explain(input: &Input<'_>, path: &str) -> (Loaded, Option<Result<Explanation, NotThere>>) {
    let mut loader = Loader::new(input);
    loader.context.trace = true;
    let loaded = pipeline::load(&mut loader);
    let explained = loaded.project.as_ref().map(|project| {
        let found = match path::find(&project.model, path) {
            Ok(found) => found,
            Err(missing) => return unsaid::explain(&loaded, path).ok_or(missing),
        };
        let mut story = Story {
            input,
            context: &loader.context,
            scopes: &loader.scopes,
            files: &project.files,
            documents: BTreeMap::new(),
            steps: Vec::new(),
        };
        story.tell(&found);
        Ok(Explanation { path: path.to_owned(), value: shown(found.node), steps: story.steps })
    });
    (loaded, explained)
}

fn shown(node: &Node) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    match &node.value {
        Value::List(items) if !items.is_empty() => format!("a list of {}", count(items.len(), "item", "items")),
        Value::Map(map) if !map.is_empty() => format!("a mapping of {}", count(map.len(), "key", "keys")),
        _ => emit::json(node, None),
    }
}

/// A story while it is told.
struct Story<'a> {
    input: &'a Input<'a>,
    context: &'a Context,
    scopes: &'a BTreeMap<String, Scope>,
    /// Files of `-f`, or those that were found.
    files: &'a [String],
    /// Texts read once more, to see what stands at a place.
    documents: BTreeMap<u32, Vec<Node>>,
    steps: Vec<Step>,
}

impl Story<'_> {
    fn say(&mut self, text: impl Into<String>, at: At) {
        self.steps.push(Step { text: text.into(), span: self.context.span(at) });
    }

    fn tell(&mut self, found: &Found<'_>) {
        let node = found.node;
        let Some(at) = Some(node.place()).filter(|at| at.is_known()) else {
            return self.nowhere(found);
        };
        // what nobody wrote has the places of what it was added to
        let added = found.above.is_some_and(|above| above.place() == at && above.key == node.key);
        let written = self.written(at);
        let short = added && written.is_some();
        match defaults::rule(&found.path, written.as_deref()) {
            Some(rule) if added => {
                self.say(format!("default: {rule}"), At::default());
                self.say("added to what is written", at);
            }
            _ if added && !short => self.say("follows from what is written", at),
            _ => self.place(found, at, written.as_deref(), short),
        }
        self.way(node);
        self.tell_variables(found, at, written.as_deref());
        if let (Some(text), Some(written)) = (node.as_text(), &written)
            && text.starts_with('/')
            && written.starts_with(['.', '~'])
        {
            self.say("made absolute: relative paths start at the folder of the project or file", At::default());
        }
    }

    /// A value without a place: the name of the project, or a default.
    fn nowhere(&mut self, found: &Found<'_>) {
        let names: Vec<&str> = found.path.iter().map(String::as_str).collect();
        if names == ["name"] {
            return self.project_name();
        }
        let rule = defaults::rule(&found.path, None).unwrap_or("it is what Docker Compose takes when nobody says");
        self.say(format!("default: {rule}"), At::default());
    }

    fn project_name(&mut self) {
        if self.input.project_name.is_some() {
            return self.say("given by `-p`", At::default());
        }
        let file = self.files.first().cloned().unwrap_or_default();
        // the name itself is in the scope, so the question is where else
        match self.origin(&file, "COMPOSE_PROJECT_NAME") {
            Some((text, at)) => self.say(format!("the variable `COMPOSE_PROJECT_NAME`, {text}"), at),
            None => self.say("default: the name of the project's folder", At::default()),
        }
    }

    /// Where it is written, and in which of several files.
    fn place(&mut self, found: &Found<'_>, at: At, written: Option<&str>, short: bool) {
        let text = match (written, short) {
            (Some(written), true) => format!("part of the short form `{}`", crate::tree::shorten(written)),
            (Some(written), false) => format!("written as `{}`", crate::tree::shorten(written)),
            (None, _) if matches!(found.node.value, Value::List(_) | Value::Map(_)) => "starts".to_owned(),
            (None, _) => "written".to_owned(),
        };
        self.say(text, at);
        let path = self.context.text(at.file).map(|(path, _)| path);
        let number = self.files.iter().position(|file| Some(file.as_str()) == path);
        if let Some(number) = number.filter(|_| self.files.len() > 1) {
            let order = format!("in file {} of {} (later files go over earlier ones)", number + 1, self.files.len());
            self.say(order, At::default());
        }
    }

    /// Aliases, merges, `extends`, files, and what it replaced.
    fn way(&mut self, node: &Node) {
        let mut step = node.via.as_deref();
        while let Some(via) = step {
            self.say(via.note.clone(), via.at);
            step = via.before.as_deref();
        }
    }

    /// The scalar that stands at a place, as it is written.
    fn written(&mut self, at: At) -> Option<String> {
        let context = self.context;
        let documents = self.documents.entry(at.file).or_insert_with(|| {
            let text = context.text(at.file).map_or("", |(_, text)| text);
            yaml::parse(text, at.file).0
        });
        documents.iter().find_map(|document| scalar_at(document, at))
    }
}

/// The text of the scalar at a place; numbers and flags as they are read.
fn scalar_at(node: &Node, at: At) -> Option<String> {
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| scalar_at(item, at)),
        Value::Map(map) => map.values().find_map(|entry| scalar_at(entry, at)),
        _ if (node.at.line, node.at.column) != (at.line, at.column) => None,
        _ => crate::finish::plain_text(node),
    }
}
