//! What can go wrong with the disk, told so that a person can put it right.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system said no.
    #[error("{what} {}", path.display())]
    Io {
        /// `write`, `sync`, …
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No room. Nothing was stored and nothing is lost: make room, then try the same again.
    #[error("write {}: no room left; free some space on that file system", path.display())]
    Full {
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were once acknowledged are damaged.
    #[error("{} is damaged at byte {offset}: {why}; restore it from a backup, or let this node join anew", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// The bytes are whole, but sealed with another key.
    #[error("{} is whole but does not open with this node's key; was the key file replaced?", path.display())]
    WrongKey {
        /// Which file.
        path: PathBuf,
    },
    /// Written by a newer rswarm.
    #[error("{} has format {found}, this rswarm reads up to {known}; use the newer one", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Another process has it open.
    #[error("{} is in use by another rswarm daemon", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// An earlier sync failed, so that nobody knows what is on disk: the daemon has to start again.
    #[error("{} can't be trusted since a failed sync; look at the disk, then restart the daemon", path.display())]
    Poisoned {
        /// The folder.
        path: PathBuf,
    },
    /// One entry is larger than a frame can be.
    #[error("an entry of {bytes} bytes does not fit the log")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Entries that leave a gap in the log: no correct machine asks for that.
    #[error("entry {index} can't follow entry {last}")]
    Gap {
        /// Its index.
        index: u64,
        /// Where the log ends.
        last: u64,
    },
    /// A key file that others can read, or that is no key file.
    #[error("{}: {why}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What to do about it.
        why: &'static str,
    },
}

impl StoreError {
    /// The same call may work later, once there is room.
    pub fn is_full(&self) -> bool {
        matches!(self, StoreError::Full { .. })
    }
}

/// Wraps an error of the operating system, telling a full disk from all else.
pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { path, source }
        }
        _ => StoreError::Io { what, path, source },
    }
}
