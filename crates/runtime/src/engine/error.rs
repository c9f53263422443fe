//! What can go wrong, by what the caller may do about it.

use model::TaskId;
use std::path::PathBuf;

/// A call of the engine that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such container on this host.
    #[error("no container {0} on this host")]
    NotFound(TaskId),
    /// It is there already.
    #[error("container {0} exists already")]
    Exists(TaskId),
    /// It does not run.
    #[error("container {0} is not running")]
    NotRunning(TaskId),
    /// It runs.
    #[error("container {0} is running: stop it first")]
    Running(TaskId),
    /// Contents of configs and secrets have to be given again.
    #[error("container {0} needs the contents of its configs and secrets again")]
    FilesMissing(TaskId),
    /// It could not be started, and trying the same again will not help.
    #[error("{message}")]
    Rejected {
        /// Exit code in Docker's habit: 127 not found, 126 not executable, else 125.
        exit_code: i32,
        /// Why.
        message: String,
    },
    /// The volume is mounted by these containers.
    #[error("volume {name} is in use by container {}", .users.iter().map(TaskId::short).collect::<Vec<_>>().join(", "))]
    VolumeInUse {
        /// Which.
        name: String,
        /// By whom.
        users: Vec<TaskId>,
    },
    /// A volume failed.
    #[error(transparent)]
    Volume(#[from] crate::volume::VolumeError),
    /// The shim of a container answered otherwise than it should, or is gone.
    #[error("shim of container {task}: {message}")]
    Shim {
        /// Whose.
        task: TaskId,
        /// What.
        message: String,
    },
    /// A file or system call failed.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Result of a call of the engine.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Would trying again later perhaps help?
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Shim { .. })
    }
}
