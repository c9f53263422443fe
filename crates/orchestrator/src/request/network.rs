//! `network create`, `network rm`, and the blocks that networks get.

use super::{Done, Refusal, changed};
use crate::address::{self, bounds, free_block, is_v6};
use crate::cluster::Cluster;
use crate::draft::Draft;
use crate::usage;
use model::{DEFAULT_NETWORK, IpamConfig, Network, NetworkId, NetworkSpec, Subnet};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Networks that name no subnet get one of these (Docker's overlay pool).
const POOL: Subnet = Subnet { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), prefix: 8 };
const BLOCK: u8 = 24;

/// The same for IPv6: a local block (RFC 4193) of 65,536 networks.
const POOL6: [u16; 3] = [0xfd72, 0x7377, 0x6172];

/// VXLAN identifiers begin here (libnetwork leaves those below to others).
const FIRST_VNI: u32 = 4096;
/// As many of them as there are (24 bits).
const VNIS: u32 = 1 << 24;

/// Makes a network.
pub(super) fn create(draft: &mut Draft<'_>, spec: &NetworkSpec) -> Result<Done, Refusal> {
    let name = &spec.name;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(valid) {
        let text = format!("`{name}` is no name for a network");
        return Err(Refusal::invalid(text).hint("letters, digits, `_`, `.` and `-`, a letter or digit first"));
    }
    if matches!(name.as_str(), "host" | "none" | DEFAULT_NETWORK) || draft.cluster().network_named(name).is_some() {
        return Err(Refusal::conflict(format!("there is a network {name} already")));
    }
    let id = make(draft, spec)?;
    Ok(Done::one(id.to_string(), changed("network", name, "created")))
}

/// Removes a network that nobody is on.
pub(super) fn remove(draft: &mut Draft<'_>, id: NetworkId) -> Result<Done, Refusal> {
    let Some(network) = draft.cluster().networks.get(&id).cloned() else {
        return Err(Refusal::not_found(format!("no such network: {id}")));
    };
    let name = &network.spec.name;
    if name == DEFAULT_NETWORK {
        return Err(Refusal::conflict("network bridge is always there and can't be removed"));
    }
    if let Some(user) = usage::of_network(draft.cluster(), &network) {
        return Err(Refusal::conflict(format!("network {name} is in use by {user}")));
    }
    drop_network(draft, id);
    Ok(Done::one(id.to_string(), changed("network", name, "removed")))
}

/// Forgets a network.
pub(super) fn drop_network(draft: &mut Draft<'_>, id: NetworkId) {
    draft.edit().networks.remove(&id);
    draft.edit().last_address.remove(&id);
}

/// Makes the network `bridge`, if it is not there yet.
pub(super) fn ensure_bridge(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    if draft.cluster().network_named(DEFAULT_NETWORK).is_none() {
        make(draft, &NetworkSpec { name: DEFAULT_NETWORK.to_owned(), attachable: true, ..NetworkSpec::default() })?;
    }
    Ok(())
}

/// Decides the blocks of a network and puts it into the draft.
pub(super) fn make(draft: &mut Draft<'_>, spec: &NetworkSpec) -> Result<NetworkId, Refusal> {
    let mut ipam = spec.ipam.iter().filter(|ipam| ipam.subnet.is_some() || ipam.gateway.is_some());
    let v4 = ipam.find(|ipam| !is_v6(ipam.subnet.as_deref()));
    let v6 = spec.ipam.iter().find(|ipam| is_v6(ipam.subnet.as_deref()));
    let (subnet, gateway) = block4(draft, spec, v4)?;
    let (subnet6, gateway6) = match (v6, spec.ipv6) {
        (None, false) => (None, None),
        (Some(ipam), _) => {
            let (subnet, gateway) = block6(draft, spec, ipam)?;
            (Some(subnet), Some(gateway))
        }
        (None, true) => {
            let subnet = pool6(draft).ok_or_else(|| {
                Refusal::conflict(format!("network {}: every IPv6 block of the pool is in use", spec.name))
            })?;
            (Some(subnet), Some(second(&subnet)))
        }
    };
    let used: BTreeSet<u32> = draft.cluster().networks.values().map(|network| network.vni).collect();
    let after = draft.cluster().last_vni.max(FIRST_VNI - 1) + 1;
    let vni = (after..VNIS).chain(FIRST_VNI..after).find(|vni| !used.contains(vni)).unwrap_or(FIRST_VNI);
    draft.edit().last_vni = vni;
    let id = draft.ids.next(NetworkId);
    let (spec, created) = (spec.clone(), draft.now);
    let network = Network { id, spec, vni, subnet, gateway, subnet6, gateway6, created };
    draft.edit().networks.insert(id, Arc::new(network));
    Ok(id)
}

