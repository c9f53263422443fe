//! What must hold, one property in each function; looked at after everything that happens.

mod acts;
mod drains;
mod network;
mod placement;
mod rest;
mod state;

use model::{Desired, TaskId, TaskState, Time};
use std::collections::BTreeMap;

/// What checkers remember.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    /// The last that the managers held of each task: wanted attempt, desire, what was seen.
    tasks: BTreeMap<TaskId, (u32, Desired, (u32, TaskState))>,
    revision: u64,
    /// Since when tasks of a node are told to leave.
    leaving: BTreeMap<(usize, TaskId), Time>,
    /// How often an agent was looked at.
    looks: u64,
    /// What each agent told, in its present life.
    told: BTreeMap<(usize, TaskId), (u32, TaskState)>,
}

impl Checkers {
    /// The newest revision that was looked at.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A new life of an agent: it may tell again what it told before.
    pub(crate) fn agent_begins(&mut self, node: usize) {
        self.told.retain(|(of, _), _| *of != node);
    }
}
