//! Properties of the replicated state.

use crate::world::World;
use model::{Desired, State, Task};
use std::collections::BTreeMap;

impl World {
    /// Looks at the state after an entry.
    pub(crate) fn check_state(&mut self) {
        if let Some(state) = self.state() {
            self.check_this_state(&state);
        }
    }

    pub(crate) fn check_this_state(&mut self, state: &State) {
        if state.revision < self.checkers.revision {
            self.fail(format!("the state went back from revision {} to {}", self.checkers.revision, state.revision));
        }
        self.checkers.revision = state.revision;
        let problem =
            self.transitions(state).or_else(|| addresses(state)).or_else(|| super::placement::capacity(state));
        if let Some(what) = problem {
            self.fail(what);
        }
    }

    /// Nothing that was seen, wanted or started is ever less than before.
    fn transitions(&mut self, state: &State) -> Option<String> {
        let mut problem = None;
        let before = std::mem::take(&mut self.checkers.tasks);
        for task in &state.tasks {
            let now = (task.attempt, task.desired, (task.status.attempt, task.status.state));
            if let Some(then) = before.get(&task.id)
                && (now.0 < then.0 || now.1 < then.1 || now.2 < then.2)
            {
                problem.get_or_insert_with(|| format!("task {} fell from {then:?} to {now:?}", task.id.short()));
            }
            self.checkers.tasks.insert(task.id, now);
        }
        problem
    }
}

/// No address twice, none outside its network, none of a gateway.
fn addresses(state: &State) -> Option<String> {
    let mut taken = BTreeMap::new();
    for task in state.tasks.iter().filter(|task| holds_addresses(task)) {
        for endpoint in &task.endpoints {
            let name = task.id.short();
            if let Some(other) = taken.insert((endpoint.network, endpoint.address), name.clone()) {
                return Some(format!("{other} and {name} have the same address {}", endpoint.address));
            }
            let network = state.networks.iter().find(|network| network.id == endpoint.network)?;
            if !network.subnet.contains(endpoint.address) || network.gateway == endpoint.address {
                return Some(format!("{name} has {}, which is none for it", endpoint.address));
            }
        }
    }
    None
}

/// It may run: its address is its own.
fn holds_addresses(task: &Task) -> bool {
    let ended = task.status.state.is_terminal() && task.status.attempt >= task.attempt;
    !ended && task.desired < Desired::Remove
}
