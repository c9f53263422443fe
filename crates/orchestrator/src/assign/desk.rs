//! What each node was told last, and what it has to be told now. Names and ports that nodes share are made
//! once for all of them, and only where something in them may have changed.

use super::stale::Stale;
use super::{assign, names, overlay, ports, same};
use crate::change::Change;
use crate::cluster::Cluster;
use model::{Assignment, MeshMap, NetworkId, NodeId, PublishedPort, RemoteEndpoint, ServiceId, VirtualAddress, Zone};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The parts of assignments that are the same on every node that needs them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) zones: BTreeMap<NetworkId, Arc<Zone>>,
    /// Ports that every node publishes, by service.
    pub(super) ports: BTreeMap<ServiceId, Vec<PublishedPort>>,
    /// The way of each node to each other; `None`: there is only one.
    pub(super) mesh: Option<Arc<MeshMap>>,
    pub(super) remotes: BTreeMap<NetworkId, Arc<Vec<RemoteEndpoint>>>,
    pub(super) vips: BTreeMap<NetworkId, Arc<Vec<VirtualAddress>>>,
    /// Where the backends of those ports are, by service.
    places: BTreeMap<ServiceId, BTreeMap<IpAddr, u32>>,
    /// All of that.
    pub(super) ingress: Arc<BTreeMap<IpAddr, u32>>,
}

/// Writes assignments.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    stale: Stale,
    shared: Shared,
    sent: BTreeMap<NodeId, Assignment>,
}

impl Desk {
    /// Knows nothing of what nodes were told.
    pub(crate) fn clear(&mut self) {
        *self = Desk { stale: Stale { all: true, ..Stale::default() }, ..Desk::default() };
    }

    /// A node is to be told everything again.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.sent.remove(&node);
        self.stale.nodes.insert(node);
    }

    /// To be called with the state before an entry is applied, and again with the state after.
    pub(crate) fn note(&mut self, cluster: &Cluster, changes: &[Change]) {
        self.stale.note(cluster, changes);
    }

    /// The assignments of those of the nodes that have to be told something.
    pub(crate) fn write(
        &mut self,
        cluster: &Cluster,
        term: u64,
        nodes: impl Iterator<Item = NodeId>,
    ) -> Vec<Assignment> {
        let mut stale = std::mem::take(&mut self.stale);
        self.renew_mesh(cluster, &mut stale);
        if stale.all {
            self.shared = Shared { mesh: self.shared.mesh.take(), ..Shared::default() };
            stale.networks = cluster.networks.keys().copied().collect();
            stale.services = cluster.services.keys().copied().collect();
        }
        self.renew_zones(cluster, &mut stale);
        self.renew_ports(cluster, &mut stale);
        let mut news = Vec::new();
        for node in nodes {
            let known = self.sent.get(&node);
            if known.is_some() && !stale.all && !stale.nodes.contains(&node) {
                continue;
            }
            let assignment = assign(cluster, term, node, &self.shared);
            if known.is_none_or(|known| !same(known, &assignment)) {
                self.sent.insert(node, assignment.clone());
                news.push(assignment);
            }
        }
        news
    }

    fn renew_mesh(&mut self, cluster: &Cluster, stale: &mut Stale) {
        if !stale.mesh && !stale.all {
            return;
        }
        let now = overlay::mesh(cluster);
        if self.shared.mesh.as_deref() != now.as_ref() {
            self.shared.mesh = now.map(Arc::new);
            // Where each task is shows in what others know of its networks.
            stale.all = true;
        }
    }

    fn renew_zones(&mut self, cluster: &Cluster, stale: &mut Stale) {
        if stale.networks.is_empty() {
            return;
        }
        let attached = names::attached(cluster);
        for id in &stale.networks {
            let Some(network) = cluster.networks.get(id) else {
                self.shared.zones.remove(id);
                self.shared.remotes.remove(id);
                self.shared.vips.remove(id);
                continue;
            };
            let services = attached.get(network.spec.name.as_str()).map_or(&[][..], Vec::as_slice);
            let Shared { zones, vips, remotes, mesh, .. } = &mut self.shared;
            let own = overlay::vips(cluster, network, services);
            let mut news = put(zones, *id, names::zone(cluster, network, services, &own));
            news |= put(vips, *id, own);
            if let Some(mesh) = mesh {
                news |= put(remotes, *id, overlay::remotes(cluster, mesh, network));
            }
            if news {
                stale.nodes.extend(cluster.tasks_in(*id).filter_map(|task| task.node));
            }
        }
    }

    fn renew_ports(&mut self, cluster: &Cluster, stale: &mut Stale) {
        let (mut news, mut moved) = (false, false);
        for id in &stale.services {
            let service = cluster.services.get(id);
            let now = service.map(|service| ports::everywhere(cluster, service)).unwrap_or_default();
            let meshed = self.shared.mesh.as_ref().zip(service);
            let places = meshed.map(|(mesh, service)| overlay::ingress(cluster, mesh, service, &now));
            news |= exchange(&mut self.shared.ports, *id, now, Vec::is_empty);
            moved |= exchange(&mut self.shared.places, *id, places.unwrap_or_default(), BTreeMap::is_empty);
        }
        if moved {
            self.shared.ingress =
                Arc::new(self.shared.places.values().flatten().map(|(at, node)| (*at, *node)).collect());
        }
        stale.all |= news || moved;
    }
}

/// Is the value another one than before? One that is nothing is not kept.
fn exchange<T: PartialEq>(
    known: &mut BTreeMap<ServiceId, T>,
    id: ServiceId,
    value: T,
    is_nothing: impl Fn(&T) -> bool,
) -> bool {
    match known.get(&id) {
        Some(before) if *before == value => false,
        None if is_nothing(&value) => false,
        _ if is_nothing(&value) => known.remove(&id).is_some(),
        _ => {
            known.insert(id, value);
            true
        }
    }
}

/// Is the value another one than before?
fn put<T: PartialEq>(known: &mut BTreeMap<NetworkId, Arc<T>>, id: NetworkId, value: T) -> bool {
    let news = known.get(&id).is_none_or(|known| **known != value);
    if news {
        known.insert(id, Arc::new(value));
    }
    news
}
