//! Where everything lies. One container:
//!
//! ```text
//! DATA/containers/ID/     config.json   what it was made from; its presence says "made"
//!                         anonymous.json names of its anonymous volumes, before they are made
//!                         run.json      the last start
//!                         exit.json     how that start ended
//!                         lock          held (flock) by its shim, or by an engine that repairs
//!                         upper, work   its writable layer
//!                         hosts, hostname, resolv.conf
//!                         log.json, log.json.1 …
//! RUN/tasks/ID/           shim.sock, shim.log, bundle/ (external runtimes)
//! RUN/files/ID/           configs and secrets, in memory
//! ```
//!
//! `DATA/containers/ID.removed` is on its way out.

use model::TaskId;
use std::path::{Path, PathBuf};

/// Paths below the two roots.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    data: PathBuf,
    run: PathBuf,
}

impl Layout {
    pub(crate) fn new(data: &Path, run: &Path) -> Self {
        Layout { data: data.to_owned(), run: run.to_owned() }
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn tasks(&self) -> PathBuf {
        self.run.join("tasks")
    }

    /// Memory-backed; one folder per container below it.
    pub(crate) fn all_files(&self) -> PathBuf {
        self.run.join("files")
    }

    pub(crate) fn container(&self, task: TaskId) -> Folder {
        Folder {
            path: self.containers().join(task.to_string()),
            run: self.tasks().join(task.to_string()),
            files: self.all_files().join(task.to_string()),
        }
    }

    /// The folder of a container that is being removed.
    pub(crate) fn removed(&self, task: TaskId) -> PathBuf {
        self.containers().join(format!("{task}.removed"))
    }
}

/// The folders of one container.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// On disk.
    pub(crate) path: PathBuf,
    /// Gone after a reboot.
    pub(crate) run: PathBuf,
    /// In memory.
    pub(crate) files: PathBuf,
}

impl Folder {
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    pub(crate) fn anonymous(&self) -> PathBuf {
        self.path.join("anonymous.json")
    }

    pub(crate) fn last_run(&self) -> PathBuf {
        self.path.join("run.json")
    }

    pub(crate) fn last_exit(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log.json")
    }

    /// Name of the shim's socket within `run`.
    pub(crate) const SOCKET: &'static str = "shim.sock";
}
