//! Cluster, sessions and requests as one machine: inputs in, proposals, answers and assignments out.

use crate::entry::Entry;
use model::{AgentReport, Assignment, Node, NodeId, Request, RequestId, Response, State, Time};

/// What can happen to a manager.
#[derive(Debug, Clone, PartialEq)]
pub enum ManagerInput {
    /// This member leads and has seen all that was committed before.
    Leading {
        /// Its term.
        term: u64,
    },
    /// It does not lead (any more): requests that wait are answered by nobody here.
    Following,
    /// An entry of the log, in order; the same on every member, and again after a restart.
    Committed(Box<Entry>),
    /// A proposal was not taken, or was lost to another leader.
    Lost(u64),
    /// A client asks.
    Request(RequestId, Box<Request>),
    /// A node's agent is connected; also said again when what it tells of the machine changes.
    SessionUp(Box<Node>),
    /// Its connection is gone.
    SessionLost(NodeId),
    /// It tells.
    Report(NodeId, Box<AgentReport>),
    /// The time of [`Manager::next_wake`] has come.
    Tick,
}

/// What a manager asks of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum ManagerOutput {
    /// Put this into the log; `Committed` or `Lost` answers.
    Propose {
        /// Mark for `Lost`.
        ticket: u64,
        /// What.
        entry: Box<Entry>,
    },
    /// Answer a client.
    Reply(RequestId, Box<Response>),
    /// Tell a node what it should do.
    Assign(Box<Assignment>),
    /// The state that clients see has changed.
    Changed {
        /// Its revision.
        revision: u64,
    },
}

/// The manager of one member.
#[derive(Debug)]
pub struct Manager {}

impl Manager {
    /// One that has seen nothing. `seed`: where ids are drawn from.
    pub fn new(seed: u64) -> Manager {
        let _ = seed;
        Manager {}
    }

    /// The replicated state, to cut the log with.
    pub fn snapshot(&self) -> crate::Snapshot {
        crate::Snapshot::default()
    }

    /// Begins from a snapshot, in place of all that was.
    pub fn restore(&mut self, snapshot: crate::Snapshot) {
        let _ = snapshot;
    }

    /// What clients may see, with reasons for what waits.
    pub fn state(&self, now: Time) -> State {
        let _ = now;
        State::default()
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Time, input: ManagerInput) {
        let _ = (now, input);
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<ManagerOutput> {
        None
    }

    /// When it wants a [`ManagerInput::Tick`], if nothing else happens.
    pub fn next_wake(&self) -> Option<Time> {
        None
    }
}
