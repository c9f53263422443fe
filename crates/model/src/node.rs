//! Nodes: the machines.

use crate::ids::NodeId;
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
    /// Generic resources.
    pub generic: BTreeMap<String, u64>,
    /// CIDRs that the host routes itself; address pools keep away from them.
    pub host_routes: Vec<String>,
    /// Drawn anew each time its daemon begins.
    #[serde(default)]
    pub incarnation: u64,
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
