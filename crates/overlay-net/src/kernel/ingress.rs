//! Published ports that every node answers, whichever runs the task, so that the container sees the client's own
//! address.
//!
//! The node that takes a connection translates its destination, marks the packet, and by that mark routes it over
//! a link of the mesh to the backend's node. That one remembers, in the mark of the connection, from which node it
//! came, and routes the answers back there, where the translation is undone. Nothing translates the source.
//!
//! Marks and routing tables have the same numbers: a tag of the daemon in the upper 10 bits, below it the number of
//! a node, or 0 on the way to backends.

use super::Mac;
use super::tunnel::{Tunnel, USUAL_MTU};
use crate::names;
use model::{HostNet, MESH_NUMBERS, Mesh, MeshPeer, PublishedPort, VXLAN_OVERHEAD, mesh_address};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Network identifier of the link; those of networks begin above it.
const VNI: u32 = 4095;

/// The bits of a mark that say whose it is.
pub(crate) const TAG_MASK: u32 = !(MESH_NUMBERS - 1);

/// A route of ours: its table and destination (`None`: everything) → the next node's address in the mesh.
pub type Routes = BTreeMap<(u32, Option<Ipv4Addr>), Ipv4Addr>;

/// What of all this the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The link's address.
    pub address: Option<Ipv4Addr>,
    /// Routes.
    pub routes: Routes,
    /// Marks, each of which is looked up in the table of its number.
    pub rules: BTreeSet<u32>,
}

/// The mark of packets on their way to a backend, and the upper bits of all marks of this daemon.
pub(crate) fn tag(owner: u32) -> u32 {
    // Bit 31 is never set by `owner`, bit 22 always here: no tag is 0.
    (owner << 22 | MESH_NUMBERS) & TAG_MASK
}

/// Does the kernel's number belong to this daemon?
pub(crate) fn is_ours(number: u32, owner: u32) -> bool {
    number & TAG_MASK == tag(owner)
}

/// The nodes of the mesh by number.
fn nodes(net: &HostNet) -> BTreeMap<u32, &MeshPeer> {
    net.mesh.as_ref().map(Mesh::by_number).unwrap_or_default()
}

/// Backends on other nodes that are part of the mesh, with their node.
pub(crate) fn remote(net: &HostNet) -> impl Iterator<Item = (Ipv4Addr, &MeshPeer)> {
    let nodes = nodes(net);
    net.ingress.iter().filter_map(move |(address, node)| match address {
        IpAddr::V4(v4) => Some((*v4, *nodes.get(node)?)),
        IpAddr::V6(_) => None,
    })
}

/// The addresses of nodes, each with the backends on that node.
pub(crate) fn neighbours(net: &HostNet) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let v4 = |address: IpAddr| if let IpAddr::V4(v4) = address { Some(v4) } else { None };
    let of = |(backend, node): (Ipv4Addr, &MeshPeer)| -> Vec<(Ipv4Addr, Ipv4Addr)> {
        node.endpoints.iter().filter_map(|at| Some((v4(at.ip())?, backend))).collect()
    };
    remote(net).flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Containers here that other nodes may send to, with their ports.
pub(crate) fn local<'n>(net: &'n HostNet) -> impl Iterator<Item = (&'n PublishedPort, Ipv4Addr, u16)> {
    let attachments = net.endpoints.values().flat_map(|endpoint| &endpoint.attachments);
    let here: BTreeSet<IpAddr> = attachments.map(|attachment| attachment.address).collect();
    let ports = net.ports.iter().filter(|port| port.everywhere && net.mesh.is_some());
    let reached = |port: &'n PublishedPort| port.backends.union(&port.admitted).map(move |address| (port, *address));
    ports.flat_map(reached).filter_map(move |(port, (address, target))| match address {
        IpAddr::V4(v4) if here.contains(&address) => Some((port, v4, target)),
        _ => None,
    })
}

/// Is the number of a node that of this one?
fn is_own(net: &HostNet, node: u32) -> bool {
    net.mesh.as_ref().is_some_and(|mesh| mesh.number == node)
}

/// Is the address one of a task on another node?
pub(crate) fn is_elsewhere(net: &HostNet, address: IpAddr) -> bool {
    net.ingress.get(&address).is_some_and(|node| !is_own(net, *node))
}

/// Do connections come here from other nodes, or may some that came be open still?
fn is_called(net: &HostNet) -> bool {
    net.ingress.values().any(|node| is_own(net, *node)) || local(net).next().is_some()
}

/// Nodes from which connections may come, with the MAC address of each: all others, if there is something to come
/// for.
pub(crate) fn senders(net: &HostNet) -> Vec<(Mac, u32)> {
    let needed = is_called(net);
    let peers = net.mesh.iter().filter(|_| needed).flat_map(|mesh| mesh.peers.values());
    peers.map(|peer| (names::mac(mesh_address(peer.number).into()), peer.number)).collect()
}

/// Does anything go to backends elsewhere, or come to those here?
pub(crate) fn is_needed(net: &HostNet) -> bool {
    net.mesh.is_some() && (remote(net).next().is_some() || is_called(net))
}

impl Ingress {
    /// What should be, and the link for it.
    pub(super) fn wanted(net: &HostNet, owner: u32) -> (Ingress, Option<(String, Tunnel)>) {
        let Some(mesh) = &net.mesh else { return (Ingress::default(), None) };
        let there = remote(net).map(|(address, node)| ((tag(owner), Some(address)), mesh_address(node.number)));
        let back = senders(net).into_iter().map(|(_, node)| ((tag(owner) | node, None), mesh_address(node)));
        let routes: Routes = there.chain(back).collect();
        if routes.is_empty() {
            return (Ingress::default(), None);
        }
        let rules = routes.keys().map(|(table, _)| *table).collect();
        let own = mesh_address(mesh.number);
        let nodes = mesh.peers.values().map(|peer| mesh_address(peer.number));
        let nodes: Vec<(IpAddr, Mac)> = nodes.map(|node| (node.into(), names::mac(node.into()))).collect();
        let tunnel = Tunnel {
            vni: VNI,
            bridge: String::new(),
            mac: Some(names::mac(own.into())),
            mtu: u32::from(mesh.mtu.saturating_sub(VXLAN_OVERHEAD)).min(USUAL_MTU),
            plain: false,
            ways: nodes.iter().map(|(node, mac)| (*mac, *node)).collect(),
            neighbours: nodes.into_iter().collect(),
        };
        (Ingress { address: Some(own), routes, rules }, Some((names::ingress(owner), tunnel)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_leave_room_for_every_number_and_are_never_zero() {
        for owner in [0x100, 0x7fff_ffff, 0x1234_5678] {
            assert_eq!(tag(owner) & (MESH_NUMBERS - 1), 0);
            assert_ne!(tag(owner), 0);
            assert!(is_ours(tag(owner) | 7, owner) && !is_ours(7, owner));
        }
    }
}
