//! What agents tell becomes part of the draft, as far as it is news.

use crate::cluster::TaskExt;
use crate::draft::Draft;
use crate::request;
use model::{Desired, MESH_NUMBERS, Node, NodeId, RestartCondition, RestartScope, TaskReport};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A node as its agent describes it. What operators decide of it is kept.
pub(crate) fn node(draft: &mut Draft<'_>, told: &Node) {
    let known = draft.cluster().nodes.get(&told.id).cloned();
    if known.as_deref().is_some_and(|known| is_told(known, told)) {
        return;
    }
    let in_cluster = draft.cluster().info.is_some();
    if in_cluster && known.as_ref().is_none_or(|known| known.left) {
        // It was removed, or has left: only a token lets it in again.
        return;
    }
    let node = match &known {
        Some(known) => {
            let mut node = Node {
                labels: known.labels.clone(),
                availability: known.availability,
                ready: known.ready,
                address: told.address.clone().or_else(|| known.address.clone()),
                member: known.member,
                key: known.key.clone(),
                left: known.left,
                mesh_number: known.mesh_number,
                ..told.clone()
            };
            // In a cluster it is the state that says who manages.
            if in_cluster {
                node.manager = known.manager;
            }
            node
        }
        None => told.clone(),
    };
    let node = Node { mesh_number: node.mesh_number.or_else(|| number(draft, &node)), ..node };
    let began_again = known.is_some_and(|known| known.incarnation != node.incarnation);
    draft.edit().nodes.insert(node.id, Arc::new(node));
    if began_again {
        start_again(draft, told.id);
    }
}

/// A number in the mesh for a node that offers to be part of it. Numbers go up, so that one is not another's soon
/// after.
fn number(draft: &Draft<'_>, node: &Node) -> Option<u32> {
    node.mesh.as_ref().filter(|_| draft.cluster().info.is_some())?;
    let used: BTreeSet<u32> = draft.cluster().nodes.values().filter_map(|node| node.mesh_number).collect();
    let next = used.last().map_or(1, |last| last.saturating_add(1));
    let free = |number: &u32| !used.contains(number);
    Some(next).filter(|next| *next < MESH_NUMBERS).or_else(|| (1..MESH_NUMBERS).find(free))
}

/// Does the agent tell what is known? What the cluster decides does not count.
fn is_told(known: &Node, told: &Node) -> bool {
    let Node {
        id,
        hostname,
        platform,
        labels: _,
        engine_labels,
        manager: _,
        availability: _,
        ready: _,
        nano_cpus,
        memory,
        version,
        generic,
        host_routes,
        incarnation,
        address,
        member: _,
        key: _,
        trust,
        left: _,
        mesh,
        mesh_number: _,
    } = told;
    known.id == *id
        && known.hostname == *hostname
        && known.platform == *platform
        && known.engine_labels == *engine_labels
        && known.nano_cpus == *nano_cpus
        && known.memory == *memory
        && known.version == *version
        && known.generic == *generic
        && known.host_routes == *host_routes
        && known.mesh == *mesh
        && known.incarnation == *incarnation
        && (address.is_none() || known.address == *address)
        && known.trust == *trust
}

/// When a daemon begins again, containers with `restart: always` that were stopped by hand are started;
/// that is what tells `always` from `unless-stopped` (Docker).
fn start_again(draft: &mut Draft<'_>, node: NodeId) {
    let stopped: Vec<_> = draft
        .cluster()
        .tasks_on(node)
        .filter(|task| task.stopped_by_user && task.is_live())
        .filter(|task| task.spec.restart.scope == RestartScope::InPlace)
        .filter(|task| task.spec.restart.condition == RestartCondition::Any)
        .map(|task| (task.id, task.service))
        .collect();
    for (id, service) in stopped {
        let (task, service) =
            (draft.cluster().tasks.get(&id).cloned(), draft.cluster().services.get(&service).cloned());
        if let Some((task, service)) = task.zip(service) {
            request::start_again(draft, &service, &task);
        }
    }
}

/// A report of one task. Late and repeated ones are no news.
pub(crate) fn task(draft: &mut Draft<'_>, node: NodeId, report: &TaskReport) {
    let Some(task) = draft.cluster().tasks.get(&report.task) else { return };
    if task.node != Some(node) {
        return;
    }
    if report.removed && task.desired >= Desired::Shutdown {
        draft.edit().drop_task(report.task);
        return;
    }
    let status = &report.status;
    let rises = (status.attempt, status.state) >= (task.status.attempt, task.status.state);
    if rises && status.attempt <= task.attempt && *status != task.status {
        draft.edit().edit_task(report.task, |task| task.status = status.clone());
    }
}

/// A node has deleted the data of a volume.
pub(crate) fn volume_removed(draft: &mut Draft<'_>, node: NodeId, volume: &str) {
    let left = draft.cluster().volumes_left.get(volume);
    if !left.is_some_and(|left| left.contains(&node)) {
        return;
    }
    let all = &mut draft.edit().volumes_left;
    if let Some(left) = all.get_mut(volume) {
        left.remove(&node);
        if left.is_empty() {
            all.remove(volume);
        }
    }
}
