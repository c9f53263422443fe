//! The text files of the checkout, read once.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Context;

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file that people write, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// Endings of files that are prose or code; whatever else lies about (archives, fixtures) is nobody's business here.
const ENDINGS: &[&str] = &["rs", "md", "toml", "yaml", "yml", "sh", "service"];

impl Tree {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        collect(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// Names of the folders under `crates/` that hold Rust code.
    pub(crate) fn crates(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.rust().filter_map(|file| file.path.strip_prefix("crates/")?.split('/').next()).collect();
        names.dedup();
        names
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && !skipped(&entry.file_name()) {
            collect(root, &path, files)?;
        } else if kind.is_file() && has_ending(&path) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            files.push(File { path: path.strip_prefix(root)?.to_string_lossy().into_owned(), text });
        }
    }
    Ok(())
}

/// What cargo and git made, and fuzzers' corpora.
fn skipped(name: &OsStr) -> bool {
    ["target", ".git", "corpus", "artifacts"].iter().any(|skip| name == *skip)
}

fn has_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) || path.ends_with(".ci/run")
}
