//! Facts: how the cluster differs after an entry.

use crate::cluster::{Failures, Followed, RemovingStack};
use model::{
    ClusterInfo, ConfigId, ContentSpec, Desired, Endpoint, Heritage, Logins, Network, NetworkId, Node, NodeId,
    SecretId, Service, ServiceId, Source, TaskId, TaskStatus, Time, UpdateStatus, VolumeSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// What this cluster is, and whom it trusts.
    Cluster(Arc<ClusterInfo>),
    /// A node is there, or what is known of it has changed.
    PutNode(Arc<Node>),
    /// A node is forgotten.
    DropNode(NodeId),
    /// Nodes that hold data of a volume; empty: none.
    VolumeHomes(String, BTreeSet<NodeId>),
    /// How often a service failed on a node lately; `None`: that is forgotten.
    Failures(ServiceId, NodeId, Option<Failures>),
    /// A network is there, or its labels have changed.
    PutNetwork(Arc<Network>),
    /// A network is gone.
    DropNetwork(NetworkId),
    /// A volume is known.
    PutVolume(Arc<VolumeSpec>),
    /// A volume is not known any more.
    DropVolume(String),
    /// Nodes that still hold data of a volume that was removed; empty: none.
    VolumeLeft(String, BTreeSet<NodeId>),
    /// A config of one content.
    PutConfig(ConfigId, Arc<ContentSpec>),
    /// It is gone.
    DropConfig(ConfigId),
    /// Which content the name of a config means; `None`: the name is free.
    NameConfig(String, Option<ConfigId>),
    /// A secret of one content.
    PutSecret(SecretId, Arc<ContentSpec>),
    /// It is gone.
    DropSecret(SecretId),
    /// Which content the name of a secret means; `None`: the name is free.
    NameSecret(String, Option<SecretId>),
    /// What the image of a service is pulled with; `None`: nothing was given.
    Logins(ServiceId, Option<Arc<Logins>>),
    /// A stack is being taken away; `None`: that is over.
    Stack(String, Option<RemovingStack>),
    /// A service is there, or its spec has changed.
    PutService(Arc<Service>),
    /// A service changed in something else than its spec.
    EditService(ServiceEdit),
    /// A service is gone.
    DropService(ServiceId),
    /// A task is there. Its spec is the service's.
    NewTask(NewTask),
    /// A task has changed.
    EditTask(Box<TaskEdit>),
    /// The spec of a task is its service's as that is now.
    SpecTask(TaskId),
    /// A task is gone.
    DropTask(TaskId),
    /// A source is there, or something about it has changed.
    PutSource(Arc<Source>),
    /// A source is not followed any more.
    DropSource(String),
    /// How a stack that is followed should be; `None`: it is not followed any more.
    Followed(String, Option<Arc<Followed>>),
    /// How it was when all was well last.
    Good(String, Option<Arc<Followed>>),
    /// All is well as it should be now.
    GoodAsFollowed(String),
    /// The host port that was chosen last.
    LastPort(u16),
    /// The number on the wire (VNI) of the network that was made last.
    LastVni(u32),
    /// The IPv4 address (as a number) of a network that was given out last.
    LastAddress(NetworkId, u32),
}

/// The parts of a service that change without its spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceEdit {
    /// Which.
    pub id: ServiceId,
    /// [`Service::version`].
    pub version: u64,
    /// [`Service::removing`].
    pub removing: bool,
    /// [`Service::update_status`].
    pub update_status: Option<UpdateStatus>,
}

/// A task as it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Its service; the spec and its version are taken from there.
    pub service: ServiceId,
    /// Its slot.
    pub slot: u32,
    /// [`Task::inherits`](model::Task::inherits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherits: Option<Heritage>,
    /// The rest.
    pub edit: TaskEdit,
}

/// The parts of a task that change; `None` and empty mean that they do not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEdit {
    /// Which.
    pub id: TaskId,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What it should come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Desired>,
    /// Which start is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Stopped by a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by_user: Option<bool>,
    /// How to stop it if not as the spec says: signal, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<(Option<String>, Option<u64>)>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// What was seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<TaskStatus>>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Earlier restarts of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Vec<Time>>,
    /// Anonymous volumes go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_volumes: Option<bool>,
}
