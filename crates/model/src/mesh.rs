//! The mesh: an encrypted way from each machine of a cluster to each other, and what of a network is elsewhere.
//!
//! Every node has a WireGuard key pair of its own making. What it offers others is in its [`MeshOffer`]; the
//! planner gives it a number, from which its address inside the mesh follows. The mesh has a network namespace
//! of its own on each host, so that its addresses collide with nobody's.

use crate::ids::{NodeId, ServiceId};
use crate::network::both;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses inside the mesh: 100.64.0.0/10, a node's number added to it. Nobody outside ever sees one.
const MESH_BASE: u32 = 0x6440_0000;
/// The same in IPv6: a /64 out of fd00::/8, where nobody else draws from.
const MESH_BASE6: u128 = 0xfd72_7377_6d65_7368 << 64;
/// How many numbers there are; 0 is nobody's.
pub const MESH_NUMBERS: u32 = 1 << 22;
/// What WireGuard, UDP and an IPv6 header add to a packet, in bytes.
pub const MESH_OVERHEAD: u16 = 80;
/// What VXLAN adds to a packet inside the mesh, in bytes: Ethernet, VXLAN, UDP and IPv4 headers.
pub const VXLAN_OVERHEAD: u16 = 50;
/// The least that a mesh carries in a packet, in bytes: a VXLAN in it has room for the least that a link with IPv6 must
/// carry (RFC 8200).
const LEAST_MESH_MTU: u16 = 1280 + VXLAN_OVERHEAD;

/// The largest IP packet inside of a mesh over links that carry these, in bytes; the smallest of them counts. On links
/// that are too small for the least it takes, what is sealed is sent in fragments.
pub fn mesh_mtu(links: impl Iterator<Item = u16>) -> u16 {
    links.min().unwrap_or(u16::MAX).saturating_sub(MESH_OVERHEAD).max(LEAST_MESH_MTU)
}

/// The UDP port of the mesh, if nobody chose another.
pub const MESH_PORT: u16 = 51820;

/// The address of a node inside the mesh.
pub fn mesh_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(MESH_BASE | (number % MESH_NUMBERS))
}

/// The same in IPv6: what this node's own calls to ports of others come from.
pub fn mesh_address6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(MESH_BASE6 | u128::from(number % MESH_NUMBERS))
}

/// What a node tells others of its end of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshOffer {
    /// Its public key: 32 bytes in base64, as `wg` shows it.
    pub public_key: String,
    /// UDP port that it listens on.
    pub port: u16,
    /// Where it may be reached, likeliest first: the advertised address, then those of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// The largest IP packet that the links to the others carry, in bytes.
    pub mtu: u16,
}

/// The mesh as one host should have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// This node's number.
    pub number: u32,
    /// UDP port to listen on.
    pub port: u16,
    /// The largest IP packet inside the mesh, the same on every node, in bytes.
    pub mtu: u16,
    /// Everybody else. A node that is not here any more is cut off at once.
    pub peers: BTreeMap<NodeId, MeshPeer>,
}

impl Mesh {
    /// The others by their numbers.
    pub fn by_number(&self) -> BTreeMap<u32, &MeshPeer> {
        self.peers.values().map(|peer| (peer.number, peer)).collect()
    }
}

/// Another node of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPeer {
    /// Its number.
    pub number: u32,
    /// Its public key, in base64.
    pub public_key: String,
    /// Where it may be reached, likeliest first. Where it was last heard from counts for more.
    pub endpoints: Vec<SocketAddr>,
}

/// All nodes of a mesh: the same value for each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshMap {
    /// The largest IP packet inside the mesh, in bytes.
    pub mtu: u16,
    /// Every node that is part of it.
    pub nodes: BTreeMap<NodeId, MeshPeer>,
}

impl MeshMap {
    /// The mesh as this node should have it; `None`: the node is no part of it, or alone.
    pub fn seen_from(&self, node: NodeId) -> Option<Mesh> {
        let own = self.nodes.get(&node)?;
        let others = self.nodes.iter().filter(|(id, _)| **id != node);
        let peers: BTreeMap<NodeId, MeshPeer> = others.map(|(id, peer)| (*id, peer.clone())).collect();
        let port = own.endpoints.first()?.port();
        (!peers.is_empty()).then_some(Mesh { number: own.number, port, mtu: self.mtu, peers })
    }
}

/// A task's place on a network, as other nodes have to know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemoteEndpoint {
    /// IPv4 address.
    pub address: IpAddr,
    /// IPv6 address, when the network has it.
    pub address6: Option<IpAddr>,
    /// MAC address; `None`: the one that follows from the IPv4 address, `02:42:…`.
    pub mac: Option<String>,
    /// Number of the node that it is on.
    pub node: u32,
}

impl RemoteEndpoint {
    /// Its addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        both(self.address, self.address6)
    }
}

/// The one address of a service on a network, and the tasks behind it (`endpoint_mode: vip`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VirtualAddress {
    /// Whose.
    pub service: ServiceId,
    /// IPv4 address.
    pub address: IpAddr,
    /// IPv6 address, when the network has it.
    pub address6: Option<IpAddr>,
    /// Addresses of tasks that take traffic, of both families.
    pub backends: BTreeSet<IpAddr>,
}

impl VirtualAddress {
    /// Itself, of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        both(self.address, self.address6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_link_counts_and_ipv6_fits_in() {
        assert_eq!(mesh_mtu([1500, 9000].into_iter()), 1420);
        assert_eq!(mesh_mtu([1500, 1420].into_iter()), 1340);
        assert_eq!(mesh_mtu([1500, 1400].into_iter()), 1330);
        assert_eq!(mesh_mtu([1500, 576].into_iter()), 1330);
    }

    #[test]
    fn addresses_follow_from_numbers() {
        assert_eq!(mesh_address(1), Ipv4Addr::new(100, 64, 0, 1));
        assert_eq!(mesh_address(MESH_NUMBERS - 1), Ipv4Addr::new(100, 127, 255, 255));
        assert_eq!(mesh_address6(0x1_0002).to_string(), "fd72:7377:6d65:7368::1:2");
    }
}
