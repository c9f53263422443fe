//! Files that a project is made of: which they are, and whether they are still what was read.

use compose::{FileError, FileErrorKind, Files};
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Largest file that a project may name (a config holds at most 1 MiB; a Compose file is smaller still).
const LARGEST: u64 = 16 << 20;

/// Which signal tells that somebody wants the file (fcntl(2)); libc does not name it.
const F_SETSIG: libc::c_int = 10;

/// Files whose folders can be listed.
pub trait Folder: Files {
    /// The names in a folder, sorted; none where there is no folder.
    fn names(&self, folder: &str) -> Vec<String>;
}

/// Files of this machine; `-` is standard input, if that was allowed.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// May standard input be read?
    pub stdin: bool,
}

impl Folder for Disk {
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// Files of this machine below one folder only, wherever links lead.
#[derive(Debug, Clone)]
pub struct Jail {
    /// Absolute, without links.
    pub folder: PathBuf,
}

impl Jail {
    fn is_inside(&self, path: &str) -> bool {
        // What is not there yet is judged by the folder that it would be in.
        let mut path = Path::new(path);
        loop {
            match (std::fs::canonicalize(path), path.parent()) {
                (Ok(real), _) => return real.starts_with(&self.folder),
                (Err(_), Some(parent)) => path = parent,
                (Err(_), None) => return false,
            }
        }
    }
}

impl Files for Jail {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.is_inside(path) {
            true => DISK.read(path),
            false => Err(FileError {
                kind: FileErrorKind::Other,
                message: format!("it is outside of {}, which needs `--allow bind`", self.folder.display()),
            }),
        }
    }

    fn exists(&self, path: &str) -> bool {
        self.is_inside(path) && DISK.exists(path)
    }
}

impl Folder for Jail {
    fn names(&self, folder: &str) -> Vec<String> {
        if self.is_inside(folder) { DISK.names(folder) } else { Vec::new() }
    }
}

/// The whole disk, without standard input.
pub const DISK: Disk = Disk { stdin: false };

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let result = match path {
            "-" if self.stdin => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
            }
            path => read(Path::new(path)),
        };
        result.map_err(|error| FileError {
            kind: match error.kind() {
                std::io::ErrorKind::NotFound => FileErrorKind::NotFound,
                std::io::ErrorKind::IsADirectory => FileErrorKind::IsFolder,
                _ => FileErrorKind::Other,
            },
            message: error.to_string(),
        })
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

/// A pipe or a device would hang or never end; opening one must not block either.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let metadata = file.metadata()?;
    let other = |text: &str| std::io::Error::other(text.to_owned());
    match () {
        () if metadata.is_dir() => return Err(std::io::ErrorKind::IsADirectory.into()),
        () if !metadata.is_file() => return Err(other("it is no file")),
        () if metadata.len() > LARGEST => return Err(other("it is larger than 16 MiB")),
        () => {}
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A file of this content.
    Content([u8; 32]),
    /// Something, or nothing: only that was asked.
    Exists(bool),
    /// It could not be read.
    Unreadable(String),
    /// A folder with these names.
    Names(Vec<String>),
}

/// Reads through another, and remembers every path that was asked for.
pub struct Recorder<'a> {
    inner: &'a dyn Folder,
    seen: RefCell<BTreeMap<String, Seen>>,
}

impl<'a> Recorder<'a> {
    /// Nothing was asked for yet.
    pub fn new(inner: &'a dyn Folder) -> Recorder<'a> {
        Recorder { inner, seen: RefCell::new(BTreeMap::new()) }
    }

    /// The names in a folder; none where there is no folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let names = self.inner.names(folder);
        self.seen.borrow_mut().insert(folder.to_owned(), Seen::Names(names.clone()));
        names
    }

    /// Is there a file?
    pub fn is_file(&self, path: &str) -> bool {
        Files::exists(self, path) && self.inner.names(path).is_empty()
    }

    /// All that was asked for.
    pub fn finish(self) -> Touched {
        Touched { seen: self.seen.into_inner() }
    }
}

impl Files for Recorder<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let result = self.inner.read(path);
        self.seen.borrow_mut().insert(path.to_owned(), seen(&result));
        result
    }

    fn exists(&self, path: &str) -> bool {
        let exists = self.inner.exists(path);
        self.seen.borrow_mut().entry(path.to_owned()).or_insert(Seen::Exists(exists));
        exists
    }
}

