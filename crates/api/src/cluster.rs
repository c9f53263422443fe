//! What is asked of one daemon about its place in a cluster.

use model::{Availability, Role};
use serde::{Deserialize, Serialize};

/// `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitCluster {
    /// Where other nodes reach this one: `ADDRESS[:PORT]` or `INTERFACE[:PORT]`; chosen where `None`.
    pub advertise: Option<String>,
    /// Where the port listens: `ADDRESS[:PORT]` or `INTERFACE[:PORT]`.
    pub listen: Option<String>,
    /// May this node take tasks?
    pub availability: Option<Availability>,
    /// Go on alone with what this manager knows, when the majority is lost for good.
    pub force_new_cluster: bool,
}

/// `join`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCluster {
    /// The join token.
    pub token: String,
    /// Managers, any of which is enough: `HOST[:PORT]`.
    pub managers: Vec<String>,
    /// As in [`InitCluster::advertise`].
    pub advertise: Option<String>,
    /// As in [`InitCluster::listen`].
    pub listen: Option<String>,
    /// May this node take tasks?
    pub availability: Option<Availability>,
}

impl std::fmt::Debug for JoinCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinCluster").field("managers", &self.managers).finish_non_exhaustive()
    }
}

/// What became of `init` and `join`. The daemon begins anew right after this answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// This node's id.
    pub node: String,
    /// What it is now.
    pub role: Role,
    /// Where it is reached: `host:port`.
    pub address: String,
}

/// The answer to `join-token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The token.
    pub token: String,
    /// A manager to join at: `host:port`.
    pub address: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("address", &self.address).finish_non_exhaustive()
    }
}
