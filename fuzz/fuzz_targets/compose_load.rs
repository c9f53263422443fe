//! A whole Compose file from anywhere: a project or diagnostics, soon, and no crash.
#![no_main]

use compose::{FileError, FileErrorKind, Files, Input};
use libfuzzer_sys::fuzz_target;

struct One<'a>(&'a [u8]);

impl Files for One<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.exists(path) {
            true => Ok(self.0.to_vec()),
            false => Err(FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() }),
        }
    }

    fn exists(&self, path: &str) -> bool {
        path == "/p/compose.yaml"
    }
}

fuzz_target!(|bytes: &[u8]| {
    let files = One(bytes);
    let loaded = compose::load(&Input::new("/p", &files));
    assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty(), "a refusal says why");
});
