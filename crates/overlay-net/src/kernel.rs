//! What the kernel should hold for a `HostNet`, and what it does hold, as one comparable value.

pub mod diff;

pub(crate) mod apply;
pub(crate) mod bpf;
pub(crate) mod connect;
pub(crate) mod conntrack;
pub mod ingress;
pub(crate) mod link;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod nft;
pub(crate) mod observe;
pub(crate) mod route;
pub mod rule;
pub mod tun;
pub mod tunnel;
pub(crate) mod vxlan;
pub mod wireguard;

pub use apply::cleanup;

use crate::names;
use ingress::Ingress;
use model::{HostEndpoint, HostNet, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tunnel::{MeshLink, Tunnel, USUAL_MTU};

/// An address with its prefix length.
pub type Cidr = (IpAddr, u8);

/// A MAC address.
pub type Mac = [u8; 6];

/// Links, addresses and namespaces of one daemon: wanted or seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Bridges by name.
    pub bridges: BTreeMap<String, Bridge>,
    /// Network namespaces of tasks.
    pub namespaces: BTreeMap<TaskId, Namespace>,
    /// This host's end of the mesh.
    pub mesh: Option<MeshLink>,
    /// VXLANs by name.
    pub tunnels: BTreeMap<String, Tunnel>,
    /// The way to and from backends of published ports on other hosts.
    pub ingress: Ingress,
    /// Links of ours on the host that belong to nothing (crashes leave them); never wanted.
    pub strays: BTreeSet<String>,
}

/// A bridge: one per network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Gateway addresses.
    pub addresses: BTreeSet<Cidr>,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

impl Default for Bridge {
    fn default() -> Self {
        Bridge { addresses: BTreeSet::new(), mtu: USUAL_MTU }
    }
}

/// A network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Interfaces by name, `eth0` first.
    pub links: BTreeMap<String, Veth>,
    /// Where the rest of the world is: at most one gateway per family.
    pub gateways: BTreeSet<IpAddr>,
}

/// A veth pair between a namespace and a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// Name of the host's end.
    pub host_name: String,
    /// Bridge that the host's end is a port of.
    pub bridge: String,
    /// MAC address inside.
    pub mac: Mac,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Addresses inside.
    pub addresses: BTreeSet<Cidr>,
}

impl Kernel {
    /// What should be; and for each endpoint that makes no sense, why. Such an endpoint gets whatever
    /// part of it does.
    pub fn wanted(net: &HostNet, owner: u32) -> (Kernel, BTreeMap<TaskId, String>) {
        let (ingress, link) = Ingress::wanted(net, owner);
        let mut tunnels = tunnel::wanted(net);
        tunnels.extend(link);
        let mut kernel = Kernel { mesh: MeshLink::wanted(net), tunnels, ingress, ..Kernel::default() };
        let mut errors = BTreeMap::new();
        for network in net.networks.values() {
            let mut addresses = BTreeSet::from([(network.gateway, network.subnet.prefix)]);
            if let Some((gateway, subnet)) = network.gateway6.zip(network.subnet6) {
                addresses.extend([(gateway, subnet.prefix), (link::BRIDGE_LINK_LOCAL.into(), 64)]);
            }
            kernel.bridges.insert(names::bridge(network.id), Bridge { addresses, mtu: tunnel::mtu(net, network) });
        }
        for (task, endpoint) in &net.endpoints {
            let (namespace, error) = namespace(*task, endpoint, net);
            kernel.namespaces.insert(*task, namespace);
            if let Some(error) = error {
                errors.insert(*task, error);
            }
        }
        (kernel, errors)
    }
}

fn namespace(task: TaskId, endpoint: &HostEndpoint, net: &HostNet) -> (Namespace, Option<String>) {
    let mut namespace = Namespace::default();
    let mut error = None;
    for (place, attachment) in endpoint.attachments.iter().enumerate() {
        let index = attachment.interface.map_or(place, usize::from);
        let Some(network) = net.networks.get(&attachment.network) else {
            error = Some(format!("network {} is not on this host", attachment.network.short()));
            continue;
        };
        let mac = match &attachment.mac {
            None => names::mac(attachment.address),
            Some(text) => names::parse_mac(text).unwrap_or_else(|| {
                error = Some(format!("`{text}` is no MAC address of an interface"));
                names::mac(attachment.address)
            }),
        };
        let mut addresses = BTreeSet::from([(attachment.address, network.subnet.prefix)]);
        addresses.extend(attachment.address6.zip(network.subnet6).map(|(address, subnet)| (address, subnet.prefix)));
        let bridge = names::bridge(network.id);
        let host_name = names::veth(task, index);
        namespace
            .links
            .insert(format!("eth{index}"), Veth { host_name, bridge, mac, mtu: tunnel::mtu(net, network), addresses });
        if !network.spec.internal {
            let has = |v6: bool| namespace.gateways.iter().any(|gateway| gateway.is_ipv6() == v6);
            let gateways = [Some(network.gateway), attachment.address6.and(network.gateway6)];
            let missing: Vec<IpAddr> =
                gateways.into_iter().flatten().filter(|gateway| !has(gateway.is_ipv6())).collect();
            namespace.gateways.extend(missing);
        }
    }
    (namespace, error)
}
