//! What one node should be doing: complete, with a generation.

mod desk;
mod drain;
mod names;
mod overlay;
mod ports;
mod stale;

pub(crate) use desk::Desk;

use crate::cluster::{Cluster, TaskExt};
use crate::plan::join_target;
use crate::usage;
use desk::Shared;
use model::{AssignedTask, Assignment, Desired, Generation, NetworkId, NodeId, PortSpec, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The assignment of a node, but for what [`Drains`](drain::Drains) know. `shared` is up to date with the cluster.
fn assign(cluster: &Cluster, term: u64, node: NodeId, shared: &Shared) -> Assignment {
    let own: Vec<&Arc<Task>> = cluster.tasks_on(node).filter(|task| is_assigned(task)).collect();
    let wanted: BTreeSet<NetworkId> = own
        .iter()
        .filter(|task| !task.has_ended())
        .flat_map(|task| &task.endpoints)
        .map(|endpoint| endpoint.network)
        .collect();
    let networks = wanted.iter().filter_map(|id| Some((*id, (**cluster.networks.get(id)?).clone()))).collect();
    let mut assignment = Assignment {
        generation: generation(cluster, term),
        node,
        tasks: BTreeMap::new(),
        networks,
        zones: wanted.iter().filter_map(|id| Some((*id, shared.zones.get(id)?.clone()))).collect(),
        ports: ports::of_node(cluster, node, &own, shared),
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        configs: BTreeMap::new(),
        logins: BTreeMap::new(),
        removed_volumes: BTreeSet::new(),
        mesh: shared.mesh.clone(),
        remotes: wanted.iter().filter_map(|id| Some((*id, shared.remotes.get(id)?.clone()))).collect(),
        vips: wanted.iter().filter_map(|id| Some((*id, shared.vips.get(id)?.clone()))).collect(),
        ingress: shared.ingress.clone(),
        sent_to: BTreeSet::new(),
        awaited: false,
    };
    for (volume, nodes) in &cluster.volumes_left {
        if nodes.contains(&node) {
            assignment.removed_volumes.insert(volume.clone());
        }
    }
    for task in own {
        needs(cluster, task, &mut assignment);
        assignment.tasks.insert(task.id, assigned(cluster, task));
    }
    assignment
}

fn generation(cluster: &Cluster, term: u64) -> Generation {
    Generation { term, revision: cluster.revision }
}

/// A task is told of once it has all that it needs.
fn is_assigned(task: &Task) -> bool {
    task.status.state >= model::TaskState::Assigned
}

fn assigned(cluster: &Cluster, task: &Arc<Task>) -> AssignedTask {
    let service = cluster.services.get(&task.service);
    let ports = task.spec.ports.iter().enumerate().map(|(index, port)| {
        let chosen = service.and_then(|service| service.chosen_port(index));
        PortSpec { published: port.published.or(chosen), ..port.clone() }
    });
    AssignedTask { task: task.clone(), name: task.name(), ports: ports.collect(), joins: join_target(cluster, task) }
}

/// Volumes; contents and the login for its image while it may still be started.
fn needs(cluster: &Cluster, task: &Task, assignment: &mut Assignment) {
    for name in usage::volumes_of(&task.spec) {
        if let Some(volume) = cluster.volumes.get(name) {
            assignment.volumes.insert(name.to_owned(), (**volume).clone());
        }
    }
    if !task.is_live() {
        return;
    }
    if let Some(logins) = cluster.logins.get(&task.service) {
        assignment.logins.entry(task.service).or_insert_with(|| logins.clone());
    }
    for id in task.spec.container.configs.iter().filter_map(|file| file.id) {
        if let Some(content) = cluster.configs.get(&id) {
            assignment.configs.entry(id).or_insert_with(|| (**content).clone());
        }
    }
    for id in task.spec.container.secrets.iter().filter_map(|file| file.id) {
        if let Some(content) = cluster.secrets.get(&id) {
            assignment.secrets.entry(id).or_insert_with(|| (**content).clone());
        }
    }
}

/// May it be sent traffic?
fn serves(task: &Task) -> bool {
    task.desired == Desired::Running && !task.stopped_by_user && task.is_serving()
}

/// Do two assignments ask for the same? What was seen of tasks is no part of what is asked, nor is who waits for whom.
/// What nodes share is mostly the very same value, which `Arc` sees at once.
fn same(a: &Assignment, b: &Assignment) -> bool {
    a.tasks.len() == b.tasks.len()
        && a.tasks.iter().zip(&b.tasks).all(|((_, a), (_, b))| same_task(a, b))
        && a.networks == b.networks
        && a.zones == b.zones
        && a.ports == b.ports
        && a.volumes == b.volumes
        && a.secrets == b.secrets
        && a.configs == b.configs
        && a.logins == b.logins
        && a.removed_volumes == b.removed_volumes
        && a.mesh == b.mesh
        && a.remotes == b.remotes
        && a.vips == b.vips
        && a.ingress == b.ingress
}

fn same_task(a: &AssignedTask, b: &AssignedTask) -> bool {
    if a.joins != b.joins || a.ports != b.ports {
        return false;
    }
    if Arc::ptr_eq(&a.task, &b.task) {
        return true;
    }
    let Task {
        id,
        service: _,
        slot: _,
        spec: _,
        spec_version: _,
        node: _,
        desired,
        attempt,
        stopped_by_user,
        stop_signal,
        stop_timeout,
        endpoints,
        status: _,
        created: _,
        not_before: _,
        restarts: _,
        remove_volumes,
        inherits: _,
    } = &*a.task;
    *id == b.task.id
        && *desired == b.task.desired
        && *attempt == b.task.attempt
        && *stopped_by_user == b.task.stopped_by_user
        && *stop_signal == b.task.stop_signal
        && *stop_timeout == b.task.stop_timeout
        && *endpoints == b.task.endpoints
        && *remove_volumes == b.task.remove_volumes
}
