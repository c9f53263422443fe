//! The files of one commit, read into memory when they are asked for. A commit is written by strangers:
//! symbolic links are not followed, and nothing outside of it can be named.

use crate::files::Folder;
use compose::{FileError, FileErrorKind, Files};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Most files that a commit may have.
const FILES: usize = 200_000;

/// Largest file that is read.
const LARGEST: u64 = 16 << 20;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Other,
}

#[derive(Debug, Clone)]
struct Entry {
    kind: Kind,
    id: String,
    size: u64,
}

/// The files of a commit, below `/NAME`.
pub struct Tree {
    root: String,
    entries: BTreeMap<String, Entry>,
    cat: RefCell<Cat>,
}

/// `git cat-file --batch`, once it is needed.
enum Cat {
    Wanted(Box<Command>),
    Runs(Child, ChildStdin, BufReader<ChildStdout>),
    Failed,
}

impl Tree {
    /// From the lines of `git ls-tree -r -z -l`. `cat` gives the contents.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn parse(name: &str, list: &[u8], cat: Command) -> Result<Tree, String> {
        let mut entries = BTreeMap::new();
        for line in list.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            if entries.len() == FILES {
                return Err(format!("it has more than {FILES} files"));
            }
            // Names that are no UTF-8 can't be named in a Compose file.
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((head, path)) = line.split_once('\t') else { continue };
            let words: Vec<&str> = head.split_whitespace().collect();
            let [mode, _, id, size] = words.as_slice() else { continue };
            let kind = match *mode {
                "100644" | "100755" | "100664" => Kind::File,
                "120000" => Kind::Link,
                _ => Kind::Other,
            };
            let entry = Entry { kind, id: (*id).to_owned(), size: size.parse().unwrap_or(0) };
            entries.insert(path.to_owned(), entry);
        }
        Ok(Tree { root: format!("/{name}"), entries, cat: RefCell::new(Cat::Wanted(Box::new(cat))) })
    }

    /// Where its files are said to be.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What the content at an absolute path is called; `None`: there is none.
    pub fn id(&self, path: &str) -> Option<&str> {
        self.entries.get(self.inside(path)?).map(|entry| entry.id.as_str())
    }

    /// The path within the commit.
    fn inside<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(self.root.as_str())? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        }
    }

    /// Is it a folder?
    fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || self.below(path).next().is_some()
    }

    /// The paths below a folder, without it.
    fn below<'t>(&'t self, folder: &str) -> impl Iterator<Item = &'t str> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let from = self.entries.range(prefix.clone()..).map(|(path, _)| path.as_str());
        let length = prefix.len();
        from.take_while(move |path| path.starts_with(&prefix)).filter_map(move |path| path.get(length..))
    }

    /// A link on the way to a path.
    fn link_on(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        ends.filter_map(|end| self.entries.get(path.get(..end)?)).any(|entry| entry.kind == Kind::Link)
    }

    fn content(&self, entry: &Entry) -> Result<Vec<u8>, FileError> {
        let mut cat = self.cat.borrow_mut();
        let read = cat.read(entry);
        if read.is_err() {
            *cat = Cat::Failed;
        }
        read.map_err(|error| other(&format!("git can't read it: {error}")))
    }
}

fn other(text: &str) -> FileError {
    FileError { kind: FileErrorKind::Other, message: text.to_owned() }
}

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let missing = |text: &str| FileError { kind: FileErrorKind::NotFound, message: text.to_owned() };
        // Not as what is missing: a person would look for it on the machine.
        let Some(inside) = self.inside(path) else { return Err(other("it is not in the repository")) };
        if self.link_on(inside) {
            return Err(other("symbolic links of a repository are not followed"));
        }
        match self.entries.get(inside) {
            Some(Entry { kind: Kind::File, size, .. }) if *size > LARGEST => Err(other("it is larger than 16 MiB")),
            Some(entry @ Entry { kind: Kind::File, .. }) => self.content(entry),
            Some(_) => Err(other("it is of another repository (a submodule), which is not fetched")),
            None if self.is_folder(inside) => {
                Err(FileError { kind: FileErrorKind::IsFolder, message: "it is a folder".to_owned() })
            }
            None => Err(missing("no such file in the commit")),
        }
    }

    fn exists(&self, path: &str) -> bool {
        self.inside(path).is_some_and(|inside| self.entries.contains_key(inside) || self.is_folder(inside))
    }
}

impl Folder for Tree {
    fn names(&self, folder: &str) -> Vec<String> {
        let Some(inside) = self.inside(folder) else { return Vec::new() };
        let mut names: Vec<String> =
            self.below(inside).filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        names
    }
}

impl Cat {
    fn read(&mut self, entry: &Entry) -> std::io::Result<Vec<u8>> {
        if let Cat::Wanted(command) = self {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let pipes = child.stdin.take().zip(child.stdout.take());
            let (input, output) = pipes.ok_or_else(|| std::io::Error::other("it has no pipes"))?;
            *self = Cat::Runs(child, input, BufReader::new(output));
        }
        let Cat::Runs(_, input, output) = self else { return Err(std::io::Error::other("it failed before")) };
        writeln!(input, "{}", entry.id)?;
        let mut head = String::new();
        output.read_line(&mut head)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let size = match words.as_slice() {
            [_, "blob", size] => size.parse::<u64>().map_err(std::io::Error::other)?,
            _ => return Err(std::io::Error::other(head.trim().to_owned())),
        };
        if size > LARGEST {
            return Err(std::io::Error::other("it is larger than it was said to be"));
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(std::io::Error::other)?];
        output.read_exact(&mut bytes)?;
        output.read_exact(&mut [0])?;
        Ok(bytes)
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        if let Cat::Runs(child, ..) = self {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}
