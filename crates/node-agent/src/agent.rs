//! The machine: inputs in, effects and reports out.

use crate::effect::{Effect, EffectError, EffectId, Outcome};
use crate::ledger::Ledger;
use model::{AgentReport, Assignment, Exit, NodeId, Observed, TaskId, Time};

/// What can happen to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentInput {
    /// The first input: what the host already runs, and what was remembered. Nothing is done before.
    Found {
        /// Every container on the host.
        observed: Vec<Observed>,
        /// What [`AgentOutput::Remember`] was last made durable, if anything.
        ledger: Option<Box<Ledger>>,
    },
    /// The managers want this. Older generations than the newest seen are ignored.
    Assignment(Box<Assignment>),
    /// An effect has ended.
    Done(EffectId, Result<Outcome, EffectError>),
    /// A container ended.
    Exited {
        /// Which.
        task: TaskId,
        /// The attempt that it was started for.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// It was frozen, or thawed.
    Paused {
        /// Which.
        task: TaskId,
        /// Frozen now.
        paused: bool,
    },
    /// The ledger of this number is on disk.
    Remembered(u64),
    /// Reports are taken (again): tell everything once.
    SessionUp,
    /// Nobody takes reports.
    SessionLost,
    /// The time of [`Agent::next_wake`] has come.
    Tick,
}

/// What an agent asks of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentOutput {
    /// Do this; effects may run side by side.
    Do(EffectId, Box<Effect>),
    /// Tell the manager.
    Report(AgentReport),
    /// Make this durable, then say [`AgentInput::Remembered`].
    Remember(u64, Box<Ledger>),
}

/// The agent of one node.
#[derive(Debug)]
pub struct Agent {
    node: NodeId,
}

impl Agent {
    /// An agent that knows nothing yet. `seed`: where jitter is drawn from.
    pub fn new(node: NodeId, seed: u64) -> Agent {
        let _ = seed;
        Agent { node }
    }

    /// Whose agent this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Time, input: AgentInput) {
        let _ = (now, input);
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<AgentOutput> {
        None
    }

    /// When it wants a [`AgentInput::Tick`], if nothing else happens.
    pub fn next_wake(&self) -> Option<Time> {
        None
    }
}
