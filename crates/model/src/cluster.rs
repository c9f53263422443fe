//! A cluster of several machines: its name, whom it trusts, and how one gets in. A machine that was
//! never part of one has none of this.

use crate::ids::{ClusterId, NodeId};
use crate::node::Node;
use crate::time::Time;
use crate::unlock::UnlockKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The most managers that a cluster may have: more make every write slower and save nothing.
pub const MAX_MANAGERS: usize = 7;

/// The port of a cluster, where none is named (Swarm's).
pub const CLUSTER_PORT: u16 = 2377;

/// Are the two the same? Takes as long wherever they differ, so that nobody finds a secret digit by digit.
pub fn same_secret(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

/// What a node is in its cluster; its certificate says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keeps the replicated state, and runs tasks.
    Manager,
    /// Runs tasks.
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Manager => "manager",
            Role::Worker => "worker",
        })
    }
}

/// A certificate authority: whoever holds the key can make nodes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate.
    pub root: Root,
    /// Its private key, PEM (PKCS#8).
    pub key: String,
}

/// A certificate that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The certificate, PEM.
    pub certificate: String,
    /// SHA-256 of its DER form, in hex.
    pub digest: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("root", &self.root.digest).finish_non_exhaustive()
    }
}

/// The identity of a cluster with its secrets. It is in the log, in snapshots and in the memory of
/// managers, and nowhere else: clients and workers see [`ClusterView`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// Its id, in every certificate.
    pub id: ClusterId,
    /// When it was made.
    pub created: Time,
    /// Signs certificates, and is trusted.
    pub authority: Authority,
    /// Trusted already, and signs as soon as every node trusts it (`ca --rotate`).
    #[serde(default)]
    pub next: Option<Authority>,
    /// That of the one before, trusted until every node has a certificate of the new one.
    #[serde(default)]
    pub previous: Option<Root>,
    /// Whoever shows this may join as a worker.
    pub worker_secret: String,
    /// Whoever shows this may join as a manager.
    pub manager_secret: String,
    /// Who may use the API from machines that are no nodes.
    #[serde(default)]
    pub clients: BTreeMap<NodeId, Client>,
    /// What managers ask for after a restart (`--autolock`); `None`: they ask for nothing.
    #[serde(default)]
    pub unlock_key: Option<UnlockKey>,
}

impl fmt::Debug for ClusterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterInfo").field("id", &self.id).field("created", &self.created).finish_non_exhaustive()
    }
}

impl ClusterInfo {
    /// What others than managers may know.
    pub fn view(&self) -> ClusterView {
        let next = self.next.iter().map(|next| next.root.clone());
        let roots = std::iter::once(self.authority.root.clone()).chain(next).chain(self.previous.clone());
        ClusterView {
            id: self.id,
            created: self.created,
            roots: roots.collect(),
            rotating: self.is_rotating(),
            clients: self.clients.clone(),
            autolock: self.unlock_key.is_some(),
        }
    }

    /// Is one authority being replaced by another?
    pub fn is_rotating(&self) -> bool {
        self.next.is_some() || self.previous.is_some()
    }
}

/// A cluster as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its id.
    pub id: ClusterId,
    /// When it was made.
    pub created: Time,
    /// What is trusted; the first one signs.
    pub roots: Vec<Root>,
    /// One of them is on its way out, or in.
    pub rotating: bool,
    /// Who may use the API from machines that are no nodes, by the name in their certificates.
    #[serde(default)]
    pub clients: BTreeMap<NodeId, Client>,
    /// Do managers ask for the unlock key after a restart?
    #[serde(default)]
    pub autolock: bool,
}

/// A person or a program elsewhere that may use the API of the cluster, by a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// What people call it; no two are called the same.
    pub name: String,
    /// SHA-256 (hex) of its public key.
    pub key: String,
    /// SHA-256 (hex) of the root that signs its certificate.
    pub issuer: String,
    /// When it was let in.
    pub created: Time,
    /// When its certificate ends.
    pub expires: Time,
}

/// What a node tells of its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeTrust {
    /// SHA-256 (hex) of the root certificates that it trusts.
    pub roots: Vec<String>,
    /// SHA-256 (hex) of the root that signed its certificate.
    pub issuer: String,
    /// When its certificate ends; zero when it has none.
    pub expires: Time,
}

/// A machine asks to be let in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// What it is. Only id, hostname, platform, address and key are taken from here.
    pub node: Node,
    /// The secret of its join token.
    pub secret: String,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Requests about the cluster itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterRequest {
    /// Make this machine the first manager of a new cluster (`init`).
    Init {
        /// The new cluster.
        info: Box<ClusterInfo>,
        /// Which machine.
        node: NodeId,
        /// Where others reach it: `host:port`.
        address: String,
        /// SHA-256 (hex) of its public key.
        key: String,
    },
    /// Let a machine in (`join`). The same machine with the same key again is no error.
    Admit(Box<Admission>),
    /// A new secret for a join token; the old one is worth nothing from then on.
    RotateToken {
        /// Whose.
        role: Role,
        /// The new one.
        secret: String,
    },
    /// Have managers ask for a key after a restart, or for nothing (`cluster update --autolock`). Where they ask for
    /// one already, that one stays.
    Autolock(Option<UnlockKey>),
    /// Another key for that, where they ask for one (`unlock-key --rotate`).
    RotateUnlockKey(UnlockKey),
    /// Begin to replace the authority (`ca --rotate`).
    RotateAuthority(Authority),
    /// Let a client use the API (`ca client create`). A name is taken until its certificate has ended.
    AdmitClient {
        /// The name in its certificate.
        id: NodeId,
        /// It.
        client: Client,
    },
    /// Let it do so no more (`ca client rm`).
    RemoveClient {
        /// What people call it.
        name: String,
    },
    /// `node promote`, `node demote`.
    SetRole {
        /// Which.
        id: NodeId,
        /// To what.
        role: Role,
        /// Also when the managers that are up would be no majority any more.
        force: bool,
    },
    /// A node goes of its own will (`leave`): it counts as down at once, and its tasks go elsewhere.
    Leave {
        /// Which.
        id: NodeId,
        /// Also when it is a manager.
        force: bool,
    },
    /// Members of a group that lost its majority: all but these are forgotten (`init --force-new-cluster`).
    Forget {
        /// The one that goes on alone.
        survivor: NodeId,
        /// Where others reach it: `host:port`.
        address: String,
    },
}
