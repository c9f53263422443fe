//! Files that are replaced as a whole: a reader, or a crash, meets the old one or the new one.

use crate::error::{StoreError, io_error};
use crate::key::NodeKey;
use crate::sealed::{self, Kind};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Marks files that a crash left half-written; [`Store::open`](crate::Store::open) removes them.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Puts `bytes` at `path` (mode 0600), durably, in place of what was there. After a crash at any
/// moment the file is whole: the old one or the new one.
///
/// # Errors
/// The old file is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = write_temporary(path, bytes)?;
    fs::rename(&temporary, path).map_err(|error| give_up(&temporary, io_error("replace", path)(error)))?;
    sync_dir(folder(path))
}

/// The same for a file that must not exist yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    linked.map_err(io_error("create", path))?;
    sync_dir(folder(path))
}

/// Makes a folder's entries (names created, renamed, removed) durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io_error("sync", path))
}

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    // Two writers of one path in one process must not share a temporary file.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}{TEMPORARY}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| give_up(&temporary, io_error("write", &temporary)(error)))?;
    Ok(temporary)
}

/// Removes a temporary file that will not be needed, and passes the reason on.
fn give_up(temporary: &Path, error: StoreError) -> StoreError {
    let _ = fs::remove_file(temporary);
    error
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// One small value on disk, sealed, replaced as a whole: an agent's last assignment, say.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    key: NodeKey,
}

impl Ledger {
    /// The value at `path`, which need not exist yet; its folder must.
    pub fn new(path: impl Into<PathBuf>, key: NodeKey) -> Ledger {
        Ledger { path: path.into(), key }
    }

    /// What was last written; `None` if nothing ever was.
    ///
    /// # Errors
    /// Also when the file is damaged or of another key.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(&self.path) {
            Ok(bytes) => {
                sealed::decode(Kind::Ledger, &self.path, &bytes, &self.key).map(|file| Some(file.plain.concat()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &self.path)(error)),
        }
    }

    /// Replaces the value, durably.
    ///
    /// # Errors
    /// The old value stands.
    pub fn write(&self, value: &[u8]) -> Result<(), StoreError> {
        let bytes = sealed::encode(Kind::Ledger, 0, &self.path, &self.key, value)?;
        write_atomic(&self.path, &bytes)
    }
}
