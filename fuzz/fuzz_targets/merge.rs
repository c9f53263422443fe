//! Several files of one project: `-f`, `extends`, `include`. Parts are divided by a line `%%`: the first
//! file, what is laid over it, a file that either may name (`other.yaml`).
#![no_main]

use compose::{FileError, FileErrorKind, Files, Input};
use libfuzzer_sys::fuzz_target;

const DIVIDER: &str = "\n%%\n";

struct Three<'a>([&'a str; 3]);

impl Three<'_> {
    fn find(&self, path: &str) -> Option<&str> {
        let at = ["/p/a.yaml", "/p/b.yaml", "/p/other.yaml"].iter().position(|known| *known == path)?;
        self.0.get(at).copied()
    }
}

impl Files for Three<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let text = self.find(path).map(|text| text.as_bytes().to_vec());
        text.ok_or_else(|| FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() })
    }

    fn exists(&self, path: &str) -> bool {
        self.find(path).is_some()
    }
}

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, DIVIDER);
    let mut part = || parts.next().unwrap_or("{}");
    let (first, over, other) = (part(), part(), part());
    let both = load(&Three([first, over, other]), &["a.yaml", "b.yaml"]);
    assert!(both.stack.is_some() || !both.diagnostics.is_empty(), "a refusal says why");
    let alone = load(&Three([first, "{}", other]), &["a.yaml"]);
    let over_nothing = load(&Three([first, "{}", other]), &["a.yaml", "b.yaml"]);
    assert_eq!(alone.stack, over_nothing.stack, "an empty file changes nothing");
});

fn load(files: &Three<'_>, names: &[&str]) -> compose::Loaded {
    let mut input = Input::new("/p", files);
    input.files = names.iter().map(|name| (*name).to_owned()).collect();
    compose::load(&input)
}
