//! Calls with many answers, and sessions.

use crate::call::ApiError;
use crate::container::Stats;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A call whose answers come as they happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamCall {
    /// `logs`.
    Logs {
        /// One or more containers; lines of several are in order of time while not following.
        containers: Vec<String>,
        /// Or: every container of this stack, also those that come later.
        stack: Option<String>,
        /// Of these services (keys) only; empty: all.
        services: Vec<String>,
        /// Go on as lines come.
        follow: bool,
        /// The last so many lines of each; `None` all.
        tail: Option<u64>,
        /// Not before, milliseconds since the epoch.
        since: Option<u64>,
        /// Not after.
        until: Option<u64>,
    },
    /// `events`.
    Events {
        /// Not before, milliseconds since the epoch (from the daemon's bounded memory).
        since: Option<u64>,
        /// Ends there.
        until: Option<u64>,
    },
    /// `stats`: a reading of each every second; empty: all that run.
    Stats(Vec<String>),
    /// `pull`.
    Pull {
        /// Reference.
        reference: String,
        /// The client's login for its registry.
        #[serde(default, skip_serializing_if = "model::Logins::is_empty")]
        logins: model::Logins,
    },
    /// The state of a stack each time that it changes, first at once: for the progress of `up` and
    /// `down`. Ends when the stack is gone.
    Watch {
        /// Project name.
        stack: String,
    },
}

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamItem {
    /// A piece of a log.
    Log(LogLine),
    /// Something happened.
    Event(Event),
    /// Readings.
    Stats(Vec<Stats>),
    /// A layer of a pull moved on.
    Pull(PullProgress),
    /// A line for people (`Loaded image: …`).
    Message(String),
    /// The services and tasks of a stack.
    Watch(Box<model::State>),
    /// It failed; nothing follows.
    Error(ApiError),
}

/// A line of a container's log, without its newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Container name.
    pub container: String,
    /// Service key.
    pub service: String,
    /// Slot of the service.
    pub slot: u32,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// The text; bytes that are no UTF-8 are replaced.
    pub line: String,
    /// Whether a newline ended it.
    pub newline: bool,
}

/// What happened, in the shape of Docker's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the epoch.
    pub time_nano: i64,
    /// `container`, `image`, `network`, `volume`, `service`, `daemon`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `create`, `start`, `die`, `health_status: healthy`, …
    pub action: String,
    /// Id of the object.
    pub id: String,
    /// Name, image, exitCode, labels.
    pub attributes: BTreeMap<String, String>,
}

/// Progress of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Short digest of the layer, or the reference for the image as a whole.
    pub id: String,
    /// `waiting`, `downloading`, `unpacking`, `exists`, `done`, `retrying`, …
    pub status: String,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all, 0 unknown.
    pub total: u64,
}

/// A session with a process in a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionCall {
    /// `attach`.
    Attach {
        /// Container.
        container: String,
        /// Send stdin.
        stdin: bool,
        /// Start the container once attached (`start -a`): loses no output.
        start: bool,
    },
    /// `run` in the foreground: makes the standalone service, attaches before its task starts (so
    /// that no output is lost), ends with its exit code.
    Run {
        /// For blind retries.
        id: model::RequestId,
        /// What to run; images are pinned by the daemon.
        spec: Box<model::ServiceSpec>,
        /// Send stdin.
        stdin: bool,
        /// First size of the terminal, rows and columns.
        size: Option<(u16, u16)>,
        /// The client's login for the registry of the image.
        #[serde(default, skip_serializing_if = "model::Logins::is_empty")]
        logins: model::Logins,
    },
    /// `exec`.
    Exec {
        /// Container.
        container: String,
        /// What to run.
        process: ExecProcess,
    },
}

/// What `exec` runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcess {
    /// Arguments, the program first.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<String>,
    /// `-w`.
    pub working_dir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub stdin: bool,
    /// `-d`: the session ends at once, the process goes on.
    pub detach: bool,
    /// First size of the terminal, rows and columns.
    pub size: Option<(u16, u16)>,
}

/// An archive that the client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadCall {
    /// `image load`.
    Load,
    /// `image import`.
    Import {
        /// Name to give it.
        reference: String,
        /// Dockerfile instructions (`CMD ["sh"]`).
        changes: Vec<String>,
        /// Comment.
        message: Option<String>,
    },
    /// `cp` into a container.
    CopyTo {
        /// Container.
        container: String,
        /// Where in it; not absolute: from its root.
        path: String,
        /// What of the archive.
        part: ArchivePart,
        /// Owners stay as they are in the archive; otherwise all is root's.
        archive: bool,
    },
    /// `cluster restore`: the daemon begins anew right after the answer.
    Restore(crate::RestoreCluster),
}

/// What of an archive is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchivePart {
    /// Its one file or folder, placed as `cp` would.
    Thing,
    /// What is in its one folder.
    Contents,
    /// Every entry, in a folder that is there.
    Entries,
}

/// An archive that the daemon sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownloadCall {
    /// `image save`.
    Save(Vec<String>),
    /// The image of this id, for another node.
    Image(String),
    /// `cp` out of a container: its first entry is what was asked for.
    CopyFrom {
        /// Container.
        container: String,
        /// What of it; not absolute: from its root.
        path: String,
        /// Follow a link at the end of the path.
        follow: bool,
    },
    /// `cluster backup`: sealed with this key.
    Backup(crate::BackupKey),
}
