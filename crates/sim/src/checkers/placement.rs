//! What nodes may have: no more than they can hold, nothing where they are drained, each thing once.

use crate::world::World;
use model::{Availability, Desired, Mode, NodeId, ServiceId, State, Task, TaskState, UpdateOrder, UpdateState};
use std::collections::BTreeMap;

/// No node is promised more memory than it has.
pub(super) fn capacity(state: &State) -> Option<String> {
    let mut promised: BTreeMap<NodeId, u64> = BTreeMap::new();
    for task in state.tasks.iter().filter(|task| takes(task)) {
        if let Some(node) = task.node {
            *promised.entry(node).or_default() += task.spec.resources.reserve_memory.unwrap_or(0);
        }
    }
    let over = state.nodes.iter().find(|node| promised.get(&node.id).is_some_and(|all| *all > node.memory))?;
    Some(format!("{} is promised {:?} bytes, and has {}", over.hostname, promised.get(&over.id), over.memory))
}

/// It was placed, and something of it may run.
fn takes(task: &Task) -> bool {
    let ended =
        task.status.state.is_terminal() && (task.status.attempt >= task.attempt || task.desired >= Desired::Shutdown);
    task.status.state > TaskState::Pending && !ended
}

impl World {
    /// At rest: nodes are as the operator was told; nothing runs on one that is drained, or twice.
    pub(crate) fn check_placement(&self, state: &State) -> Result<(), String> {
        for (id, told) in &self.operator.nodes {
            let known = state.nodes.iter().find(|node| node.id == *id);
            if known.map(|node| node.availability) != *told {
                return Err(format!("{id} is {known:?}, and {told:?} was acknowledged"));
            }
        }
        let mut slots: BTreeMap<(ServiceId, u32), &Task> = BTreeMap::new();
        for sim in self.nodes.iter().filter(|sim| !sim.lost) {
            let drained = state.nodes.iter().any(|it| it.id == sim.id && it.availability == Availability::Drain);
            let running = sim.host.containers.iter().filter(|(_, it)| it.running_since().is_some());
            let tasks = running.filter_map(|(id, _)| state.tasks.iter().find(|task| task.id == *id));
            for task in tasks.map(|task| &**task) {
                let Some(service) = state.services.iter().find(|it| it.id == task.service) else { continue };
                // The new one comes first there, and may never come.
                let lingers = service.spec.update.order == UpdateOrder::StartFirst;
                if drained && !task.spec.standalone && !lingers {
                    return Err(format!("{} runs on {}, which is drained", task.id.short(), sim.id));
                }
                // An update that waits, for a person or for another, may have left a slot with two.
                let over = service.update_status.as_ref().is_none_or(|status| {
                    matches!(status.state, UpdateState::Completed | UpdateState::RollbackCompleted)
                });
                let slotted = matches!(service.spec.mode, Mode::Replicated { .. }) && over;
                if slotted && let Some(other) = slots.insert((task.service, task.slot), task) {
                    let (one, other) = (task.id.short(), other.id.short());
                    return Err(format!("{one} and {other} both run as slot {} of {}", task.slot, service.spec.name));
                }
            }
        }
        Ok(())
    }
}
