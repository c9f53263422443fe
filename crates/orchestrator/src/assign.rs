//! What one node should be doing: complete, with a generation.

mod names;

pub(crate) use names::Zones;

use crate::cluster::{Cluster, TaskExt};
use crate::plan::join_target;
use crate::usage;
use model::{
    AssignedTask, Assignment, Desired, Endpoint, Generation, NetworkId, NodeId, PortMode, PortSpec, PublishedPort,
    Service, Task,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The assignment of a node. `zones` are up to date with the cluster.
pub(crate) fn assign(cluster: &Cluster, term: u64, node: NodeId, zones: &Zones) -> Assignment {
    let own: Vec<&Arc<Task>> =
        cluster.tasks.values().filter(|task| task.node == Some(node) && is_assigned(task)).collect();
    let wanted: BTreeSet<NetworkId> = own
        .iter()
        .filter(|task| !task.has_ended())
        .flat_map(|task| &task.endpoints)
        .map(|endpoint| endpoint.network)
        .collect();
    let networks = wanted.iter().filter_map(|id| Some((*id, (**cluster.networks.get(id)?).clone()))).collect();
    let mut assignment = Assignment {
        generation: Generation { term, revision: cluster.revision },
        node,
        tasks: BTreeMap::new(),
        networks,
        zones: zones.of(&wanted),
        ports: ports(cluster, node),
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        configs: BTreeMap::new(),
        removed_volumes: BTreeSet::new(),
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

/// A task is told of once it has all that it needs.
fn is_assigned(task: &Task) -> bool {
    task.status.state >= model::TaskState::Assigned
}

fn assigned(cluster: &Cluster, task: &Arc<Task>) -> AssignedTask {
    let service = cluster.services.get(&task.service);
    let ports = task.spec.ports.iter().enumerate().map(|(index, port)| {
        let chosen = service.and_then(|service| service.chosen_ports.get(index).copied().flatten());
        PortSpec { published: port.published.or(chosen), ..port.clone() }
    });
    AssignedTask { task: task.clone(), name: task.name(), ports: ports.collect(), joins: join_target(cluster, task) }
}

/// Volumes, and contents while it may still be started.
fn needs(cluster: &Cluster, task: &Task, assignment: &mut Assignment) {
    for name in usage::volumes_of(&task.spec) {
        if let Some(volume) = cluster.volumes.get(name) {
            assignment.volumes.insert(name.to_owned(), (**volume).clone());
        }
    }
    if !task.is_live() {
        return;
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
pub(crate) fn serves(task: &Task) -> bool {
    task.desired == Desired::Running && !task.stopped_by_user && task.is_serving()
}

fn ports(cluster: &Cluster, node: NodeId) -> Vec<PublishedPort> {
    let mut all = Vec::new();
    for service in cluster.services.values().filter(|service| !service.spec.ports.is_empty()) {
        if usage::holds_ports(cluster, service) {
            of_service(cluster, service, node, &mut all);
        }
    }
    all.sort();
    all
}

fn of_service(cluster: &Cluster, service: &Service, node: NodeId, all: &mut Vec<PublishedPort>) {
    let is_here = |task: &&Arc<Task>| task.node == Some(node) && task.is_live() && !task.has_ended();
    let here = cluster.tasks_of(service.id).any(|task| is_here(&task));
    for (index, (mode, (protocol, host_port, address))) in usage::published(service) {
        if mode == PortMode::Host && !here {
            continue;
        }
        let target = service.spec.ports.get(index).map_or(0, |port| port.target);
        let behind = cluster.tasks_of(service.id).filter(|task| serves(task));
        let behind = behind.filter(|task| mode == PortMode::Ingress || task.node == Some(node));
        let backends = behind.filter_map(|task| Some((entrance(cluster, &task.endpoints)?.address, target))).collect();
        let host_ip = address.and_then(|text| text.parse::<IpAddr>().ok()).filter(|address| !address.is_unspecified());
        all.push(PublishedPort { protocol, host_ip, host_port, backends, service: service.spec.name.clone() });
    }
}

/// Where traffic from outside enters a task: its first network that is not internal.
fn entrance<'e>(cluster: &Cluster, endpoints: &'e [Endpoint]) -> Option<&'e Endpoint> {
    let open =
        |endpoint: &&Endpoint| cluster.networks.get(&endpoint.network).is_some_and(|network| !network.spec.internal);
    endpoints.iter().find(open).or(endpoints.first())
}

/// Do two assignments ask for the same? What was seen of tasks is no part of what is asked.
pub(crate) fn same(a: &Assignment, b: &Assignment) -> bool {
    a.tasks.len() == b.tasks.len()
        && a.tasks.iter().zip(&b.tasks).all(|((_, a), (_, b))| same_task(a, b))
        && a.networks == b.networks
        && a.zones == b.zones
        && a.ports == b.ports
        && a.volumes == b.volumes
        && a.secrets == b.secrets
        && a.configs == b.configs
        && a.removed_volumes == b.removed_volumes
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
