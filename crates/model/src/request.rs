//! What clients ask of the cluster and what it answers: the one request type below every front end.
//! Only requests that change or read replicated state are here; what concerns one node's containers
//! and images (exec, logs, pull, …) is in the `api` crate.

use crate::cluster::{ClusterRequest, ClusterView};
use crate::diagnostic::Diagnostic;
use crate::ids::{NetworkId, NodeId, ServiceId, TaskId};
use crate::mode::Mode;
use crate::network::Network;
use crate::node::{Availability, Node};
use crate::plan::Wanted;
use crate::registry::Logins;
use crate::source::{Source, SourceRequest};
use crate::spec::{NetworkAttachment, ServiceSpec};
use crate::stack::{ContentKind, ContentSpec, ContentView, NetworkSpec, StackSpec, VolumeSpec};
use crate::task::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request to the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the cluster hold this stack (`up`).
    Deploy {
        /// The stack, images pinned.
        stack: Box<StackSpec>,
        /// Remove services of the project that are not in it.
        remove_orphans: bool,
        /// Replace tasks even where nothing changed.
        force_recreate: bool,
    },
    /// The same, as far as was planned.
    Apply {
        /// What.
        wanted: Box<Wanted>,
        /// Only on the state that has this [`crate::StackPlan::basis`].
        basis: Option<String>,
    },
    /// Take a stack away (`down`).
    RemoveStack {
        /// Project name.
        name: String,
        /// Its volumes too.
        volumes: bool,
        /// Seconds that each container gets before it is killed; `None`: its own grace period.
        #[serde(default)]
        timeout: Option<u64>,
    },
    /// Make one service, or replace its spec (`run`, `service create/update`).
    PutService {
        /// The spec, image pinned.
        spec: Box<ServiceSpec>,
        /// Fail if the name is taken.
        create: bool,
    },
    /// Replace the spec of a service (`service update`); the service's update policy says how.
    UpdateService {
        /// Which; name, stack and kind of the spec are those that it has.
        id: ServiceId,
        /// The spec, image pinned.
        spec: Box<ServiceSpec>,
        /// Only if the service is still of this [`Service::version`].
        version: Option<u64>,
        /// Replace tasks even where nothing changed.
        force: bool,
    },
    /// Put back the spec before the last change that replaced tasks (`service rollback`), by the rollback
    /// policy. Once more goes forward again.
    RollbackService(ServiceId),
    /// `node update`.
    UpdateNode {
        /// Which.
        id: NodeId,
        /// May it take tasks? `None`: as before.
        availability: Option<Availability>,
        /// Labels to set, and (`None`) to remove.
        labels: BTreeMap<String, Option<String>>,
    },
    /// `node rm`: forget a node that is down, with all that it had; from then on it is refused.
    RemoveNode {
        /// Which.
        id: NodeId,
        /// Also when it is up.
        #[serde(default)]
        force: bool,
    },
    /// About the cluster itself.
    Group(Box<ClusterRequest>),
    /// Remove a service and its tasks (`rm` of a container, `service rm`).
    RemoveService {
        /// Which.
        id: ServiceId,
        /// Also when its task runs.
        force: bool,
        /// Its anonymous volumes too.
        volumes: bool,
    },
    /// Change how many (`scale`).
    Scale {
        /// Which.
        id: ServiceId,
        /// How many.
        replicas: u32,
    },
    /// Stop, start or restart one task's container in place.
    Power {
        /// Which.
        task: TaskId,
        /// What.
        action: PowerAction,
    },
    /// `network create`.
    CreateNetwork(Box<NetworkSpec>),
    /// `network rm`.
    RemoveNetwork(NetworkId),
    /// `network connect`: a container that a person runs joins a network, without a restart.
    Connect {
        /// Its task.
        task: TaskId,
        /// The network, and how it is known there.
        attachment: NetworkAttachment,
    },
    /// `network disconnect`: it leaves one.
    Disconnect {
        /// Its task.
        task: TaskId,
        /// Full name of the network.
        network: String,
    },
    /// `volume create`; the same name and driver again is no error.
    CreateVolume(Box<VolumeSpec>),
    /// `volume rm`.
    RemoveVolume(String),
    /// `config create`, `secret create`: the name must be free.
    CreateContent {
        /// Which kind.
        kind: ContentKind,
        /// What.
        content: Box<ContentSpec>,
    },
    /// `config rm`, `secret rm`.
    RemoveContent {
        /// Which kind.
        kind: ContentKind,
        /// Full name.
        name: String,
    },
    /// About sources that are followed.
    Source(Box<SourceRequest>),
    /// A request that names images, with logins of their registries that are kept (`--with-registry-auth`): whatever
    /// node runs a service of it gets that for its image, from then on. They take the place of those that the
    /// services had.
    WithLogins {
        /// [`Request::Deploy`], [`Request::Apply`], [`Request::PutService`] or [`Request::UpdateService`].
        request: Box<Request>,
        /// By registry.
        logins: Logins,
    },
    /// Read the whole state, up to date.
    Read,
}

impl Request {
    /// What is asked for, whatever comes with it.
    pub fn inner(&self) -> &Request {
        match self {
            Request::WithLogins { request, .. } => request,
            request => request,
        }
    }

    /// The same, to be changed.
    pub fn inner_mut(&mut self) -> &mut Request {
        match self {
            Request::WithLogins { request, .. } => request,
            request => request,
        }
    }
}

