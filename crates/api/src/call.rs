//! Calls with one answer.

use crate::cluster::{AdmitClient, ClientGrant, InitCluster, JoinCluster, JoinToken, Joined};
use crate::container::{ContainerRow, Stats, TopTable};
use crate::image::{HistoryRow, ImageRow, PruneReport};
use model::{Logins, Request, RequestId, Response};
use serde::{Deserialize, Serialize};

/// A call. Containers are named by name, Compose's `PROJECT-SERVICE-N`, id or unique id prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Is the daemon there, and what is it?
    Ping,
    /// Something for the replicated state. Images in it are pinned by the daemon before it is
    /// proposed.
    Cluster {
        /// For blind retries.
        id: RequestId,
        /// What.
        request: Box<Request>,
        /// The client's logins for the registries of its images: the daemon asks with them, and keeps none.
        #[serde(default, skip_serializing_if = "Logins::is_empty")]
        logins: Logins,
    },
    /// What applying a stack would change; nothing is changed, nothing pulled.
    Plan(Box<model::Wanted>),
    /// `gitops sync`: looks whether there is something new, and answers when that is applied or refused.
    SyncSource {
        /// Which.
        name: String,
        /// Also a commit that was looked at already: what its images are called is asked anew, and one that
        /// was refused is tried again.
        again: bool,
    },
    /// `gitops diff`: what applying the newest commit would change, a plan for each stack.
    DiffSource(String),
    /// Asked by whoever leads: what the files of a path source of this node say. It is answered at once when
    /// they are not as they were known, else when they change or after a while.
    ReadSource {
        /// Which; its status does not matter.
        source: Box<model::Source>,
        /// The state that is known, by its id.
        known: Option<String>,
    },
    /// `ps`.
    Containers {
        /// Ended ones too.
        all: bool,
        /// Only of this stack.
        stack: Option<String>,
    },
    /// `inspect` of a container, Docker's JSON shape.
    InspectContainer(String),
    /// `inspect` of a network, Docker's JSON shape.
    InspectNetwork(String),
    /// `inspect` of a volume, Docker's JSON shape.
    InspectVolume(String),
    /// `inspect` of an image, Docker's JSON shape.
    InspectImage(String),
    /// `stop`, `start`, `restart`: returns when it is done.
    Power {
        /// Container.
        container: String,
        /// What.
        action: model::PowerAction,
    },
    /// `kill -s`.
    Kill {
        /// Container.
        container: String,
        /// Name or number.
        signal: String,
    },
    /// `pause`.
    Pause(String),
    /// `unpause`.
    Unpause(String),
    /// `wait`: answers when it has ended.
    Wait(String),
    /// `rm`: answers when it is gone.
    RemoveContainer {
        /// Container.
        container: String,
        /// Kill it first if it runs.
        force: bool,
        /// Its anonymous volumes too.
        volumes: bool,
    },
    /// `top`.
    Top {
        /// Container.
        container: String,
        /// Options of the host's `ps`; none: the columns of `ps -ef`, from `/proc`.
        options: Vec<String>,
    },
    /// `node inspect`: how the other nodes of the mesh look from one.
    MeshPeers(model::NodeId),
    /// `stats --no-stream`; empty: all that run.
    Stats(Vec<String>),
    /// New size of a terminal: of a container, or of an exec session.
    Resize {
        /// Container.
        container: String,
        /// Rows and columns.
        size: (u16, u16),
    },
    /// `image ls`.
    Images {
        /// Untagged ones too.
        all: bool,
    },
    /// `image history`.
    History(String),
    /// `image tag`.
    Tag {
        /// Existing image.
        source: String,
        /// New reference.
        target: String,
    },
    /// `image rm`.
    RemoveImage {
        /// Reference or id.
        reference: String,
        /// Also when containers that ended use it or it has several tags.
        force: bool,
    },
    /// `image prune`.
    PruneImages {
        /// All that no container uses, not only untagged ones.
        all: bool,
    },
    /// `volume prune`.
    PruneVolumes {
        /// Named ones too.
        all: bool,
    },
    /// `network prune`.
    PruneNetworks,
    /// `container prune`.
    PruneContainers,
    /// Volumes by name with their sizes in bytes.
    VolumeUsage,
    /// `volume ls`: also those that no stack and no person has asked for by name.
    Volumes,
    /// `volume rm`, of whatever kind; answers when its data is gone.
    RemoveVolume(String),
    /// `ps -s`: ids of containers with the bytes in their writable layers; empty: all.
    ContainerUsage(Vec<String>),
    /// `run -d`: makes the standalone service, answers when its container has been started.
    Run {
        /// For telling requests apart; not for blind retries.
        id: RequestId,
        /// What to run; images are pinned by the daemon.
        spec: Box<model::ServiceSpec>,
        /// As those of `Cluster`.
        #[serde(default, skip_serializing_if = "Logins::is_empty")]
        logins: Logins,
    },
    /// What is in a config, by its full name.
    ConfigData(String),
    /// `init`: makes a cluster of this machine.
    Init(InitCluster),
    /// `join`: makes this machine part of a cluster.
    Join(JoinCluster),
    /// `leave`.
    Leave {
        /// Also as a manager, and when no manager answers.
        force: bool,
    },
    /// `join-token`.
    JoinToken {
        /// Whose.
        role: model::Role,
        /// Make a new one first; the old one is worth nothing from then on.
        rotate: bool,
    },
    /// `unlock`: the key that a locked manager waits for.
    Unlock(model::UnlockKey),
    /// `cluster update --autolock`: managers ask for a key after a restart, or for nothing.
    Autolock(bool),
    /// `unlock-key`: what managers ask for after a restart.
    UnlockKey {
        /// Another one from now on.
        rotate: bool,
    },
    /// `ca --rotate`: begins to replace the authority.
    RotateAuthority,
    /// `ca client create`.
    AdmitClient(AdmitClient),
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// To `Ping`.
    Pong(DaemonInfo),
    /// To `Cluster`.
    Cluster(Box<Response>),
    /// To `Plan`: what would change, and the stack with its images pinned as far as they are here.
    Plan(Box<(model::StackPlan, model::Wanted)>),
    /// To `DiffSource`: the commit, and its plans.
    Diff(Box<(model::Commit, Vec<model::StackPlan>)>),
    /// To `ReadSource`.
    SourceFiles(Box<model::SourceFiles>),
    /// To `Containers`.
    Containers(Vec<ContainerRow>),
    /// To the inspections: one JSON object in Docker's shape.
    Inspect(serde_json::Value),
    /// To `Wait`: the exit code.
    Exited(i32),
    /// To `Top`.
    Top(TopTable),
    /// To `MeshPeers`, by node.
    MeshPeers(Vec<MeshPeerRow>),
    /// To `Stats`.
    Stats(Vec<Stats>),
    /// To `Images`.
    Images(Vec<ImageRow>),
    /// To `History`.
    History(Vec<HistoryRow>),
    /// To `RemoveImage`: lines `Untagged: …`, `Deleted: …`.
    Lines(Vec<String>),
    /// To the prunes.
    Pruned(PruneReport),
    /// To `VolumeUsage` and `ContainerUsage`.
    Usage(Vec<(String, u64)>),
    /// To `Volumes`, by name.
    Volumes(Vec<VolumeRow>),
    /// To `ConfigData`: base64.
    ConfigData(String),
    /// To `Init` and `Join`.
    Joined(Joined),
    /// To `JoinToken`.
    JoinToken(JoinToken),
    /// To `Autolock` and `UnlockKey`; `None`: managers ask for nothing.
    UnlockKey(Option<model::UnlockKey>),
    /// To `AdmitClient`.
    ClientGrant(ClientGrant),
    /// To `Run`.
    Started {
        /// Id of the container.
        id: String,
        /// Why it could not be started, with Docker's exit code (125, 126, 127). It is there all the same.
        failure: Option<(i32, ApiError)>,
    },
}

