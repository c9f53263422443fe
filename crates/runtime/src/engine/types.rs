//! What goes into the engine and what comes out of it.

use crate::signal::Signal;
use model::{Exit, HealthCheck, HostLines, ServiceSpec, TaskId, Time, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an engine keeps its things and what it uses.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Survives reboots: `containers/ID`, `volumes/NAME`.
    pub data_root: PathBuf,
    /// Does not: `tasks/ID`.
    pub run_root: PathBuf,
    /// Cgroup under which each container gets its own, `rswarm` say.
    pub cgroup_parent: String,
    /// The binary that runs a shim as `EXE shim FOLDER`.
    pub exe: PathBuf,
    /// An external OCI runtime (`crun`, `runc`) in place of the built-in one.
    pub oci_runtime: Option<PathBuf>,
}

/// The parts of an image's config that make a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, `NAME=value`.
    pub env: Vec<String>,
    /// USER.
    pub user: String,
    /// WORKDIR.
    pub working_dir: String,
    /// VOLUME.
    pub volumes: BTreeSet<String>,
    /// STOPSIGNAL.
    pub stop_signal: Option<String>,
    /// HEALTHCHECK.
    pub healthcheck: Option<HealthCheck>,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
    /// EXPOSE, `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
}

/// An unpacked image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Digest of its config, `sha256:…`.
    pub id: String,
    /// Its config.
    pub config: ImageConfig,
    /// Folders of its layers, bottom first; whiteouts in overlayfs's form.
    pub layers: Vec<PathBuf>,
}

/// The network namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetMode {
    /// The host's.
    Host,
    /// The one that this file names. It has the name of the task that the namespace is of.
    Path(PathBuf),
}

/// A config or secret as a file in the container. Its bytes are only ever in memory: the engine
/// keeps them while it lives, and they have to be given again after it was opened anew.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentFile {
    /// Absolute path in the container.
    pub target: String,
    /// Content.
    #[serde(skip)]
    pub data: Arc<Vec<u8>>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Never shown in `inspect`.
    pub secret: bool,
}

impl fmt::Debug for ContentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentFile")
            .field("target", &self.target)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// All that makes a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateContainer {
    /// Its task, and its id.
    pub task: TaskId,
    /// Name for people.
    pub name: String,
    /// The service; `container` and `resources` of it are used here.
    pub spec: Arc<ServiceSpec>,
    /// The image.
    pub image: ImageInfo,
    /// Network namespace.
    pub net: NetMode,
    /// Host name.
    pub hostname: String,
    /// Lines of /etc/hosts beside those for localhost.
    pub hosts: HostLines,
    /// Text of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Configs and secrets.
    pub files: Vec<ContentFile>,
    /// Labels (of image and spec, merged).
    pub labels: BTreeMap<String, String>,
    /// Specs of the named volumes that it mounts; one that is not here is a plain local volume.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Whose anonymous volumes it has, if not its own: those of one that has ended, and that it goes on with.
    #[serde(default)]
    pub volumes_of: Option<TaskId>,
}

/// How to start a container.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Which user start it is for; kept on disk.
    pub attempt: u32,
    /// In-place restarts so far, this one included; kept on disk.
    pub restarts: u32,
    /// Contents of configs and secrets; `None`: those that the engine still knows.
    pub files: Option<Vec<ContentFile>>,
    /// A different network namespace from now on.
    pub net: Option<NetMode>,
    /// Other lines of /etc/hosts from now on, as in [`CreateContainer::hosts`].
    pub hosts: Option<HostLines>,
    /// Rows and columns of its terminal, if it has one.
    pub size: Option<(u16, u16)>,
}

/// A container that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its init, as the host sees it.
    pub pid: u32,
    /// When.
    pub started_at: Time,
}

/// What happened to a container without being asked for in the same call.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeEvent {
    /// It ended. Said once per start, also for one that was stopped by a call.
    Exited {
        /// Which.
        task: TaskId,
        /// The attempt that it was started for.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// The out-of-memory killer took one of its processes.
    Oom {
        /// Which.
        task: TaskId,
    },
    /// It was frozen, or thawed.
    Paused {
        /// Which.
        task: TaskId,
        /// Frozen now.
        paused: bool,
    },
}

/// A command to run inside a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the container's environment, `NAME=value`.
    pub env: Vec<String>,
    /// User other than the container's.
    pub user: Option<String>,
    /// Folder other than the container's.
    pub working_dir: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With the container's highest capabilities.
    pub privileged: bool,
    /// Keep its input open; otherwise it reads end-of-file.
    pub stdin: bool,
    /// Nobody listens: the session ends at once, output goes nowhere.
    pub detach: bool,
    /// Rows and columns of the terminal.
    pub size: Option<(u16, u16)>,
}

/// Result of a health probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Exit code; -1 when it timed out or could not run.
    pub exit_code: i32,
    /// The first 4096 bytes of its output (both streams), or why it could not run.
    pub output: String,
    /// It was killed for taking too long.
    pub timed_out: bool,
}

/// From a client to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes for its standard input or terminal.
    Stdin(Vec<u8>),
    /// No more input.
    StdinEof,
    /// Rows and columns.
    Resize(u16, u16),
    /// A signal.
    Signal(Signal),
}

/// From a process to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output, or all of a terminal's.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// It ended; the last one.
    Exit(i32),
    /// The session broke; the last one.
    Failed(String),
}

/// An open attach or exec. Dropping it detaches; the process of an exec goes on.
#[derive(Debug)]
pub struct Session {
    /// Sends to the process; dropping it leaves the process's input open.
    pub input: tokio::sync::mpsc::Sender<Input>,
    /// What comes from it. Ends after `Exit` or `Failed`. For an attach that was opened before the
    /// start nothing is lost.
    pub output: tokio::sync::mpsc::Receiver<Output>,
}

/// One reading of a container's use of resources; counters are totals since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nanoseconds of CPU.
    pub cpu_ns: u64,
    /// Bytes without inactive page cache.
    pub memory: u64,
    /// Limit in bytes; `None`: the machine's memory.
    pub memory_limit: Option<u64>,
    /// Received by interfaces other than loopback; zero with the host's network.
    pub net_rx: u64,
    /// Sent.
    pub net_tx: u64,
    /// Read from block devices.
    pub block_read: u64,
    /// Written to block devices.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A process of a container, PIDs as the host sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Numeric user.
    pub uid: u32,
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// When it began.
    pub started: Time,
    /// Terminal, `?` for none.
    pub tty: String,
    /// Milliseconds of CPU.
    pub cpu_ms: u64,
    /// Command line.
    pub command: String,
}

/// A mount as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `volume`, `bind`, `tmpfs`.
    pub kind: String,
    /// Name of the volume, empty for others.
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Writable.
    pub writable: bool,
}

/// Paths and facts of a container for `inspect`.
#[derive(Debug, Clone)]
pub struct Inspect {
    /// What it was made from; contents of files are left out.
    pub create: CreateContainer,
    /// When it was made.
    pub created: Time,
    /// As `list` says.
    pub observed: model::Observed,
    /// Program and arguments that it runs.
    pub argv: Vec<String>,
    /// Folder of its files.
    pub folder: PathBuf,
    /// Its writable layer.
    pub upper: PathBuf,
    /// Its newest log file; `None` for driver `none`.
    pub log: Option<PathBuf>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
}
