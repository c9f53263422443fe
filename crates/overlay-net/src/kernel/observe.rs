//! Reads the kernel into a `Kernel`: what of this daemon is there.

use super::link::{self, Link};
use super::netlink::Socket;
use super::tunnel::{MeshLink, Tunnel};
use super::{Bridge, Kernel, Namespace, Veth, netns, nft, route, vxlan};
use crate::names;
use model::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) kernel: Kernel,
    /// Namespaces whose DNS redirection is whole.
    pub(crate) dns: BTreeSet<TaskId>,
}

/// A number for links that are about to be deleted together.
pub(crate) fn trash(owner: u32) -> u32 {
    owner ^ 0x4000_0000
}

/// Looks at everything that carries our mark. What containers did inside of their own namespaces beyond
/// what `want` says (more addresses, other routes) is their business and is not reported.
pub(crate) fn observe(run_root: &Path, want: &Kernel) -> io::Result<Observed> {
    let socket = Socket::route()?;
    let owner = names::owner(run_root);
    let links = link::links(&socket)?;
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|link| (link.index, link)).collect();
    let mut observed = Observed::default();
    let addresses = link::addresses(&socket)?;
    for (index, address, prefix) in &addresses {
        if let Some(link) = by_index.get(index).filter(|link| link.group == owner && link.kind == "bridge") {
            observed.kernel.bridges.entry(link.name.clone()).or_default().addresses.insert((*address, *prefix));
        }
    }
    for link in links.iter().filter(|link| link.group == owner && link.kind == "bridge") {
        let bridge = observed.kernel.bridges.entry(link.name.clone()).or_insert_with(Bridge::default);
        bridge.mtu = link.mtu;
        if !link.up {
            // A bridge that is down counts as one without addresses; setting them sets it up.
            bridge.addresses.clear();
        }
    }
    observed.kernel.mesh = mesh(run_root)?;
    if links.iter().any(|link| link.group == owner && link.kind == "vxlan") {
        observed.kernel.tunnels = tunnels(&socket, &links, owner)?;
    }
    let ingress = links.iter().find(|link| link.name == names::ingress(owner) && link.group == owner);
    let on_link = addresses.iter().filter(|(index, ..)| ingress.is_some_and(|link| link.index == *index));
    let on_link = on_link.map(|(_, address, _)| *address).collect();
    observed.kernel.ingress = route::known(&socket, owner, on_link)?;
    let mut used: BTreeSet<String> = observed.kernel.tunnels.keys().cloned().collect();
    for (task, namespace) in namespaces(run_root) {
        let wanted = want.namespaces.get(&task);
        let (seen, dns) = netns::within(&namespace, || inside(task, &by_index, owner, wanted))?;
        used.extend(seen.links.values().map(|veth| veth.host_name.clone()));
        observed.kernel.namespaces.insert(task, seen);
        if dns {
            observed.dns.insert(task);
        }
    }
    let stray = |link: &&Link| {
        link.group == trash(owner) || link.group == owner && link.kind != "bridge" && !used.contains(&link.name)
    };
    observed.kernel.strays = links.iter().filter(stray).map(|link| link.name.clone()).collect();
    Ok(observed)
}

/// This host's end of the mesh, if it is whole.
fn mesh(run_root: &Path) -> io::Result<Option<MeshLink>> {
    let Some(namespace) = netns::find(&names::mesh_netns_path(run_root))? else { return Ok(None) };
    let look = || {
        let socket = Socket::route()?;
        let links = link::links(&socket)?;
        let link = links.iter().find(|link| link.name == names::MESH_LINK && link.up);
        let addresses = link::addresses(&socket)?;
        let address = addresses.iter().find_map(|(index, address, _)| match address {
            IpAddr::V4(v4) if link.is_some_and(|link| link.index == *index) => Some(*v4),
            _ => None,
        });
        // A namespace without a whole interface is there all the same: it has to go when nobody wants it.
        let mtu = link.map_or(0, |link| link.mtu);
        Ok(MeshLink { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED), mtu })
    };
    netns::within(&namespace, look).map(Some)
}

