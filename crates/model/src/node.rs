//! Nodes: the machines.

use crate::cluster::{NodeTrust, Role};
use crate::ids::NodeId;
use crate::mesh::MeshOffer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Host name as the node reports it.
    pub hostname: String,
    /// `linux/amd64`.
    pub platform: String,
    /// Labels set by operators.
    pub labels: BTreeMap<String, String>,
    /// Labels of the daemon's configuration.
    pub engine_labels: BTreeMap<String, String>,
    /// Manager or worker.
    pub manager: bool,
    /// May it take tasks?
    pub availability: Availability,
    /// Reachable, as decided by the leader (a fact).
    pub ready: bool,
    /// Billionths of a core.
    pub nano_cpus: u64,
    /// Bytes.
    pub memory: u64,
    /// Of the daemon's program.
    #[serde(default)]
    pub version: String,
    /// Generic resources.
    pub generic: BTreeMap<String, u64>,
    /// CIDRs that the host routes itself; address pools keep away from them.
    pub host_routes: Vec<String>,
    /// Drawn anew each time its daemon begins.
    #[serde(default)]
    pub incarnation: u64,
    /// Where other nodes reach its cluster port: `host:port`. `None`: it is part of no cluster.
    #[serde(default)]
    pub address: Option<String>,
    /// Its number in the managers' Raft group; drawn anew each time it becomes a manager.
    #[serde(default)]
    pub member: Option<u64>,
    /// SHA-256 (hex) of the public key that it joined with.
    #[serde(default)]
    pub key: String,
    /// What it tells of its certificate.
    #[serde(default)]
    pub trust: NodeTrust,
    /// It has left the cluster, and only waits to be removed.
    #[serde(default)]
    pub left: bool,
    /// What it tells of its end of the mesh; `None`: it has none.
    #[serde(default)]
    pub mesh: Option<MeshOffer>,
    /// Its number in the mesh, as decided by the leader.
    #[serde(default)]
    pub mesh_number: Option<u32>,
}

impl Node {
    /// One of which nothing is known but its name: an active worker of a machine without resources.
    pub fn new(id: NodeId, hostname: impl Into<String>) -> Node {
        Node {
            id,
            hostname: hostname.into(),
            platform: String::new(),
            labels: BTreeMap::new(),
            engine_labels: BTreeMap::new(),
            manager: false,
            availability: Availability::Active,
            ready: false,
            nano_cpus: 0,
            memory: 0,
            version: String::new(),
            generic: BTreeMap::new(),
            host_routes: Vec::new(),
            incarnation: 0,
            address: None,
            member: None,
            key: String::new(),
            trust: NodeTrust::default(),
            left: false,
            mesh: None,
            mesh_number: None,
        }
    }

    /// The same once it is no part of the cluster any more: it waits to be removed, and only a token lets it in
    /// again.
    #[must_use]
    pub fn departed(&self) -> Node {
        Node { left: true, ready: false, manager: false, member: None, ..self.clone() }
    }

    /// Manager or worker.
    pub fn role(&self) -> Role {
        if self.manager { Role::Manager } else { Role::Worker }
    }
}

/// `node update --availability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Takes tasks.
    Active,
    /// Keeps what it has.
    Pause,
    /// Gives up what it has.
    Drain,
}
