//! The way to other hosts: the mesh in a network namespace of its own, and one VXLAN for each network that
//! spans hosts.
//!
//! A VXLAN is made in the mesh's namespace and lives in the host's: the kernel sends what it carries through
//! the namespace where it was made (`rtnl_link_ops->newlink` with two namespaces). So its UDP port is open in
//! there only, and nobody outside of the mesh can put a frame into a network. Nothing is flooded and nothing is
//! learned: where each address is, and which MAC it has, is told.

use super::Mac;
use crate::names;
use model::{HostNet, Mesh, MeshPeer, Network, NetworkId, RemoteEndpoint, VXLAN_OVERHEAD, mesh_address};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// What links carry if nobody says otherwise, in bytes.
pub(crate) const USUAL_MTU: u32 = 1500;
/// The UDP port of VXLAN (RFC 7348).
pub(crate) const PORT: u16 = 4789;
/// The longest prefix under which all addresses of a mesh are.
pub(crate) const MESH_PREFIX: u8 = 10;

/// The interface of the mesh, in its own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeshLink {
    /// This host's address in the mesh.
    pub address: Ipv4Addr,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// A VXLAN, most often a port of its network's bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// VXLAN network identifier.
    pub vni: u32,
    /// The bridge that it is a port of; empty: none.
    pub bridge: String,
    /// Its MAC address, where that matters: where it is no port of a bridge.
    pub mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// It runs between the hosts' own addresses, unencrypted, and not inside of the mesh.
    pub plain: bool,
    /// MAC address → the host behind which it is.
    pub ways: BTreeMap<Mac, IpAddr>,
    /// Address → MAC address: questions for it are answered here and never sent.
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

impl MeshLink {
    /// What should be.
    pub(super) fn wanted(net: &HostNet) -> Option<MeshLink> {
        let mesh = net.mesh.as_ref()?;
        Some(MeshLink { address: mesh_address(mesh.number), mtu: mesh.mtu.into() })
    }
}

/// Does the network span hosts?
pub(crate) fn spans(net: &HostNet, network: &Network) -> bool {
    net.mesh.is_some() && !network.is_default()
}

/// Is the network to be carried between hosts as it is (`driver_opts: encrypted: "false"`)?
fn is_plain(network: &Network) -> bool {
    network.spec.driver_opts.get("encrypted").is_some_and(|value| value == "false")
}

/// The largest packet on a network, in bytes.
pub(crate) fn mtu(net: &HostNet, network: &Network) -> u32 {
    match net.mesh.as_ref().filter(|_| spans(net, network)) {
        Some(mesh) => u32::from(mesh.mtu.saturating_sub(VXLAN_OVERHEAD)),
        None => USUAL_MTU,
    }
}

/// The tunnels that should be, by name.
pub(super) fn wanted(net: &HostNet) -> BTreeMap<String, Tunnel> {
    let nodes = net.mesh.as_ref().map(Mesh::by_number).unwrap_or_default();
    let spanning = net.networks.values().filter(|network| spans(net, network));
    spanning.map(|network| (names::tunnel(network.id), tunnel(net, network, &nodes))).collect()
}

/// `nodes`: those of the mesh, by number.
fn tunnel(net: &HostNet, network: &Network, nodes: &BTreeMap<u32, &MeshPeer>) -> Tunnel {
    let plain = is_plain(network);
    let mut tunnel = Tunnel {
        vni: network.vni,
        bridge: names::bridge(network.id),
        mac: None,
        mtu: mtu(net, network),
        plain,
        ways: BTreeMap::new(),
        neighbours: BTreeMap::new(),
    };
    for remote in remotes(net, network.id) {
        let mac = remote.mac.as_deref().and_then(names::parse_mac).unwrap_or_else(|| names::mac(remote.address));
        // One that is not part of the mesh (any more) is nowhere.
        let Some(host) = nodes.get(&remote.node).and_then(|peer| host(peer, plain)) else { continue };
        tunnel.ways.insert(mac, host);
        tunnel.neighbours.extend(remote.addresses().map(|address| (address, mac)));
    }
    tunnel
}

fn remotes(net: &HostNet, network: NetworkId) -> impl Iterator<Item = &RemoteEndpoint> {
    net.remotes.get(&network).into_iter().flat_map(|all| all.iter())
}

/// Addresses of a node that carry what is not encrypted. A VXLAN speaks one family, and that is IPv4.
fn plain_addresses(peer: &MeshPeer) -> impl Iterator<Item = IpAddr> {
    peer.endpoints.iter().map(|endpoint| endpoint.ip()).filter(IpAddr::is_ipv4)
}

/// Networks that are carried unencrypted, by their identifiers in VXLAN.
pub(crate) fn plain_networks(net: &HostNet) -> BTreeSet<u32> {
    let plain = net.networks.values().filter(|network| is_plain(network) && spans(net, network));
    plain.map(|network| network.vni).collect()
}

/// The hosts from which what is not encrypted may come.
pub(crate) fn plain_senders(net: &HostNet) -> BTreeSet<IpAddr> {
    net.mesh.iter().flat_map(|mesh| mesh.peers.values()).flat_map(plain_addresses).collect()
}

/// Where a node is reached.
fn host(peer: &MeshPeer, plain: bool) -> Option<IpAddr> {
    if plain { plain_addresses(peer).next() } else { Some(mesh_address(peer.number).into()) }
}
