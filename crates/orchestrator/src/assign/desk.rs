//! What each node was told last, and what it has to be told now. Names and ports that nodes share are made
//! once for all of them, and only where something in them may have changed.

use super::drain::{Drains, leaves};
use super::stale::Stale;
use super::{assign, generation, names, overlay, ports, same};
use crate::change::Change;
use crate::cluster::Cluster;
use model::{
    Assignment, Endpoint, Generation, MeshMap, NetworkId, NodeId, PublishedPort, RemoteEndpoint, ServiceId, Task,
    TaskId, VirtualAddress, Zone,
};
use std::collections::{BTreeMap, BTreeSet};
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
    drains: Drains,
    /// Nothing is known of what nodes were told by an earlier leader.
    fresh: bool,
    /// Nodes that are up, and do what that leader told them until they hear of this one.
    unheard: BTreeSet<NodeId>,
}

impl Desk {
    /// Knows nothing of what nodes were told.
    pub(crate) fn clear(&mut self) {
        *self = Desk { stale: Stale { all: true, ..Stale::default() }, fresh: true, ..Desk::default() };
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

    /// The network of a node is as it was told in this generation; is there somebody to tell?
    pub(crate) fn follows(&mut self, cluster: &Cluster, node: NodeId, generation: Generation) -> bool {
        let over = self.drains.follows(node, generation);
        self.drained(cluster, &over)
    }

    /// A node is out of reach; is there somebody to tell?
    pub(crate) fn lost(&mut self, cluster: &Cluster, node: NodeId) -> bool {
        self.unheard.remove(&node);
        let over = self.drains.lost(node);
        self.drained(cluster, &over)
    }

    fn drained(&mut self, cluster: &Cluster, over: &[TaskId]) -> bool {
        self.stale.nodes.extend(over.iter().filter_map(|id| cluster.tasks.get(id)?.node));
        !over.is_empty()
    }

    /// The assignments of those of the nodes that have to be told something.
    pub(crate) fn write(
        &mut self,
        cluster: &Cluster,
        term: u64,
        nodes: impl Iterator<Item = NodeId>,
    ) -> Vec<Assignment> {
        self.give_up(cluster);
        let mut stale = std::mem::take(&mut self.stale);
        self.renew_mesh(cluster, &mut stale);
        if stale.all {
            stale.networks = cluster.networks.keys().chain(self.shared.zones.keys()).copied().collect();
            stale.services = cluster.services.keys().chain(self.shared.ports.keys()).copied().collect();
        }
        let mut left = BTreeSet::new();
        self.renew_zones(cluster, &mut stale, &mut left);
        self.renew_ports(cluster, &mut stale, &mut left);
        let told: Vec<NodeId> =
            nodes.filter(|node| stale.all || stale.nodes.contains(node) || !self.sent.contains_key(node)).collect();
        let generation = generation(cluster, term);
        self.begin_drains(cluster, left, &told, generation);
        let mut drafts = Vec::with_capacity(told.len());
        for node in told {
            let draft = assign(cluster, term, node, &self.shared);
            let last = self.sent.get(&node).filter(|last| same(last, &draft));
            if let Some(last) = last {
                self.drains.heard_before(node, generation, last);
            }
            drafts.push((last.is_some(), draft));
        }
        // Only now it is known who waits for whom.
        let mut news = Vec::new();
        for (is_same, mut assignment) in drafts {
            self.drains.tell(&mut assignment);
            let last = self.sent.get(&assignment.node).filter(|_| is_same);
            if last.is_none_or(|last| last.sent_to != assignment.sent_to) {
                self.sent.insert(assignment.node, assignment.clone());
                news.push(assignment);
            }
        }
        news
    }

    /// Nobody waits for nodes that did not come back.
    fn give_up(&mut self, cluster: &Cluster) {
        let is_down = |node: &NodeId| cluster.nodes.get(node).is_none_or(|node| !node.ready);
        let down: Vec<NodeId> = self.unheard.iter().copied().filter(is_down).collect();
        for node in down {
            self.lost(cluster, node);
        }
    }

    /// Notes who is waited for.
    fn begin_drains(&mut self, cluster: &Cluster, mut left: BTreeSet<TaskId>, told: &[NodeId], generation: Generation) {
        let fresh = std::mem::take(&mut self.fresh);
        if self.shared.mesh.is_none() {
            return;
        }
        if fresh {
            let leaving = cluster.tasks.values().filter(|task| leaves(task) && !task.endpoints.is_empty());
            left.extend(leaving.map(|task| task.id));
            self.unheard = cluster.nodes.values().filter(|node| node.ready).map(|node| node.id).collect();
        }
        for node in told {
            self.unheard.remove(node);
        }
        let nodes: Vec<NodeId> = told.iter().chain(&self.unheard).copied().collect();
        for task in left.iter().filter_map(|id| cluster.tasks.get(id)) {
            self.drains.begin(task, &nodes, generation);
        }
        self.drains.keep(cluster);
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

    fn renew_zones(&mut self, cluster: &Cluster, stale: &mut Stale, left: &mut BTreeSet<TaskId>) {
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
            let before = vips.get(id).into_iter().flat_map(|all| all.iter()).flat_map(|vip| &vip.backends);
            let now = own.iter().flat_map(|vip| &vip.backends);
            left.extend(of(cluster.tasks_in(*id), &dropped(before, now)));
            let mut news = put(zones, *id, names::zone(cluster, network, services, &own));
            news |= put(vips, *id, own);
            match mesh {
                Some(mesh) => news |= put(remotes, *id, overlay::remotes(cluster, mesh, network)),
                None => news |= remotes.remove(id).is_some(),
            }
            if news {
                stale.nodes.extend(cluster.tasks_in(*id).filter_map(|task| task.node));
            }
        }
    }

    fn renew_ports(&mut self, cluster: &Cluster, stale: &mut Stale, left: &mut BTreeSet<TaskId>) {
        let (mut news, mut moved) = (false, false);
        for id in &stale.services {
            let service = cluster.services.get(id);
            let now = service.map(|service| ports::everywhere(cluster, service)).unwrap_or_default();
            let meshed = self.shared.mesh.as_ref().zip(service);
            let before = self.shared.ports.get(id).into_iter().flatten().flat_map(|port| &port.backends);
            let gone =
                dropped(before.map(|(address, _)| address), now.iter().flat_map(|it| &it.backends).map(|it| &it.0));
            left.extend(of(cluster.tasks_of(*id), &gone));
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

/// Addresses that were led to and are no longer.
fn dropped<'a>(before: impl Iterator<Item = &'a IpAddr>, now: impl Iterator<Item = &'a IpAddr>) -> BTreeSet<IpAddr> {
    let now: BTreeSet<&IpAddr> = now.collect();
    before.filter(|address| !now.contains(address)).copied().collect()
}

/// Whose they are.
fn of<'t>(tasks: impl Iterator<Item = &'t Arc<Task>>, addresses: &BTreeSet<IpAddr>) -> Vec<TaskId> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let has = |task: &&Arc<Task>| task.endpoints.iter().flat_map(Endpoint::addresses).any(|at| addresses.contains(&at));
    tasks.filter(has).map(|task| task.id).collect()
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
