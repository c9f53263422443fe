//! One node: an agent that can crash, on a host that outlives it.

use crate::host::Host;
use model::{Assignment, Availability, Node, NodeId, Time};
use node_agent::{Agent, Effect, EffectId, Ledger};
use std::collections::BTreeMap;

/// A node of the simulated cluster.
#[derive(Debug)]
pub(crate) struct SimNode {
    /// Its id.
    pub(crate) id: NodeId,
    /// `None`: the daemon is down.
    pub(crate) agent: Option<Agent>,
    /// It never comes back.
    pub(crate) lost: bool,
    /// Counts the daemon's lives.
    pub(crate) life: u64,
    /// The machine.
    pub(crate) host: Host,
    /// What is on disk.
    pub(crate) ledger: Option<Box<Ledger>>,
    /// Effects under way.
    pub(crate) open: BTreeMap<EffectId, Effect>,
    /// The number of the session that is open.
    pub(crate) session: Option<u64>,
    /// The newest order that this life of the agent has seen.
    pub(crate) order: Option<Box<Assignment>>,
    /// Messages on their way arrive in their order: not before this.
    pub(crate) to_agent: Time,
    /// The same the other way.
    pub(crate) to_manager: Time,
}

impl SimNode {
    /// A node that is switched off.
    pub(crate) fn new(id: NodeId) -> SimNode {
        SimNode {
            id,
            agent: None,
            lost: false,
            life: 0,
            host: Host::default(),
            ledger: None,
            open: BTreeMap::new(),
            session: None,
            order: None,
            to_agent: Time(0),
            to_manager: Time(0),
        }
    }

    /// As it tells of itself.
    pub(crate) fn describe(&self) -> Node {
        Node {
            id: self.id,
            hostname: format!("n{}", self.id.0),
            platform: "linux/amd64".to_owned(),
            labels: BTreeMap::new(),
            engine_labels: BTreeMap::new(),
            manager: self.id.0 == 1,
            availability: Availability::Active,
            ready: true,
            nano_cpus: 4_000_000_000,
            memory: 8 << 30,
            generic: BTreeMap::new(),
            host_routes: Vec::new(),
            incarnation: self.life,
            ..Node::new(self.id, "")
        }
    }
}