fn block4(draft: &Draft<'_>, spec: &NetworkSpec, ipam: Option<&IpamConfig>) -> Result<(Subnet, IpAddr), Refusal> {
    let name = &spec.name;
    let Some((ipam, text)) = ipam.and_then(|ipam| Some((ipam, ipam.subnet.as_deref()?))) else {
        if ipam.is_some_and(|ipam| ipam.gateway.is_some() || ipam.ip_range.is_some()) {
            let text = format!("network {name}: a gateway or a range of addresses needs a subnet");
            return Err(Refusal::invalid(text));
        }
        let subnet = pool4(draft).ok_or_else(|| {
            let text =
                format!("network {name}: every block of the pool {POOL} is in use by networks and routes of hosts");
            Refusal::conflict(text).hint("give it a subnet of its own")
        })?;
        return Ok((subnet, second(&subnet)));
    };
    let subnet =
        Subnet::parse(text).filter(|subnet| (1..=30).contains(&subnet.prefix) && bounds(subnet).is_some()).ok_or_else(
            || Refusal::invalid(format!("network {name}: `{text}` is no subnet (such as 10.5.0.0/16, at most /30)")),
        )?;
    free(draft, name, &subnet)?;
    let gateway = gateway(name, ipam, &subnet)?;
    if let Some(range) = &ipam.ip_range {
        let inside =
            Subnet::parse(range).filter(|range| range.prefix >= subnet.prefix && subnet.contains(range.address));
        if inside.is_none() {
            return Err(Refusal::invalid(format!(
                "network {name}: the range {range} is not inside the subnet {subnet}"
            )));
        }
    }
    for (host, text) in &ipam.aux_addresses {
        if text.parse().ok().filter(|address| subnet.contains(*address)).is_none() {
            let text = format!("network {name}: the address {text} of {host} is not inside the subnet {subnet}");
            return Err(Refusal::invalid(text));
        }
    }
    Ok((subnet, gateway))
}

fn block6(draft: &Draft<'_>, spec: &NetworkSpec, ipam: &IpamConfig) -> Result<(Subnet, IpAddr), Refusal> {
    let (name, text) = (&spec.name, ipam.subnet.as_deref().unwrap_or_default());
    let subnet = Subnet::parse(text)
        .filter(|subnet| (1..=126).contains(&subnet.prefix) && matches!(subnet.address, IpAddr::V6(_)))
        .ok_or_else(|| Refusal::invalid(format!("network {name}: `{text}` is no subnet (such as fd00:1::/64)")))?;
    free(draft, name, &subnet)?;
    let gateway = gateway(name, ipam, &subnet)?;
    Ok((subnet, gateway))
}

fn gateway(name: &str, ipam: &IpamConfig, subnet: &Subnet) -> Result<IpAddr, Refusal> {
    let Some(text) = &ipam.gateway else { return Ok(second(subnet)) };
    let address = text.parse().ok().filter(|address| subnet.contains(*address) && *address != subnet.address);
    address.ok_or_else(|| {
        Refusal::invalid(format!("network {name}: the gateway {text} is not inside the subnet {subnet}"))
    })
}

/// What to do about a subnet that can't be had.
const ANOTHER_SUBNET: &str = "choose another subnet, or leave it out to have a free one chosen";

/// Blocks that mean something else to every host, and what.
const ELSEWHERE: [(&str, &str); 7] = [
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "loopback"),
    ("224.0.0.0/3", "multicast, or reserved"),
    ("100.64.0.0/10", "the mesh of the nodes"),
    ("::/127", "loopback"),
    ("fe80::/10", "one link's only"),
    ("ff00::/8", "multicast"),
];