fn seen(result: &Result<Vec<u8>, FileError>) -> Seen {
    match result {
        Ok(bytes) => Seen::Content(Sha256::digest(bytes).into()),
        Err(error) if error.kind == FileErrorKind::NotFound => Seen::Exists(false),
        Err(error) => Seen::Unreadable(error.message.clone()),
    }
}

/// The files that a project was made of, those that were not there among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    seen: BTreeMap<String, Seen>,
}

impl Touched {
    /// Absolute paths, `-` not among them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.seen.keys().filter(|path| path.starts_with('/')).map(Path::new)
    }

    /// Folders whose names were asked for.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let listed = self.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Names(_)));
        listed.map(|(path, _)| Path::new(path))
    }

    /// All of both.
    pub fn extend(&mut self, other: Touched) {
        self.seen.extend(other.seen);
    }

    /// Is any of them not what it was?
    pub fn is_stale(&self, files: &dyn Folder) -> bool {
        let named = self.seen.iter().filter(|(path, _)| path.starts_with('/'));
        named.into_iter().any(|(path, seen)| now(files, path, seen) != *seen)
    }

    /// Does somebody still write one of them?
    pub fn is_being_written(&self) -> bool {
        self.paths().any(has_writer)
    }

    /// A digest of all paths and contents, in hex.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (path, seen) in &self.seen {
            digest.update(path.as_bytes());
            digest.update([0]);
            match seen {
                Seen::Content(content) => digest.update(content),
                Seen::Exists(exists) => digest.update([u8::from(*exists)]),
                Seen::Unreadable(_) => digest.update([2]),
                Seen::Names(names) => digest.update(names.join("\0")),
            }
        }
        hex::encode(digest.finalize())
    }
}

fn now(files: &dyn Folder, path: &str, before: &Seen) -> Seen {
    match before {
        // It was a folder perhaps: what is in it was not asked for.
        Seen::Exists(true) => Seen::Exists(files.exists(path)),
        Seen::Names(_) => Seen::Names(files.names(path)),
        _ => seen(&files.read(path)),
    }
}

/// Has anybody the file open for writing? The kernel tells by refusing a read lease. Where it can't be
/// asked (another's file, a file system without leases) the answer is no.
fn has_writer(path: &Path) -> bool {
    let Ok(file) = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path) else {
        return false;
    };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let fd = file.as_raw_fd();
    // SAFETY: `fd` is open for as long as `file` lives, and these commands take plain integers. SIGURG, which is
    // ignored by default, takes the place of SIGIO, which would end the process if somebody opened the file now.
    let leased = unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG) == 0 && libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0
    };
    if leased {
        // SAFETY: as above.
        unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
        return false;
    }
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

/// What tells cheaply that a file was touched: time of change, size and inode.
pub(crate) fn stamp(path: &Path) -> Option<(i64, i64, u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec(), metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_was_asked_for_is_remembered_and_compared() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a"), "1").unwrap();
        let recorder = Recorder::new(&DISK);
        recorder.read(&path("a")).unwrap();
        recorder.read(&path("b")).unwrap_err();
        assert!(recorder.exists(root.path().to_str().unwrap()));
        let touched = recorder.finish();
        assert_eq!(touched.paths().count(), 3);
        assert!(!touched.is_stale(&DISK));
        std::fs::write(path("a"), "1").unwrap();
        assert!(!touched.is_stale(&DISK), "the same content again");
        std::fs::write(path("b"), "").unwrap();
        assert!(touched.is_stale(&DISK), "what was not there is");
        std::fs::remove_file(path("b")).unwrap();
        std::fs::write(path("a"), "2").unwrap();
        assert!(touched.is_stale(&DISK));
    }

    #[test]
    fn a_file_that_somebody_writes_is_known() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(has_writer(&path));
        drop(file);
        assert!(!has_writer(&path));
    }

    #[test]
    fn what_is_no_file_does_not_hang() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pipe");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name is a C string that lives through the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(DISK.read(path.to_str().unwrap()).is_err());
        assert_eq!(DISK.read(root.path().to_str().unwrap()).unwrap_err().kind, FileErrorKind::IsFolder);
    }
}
