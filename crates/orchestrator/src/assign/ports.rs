//! Ports to publish: some on every node, some only on the nodes of their tasks.

use super::desk::Shared;
use super::serves;
use crate::cluster::{Cluster, TaskExt};
use crate::usage;
use model::{Endpoint, NodeId, PortMode, PortSpec, Protocol, PublishedPort, Service, ServiceId, Task};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Those of a node, whose tasks are given.
pub(super) fn of_node(cluster: &Cluster, node: NodeId, own: &[&Arc<Task>], shared: &Shared) -> Vec<PublishedPort> {
    let mut all: Vec<PublishedPort> = shared.ports.values().flatten().cloned().collect();
    let here = own.iter().filter(|task| task.is_live() && !task.has_ended() && !task.spec.ports.is_empty());
    let services: BTreeSet<ServiceId> = here.map(|task| task.service).collect();
    for service in services.iter().filter_map(|id| cluster.services.get(id)) {
        let behind = own.iter().copied().filter(|task| task.service == service.id && task.node == Some(node));
        all.extend(of_service(cluster, service, PortMode::Host, &behind.collect::<Vec<_>>()));
    }
    all.sort();
    all
}

/// Those of a service that every node publishes.
pub(super) fn everywhere(cluster: &Cluster, service: &Service) -> Vec<PublishedPort> {
    if service.spec.ports.is_empty() {
        return Vec::new();
    }
    of_service(cluster, service, PortMode::Ingress, &cluster.tasks_of(service.id).collect::<Vec<_>>())
}

fn of_service(cluster: &Cluster, service: &Service, wanted: PortMode, tasks: &[&Arc<Task>]) -> Vec<PublishedPort> {
    if !usage::holds_ports(cluster, service) {
        return Vec::new();
    }
    let published = usage::published(service).filter(|(_, (mode, _))| *mode == wanted);
    let port = |(_, (_, (protocol, host_port, address))): (usize, (PortMode, usage::Published))| {
        let behind = tasks.iter().filter(|task| serves(task));
        let backends = behind.filter_map(|task| {
            let target = target(service, task, protocol, host_port)?;
            Some(entrance(cluster, &task.endpoints).map(move |address| (address, target)))
        });
        let backends = backends.flatten().collect();
        let host_ip = address.and_then(|text| text.parse::<IpAddr>().ok());
        let everywhere = wanted == PortMode::Ingress;
        let (service, admitted) = (service.spec.name.clone(), BTreeSet::new());
        PublishedPort { protocol, host_ip, host_port, backends, service, everywhere, admitted }
    };
    published.map(port).collect()
}

/// Which of its own ports a task has behind a published one. While an update goes on there are tasks of an earlier
/// spec: they listen where that said, and those that it had publish nothing there are sent nothing. Their node sees it
/// so as well: it is told the same ports.
fn target(service: &Service, task: &Task, protocol: Protocol, host_port: u16) -> Option<u16> {
    let chosen = |at: usize| service.chosen_port(at);
    let own = |(at, port): &(usize, &PortSpec)| {
        port.protocol == protocol && port.published.or_else(|| chosen(*at)) == Some(host_port)
    };
    task.spec.ports.iter().enumerate().find(own).map(|(_, port)| port.target)
}

/// Where traffic from outside enters a task: at its networks that are not internal, if it has one.
pub(super) fn entrance(cluster: &Cluster, endpoints: &[Endpoint]) -> impl Iterator<Item = IpAddr> + use<> {
    let is_open =
        |endpoint: &&Endpoint| cluster.networks.get(&endpoint.network).is_some_and(|network| !network.spec.internal);
    let any = endpoints.iter().any(|endpoint| is_open(&endpoint));
    let usable = endpoints.iter().filter(|endpoint| !any || is_open(endpoint));
    model::entrance(usable).collect::<Vec<_>>().into_iter()
}