/// Another node of the mesh, as one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPeerRow {
    /// Which.
    pub node: model::NodeId,
    /// Where it is spoken to; `None`: nothing is known yet.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Seconds since the last handshake of WireGuard; `None`: there was none.
    pub handshake_age: Option<u64>,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// The largest IP packet that reaches it in one piece, in bytes; `None`: not known.
    #[serde(default)]
    pub path_mtu: Option<u32>,
}

/// One line of `volume ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRow {
    /// As asked for.
    pub spec: model::VolumeSpec,
    /// Made for one container only.
    pub anonymous: bool,
    /// Its data on the host; empty until it is first mounted.
    pub mountpoint: String,
}

/// What a daemon says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Version of the binary.
    pub version: String,
    /// Its PID.
    pub pid: u32,
    /// Where its data is.
    pub data_root: String,
    /// Where its sockets are.
    pub run_root: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroup: String,
    /// Built-in, or the path of an external OCI runtime.
    pub oci_runtime: String,
    /// This node's id.
    pub node: String,
    /// Drawn anew each time it begins: tells whether it is still the same one.
    #[serde(default)]
    pub life: u64,
    /// What a worker knows, which is of itself only; `None`: it is none.
    #[serde(default)]
    pub worker: Option<Box<model::State>>,
    /// It is a manager that waits for the key which unlocks it.
    #[serde(default)]
    pub locked: bool,
}

/// Why a call failed; with HTTP status 400, 404, 409 or 500 by `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind.
    pub kind: ErrorKind,
    /// What went wrong, causes joined by `: `.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense (400).
    Invalid,
    /// No such thing (404).
    NotFound,
    /// Taken or in use (409).
    Conflict,
    /// The daemon, the kernel or a registry failed (500).
    Failed,
}

impl ApiError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ApiError { kind, message: message.into(), hint: None }
    }
}
