//! What an agent asks of its host, and what comes of it. Effects are complete and may be done twice.

use model::{
    ContainerSpec, Exit, HealthCheck, HealthTest, HostLines, HostNet, Logins, Protocol, ServiceSpec, TaskId, Time,
    VolumeSpec,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The number of an effect, to match its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectId(pub u64);

/// Something to do on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Have the image and the named volumes. Ends in [`Outcome::Prepared`].
    Prepare(Box<Prepare>),
    /// Make the network of the host so. Ends in [`Outcome::Net`].
    EnsureNet(Box<HostNet>),
    /// Make the container (it may be there, never started) and start it. Ends in [`Outcome::Started`].
    CreateAndStart(Box<Launch>),
    /// Start a container that ended, again. Ends in [`Outcome::Started`].
    Start(Box<Launch>),
    /// Have the /etc/hosts of a container say this. Ends in [`Outcome::HostsWritten`].
    WriteHosts(Box<WriteHosts>),
    /// Signal, wait for `grace`, kill. Ends in [`Outcome::Stopped`].
    Stop {
        /// Which.
        task: TaskId,
        /// Name or number; `None`: the image's, else SIGTERM.
        signal: Option<String>,
        /// Before SIGKILL.
        grace: Duration,
        /// Others sent connections to it until a moment ago: it takes those that have begun first.
        receives: bool,
        /// And its network goes with it: not before its last answers have been received.
        sends: bool,
    },
    /// Remove all that is left of a container. Ends in [`Outcome::Removed`].
    Remove {
        /// Which.
        task: TaskId,
        /// Its anonymous volumes too.
        volumes: bool,
    },
    /// Run a health check. Ends in [`Outcome::Probed`].
    Probe {
        /// Which.
        task: TaskId,
        /// What to run.
        test: HealthTest,
        /// Longer is a failure.
        timeout: Duration,
    },
    /// Delete a volume with its data. Ends in [`Outcome::VolumeRemoved`].
    RemoveVolume(String),
}

/// What a container needs before it can be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepare {
    /// Whose.
    pub task: TaskId,
    /// Its container names image, digest and volumes.
    pub spec: Arc<ServiceSpec>,
    /// Specs of the named volumes that it mounts; one that is not here is a plain local one.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// What its image is pulled with before what the host itself knows.
    pub logins: Arc<Logins>,
}

impl Prepare {
    /// The container's part of the spec.
    pub fn container(&self) -> &ContainerSpec {
        &self.spec.container
    }
}

/// What the /etc/hosts of a container says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteHosts {
    /// Whose.
    pub task: TaskId,
    /// Whose network namespace it runs in.
    pub net: Net,
    /// What it says.
    pub hosts: Hosts,
}

/// Lines of /etc/hosts beside those for localhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Those whose addresses are known.
    pub lines: HostLines,
    /// Names that mean the host as seen from the container (`host-gateway`), where only the host knows which address
    /// that is.
    pub gateway: Vec<String>,
}

/// All that starts a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its task, and its id.
    pub task: TaskId,
    /// Name for people.
    pub name: String,
    /// The spec, with the placeholders of this task filled in.
    pub spec: Arc<ServiceSpec>,
    /// Which user start this is.
    pub attempt: u32,
    /// In-place restarts so far, this one included.
    pub restarts: u32,
    /// Whose network namespace.
    pub net: Net,
    /// Host name.
    pub hostname: String,
    /// What its /etc/hosts says.
    pub hosts: Hosts,
    /// DNS is served at 127.0.0.11 in its namespace.
    pub dns: bool,
    /// Configs and secrets.
    pub files: Vec<LaunchFile>,
    /// Labels of the spec and ours; the image's are added where the container is made.
    pub labels: BTreeMap<String, String>,
    /// Specs of the named volumes that it mounts.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Whose anonymous volumes it has.
    pub volumes_of: TaskId,
}

/// A config or secret as a file in the container. `Debug` never shows the content.
#[derive(Clone, PartialEq, Eq)]
pub struct LaunchFile {
    /// Absolute path in the container.
    pub target: String,
    /// Content.
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

impl std::fmt::Debug for LaunchFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaunchFile")
            .field("target", &self.target)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Which network namespace a container runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// The host's.
    Host,
    /// That of this task (its own, or one that it joins).
    Task(TaskId),
}

impl Net {
    /// The task whose namespace it is; `None`: the host's.
    pub fn owner(self) -> Option<TaskId> {
        match self {
            Net::Host => None,
            Net::Task(owner) => Some(owner),
        }
    }
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All is there.
    Prepared {
        /// The image's health check.
        healthcheck: Option<HealthCheck>,
    },
    /// The network is as wanted, but for these.
    Net {
        /// What could not be done.
        faults: Vec<NetFault>,
        /// After which nobody goes any more to whom it does not lead any more: connections that had begun before may
        /// be answered until then.
        settles: Duration,
    },
    /// It runs.
    Started {
        /// Its init on the host.
        pid: u32,
        /// Since.
        started_at: Time,
    },
    /// The file says so.
    HostsWritten,
    /// Nothing runs; `None` if it never ran.
    Stopped(Option<Exit>),
    /// Nothing is left.
    Removed,
    /// The check ran.
    Probed {
        /// When it began.
        start: Time,
        /// Exit code; -1: it timed out or could not run.
        exit_code: i32,
        /// What it wrote, at most 4096 bytes.
        output: String,
    },
    /// The volume is gone.
    VolumeRemoved,
}

/// Something of the network that could not be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetFault {
    /// A published port.
    Port {
        /// TCP or UDP.
        protocol: Protocol,
        /// Port on the host.
        host_port: u16,
        /// Address on the host.
        host_ip: Option<IpAddr>,
        /// Why, for people; says by whom the port is taken.
        message: String,
    },
    /// A container's namespace.
    Endpoint {
        /// Whose.
        task: TaskId,
        /// Why.
        message: String,
    },
}

/// An effect that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectError {
    /// Will trying again help?
    pub kind: EffectErrorKind,
    /// Why, for people.
    pub message: String,
    /// Exit code in Docker's habit for a container that could not be started: 125, 126, 127.
    pub exit_code: Option<i32>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectErrorKind {
    /// It may pass (a registry that does not answer, a full disk).
    Transient,
    /// It will not.
    Fatal,
}

impl EffectError {
    /// One that may pass.
    pub fn transient(message: impl Into<String>) -> Self {
        EffectError { kind: EffectErrorKind::Transient, message: message.into(), exit_code: None }
    }

    /// One that will not.
    pub fn fatal(message: impl Into<String>) -> Self {
        EffectError { kind: EffectErrorKind::Fatal, message: message.into(), exit_code: None }
    }
}
