//! Variables in a value: what each was, and who set it.

use super::Story;
use super::path::Found;
use crate::dotenv;
use crate::interpolate;
use crate::tree::{At, shorten};

/// Deepest default within a default that is told.
const MAX_DEPTH: usize = 8;

impl Story<'_> {
    /// Tells the variables of a value: those of its template, or the one that has its name.
    pub(super) fn tell_variables(&mut self, found: &Found<'_>, at: At, written: Option<&str>) {
        let Some(file) = self.context.text(at.file).map(|(path, _)| path.to_owned()) else { return };
        if let Some(written) = written.filter(|text| text.contains('$') && self.input.options.interpolate) {
            self.template(&file, written, 0);
        }
        let names: Vec<&str> = found.path.iter().map(String::as_str).collect();
        let (["services", _, "environment", name] | ["services", _, "build", "args", name]) = names.as_slice() else {
            return;
        };
        // `- NAME`, or `NAME:` without a value, takes that of the variable
        let alone = written.is_none_or(|text| text == *name || text.is_empty());
        let from_file = found.node.via.as_ref().is_some_and(|via| via.quiet && via.note.starts_with("set by"));
        if alone && !from_file && found.node.as_text().is_some() {
            self.variable(&file, name);
        }
    }

    fn template(&mut self, file: &str, template: &str, depth: usize) {
        for used in interpolate::uses(template) {
            let value = self.scopes.get(file).and_then(|scope| scope.env.get(used.name)).cloned();
            let value = value.filter(|value| !(used.operator.starts_with(':') && value.is_empty()));
            let word = shorten(used.word);
            let nothing = if used.operator.starts_with(':') { "is not set or empty" } else { "is not set" };
            match (used.operator.trim_start_matches(':'), value) {
                ("+", Some(_)) => {
                    self.variable(file, used.name);
                    self.say(format!("`{}` is set, which makes it `{word}`", used.name), At::default());
                }
                (_, Some(_)) => {
                    self.variable(file, used.name);
                    continue;
                }
                ("-", None) => self.say(format!("`{}` {nothing}: its default is `{word}`", used.name), At::default()),
                (_, None) => self.say(format!("`{}` {nothing}: it becomes nothing", used.name), At::default()),
            }
            let taken = used.operator.ends_with('-') || used.operator.ends_with('+');
            if taken && depth < MAX_DEPTH {
                self.template(file, used.word, depth + 1);
            }
        }
    }

    fn variable(&mut self, file: &str, name: &str) {
        let Some(value) = self.scopes.get(file).and_then(|scope| scope.env.get(name)) else { return };
        let value = shorten(value);
        match self.origin(file, name) {
            Some((text, at)) => self.say(format!("`{name}` is `{value}`, {text}"), at),
            None => self.say(format!("`{name}` is `{value}`, the name of the project"), At::default()),
        }
    }

    /// Who set a variable: the environment, or a line of an env file.
    pub(super) fn origin(&self, file: &str, name: &str) -> Option<(String, At)> {
        if self.input.env.contains_key(name) {
            return Some(("set in the environment".to_owned(), At::default()));
        }
        let named = !self.input.env_files.is_empty();
        let scope = self.scopes.get(file)?;
        for (level, group) in scope.env_files.iter().enumerate() {
            // later files go over earlier ones, and later lines too
            for path in group.iter().rev() {
                let Ok(bytes) = self.input.source.read(path) else { continue };
                let places = dotenv::places(&String::from_utf8_lossy(&bytes));
                if let Some((_, line)) = places.into_iter().rev().find(|(known, _)| known == name) {
                    let what = match level {
                        0 if named => "set by `--env-file`",
                        0 => "set by the project's env file",
                        _ => "set by the env file of an `include`",
                    };
                    return Some((format!("{what} {}:{line}", self.context.short(path)), At::default()));
                }
            }
        }
        None
    }
}
