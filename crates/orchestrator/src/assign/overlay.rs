//! What nodes must know of each other: the way to each, and who of a network is where.

use super::ports::entrance;
use super::serves;
use crate::address::derived6;
use crate::cluster::{Cluster, TaskExt};
use model::{
    Endpoint, MeshMap, MeshPeer, Network, Node, NodeId, PublishedPort, RemoteEndpoint, Service, VirtualAddress,
    mesh_mtu,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// The mesh; `None` while there are no two nodes for it.
pub(super) fn mesh(cluster: &Cluster) -> Option<MeshMap> {
    cluster.info.as_ref()?;
    let nodes: BTreeMap<NodeId, MeshPeer> =
        cluster.nodes.values().filter_map(|node| Some((node.id, peer(node)?))).collect();
    let links = cluster.nodes.values().filter(|node| nodes.contains_key(&node.id));
    let mtu = mesh_mtu(links.filter_map(|node| node.mesh.as_ref()).map(|offer| offer.mtu));
    (nodes.len() > 1).then_some(MeshMap { mtu, nodes })
}

fn peer(node: &Node) -> Option<MeshPeer> {
    let (offer, number) = (node.mesh.as_ref()?, node.mesh_number?);
    let endpoints: Vec<SocketAddr> =
        offer.addresses.iter().map(|address| SocketAddr::new(*address, offer.port)).collect();
    let reached = !node.left && !endpoints.is_empty();
    reached.then(|| MeshPeer { number, public_key: offer.public_key.clone(), endpoints })
}

/// The number of a node that is part of the mesh.
fn number(map: &MeshMap, node: Option<NodeId>) -> Option<u32> {
    map.nodes.get(&node?).map(|peer| peer.number)
}

/// Everybody on a network who may send or be sent something, where the network spans nodes at all: that of
/// containers without one of their own is each host's affair.
pub(super) fn remotes(cluster: &Cluster, map: &MeshMap, network: &Network) -> Vec<RemoteEndpoint> {
    if network.is_default() {
        return Vec::new();
    }
    let tasks = cluster.tasks_in(network.id).filter(|task| !task.has_ended());
    let placed = tasks.filter_map(|task| Some((task, number(map, task.node)?)));
    let mut all: Vec<RemoteEndpoint> = placed
        .flat_map(|(task, node)| task.endpoints.iter().map(move |endpoint| (endpoint, node)))
        .filter(|(endpoint, _)| endpoint.network == network.id)
        .map(|(endpoint, node)| RemoteEndpoint {
            address: endpoint.address,
            address6: endpoint.address6,
            mac: endpoint.mac.clone(),
            node,
        })
        .collect();
    all.sort_unstable();
    all
}

/// The virtual addresses on a network. `services`: those that attach to it.
pub(super) fn vips(cluster: &Cluster, network: &Network, services: &[&Service]) -> Vec<VirtualAddress> {
    let with = services.iter().filter_map(|service| Some((service, *service.vips.get(&network.id)?)));
    let mut all: Vec<VirtualAddress> = with
        .map(|(service, vip)| VirtualAddress {
            service: service.id,
            address: vip.into(),
            address6: derived6(network, vip.into()).map(IpAddr::V6),
            backends: behind(cluster, network, service),
        })
        .collect();
    all.sort_unstable();
    all
}

/// Addresses of a service's tasks on a network that may be sent traffic.
pub(super) fn behind(cluster: &Cluster, network: &Network, service: &Service) -> BTreeSet<IpAddr> {
    let serving = cluster.tasks_of(service.id).filter(|task| serves(task)).flat_map(|task| &task.endpoints);
    serving.filter(|endpoint| endpoint.network == network.id).flat_map(Endpoint::addresses).collect()
}

/// On which node each task is that these ports lead to, or have led to: connections last as long as the task.
pub(super) fn ingress(
    cluster: &Cluster,
    map: &MeshMap,
    service: &Service,
    ports: &[PublishedPort],
) -> BTreeMap<IpAddr, u32> {
    if ports.is_empty() {
        return BTreeMap::new();
    }
    let tasks = cluster.tasks_of(service.id).filter(|task| !task.has_ended());
    let placed = tasks.filter_map(|task| Some((entrance(cluster, &task.endpoints), number(map, task.node)?)));
    placed.flat_map(|(at, node)| at.map(move |address| (address, node))).collect()
}