/// What to do to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Stop it and leave it stopped.
    Stop {
        /// Seconds before SIGKILL if not the spec's.
        timeout: Option<u64>,
        /// Signal if not the spec's.
        signal: Option<String>,
    },
    /// Start it (again).
    Start,
    /// Stop, then start.
    Restart {
        /// Seconds before SIGKILL if not the spec's.
        timeout: Option<u64>,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Done; the state holds it from this revision on.
    Done {
        /// Revision of the cluster.
        revision: u64,
        /// The ids of objects made or changed, where there is one (service, network, task).
        id: Option<String>,
        /// What changed, for people: `service shop_web: image …`.
        changes: Vec<ObjectChange>,
        /// Warnings.
        warnings: Vec<Diagnostic>,
    },
    /// Refused, nothing changed.
    Refused {
        /// What kind of refusal.
        kind: RefusalKind,
        /// Why, all of it.
        diagnostics: Vec<Diagnostic>,
    },
    /// The state.
    State(Box<State>),
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// `service`, `network`, `volume`, `config`, `secret`, `node`.
    pub kind: String,
    /// Full name.
    pub name: String,
    /// `created`, `updated`, `unchanged`, `removed`; of a network also `connected` and `disconnected`.
    pub action: String,
    /// Fields that differ, as `image: nginx:1.26 → nginx:1.27`.
    pub fields: Vec<String>,
}

/// Kinds of refusal, for exit codes and HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// No such object.
    NotFound,
    /// Taken, or in use.
    Conflict,
    /// Makes no sense.
    Invalid,
}

/// A service as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// As asked for.
    pub spec: Arc<ServiceSpec>,
    /// Counts the changes of the spec that replace tasks.
    pub spec_version: u64,
    /// Tasks of versions before this one are replaced even where their spec is the same.
    #[serde(default)]
    pub force_version: u64,
    /// Counts every change.
    pub version: u64,
    /// The spec before, for rollback.
    pub previous: Option<Arc<ServiceSpec>>,
    /// It is being removed: tasks stop in reverse dependency order, then it goes.
    pub removing: bool,
    /// Host ports chosen for ports that named none, in the order of `spec.ports`.
    pub chosen_ports: Vec<Option<u16>>,
    /// Its own address on each of its networks (`endpoint_mode: vip`); the IPv6 one follows from it.
    #[serde(default)]
    pub vips: std::collections::BTreeMap<crate::ids::NetworkId, std::net::Ipv4Addr>,
    /// When it was made.
    pub created: crate::time::Time,
    /// When its spec changed last.
    pub updated: crate::time::Time,
    /// How its last update goes or went; `None` before the first.
    #[serde(default)]
    pub update_status: Option<UpdateStatus>,
}

impl Service {
    /// One that has just been made.
    pub fn new(id: ServiceId, spec: Arc<ServiceSpec>, created: crate::time::Time) -> Service {
        Service {
            id,
            spec,
            spec_version: 1,
            force_version: 0,
            version: 1,
            previous: None,
            removing: false,
            chosen_ports: Vec::new(),
            vips: BTreeMap::new(),
            created,
            updated: created,
            update_status: None,
        }
    }
}

/// How an update of a service goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    pub started: crate::time::Time,
    /// When it came to its end, if it has.
    pub finished: Option<crate::time::Time>,
    /// For people: `update paused: web.2 failed (exit code 1)`.
    pub message: String,
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Tasks are being replaced.
    Updating,
    /// It failed and waits for a person.
    Paused,
    /// Every task is of the new spec.
    Completed,
    /// It failed; the previous spec is being put back.
    RollbackStarted,
    /// That failed too.
    RollbackPaused,
    /// The previous spec is back.
    RollbackCompleted,
}

impl UpdateState {
    /// Does the planner still replace tasks?
    pub fn is_active(self) -> bool {
        matches!(self, UpdateState::Updating | UpdateState::RollbackStarted)
    }
}

impl Service {
    /// The host port that was chosen for one of its ports, by its place in the spec; `None` where the spec names one.
    pub fn chosen_port(&self, index: usize) -> Option<u16> {
        self.chosen_ports.get(index).copied().flatten()
    }

    /// How many tasks it should have; `None` where nodes decide.
    pub fn replicas(&self) -> Option<u32> {
        match self.spec.mode {
            Mode::Replicated { replicas } => Some(replicas),
            Mode::ReplicatedJob { total, .. } => Some(total),
            Mode::Global | Mode::GlobalJob => None,
        }
    }
}

/// A node that is the last to be chosen for a service, because its tasks keep failing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Avoided {
    /// Which service.
    pub service: ServiceId,
    /// Which node.
    pub node: NodeId,
    /// How often a task of the service failed there lately.
    pub failures: u32,
    /// When it is a node like others again, if no other task fails there.
    pub until: crate::time::Time,
}

/// All that clients may see of the replicated state. Contents of secrets are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Revision.
    pub revision: u64,
    /// Services.
    pub services: Vec<Service>,
    /// Tasks, history included.
    pub tasks: Vec<Arc<Task>>,
    /// Networks.
    pub networks: Vec<Network>,
    /// Volumes.
    pub volumes: Vec<VolumeSpec>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Configs, as far as their names mean one.
    pub configs: Vec<ContentView>,
    /// Secrets, as far as their names mean one.
    pub secrets: Vec<ContentView>,
    /// The node that leads the managers, as far as this one knows.
    pub leader: Option<NodeId>,
    /// Managers that have a vote, as far as this one knows: who has just joined catches up first.
    pub voters: Vec<NodeId>,
    /// Nodes that services avoid.
    pub avoided: Vec<Avoided>,
    /// Sources that are followed, without their credentials.
    pub sources: Vec<Source>,
    /// The cluster that this machine is part of, if it is.
    pub cluster: Option<ClusterView>,
    /// Why tasks that wait do so: task → sentence.
    pub waiting: std::collections::BTreeMap<TaskId, String>,
    /// Names of stacks that are being removed.
    pub leaving: Vec<String>,
}
