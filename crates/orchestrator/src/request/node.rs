//! `node update`, `node rm`: what operators decide of machines.

use super::{Done, Refusal, changed};
use crate::draft::Draft;
use model::{Availability, Desired, Node, NodeId, ObjectChange, TaskState};
use std::collections::BTreeMap;
use std::sync::Arc;

fn find(draft: &Draft<'_>, id: NodeId) -> Result<Arc<Node>, Refusal> {
    draft.cluster().nodes.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("no such node: {id}")))
}

/// Changes labels (`None` removes one) and whether it may take tasks.
pub(super) fn update(
    draft: &mut Draft<'_>,
    id: NodeId,
    availability: Option<Availability>,
    labels: &BTreeMap<String, Option<String>>,
) -> Result<Done, Refusal> {
    let known = find(draft, id)?;
    if labels.keys().any(|key| key.trim().is_empty()) {
        return Err(Refusal::invalid(format!("node {}: a label needs a name", known.hostname)));
    }
    let mut node = (*known).clone();
    let mut fields = Vec::new();
    if let Some(availability) = availability.filter(|wanted| *wanted != known.availability) {
        fields.push(format!("availability: {} → {}", word(known.availability), word(availability)));
        node.availability = availability;
    }
    for (key, value) in labels {
        match value {
            Some(value) => drop(node.labels.insert(key.clone(), value.clone())),
            None => drop(node.labels.remove(key)),
        }
        if node.labels.get(key) != known.labels.get(key) {
            fields.push(format!("label {key}"));
        }
    }
    let action = if fields.is_empty() { "unchanged" } else { "updated" };
    if !fields.is_empty() {
        draft.edit().nodes.insert(id, Arc::new(node));
    }
    Ok(Done::one(id.to_string(), ObjectChange { fields, ..changed("node", &known.hostname, action) }))
}

fn word(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

/// Forgets a node that is down, with what it had.
pub(super) fn remove(draft: &mut Draft<'_>, id: NodeId, force: bool) -> Result<Done, Refusal> {
    let node = find(draft, id)?;
    if node.manager && draft.cluster().info.is_some() {
        let refusal = Refusal::conflict(format!("node {} is a manager", node.hostname));
        return Err(refusal.hint(format!("demote it first: `rswarm node demote {}`", node.hostname)));
    }
    if node.ready && !force {
        let refusal = Refusal::conflict(format!("node {} is up", node.hostname));
        return Err(refusal
            .hint("stop its daemon, or let it leave the cluster, and try again; --force removes it all the same"));
    }
    let lost: Vec<_> = draft
        .cluster()
        .tasks_on(id)
        .filter(|task| !task.status.state.is_terminal() || task.status.attempt < task.attempt)
        .map(|task| task.id)
        .collect();
    let past: Vec<_> =
        draft.cluster().tasks_on(id).filter(|task| task.desired > Desired::Running).map(|task| task.id).collect();
    let now = draft.now;
    let cluster = draft.edit();
    for task in past {
        cluster.drop_task(task);
    }
    for task in lost {
        cluster.edit_task(task, |task| {
            (task.status.attempt, task.status.state, task.status.since) = (task.attempt, TaskState::Orphaned, now);
            task.status.message = "its node was removed".to_owned();
            task.status.container = None;
        });
    }
    cluster.nodes.remove(&id);
    cluster.failures.retain(|(_, node), _| *node != id);
    cluster.homes.values_mut().for_each(|nodes| nodes.retain(|node| *node != id));
    cluster.homes.retain(|_, nodes| !nodes.is_empty());
    Ok(Done::one(id.to_string(), changed("node", &node.hostname, "removed")))
}
