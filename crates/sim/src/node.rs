//! One node: an agent that can crash, on a host that outlives it.

use crate::host::Host;
use model::{Assignment, Availability, Generation, MeshOffer, Node, NodeId, Time};
use node_agent::{Agent, Effect, EffectId, Ledger};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

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
    /// By so much its clock is ahead, in milliseconds.
    pub(crate) ahead: i64,
    /// It is part of the mesh.
    pub(crate) meshed: bool,
    /// It has dialled, and waits for an answer.
    pub(crate) dials: bool,
    /// The manager to dial next.
    pub(crate) redirect: Option<u64>,
    /// The newest generation that this life of the agent was handed.
    pub(crate) newest: Generation,
    /// The number of the session that is open.
    pub(crate) session: Option<u64>,
    /// Since when, in a whole cluster.
    pub(crate) session_since: Time,
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
            ahead: 0,
            meshed: false,
            dials: false,
            redirect: None,
            newest: Generation::default(),
            session: None,
            session_since: Time(0),
            order: None,
            to_agent: Time(0),
            to_manager: Time(0),
        }
    }

    /// What its clock says at that time.
    pub(crate) fn clock(&self, now: Time) -> Time {
        Time(now.0.saturating_add_signed(self.ahead))
    }

    /// When it is that time by its clock.
    pub(crate) fn when(&self, clock: Time) -> Time {
        Time(clock.0.saturating_add_signed(-self.ahead))
    }

    fn offer(&self) -> MeshOffer {
        let number = u8::try_from(self.id.0).unwrap_or(0);
        let addresses = vec![Ipv4Addr::new(192, 0, 2, number).into()];
        MeshOffer { public_key: format!("key{number}"), port: model::MESH_PORT, addresses, mtu: 1500 }
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
            mesh: self.meshed.then(|| self.offer()),
            ..Node::new(self.id, "")
        }
    }
}