/// The VXLANs of this daemon, with what they know.
fn tunnels(socket: &Socket, links: &[Link], owner: u32) -> io::Result<BTreeMap<String, Tunnel>> {
    let mut known = vxlan::known(socket)?;
    let own = links.iter().filter(|link| link.group == owner && link.kind == "vxlan");
    let seen = own.map(|link| {
        // One that is down is as good as one on no bridge.
        let bridge = links.iter().find(|other| Some(other.index) == link.master && link.up);
        let alone = link.name == names::ingress(owner);
        let missing = if alone && link.up { "" } else { "-" };
        let tunnel = Tunnel {
            vni: link.vni.unwrap_or_default(),
            bridge: bridge.map_or(missing, |bridge| &bridge.name).to_owned(),
            mac: link.mac.first_chunk().copied().filter(|_| alone),
            mtu: link.mtu,
            plain: !link.abroad,
            ways: if alone { &mut known.alone } else { &mut known.ways }.remove(&link.index).unwrap_or_default(),
            neighbours: known.neighbours.remove(&link.index).unwrap_or_default(),
        };
        (link.name.clone(), tunnel)
    });
    Ok(seen.collect())
}

/// The named namespaces that are there; names without a namespace are removed on the way.
fn namespaces(run_root: &Path) -> Vec<(TaskId, std::os::fd::OwnedFd)> {
    let Ok(entries) = std::fs::read_dir(names::netns_dir(run_root)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(task) = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok()) else { continue };
        match netns::open(&entry.path()) {
            Ok(Some(fd)) => found.push((task, fd)),
            Ok(None) => drop(netns::remove(&entry.path())),
            Err(error) => tracing::warn!(%task, %error, "cannot open a network namespace"),
        }
    }
    found
}

fn inside(
    task: TaskId,
    hosts: &BTreeMap<u32, &Link>,
    owner: u32,
    want: Option<&Namespace>,
) -> io::Result<(Namespace, bool)> {
    // A container may make links of its own, whose other ends have numbers of its own namespace: they say nothing of
    // the host's links with these numbers.
    let is_other_end = |link: &Link, host: &Link| {
        host.group == owner
            && host.kind == "veth"
            && host.peer == Some(link.index)
            && names::is_veth_of(&host.name, task)
    };
    let socket = Socket::route()?;
    let links = link::links(&socket)?;
    let addresses = link::addresses(&socket)?;
    let mut namespace = Namespace::default();
    for link in &links {
        let Some(host) = link.peer.and_then(|peer| hosts.get(&peer)).filter(|host| is_other_end(link, host)) else {
            continue;
        };
        let wanted = want.and_then(|want| want.links.get(&link.name));
        let extra = |cidr: &(IpAddr, u8)| wanted.is_some_and(|wanted| !wanted.addresses.contains(cidr));
        let own = addresses.iter().filter(|(index, ..)| *index == link.index).map(|(_, ip, prefix)| (*ip, *prefix));
        // An end that is down is as good as one on no bridge.
        let bridge = host.master.filter(|_| host.up).and_then(|master| hosts.get(&master));
        let veth = Veth {
            host_name: host.name.clone(),
            bridge: bridge.map(|bridge| bridge.name.clone()).unwrap_or_default(),
            mtu: link.mtu.min(host.mtu),
            mac: wanted.map(|wanted| wanted.mac).or_else(|| link.mac.first_chunk().copied()).unwrap_or_default(),
            addresses: own.filter(|cidr| !extra(cidr)).collect(),
        };
        namespace.links.insert(link.name.clone(), veth);
    }
    let defaults: BTreeSet<(bool, Option<IpAddr>)> = link::routes(&socket)?
        .iter()
        .filter(|r| r.destination.is_none() && r.prefix == 0)
        .map(|r| (r.v6, r.gateway))
        .collect();
    namespace.gateways = match want {
        Some(want) => {
            let replaced = |v6: bool| defaults.iter().any(|(family, _)| *family == v6);
            want.gateways.iter().copied().filter(|gateway| replaced(gateway.is_ipv6())).collect()
        }
        None => defaults.into_iter().filter_map(|(_, gateway)| gateway).collect(),
    };
    Ok((namespace, nft::dns_redirected()?))
}
