//! How many tasks each service should have, against those that it has.

use super::slots::{self, Begin};
use super::unfit::Unfit;
use super::{jobs, schedule};
use crate::cluster::{Brief, TaskExt};
use crate::draft::Draft;
use model::{Availability, Desired, Mode, Node, NodeId, Service, ServiceId, Task, UpdateOrder};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let mut unfit = Unfit::default();
    for service in slots::standing(draft.cluster(), restless) {
        let unfit = unfit.of(draft.cluster(), &service.spec.placement.constraints);
        match service.spec.mode {
            Mode::Replicated { replicas } => {
                leave(draft, &service, &unfit);
                replicated(draft, &service, &unfit, replicas);
            }
            Mode::Global => global(draft, &service),
            Mode::ReplicatedJob { total, concurrent } => jobs::replicated(draft, &service, &unfit, total, concurrent),
            Mode::GlobalJob => jobs::global(draft, &service),
        }
    }
}

fn replicated(draft: &mut Draft<'_>, service: &Service, unfit: &BTreeSet<NodeId>, replicas: u32) {
    let mut held = BTreeSet::new();
    let live = draft.cluster().briefs_of(service.id).filter(|task| task.is_live());
    let shared = live.filter(|task| !held.insert(task.number)).count();
    if shared > 0 {
        let live = slots::live(draft.cluster(), service.id);
        live.values().filter(|tasks| tasks.len() > 1).for_each(|tasks| only_one(draft, service, unfit, tasks));
    }
    let free = (1..=replicas).filter(|slot| !held.contains(slot)).map(|slot| (slot, None));
    slots::fill(draft, service, &free.collect::<Vec<_>>());
    beyond(draft, service, replicas);
}

/// A slot has one task that may stay. Two are left of a drain that was taken back before the task that was started
/// first could take over.
fn only_one(draft: &mut Draft<'_>, service: &Service, unfit: &BTreeSet<NodeId>, tasks: &[Arc<Task>]) {
    let stays = |task: &&Arc<Task>| {
        !super::dirty::is_dirty(service, task) && task.node.is_none_or(|node| !unfit.contains(&node))
    };
    let staying: Vec<&Arc<Task>> = tasks.iter().filter(stays).collect();
    // The oldest of those that are furthest.
    let best = staying.iter().min_by_key(|task| (!task.is_serving(), !task.is_running(), task.has_ended()));
    for task in staying.iter().filter(|task| best.is_some_and(|best| best.id != task.id)) {
        slots::lower(draft, task.id, Desired::Shutdown);
    }
}

/// Slots that are too many go, the highest first, with their history.
pub(super) fn beyond(draft: &mut Draft<'_>, service: &Service, last: u32) {
    let beyond: Vec<_> = draft
        .cluster()
        .tasks_where(service.id, |task| (task.number > last || task.number == 0) && task.desired < Desired::Remove)
        .map(|task| task.id)
        .collect();
    for id in beyond {
        slots::lower(draft, id, Desired::Remove);
    }
}

/// Tasks leave nodes that are drained, or that fail a constraint by now. Where updates start the new task
/// first, so does this: the old one goes when the new one serves.
pub(super) fn leave(draft: &mut Draft<'_>, service: &Service, unfit: &BTreeSet<NodeId>) {
    let on_unfit = |task: &Brief| task.node.is_some_and(|node| unfit.contains(&node));
    if service.spec.standalone || unfit.is_empty() || !draft.cluster().briefs_of(service.id).any(on_unfit) {
        return;
    }
    let start_first =
        service.spec.update.order == UpdateOrder::StartFirst && matches!(service.spec.mode, Mode::Replicated { .. });
    for tasks in slots::live(draft.cluster(), service.id).into_values() {
        let leaves =
            |task: &Arc<Task>| task.node.is_some_and(|node| unfit.contains(&node)) && !task.status.state.is_terminal();
        let (leaving, staying): (Vec<_>, Vec<_>) = tasks.into_iter().partition(leaves);
        let Some(last) = leaving.last() else { continue };
        let replaced = staying.iter().any(|task| task.is_serving());
        let stops = !start_first || replaced || !last.is_running();
        if stops {
            leaving.iter().for_each(|task| slots::lower(draft, task.id, Desired::Shutdown));
        }
        if staying.is_empty() {
            // The drain may be over before there is another node.
            let after = Begin::after(draft.cluster(), last);
            slots::create(draft, service, Begin { inherits: after.inherits.filter(|_| stops), ..after });
        }
    }
}

/// Nodes that a global service should be on.
pub(super) fn eligible(draft: &Draft<'_>, service: &Service) -> Vec<Arc<Node>> {
    let nodes = draft.cluster().nodes.values();
    nodes
        .filter(|node| {
            node.availability != Availability::Drain
                && service.spec.placement.constraints.iter().all(|text| schedule::fits(text, node))
        })
        .cloned()
        .collect()
}

fn global(draft: &mut Draft<'_>, service: &Service) {
    let nodes = eligible(draft, service);
    let live = slots::live(draft.cluster(), service.id);
    let held: BTreeSet<NodeId> = live.keys().filter_map(|(_, node)| *node).collect();
    let open = nodes.iter().filter(|node| node.ready && node.availability == Availability::Active);
    let free = open.map(|node| node.id).filter(|id| !held.contains(id)).map(|id| (0, Some(id)));
    slots::fill(draft, service, &free.collect::<Vec<_>>());
    let known = |node: Option<NodeId>| node.is_some_and(|node| draft.cluster().nodes.contains_key(&node));
    let (stay, go): (Vec<_>, Vec<_>) =
        live.into_values().flatten().partition(|task| task.slot == 0 && known(task.node));
    go.iter().for_each(|task| slots::lower(draft, task.id, Desired::Remove));
    for task in stay {
        if !nodes.iter().any(|node| Some(node.id) == task.node) {
            slots::lower(draft, task.id, Desired::Shutdown);
        }
    }
}
