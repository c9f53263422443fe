//! Reading files through the caller's door.

use super::{Loader, MAX_FILES};
use crate::input::{FileError, FileErrorKind};
use crate::tree::{At, Node};
use crate::yaml;
use std::sync::Arc;

impl Loader<'_> {
    /// The documents of a YAML file; what is wrong with it is told once.
    pub(super) fn documents(&mut self, path: &str) -> Arc<Vec<Node>> {
        if let Some(documents) = self.documents.get(path) {
            return documents.clone();
        }
        let documents = Arc::new(self.parse(path));
        self.documents.insert(path.to_owned(), documents.clone());
        documents
    }

    /// The same for one who keeps them.
    pub(super) fn take_documents(&mut self, path: &str) -> Vec<Node> {
        self.documents(path);
        self.documents.remove(path).map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    fn parse(&mut self, path: &str) -> Vec<Node> {
        let text = match self.read_text(path) {
            Ok(text) => text,
            Err(message) => {
                let known = format!("`{path}`: {message}");
                self.context.error("RS0100", At::default(), known);
                return Vec::new();
            }
        };
        let file = self.context.add_text(path, &text);
        let (documents, problems) = yaml::parse(&text, file);
        for problem in problems {
            match problem.other {
                Some((note, at)) => {
                    self.context.error_two(problem.code, problem.at, problem.message, (&note, at), problem.hint);
                }
                None => match problem.hint {
                    Some(hint) => self.context.error_hint(problem.code, problem.at, problem.message, hint),
                    None => self.context.error(problem.code, problem.at, problem.message),
                },
            }
        }
        documents
    }

    /// The text of a file, or why there is none.
    pub(super) fn read_text(&mut self, path: &str) -> Result<String, String> {
        self.reads += 1;
        if self.reads > MAX_FILES {
            return Err(format!(
                "this would be the {}th file of one project; files seem to include each other without end",
                self.reads
            ));
        }
        let bytes = self.input.source.read(path).map_err(|error| explain(&error))?;
        if !self.context.spend(bytes.len()) {
            return Err("the files of this project are too large together".to_owned());
        }
        decode(bytes)
    }
}

/// Why a file could not be read, in words.
pub(crate) fn explain(error: &FileError) -> String {
    match error.kind {
        FileErrorKind::NotFound => "there is no such file".to_owned(),
        FileErrorKind::IsFolder => "this is a folder, not a file".to_owned(),
        FileErrorKind::Other => format!("it can't be read: {}", error.message),
    }
}

/// UTF-8, or UTF-16 with a byte order mark.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > yaml::MAX_TEXT {
        return Err(format!("it has {} bytes, more than the {} that are read", bytes.len(), yaml::MAX_TEXT));
    }
    let wide = |big: bool| {
        let unit = |pair: &[u8]| {
            let pair = [pair[0], *pair.get(1).unwrap_or(&0)];
            if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let units: Vec<u16> = bytes[2..].chunks(2).map(unit).collect();
        String::from_utf16(&units).map_err(|_| "it is not valid UTF-16".to_owned())
    };
    match bytes.as_slice() {
        [0xfe, 0xff, ..] => wide(true),
        [0xff, 0xfe, ..] => wide(false),
        _ => match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = good.iter().filter(|b| **b == b'\n').count() + 1;
                Err(format!("it is not UTF-8 text (line {line})"))
            }
        },
    }
}
