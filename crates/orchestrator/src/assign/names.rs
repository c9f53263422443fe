//! Names of a network: of a service its own address, or its tasks that can take traffic; of a container as
//! long as it runs. A name without an address is known and answered with nothing, not asked of the world.

use super::overlay::behind;
use super::serves;
use crate::cluster::{Cluster, TaskExt};
use model::{
    ExposedPort, Network, NetworkAttachment, Offer, PortSpec, Service, ServiceId, Task, UpdateState, VirtualAddress,
    Zone,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Services by the full names of the networks that they attach to.
pub(super) fn attached(cluster: &Cluster) -> BTreeMap<&str, Vec<&Service>> {
    let mut all: BTreeMap<&str, Vec<&Service>> = BTreeMap::new();
    for service in cluster.services.values().filter(|service| !service.removing) {
        let own = service.spec.networks.iter().map(|attachment| attachment.network.as_str());
        let left = left(cluster, service).map(|attachment| attachment.network.as_str());
        for network in own.chain(left).collect::<BTreeSet<&str>>() {
            all.entry(network).or_default().push(service);
        }
    }
    all
}

/// Where tasks of an earlier spec are, while an update replaces them, or waits for a person.
fn left<'c>(cluster: &'c Cluster, service: &'c Service) -> impl Iterator<Item = &'c NetworkAttachment> {
    let over = [UpdateState::Completed, UpdateState::RollbackCompleted];
    let goes_on = service.update_status.as_ref().is_some_and(|status| !over.contains(&status.state));
    let tasks = goes_on.then(|| cluster.tasks_of(service.id)).into_iter().flatten();
    let old = tasks.filter(|task| !task.has_ended() && !Arc::ptr_eq(&task.spec, &service.spec));
    old.flat_map(|task| &task.spec.networks)
}

/// The zone of one network. `services`: those that attach to it; `vips`: the addresses that they have of their own.
pub(super) fn zone(cluster: &Cluster, network: &Network, services: &[&Service], vips: &[VirtualAddress]) -> Zone {
    let vips: BTreeMap<ServiceId, &VirtualAddress> = vips.iter().map(|vip| (vip.service, vip)).collect();
    let mut zone = Zone::default();
    for service in services {
        let (own, behind): (Vec<IpAddr>, Vec<IpAddr>) = match vips.get(&service.id) {
            // Its own address stays whatever becomes of its tasks, so that who keeps an answer is never wrong.
            Some(vip) => (vip.addresses().collect(), vip.backends.iter().copied().collect()),
            None => {
                let behind: Vec<IpAddr> = behind(cluster, network, service).into_iter().collect();
                (behind.clone(), behind)
            }
        };
        for name in names(cluster, service, &network.spec.name) {
            zone.names.entry(name).or_default().extend(&own);
        }
        for name in [&service.spec.key, &service.spec.name] {
            zone.names.entry(format!("tasks.{}", name.to_lowercase())).or_default().extend(&behind);
        }
    }
    let stays = |task: &Arc<Task>| cluster.services.get(&task.service).is_some_and(|service| !service.removing);
    for task in cluster.tasks_in(network.id).filter(|task| task.is_running() && stays(task)) {
        for endpoint in task.endpoints.iter().filter(|endpoint| endpoint.network == network.id) {
            for name in &endpoint.aliases {
                zone.names.entry(name.clone()).or_default().extend(endpoint.addresses());
            }
        }
    }
    for addresses in zone.names.values_mut() {
        addresses.sort_unstable();
        addresses.dedup();
    }
    for service in services {
        offer(cluster, network, service, vips.get(&service.id).copied(), &mut zone);
    }
    zone
}

/// Tells the ports of a service under each of its names. `vip`: its own address; `zone`: with all names.
fn offer(cluster: &Cluster, network: &Network, service: &Service, vip: Option<&VirtualAddress>, zone: &mut Zone) {
    let of =
        |port: &PortSpec| ExposedPort { first: port.target, last: port.target, protocol: port.protocol, name: None };
    let ports: BTreeSet<ExposedPort> =
        service.spec.ports.iter().map(of).chain(service.spec.exposed.iter().cloned()).collect();
    if ports.is_empty() {
        return;
    }
    let serving = cluster.tasks_of(service.id).filter(|task| serves(task));
    let tasks: Vec<String> = serving.filter_map(|task| known_as(task, network)).collect();
    let full = service.spec.name.to_lowercase();
    let own: Vec<IpAddr> = vip.into_iter().flat_map(VirtualAddress::addresses).collect();
    for name in names(cluster, service, &network.spec.name) {
        let targets = match zone.names.get(&name) {
            _ if vip.is_none() => tasks.clone(),
            // The plainest name that leads nowhere else.
            Some(addresses) if addresses.iter().all(|address| own.contains(address)) => vec![name.clone()],
            _ => vec![full.clone()],
        };
        zone.offers.entry(name).or_default().push(Offer { ports: ports.clone(), targets });
    }
    for name in BTreeSet::from([&service.spec.key, &service.spec.name]) {
        let offer = Offer { ports: ports.clone(), targets: tasks.clone() };
        zone.offers.entry(format!("tasks.{}", name.to_lowercase())).or_default().push(offer);
    }
}

/// The name that leads to a task on a network and to nobody else.
fn known_as(task: &Task, network: &Network) -> Option<String> {
    let endpoint = task.endpoints.iter().find(|endpoint| endpoint.network == network.id)?;
    let name = task.name().to_lowercase();
    Some(if endpoint.aliases.contains(&name) { name } else { task.id.short() })
}

/// The names of a service on a network.
fn names(cluster: &Cluster, service: &Service, network: &str) -> BTreeSet<String> {
    let (key, full) = (service.spec.key.to_lowercase(), service.spec.name.to_lowercase());
    let mut names = BTreeSet::from([key, full]);
    let here = |attachment: &&NetworkAttachment| attachment.network == network;
    let mut attachments: Vec<&NetworkAttachment> = service.spec.networks.iter().filter(here).collect();
    if attachments.is_empty() {
        attachments.extend(left(cluster, service).filter(here));
    }
    for attachment in attachments {
        names.extend(attachment.aliases.iter().map(|alias| alias.to_lowercase()));
    }
    names
}
