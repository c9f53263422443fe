//! What is kept of a container on disk: ROOT/ID with `state.json`, the spec it was created from, and
//! while it waits to be started the socket by which that is said.

use super::{Error, Global};
use crate::container::Cgroup;
use oci_spec::runtime::Spec;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Facts that do not change after create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) pid: i32,
    /// Start time of the process in clock ticks: a later one of the same pid is another.
    pub(super) started: u64,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) cgroup: String,
}

/// A container as it is on disk.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) folder: PathBuf,
    pub(super) record: Record,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The folder of a container, by an id that is safe as a name.
pub(super) fn folder(global: &Global, id: &str) -> Result<PathBuf, Error> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
    if id.is_empty() || id.len() > 255 || !id.chars().all(good) || matches!(id, "." | "..") {
        return Err(Error::text(format!("container id {id:?}: use letters, digits, _, +, - and .")));
    }
    Ok(global.root.join(id))
}

/// Makes the folder of a new container.
pub(super) fn reserve(global: &Global, id: &str) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = folder(global, id)?;
    let failed = |error| Error::io(format!("make {}", folder.display()), error);
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o711);
    match builder.create(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            builder.recursive(true).create(&global.root).map_err(failed)?;
            builder.recursive(false).create(&folder).map_err(failed)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::text(format!("container with id {id} already exists")));
        }
        result => result.map_err(failed)?,
    }
    Ok(folder)
}

/// Writes down which cgroup will be made, before it is: a creator that is killed leaves it behind.
pub(super) fn note_cgroup(folder: &Path, path: &str) -> Result<(), Error> {
    std::fs::write(folder.join("cgroup"), path)
        .map_err(|error| Error::io(format!("write to {}", folder.display()), error))
}

/// Removes what a creator that was killed half-way has left.
pub(super) fn sweep(folder: &Path) -> Result<(), Error> {
    if let Ok(path) = std::fs::read_to_string(folder.join("cgroup")) {
        let cgroup = Cgroup::open(&path)?;
        if cgroup.exists() {
            cgroup.kill_all()?;
            cgroup.delete()?;
        }
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}

/// Start time of a living process; `None` for one that is gone or only waits to be reaped.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

impl Container {
    /// The container `id`.
    pub(super) fn load(global: &Global, id: &str) -> Result<Self, Error> {
        let folder = folder(global, id)?;
        let text = match std::fs::read(folder.join("state.json")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::text(format!("container {id} does not exist")));
            }
            text => text.map_err(|error| Error::io(format!("read the state of {id}"), error))?,
        };
        let record = serde_json::from_slice(&text).map_err(|error| Error::new(&format!("state of {id}"), error))?;
        Ok(Self { folder, record })
    }

    /// Writes state and spec, the state last and whole.
    pub(super) fn save(&self, config: &[u8]) -> Result<(), Error> {
        let failed = |error| Error::io(format!("write to {}", self.folder.display()), error);
        std::fs::write(self.folder.join("config.json"), config).map_err(failed)?;
        let text = serde_json::to_vec(&self.record).map_err(|error| Error::new("write state", error))?;
        std::fs::write(self.folder.join("state.tmp"), text).map_err(failed)?;
        std::fs::rename(self.folder.join("state.tmp"), self.folder.join("state.json")).map_err(failed)
    }

    /// The spec that it was created from, whatever the bundle says now.
    pub(super) fn spec(&self) -> Result<Spec, Error> {
        let path = self.folder.join("config.json");
        let text = std::fs::read(&path).map_err(|error| Error::io(format!("read {}", path.display()), error))?;
        serde_json::from_slice(&text).map_err(|error| Error::new(&path.display().to_string(), error))
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup, Error> {
        Cgroup::open(&self.record.cgroup)
    }

    /// The socket of one that waits.
    pub(super) fn gate(&self) -> PathBuf {
        gate(&self.folder)
    }

    pub(super) fn alive(&self) -> bool {
        start_time(self.record.pid) == Some(self.record.started)
    }

    pub(super) fn status(&self) -> Result<Status, Error> {
        if !self.alive() {
            return Ok(Status::Stopped);
        }
        if self.gate().exists() {
            return Ok(Status::Created);
        }
        Ok(if self.cgroup()?.is_frozen()? { Status::Paused } else { Status::Running })
    }

    pub(super) fn pid(&self) -> Result<Pid, Error> {
        Pid::from_raw(self.record.pid).ok_or_else(|| Error::text("the container has no process"))
    }
}

/// The socket in a container's folder.
pub(super) fn gate(folder: &Path) -> PathBuf {
    folder.join("start.sock")
}
