//! What can go wrong with images.

use model::image::ReferenceError;
use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something with an image failed. Causes are in `source`, not in the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Nothing here has that name or id.
    #[error("no such image: {0}")]
    NotFound(String),
    /// A prefix of several ids.
    #[error("{0} is the beginning of several image ids: give more of it")]
    Ambiguous(String),
    /// It can't be removed or replaced now; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// An archive that a careful unpacker does not unpack.
    #[error("refused to unpack {}: {why}", named(entry))]
    Hostile {
        /// Name of the entry in the archive.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// Content that is not what it is said to be.
    #[error("{what}: {why}")]
    Corrupt {
        /// Which blob, manifest or archive.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something that was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No space left.
    #[error("no space left on the disk of {}", path.display())]
    DiskFull {
        /// A path on that disk.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, `write` say.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The registry has no such image.
    #[error("{reference} is not on {host} (or needs a login there)")]
    NotOnRegistry {
        /// What was asked for.
        reference: String,
        /// Where.
        host: String,
    },
    /// The registry refused the credentials, or wants some.
    #[error("{host} denies access to {what}: {why}")]
    Denied {
        /// Registry.
        host: String,
        /// Repository or realm.
        what: String,
        /// What it said, or that there are no credentials.
        why: String,
    },
    /// The registry answered with something unexpected.
    #[error("{host} answered {status} to {what}: {why}")]
    Registry {
        /// Registry.
        host: String,
        /// Request.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// The registry could not be reached, or the connection broke again and again.
    #[error("{what} from {host}")]
    Network {
        /// Registry.
        host: String,
        /// Request.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is somebody, but no trust in him.
    #[error("{what} from {host}: {problem}")]
    Tls {
        /// Registry.
        host: String,
        /// Request.
        what: String,
        /// What is wrong.
        problem: TlsProblem,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program that knows credentials failed.
    #[error("ask docker-credential-{helper} for the login to {host}: {why}")]
    CredentialHelper {
        /// Its name.
        helper: String,
        /// Registry.
        host: String,
        /// What it said.
        why: String,
    },
    /// Whoever wanted it has gone.
    #[error("cancelled")]
    Cancelled,
}

/// What was refused: before the first entry it is the archive itself.
fn named(entry: &str) -> String {
    if entry.is_empty() { "the archive".to_owned() } else { format!("{entry:?}") }
}

/// Why there is no trust in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// Nobody who is known here signed its certificate.
    #[error("its certificate is signed by an unknown authority")]
    UnknownAuthority,
    /// The certificate is somebody else's.
    #[error("its certificate is for another name")]
    OtherName,
    /// The certificate, or this machine's clock, is off.
    #[error("its certificate has expired or is not valid yet")]
    OtherTime,
    /// What came back is not TLS: plain HTTP, most likely.
    #[error("it does not speak TLS")]
    NoTls,
    /// They did not agree; the cause says why.
    #[error("the TLS handshake failed")]
    Handshake,
}

impl Error {
    /// An error of the file system; a full disk is its own kind.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        if is_full(&source) {
            return Error::DiskFull { path: path.to_owned() };
        }
        Error::Io { action, path: path.to_owned(), source }
    }

    /// The same for `map_err`.
    pub(crate) fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::io(action, path, source)
    }

    pub(crate) fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), why: why.into() }
    }

    pub(crate) fn hostile(entry: &[u8], why: impl Into<String>) -> Error {
        let shown = entry.get(..200).unwrap_or(entry);
        Error::Hostile { entry: String::from_utf8_lossy(shown).into_owned(), why: why.into() }
    }

    /// Trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Network { .. } | Error::DiskFull { .. } | Error::Io { .. } | Error::Cancelled => true,
            Error::Registry { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
