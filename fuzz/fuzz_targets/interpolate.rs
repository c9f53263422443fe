//! Variables: the first line is the template of a value, the rest is the `.env` file.
#![no_main]

use compose::{FileError, FileErrorKind, Files, Input};
use libfuzzer_sys::fuzz_target;

struct Two<'a> {
    compose: String,
    env: &'a str,
}

impl Files for Two<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match path {
            "/p/compose.yaml" => Ok(self.compose.clone().into_bytes()),
            "/p/.env" => Ok(self.env.as_bytes().to_vec()),
            _ => Err(FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() }),
        }
    }

    fn exists(&self, path: &str) -> bool {
        matches!(path, "/p/compose.yaml" | "/p/.env")
    }
}

fuzz_target!(|text: &str| {
    let (template, env) = text.split_once('\n').unwrap_or((text, "A=1\nB=two\n"));
    let quoted = template.replace('\'', "''");
    let compose = format!("services:\n  a:\n    image: i\n    labels:\n      l: '{quoted}'\n");
    let files = Two { compose, env };
    let loaded = compose::load(&Input::new("/p", &files));
    assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty(), "a refusal says why");
});
