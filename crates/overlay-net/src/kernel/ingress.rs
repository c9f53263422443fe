//! Published ports that every node answers, whichever runs the task, so that the container sees the client's own
//! address.
//!
//! The node that takes a connection translates its destination, marks the packet, and by that mark routes it over
//! a link of the mesh to the backend's node. That one remembers, in the mark of the connection, from which node it
//! came, and routes the answers back there, where the translation is undone. Nothing translates the source.
//!
//! Marks and routing tables have the same numbers: a tag of the daemon in the upper 10 bits, below it the number of
//! a node, or 0 on the way to backends.

use super::rule::{self, Rule};
use super::tunnel::{Tunnel, USUAL_MTU};
use super::{Cidr, Mac};
use crate::names;
use model::{
    Endpoint, HostNet, MESH_NUMBERS, Mesh, MeshPeer, PublishedPort, VXLAN_OVERHEAD, mesh_address, mesh_address6,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Network identifier of the link; those of networks begin above it.
const VNI: u32 = 4095;

/// The bits of a mark that say whose it is.
pub(crate) const TAG_MASK: u32 = !(MESH_NUMBERS - 1);

/// A route of ours: its table and destination → where the next node is on the link.
pub type Routes = BTreeMap<(u32, Cidr), IpAddr>;

/// What of all this the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The link's addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Routes.
    pub routes: Routes,
    /// The rules that lead to the tables.
    pub rules: BTreeSet<Rule>,
}

impl Ingress {
    /// The part of one family.
    pub(crate) fn family(&self, v6: bool) -> Ingress {
        let of = |address: &IpAddr| address.is_ipv6() == v6;
        Ingress {
            addresses: self.addresses.iter().filter(|address| of(address)).copied().collect(),
            routes: self.routes.iter().filter(|((_, to), _)| of(&to.0)).map(|(key, next)| (*key, *next)).collect(),
            rules: self.rules.iter().filter(|rule| rule.v6 == v6).copied().collect(),
        }
    }
}

/// Where a node is on the link: addresses that routes alone know, where packets go next.
fn on_link(number: u32, v6: bool) -> IpAddr {
    match v6 {
        false => mesh_address(number).into(),
        // Link-local, so that no route of the host's can have anything to say about it.
        true => Ipv6Addr::from(0xfe80_u128 << 112 | 0x7273 << 32 | u128::from(number)).into(),
    }
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
pub(crate) fn remote(net: &HostNet) -> impl Iterator<Item = (IpAddr, &MeshPeer)> {
    let nodes = nodes(net);
    net.ingress.iter().filter_map(move |(address, node)| Some((*address, *nodes.get(node)?)))
}

/// The addresses of nodes, each with the backends on that node.
pub(crate) fn neighbours(net: &HostNet) -> Vec<(IpAddr, IpAddr)> {
    let of = |(backend, node): (IpAddr, &MeshPeer)| -> Vec<(IpAddr, IpAddr)> {
        let own = node.endpoints.iter().map(|at| at.ip()).filter(|own| own.is_ipv6() == backend.is_ipv6());
        own.map(|own| (own, backend)).collect()
    };
    remote(net).flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Containers here that other nodes may send to, with their ports.
pub(crate) fn local<'n>(net: &'n HostNet) -> impl Iterator<Item = (&'n PublishedPort, IpAddr, u16)> {
    let attachments = net.endpoints.values().flat_map(|endpoint| &endpoint.attachments);
    let here: BTreeSet<IpAddr> = attachments.flat_map(Endpoint::addresses).collect();
    let ports = net.ports.iter().filter(|port| port.everywhere && net.mesh.is_some());
    let reached = |port: &'n PublishedPort| port.backends.union(&port.admitted).map(move |address| (port, *address));
    let all = ports.flat_map(reached).filter(move |(_, (address, _))| here.contains(address));
    all.map(|(port, (address, target))| (port, address, target))
}

/// Is the number of a node that of this one?
fn is_own(net: &HostNet, node: u32) -> bool {
    net.mesh.as_ref().is_some_and(|mesh| mesh.number == node)
}

/// Families of addresses here that connections come to from other nodes, or that some that came may be open to still;
/// true: IPv6.
fn called(net: &HostNet) -> BTreeSet<bool> {
    let own = net.ingress.iter().filter(|(_, node)| is_own(net, **node)).map(|(address, _)| address.is_ipv6());
    own.chain(local(net).map(|(_, address, _)| address.is_ipv6())).collect()
}

/// Nodes from which connections may come, with the MAC address of each: all others, if there is something to come
/// for.
pub(crate) fn senders(net: &HostNet) -> Vec<(Mac, u32)> {
    let needed = !called(net).is_empty();
    let peers = net.mesh.iter().filter(|_| needed).flat_map(|mesh| mesh.peers.values());
    peers.map(|peer| (names::mac(mesh_address(peer.number).into()), peer.number)).collect()
}

/// Does anything go to backends elsewhere, or come to those here?
pub(crate) fn is_needed(net: &HostNet) -> bool {
    net.mesh.is_some() && (remote(net).next().is_some() || !called(net).is_empty())
}

impl Ingress {
    /// What should be, and the link for it.
    pub(super) fn wanted(net: &HostNet, owner: u32) -> (Ingress, Option<(String, Tunnel)>) {
        let Some(mesh) = &net.mesh else { return (Ingress::default(), None) };
        let there = remote(net).map(|(address, node)| {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            ((tag(owner), (address, whole)), on_link(node.number, address.is_ipv6()))
        });
        let mut routes: Routes = there.collect();
        for v6 in called(net) {
            let everything = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let back = senders(net).into_iter().map(|(_, node)| node);
            routes.extend(back.map(|node| ((tag(owner) | node, (everything, 0)), on_link(node, v6))));
        }
        if routes.is_empty() {
            return (Ingress::default(), None);
        }
        let tables = |v6: bool| routes.keys().filter(move |(_, (to, _))| to.is_ipv6() == v6).map(|(table, _)| *table);
        let rules = [false, true].into_iter().flat_map(|v6| rule::tree(owner, v6, &tables(v6).collect())).collect();
        let families: BTreeSet<bool> = routes.keys().map(|(_, (to, _))| to.is_ipv6()).collect();
        let own = mesh_address(mesh.number);
        let own6 = families.contains(&true).then(|| mesh_address6(mesh.number).into());
        let nodes: Vec<(u32, Mac)> =
            mesh.peers.values().map(|peer| (peer.number, names::mac(mesh_address(peer.number).into()))).collect();
        let known = |v6: bool| nodes.iter().map(move |(node, mac)| (on_link(*node, v6), *mac));
        let tunnel = Tunnel {
            vni: VNI,
            bridge: String::new(),
            mac: Some(names::mac(own.into())),
            mtu: u32::from(mesh.mtu.saturating_sub(VXLAN_OVERHEAD)).min(USUAL_MTU),
            plain: false,
            ways: nodes.iter().map(|(node, mac)| (*mac, mesh_address(*node).into())).collect(),
            neighbours: families.iter().flat_map(|v6| known(*v6)).collect(),
        };
        let addresses = [Some(own.into()), own6].into_iter().flatten().collect();
        (Ingress { addresses, routes, rules }, Some((names::ingress(owner), tunnel)))
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
