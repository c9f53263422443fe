//! Which node each task runs on: filters say who can, the score says who should.

mod constraint;
mod usage;

pub(crate) use constraint::{fits, problem};

use crate::draft::Draft;
use crate::explain::{Unplaced, Wait};
use model::{Availability, Node, NodeId, ServiceId, Task, TaskState};
use std::sync::Arc;
use usage::Usage;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let mut pending: Vec<Arc<Task>> = super::slots::tasks(draft.cluster(), restless)
        .filter(|task| task.status.state == TaskState::Pending && crate::cluster::TaskExt::is_live(task.as_ref()))
        .cloned()
        .collect();
    if pending.is_empty() {
        return;
    }
    pending.sort_by_key(|task| (task.service, task.slot, task.created, task.id));
    let nodes: Vec<Arc<Node>> = draft.cluster().nodes.values().cloned().collect();
    let mut usage = Usage::of(draft.cluster());
    let now = draft.now;
    for task in pending {
        match choose(draft, &nodes, &usage, &task) {
            Ok(node) => {
                usage.add(&task, node);
                draft.edit().edit_task(task.id, |task| {
                    task.node = Some(node);
                    (task.status.state, task.status.since) = (TaskState::Assigned, now);
                });
            }
            Err(unplaced) => draft.wait(task.id, Wait::Nodes(unplaced)),
        }
    }
}

/// The best of the nodes that can take the task, else how many can't, and why.
fn choose(draft: &Draft<'_>, nodes: &[Arc<Node>], usage: &Usage, task: &Task) -> Result<NodeId, Box<Unplaced>> {
    let beside = super::gates::join_target(draft.cluster(), task)
        .and_then(|target| draft.cluster().tasks.get(&target))
        .and_then(|target| target.node);
    let mut unplaced = Unplaced { nodes: nodes.len(), ..Unplaced::default() };
    let fitting = nodes.iter().filter(|node| {
        // Where the node is the slot no other will do, and others are not told of.
        task.node.is_none_or(|wanted| wanted == node.id) && can_take(node, usage, task, beside, &mut unplaced)
    });
    let best = fitting.min_by_key(|node| score(node, usage, task)).map(|node| node.id);
    best.ok_or_else(|| Box::new(unplaced))
}

/// Asks the filters in turn; the first that refuses is counted.
fn can_take(node: &Node, usage: &Usage, task: &Task, beside: Option<NodeId>, unplaced: &mut Unplaced) -> bool {
    if !node.ready {
        unplaced.down += 1;
        return false;
    }
    match node.availability {
        Availability::Active => {}
        Availability::Pause => {
            unplaced.paused += 1;
            return false;
        }
        Availability::Drain => {
            unplaced.drained += 1;
            return false;
        }
    }
    if beside.is_some_and(|beside| beside != node.id) {
        unplaced.elsewhere += 1;
        return false;
    }
    let placement = &task.spec.placement;
    if let Some(failing) = placement.constraints.iter().find(|text| !fits(text, node)) {
        Unplaced::count(&mut unplaced.constraints, failing.clone());
        return false;
    }
    has_room(node, usage, task, unplaced)
}

fn has_room(node: &Node, usage: &Usage, task: &Task, unplaced: &mut Unplaced) -> bool {
    let wanted = &task.spec.resources;
    let used = usage.node(node.id);
    let memory = wanted.reserve_memory.unwrap_or(0);
    if memory > 0 && used.memory.saturating_add(memory) > node.memory {
        unplaced.memory = (unplaced.memory.0 + 1, memory);
        return false;
    }
    let cpus = wanted.reserve_nano_cpus.unwrap_or(0);
    if cpus > 0 && used.nano_cpus.saturating_add(cpus) > node.nano_cpus {
        unplaced.cpus = (unplaced.cpus.0 + 1, cpus);
        return false;
    }
    for (kind, count) in &wanted.reserve_generic {
        let has = node.generic.get(kind).copied().unwrap_or(0);
        if used.generic.get(kind).copied().unwrap_or(0).saturating_add(*count) > has {
            Unplaced::count(&mut unplaced.generic, kind.clone());
            return false;
        }
    }
    if let Some(port) = usage::host_ports(&task.spec).find(|port| used.holds(port)) {
        Unplaced::count(&mut unplaced.ports, port.1);
        return false;
    }
    let most = task.spec.placement.max_replicas_per_node;
    if most > 0 && used.of_service(task.service) >= most {
        unplaced.full = (unplaced.full.0 + 1, most);
        return false;
    }
    true
}

/// Smaller is better: even over what the user wants it spread over, then over nodes, then by load.
fn score(node: &Node, usage: &Usage, task: &Task) -> (Vec<u32>, u32, u32, NodeId) {
    let spread = task.spec.placement.spread.iter();
    let spread = spread
        .map(|descriptor| usage.in_group(task.service, descriptor, &constraint::value(descriptor, node)))
        .collect();
    let used = usage.node(node.id);
    (spread, used.of_service(task.service), used.tasks, node.id)
}
