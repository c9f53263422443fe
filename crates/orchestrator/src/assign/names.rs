//! Names of a network: of services only those tasks that can take traffic, of a container as long as it
//! runs. A name without an address is known and answered with nothing, not asked of the world.

use super::serves;
use crate::cluster::{Cluster, TaskExt};
use model::{Endpoint, NetworkId, Service, ServiceId, TaskId, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// All that zones are made of, to see whether they are as they were.
#[derive(Debug, Default, PartialEq)]
struct Stamp {
    networks: Vec<NetworkId>,
    /// With the version, which counts every change.
    services: Vec<(ServiceId, u64, bool)>,
    tasks: Vec<(TaskId, bool, Option<IpAddr>)>,
}

impl Stamp {
    fn of(cluster: &Cluster) -> Stamp {
        let services = cluster.services.values();
        let running = cluster.tasks.values().filter(|task| task.is_running());
        Stamp {
            networks: cluster.networks.keys().copied().collect(),
            services: services.map(|service| (service.id, service.version, service.removing)).collect(),
            tasks: running
                .map(|task| (task.id, serves(task), task.endpoints.first().map(|endpoint| endpoint.address)))
                .collect(),
        }
    }
}

/// The zones of all networks; made again only when something in them has changed.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    stamp: Stamp,
    zones: BTreeMap<NetworkId, Zone>,
}

impl Zones {
    /// Brings them up to date.
    pub(crate) fn renew(&mut self, cluster: &Cluster) {
        let stamp = Stamp::of(cluster);
        if stamp != self.stamp {
            self.zones = zones(cluster);
            self.stamp = stamp;
        }
    }

    /// Those of some networks.
    pub(super) fn of(&self, wanted: &BTreeSet<NetworkId>) -> BTreeMap<NetworkId, Zone> {
        wanted.iter().filter_map(|id| Some((*id, self.zones.get(id)?.clone()))).collect()
    }
}

fn zones(cluster: &Cluster) -> BTreeMap<NetworkId, Zone> {
    let mut zones: BTreeMap<NetworkId, Zone> = cluster.networks.keys().map(|id| (*id, Zone::default())).collect();
    let by_name: BTreeMap<&str, NetworkId> =
        cluster.networks.values().map(|network| (network.spec.name.as_str(), network.id)).collect();
    for service in cluster.services.values().filter(|service| !service.removing) {
        of_service(cluster, service, &by_name, &mut zones);
    }
    for zone in zones.values_mut() {
        for addresses in zone.names.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
    }
    zones
}

fn of_service(
    cluster: &Cluster,
    service: &Service,
    by_name: &BTreeMap<&str, NetworkId>,
    zones: &mut BTreeMap<NetworkId, Zone>,
) {
    let (key, full) = (service.spec.key.to_lowercase(), service.spec.name.to_lowercase());
    for attachment in &service.spec.networks {
        let Some(id) = by_name.get(attachment.network.as_str()) else { continue };
        let Some(zone) = zones.get_mut(id) else { continue };
        let endpoints = cluster.tasks_of(service.id).filter(|task| serves(task)).flat_map(|task| &task.endpoints);
        let behind: Vec<IpAddr> = endpoints.filter(|endpoint| endpoint.network == *id).flat_map(addresses).collect();
        let mut names = BTreeSet::from([key.clone(), full.clone(), format!("tasks.{key}"), format!("tasks.{full}")]);
        names.extend(attachment.aliases.iter().map(|alias| alias.to_lowercase()));
        for name in names {
            zone.names.entry(name).or_default().extend(&behind);
        }
    }
    for task in cluster.tasks_of(service.id).filter(|task| task.is_running()) {
        for endpoint in &task.endpoints {
            let Some(zone) = zones.get_mut(&endpoint.network) else { continue };
            for name in &endpoint.aliases {
                zone.names.entry(name.clone()).or_default().extend(addresses(endpoint));
            }
        }
    }
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    std::iter::once(endpoint.address).chain(endpoint.address6)
}
