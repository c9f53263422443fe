//! What one node should do, whole, with a generation: the newest wins.

use crate::ids::{ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId};
use crate::mesh::{MeshMap, RemoteEndpoint, VirtualAddress};
use crate::network::{Network, PublishedPort, Zone};
use crate::registry::Logins;
use crate::spec::PortSpec;
use crate::stack::{ContentSpec, VolumeSpec};
use crate::task::{Task, TaskState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Orders assignments: a newer leader's first, then by revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Raft term of the leader that made it.
    pub term: u64,
    /// Revision of the cluster that it was made from.
    pub revision: u64,
}

/// Everything that one node should be doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which of two is newer.
    pub generation: Generation,
    /// Whose.
    pub node: NodeId,
    /// Its tasks. A task that is not here any more is removed from the host.
    pub tasks: BTreeMap<TaskId, AssignedTask>,
    /// Networks that those tasks need.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Names of those networks: running and healthy tasks only.
    pub zones: BTreeMap<NetworkId, Arc<Zone>>,
    /// Ports to publish here, with every backend that is running and healthy.
    pub ports: Vec<PublishedPort>,
    /// Volumes that those tasks mount (and that are not external).
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Contents that those tasks need.
    pub secrets: BTreeMap<SecretId, ContentSpec>,
    /// Contents that those tasks need.
    pub configs: BTreeMap<ConfigId, ContentSpec>,
    /// What the images of those tasks' services are pulled with, where a login was given along.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<ServiceId, Arc<Logins>>,
    /// Volumes to delete with their data. A task that mounts one of them waits until that is done.
    #[serde(default)]
    pub removed_volumes: BTreeSet<String>,
    /// The nodes that have a way to each other, this one among them.
    #[serde(default)]
    pub mesh: Option<Arc<MeshMap>>,
    /// All tasks of those networks, on whatever node.
    #[serde(default)]
    pub remotes: BTreeMap<NetworkId, Arc<Vec<RemoteEndpoint>>>,
    /// Virtual addresses of services on those networks.
    #[serde(default)]
    pub vips: BTreeMap<NetworkId, Arc<Vec<VirtualAddress>>>,
    /// Tasks that ports of every node lead to, or led to while they last, with the number of their node in the mesh.
    #[serde(default)]
    pub ingress: Arc<BTreeMap<IpAddr, u32>>,
    /// Those of the tasks that are to end, and that other nodes may still lead traffic to: they wait.
    #[serde(default)]
    pub sent_to: BTreeSet<TaskId>,
    /// Somebody's end waits until this node has said that its network follows ([`AgentReport::network`]).
    #[serde(default)]
    pub awaited: bool,
}

impl Assignment {
    /// One that asks for nothing.
    pub fn empty(generation: Generation, node: NodeId) -> Assignment {
        Assignment {
            generation,
            node,
            tasks: BTreeMap::new(),
            networks: BTreeMap::new(),
            zones: BTreeMap::new(),
            ports: Vec::new(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            logins: BTreeMap::new(),
            removed_volumes: BTreeSet::new(),
            mesh: None,
            remotes: BTreeMap::new(),
            vips: BTreeMap::new(),
            ingress: Arc::default(),
            sent_to: BTreeSet::new(),
            awaited: false,
        }
    }
}

/// A task with what its node needs to know besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignedTask {
    /// The task.
    pub task: Arc<Task>,
    /// Its name: `PROJECT_SERVICE.SLOT.TASKID`, or `container_name`, or a standalone's own name.
    pub name: String,
    /// Its published ports; `published` is filled in where the planner chose.
    #[serde(default)]
    pub ports: Vec<PortSpec>,
    /// The task whose network namespace it joins (`network_mode: service:` and `container:`).
    #[serde(default)]
    pub joins: Option<TaskId>,
}

/// What a host was found to run, by our labels and state folders: the agent's first input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Whose container.
    pub task: TaskId,
    /// Which attempt it was last started for.
    pub attempt: u32,
    /// Created, Running or ended.
    pub state: ObservedState,
    /// In-place restarts so far, as remembered on disk.
    pub restart_count: u32,
    /// Whose network namespace it was last started in; `None`: the host's, or not known.
    pub space: Option<TaskId>,
    /// What its /etc/hosts says beside localhost.
    #[serde(default)]
    pub hosts: HostLines,
    /// Whose anonymous volumes it has; `None`: its own.
    #[serde(default)]
    pub volumes_of: Option<TaskId>,
}

/// Lines of /etc/hosts: addresses, each with its names.
pub type HostLines = Vec<(IpAddr, Vec<String>)>;

/// State of a container found on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedState {
    /// Its files exist, nothing runs and nothing ran.
    Created,
    /// Runs.
    Running {
        /// PID on the host.
        pid: u32,
        /// Since when.
        started_at: crate::time::Time,
        /// Frozen.
        paused: bool,
    },
    /// Ran and ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal number when a signal ended it.
    pub code: i32,
    /// The out-of-memory killer did it.
    pub oom_killed: bool,
    /// When it had begun.
    pub started_at: crate::time::Time,
    /// When it ended.
    pub finished_at: crate::time::Time,
}

/// A report of an agent: the newest status of tasks that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// Its status.
    pub status: crate::task::TaskStatus,
    /// It is gone from the host.
    pub removed: bool,
}

impl TaskReport {
    /// The state that it reports.
    pub fn state(&self) -> TaskState {
        self.status.state
    }
}

/// What an agent tells its manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentReport {
    /// Tasks that changed.
    pub tasks: Vec<TaskReport>,
    /// Volumes of [`Assignment::removed_volumes`] whose data is gone.
    pub volumes_removed: Vec<String>,
    /// The network of the node is as the assignment of this generation wants it; told when it is
    /// [`Assignment::awaited`].
    pub network: Option<Generation>,
}
