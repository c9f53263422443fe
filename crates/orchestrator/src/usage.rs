//! Who uses what: what is in use is not removed.

use crate::cluster::{Cluster, TaskExt};
use model::{MountSource, Network, PortMode, Protocol, Service, ServiceId, ServiceSpec};
use std::sync::Arc;

/// Who is on a network, for people.
pub(crate) fn of_network(cluster: &Cluster, network: &Network) -> Option<String> {
    // As in Docker, a container that has ended is on no network.
    let mut services = cluster.services.values();
    let service = services.find(|service| attaches(&service.spec, &network.spec.name) && is_up(cluster, service));
    let service = service.map(|service| describe(&service.spec));
    service.or_else(|| {
        let on = cluster.tasks_in(network.id).find(|task| !task.has_ended());
        on.map(|task| format!("container {}", task.name()))
    })
}

fn attaches(spec: &ServiceSpec, network: &str) -> bool {
    spec.network_mode == model::NetworkMode::Networks
        && spec.networks.iter().any(|attachment| attachment.network == network)
}

/// Who mounts a volume, for people.
pub(crate) fn of_volume(cluster: &Cluster, name: &str) -> Option<String> {
    let service = cluster.services.values().find(|service| mounts(&service.spec, name));
    let service = service.map(|service| describe(&service.spec));
    service.or_else(|| {
        cluster.tasks.values().find(|task| mounts(&task.spec, name)).map(|task| format!("container {}", task.name()))
    })
}

/// Named volumes that a spec mounts.
pub(crate) fn volumes_of(spec: &ServiceSpec) -> impl Iterator<Item = &str> {
    spec.container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.as_str()),
        MountSource::Anonymous | MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    })
}

fn mounts(spec: &ServiceSpec, volume: &str) -> bool {
    volumes_of(spec).any(|name| name == volume)
}

/// `container x` or `service x`.
pub(crate) fn describe(spec: &ServiceSpec) -> String {
    let kind = if spec.standalone { "container" } else { "service" };
    format!("{kind} {}", spec.name)
}

/// A port of the host that is published: protocol, port, address (`None`: all).
pub(crate) type Published = (Protocol, u16, Option<String>);

/// Ports that a service publishes, with those that were chosen for it. None with the host's own network:
/// there the container's ports are the host's. Each with its place in the spec.
pub(crate) fn published(service: &Service) -> impl Iterator<Item = (usize, (PortMode, Published))> {
    let networked = service.spec.network_mode == model::NetworkMode::Networks;
    let ports = service.spec.ports.iter().enumerate().filter(move |_| networked);
    ports.filter_map(|(index, port)| {
        let chosen = port.published.or_else(|| service.chosen_port(index))?;
        Some((index, (port.mode, (port.protocol, chosen, port.host_ip.clone()))))
    })
}

/// Do two published ports exclude each other? All addresses clash with each.
pub(crate) fn clash(a: &Published, b: &Published) -> bool {
    let everywhere = |address: &Option<String>| address.as_deref().is_none_or(|text| text == "0.0.0.0" || text == "::");
    a.0 == b.0 && a.1 == b.1 && (a.2 == b.2 || everywhere(&a.2) || everywhere(&b.2))
}

/// Is it more than a container that has ended?
pub(crate) fn is_up(cluster: &Cluster, service: &Service) -> bool {
    !service.spec.standalone
        || !cluster.has_tasks(service.id)
        || cluster.tasks_of(service.id).any(|task| !task.has_ended())
}

/// Does the service hold its ports? One that goes has given them up, and a container that has ended has.
pub(crate) fn holds_ports(cluster: &Cluster, service: &Service) -> bool {
    !service.removing && is_up(cluster, service)
}

/// Another service that publishes this port. Two that do so only on the nodes of their tasks can get out of
/// each other's way; the scheduler sees to that.
pub(crate) fn of_port<'c>(
    cluster: &'c Cluster,
    own: ServiceId,
    (mode, port): &(PortMode, Published),
) -> Option<&'c Arc<Service>> {
    let against = |(_, (held_mode, held)): (usize, (PortMode, Published))| {
        clash(&held, port) && (*mode == PortMode::Ingress || held_mode == PortMode::Ingress)
    };
    cluster
        .services
        .values()
        .find(|service| service.id != own && published(service).any(against) && holds_ports(cluster, service))
}