/// A network may take nothing away from the hosts: one that has their addresses cuts off each node that joins it, so that
/// nobody can tell it to leave again.
fn spares_hosts(draft: &Draft<'_>, name: &str, subnet: &Subnet) -> Result<(), Refusal> {
    let conflict =
        |why: String| Err(Refusal::conflict(format!("network {name}: the subnet {subnet} {why}")).hint(ANOTHER_SUBNET));
    let overlaps = |(block, _): &&(&str, &str)| Subnet::parse(block).is_some_and(|block| block.overlaps(subnet));
    if let Some((block, what)) = ELSEWHERE.iter().find(overlaps) {
        return conflict(format!("is not for containers: {block} is {what}"));
    }
    for node in draft.cluster().nodes.values() {
        let address = node.address.as_ref().and_then(|text| text.parse::<SocketAddr>().ok());
        let why = match address.map(|address| address.ip()).filter(|address| subnet.contains(*address)) {
            Some(address) => format!("has the address {address} of node {}", node.hostname),
            None if node.host_routes.iter().any(|route| Subnet::parse(route).as_ref() == Some(subnet)) => {
                format!("is what node {} routes itself", node.hostname)
            }
            None => continue,
        };
        return conflict(why);
    }
    Ok(())
}

/// Two networks can't share addresses.
fn free(draft: &Draft<'_>, name: &str, subnet: &Subnet) -> Result<(), Refusal> {
    spares_hosts(draft, name, subnet)?;
    let networks = draft.cluster().networks.values();
    let other = networks.filter(|network| network.spec.name != name).find(|network| {
        network.subnet.overlaps(subnet) || network.subnet6.as_ref().is_some_and(|other| other.overlaps(subnet))
    });
    match other {
        None => Ok(()),
        Some(other) => {
            let text = format!(
                "network {name}: the subnet {subnet} overlaps with {} of network {}",
                other.subnet, other.spec.name
            );
            Err(Refusal::conflict(text).hint(ANOTHER_SUBNET))
        }
    }
}

/// The first address after the block's own.
fn second(subnet: &Subnet) -> IpAddr {
    match subnet.address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).saturating_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).saturating_add(1)).into(),
    }
}

/// What hosts route themselves; most of them route the same.
fn routes(cluster: &Cluster) -> impl Iterator<Item = Subnet> {
    let routes: BTreeSet<&String> = cluster.nodes.values().flat_map(|node| &node.host_routes).collect();
    routes.into_iter().filter_map(|route| Subnet::parse(route))
}

fn pool4(draft: &Draft<'_>) -> Option<Subnet> {
    let cluster = draft.cluster();
    let routes = routes(cluster);
    // A route to everything is no claim on an address.
    let routes = routes.filter(|route| route.prefix > 0);
    let taken: Vec<Subnet> = cluster.networks.values().map(|network| network.subnet).chain(routes).collect();
    free_block(&POOL, BLOCK, &taken)
}

fn pool6(draft: &Draft<'_>) -> Option<Subnet> {
    let cluster = draft.cluster();
    let routes = routes(cluster);
    let taken: Vec<Subnet> = cluster.networks.values().filter_map(|network| network.subnet6).chain(routes).collect();
    let candidate = |number: u16| {
        let [a, b, c] = POOL6;
        Subnet { address: Ipv6Addr::new(a, b, c, number, 0, 0, 0, 0).into(), prefix: 64 }
    };
    (0..=u16::MAX).map(candidate).find(|subnet| !taken.iter().any(|other| other.prefix > 0 && other.overlaps(subnet)))
}

/// Checks a fixed address against its network.
pub(super) fn check_fixed(network: &Network, text: &str) -> Result<(), String> {
    let name = &network.spec.name;
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(format!("`{text}` is no address"));
    };
    let (subnet, gateway) = match address {
        IpAddr::V4(_) => (Some(network.subnet), Some(network.gateway)),
        IpAddr::V6(_) => (network.subnet6, network.gateway6),
    };
    match subnet {
        None => Err(format!("address {address}: network {name} has no IPv6")),
        Some(subnet) if !subnet.contains(address) => {
            Err(format!("address {address} is not inside {subnet} of network {name}"))
        }
        Some(_) if gateway == Some(address) => Err(format!("address {address} is the gateway of network {name}")),
        Some(subnet) => match (address, address::bounds(&subnet)) {
            (IpAddr::V4(v4), Some((low, high))) if [low, high].contains(&u32::from(v4)) => {
                Err(format!("address {address} is not for hosts in {subnet}"))
            }
            _ => Ok(()),
        },
    }
}
