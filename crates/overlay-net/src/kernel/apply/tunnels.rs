//! The mesh and the VXLANs.

use super::endpoint::{about, check};
use super::forward6;
use crate::kernel::diff::{NetOp, apply_op};
use crate::kernel::ingress::Ingress;
use crate::kernel::netlink::{Batch, Socket};
use crate::kernel::tunnel::{MESH_PREFIX, MeshLink, Tunnel};
use crate::kernel::{Kernel, link, netns, route, tun, vxlan, wireguard};
use crate::names;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Does the steps about the mesh and the tunnels. Gives what went wrong, by the name of the tunnel; what concerns
/// the mesh is under its own name. `remeshed` becomes true if whoever reads from the interface of the mesh has lost it.
pub(super) fn run(
    run_root: &Path,
    owner: u32,
    host: &Socket,
    all: &[NetOp],
    have: &mut Kernel,
    remeshed: &mut bool,
) -> io::Result<BTreeMap<String, String>> {
    let concerns = |op: &&NetOp| {
        matches!(op, NetOp::SetMesh(_) | NetOp::CreateTunnel(..) | NetOp::Tell { .. } | NetOp::SetIngress { .. })
    };
    let ops: Vec<&NetOp> = all.iter().filter(concerns).collect();
    let mut errors = BTreeMap::new();
    if ops.is_empty() {
        return Ok(errors);
    }
    for op in &ops {
        if let NetOp::SetMesh(mesh) = op {
            match set_mesh(run_root, host, *mesh, remeshed) {
                Ok(()) => apply_op(op, have),
                Err(error) => drop(errors.insert(names::MESH_LINK.to_owned(), format!("the mesh: {error}"))),
            }
        }
    }
    let created = ops.iter().filter_map(|op| match op {
        NetOp::CreateTunnel(name, tunnel) => Some((name.as_str(), tunnel)),
        _ => None,
    });
    let created: Vec<(&str, &Tunnel)> = created.collect();
    if !created.is_empty() {
        let place = Place { home: netns::current()?, run_root, owner };
        let failed = place.make(host, &created)?;
        errors.extend(failed.map(|(name, error)| (name.to_owned(), format!("cannot make the tunnel {name}: {error}"))));
    }
    let index: BTreeMap<String, u32> = link::links(host)?.into_iter().map(|link| (link.name, link.index)).collect();
    for op in &ops {
        match op {
            NetOp::CreateTunnel(name, _) if !errors.contains_key(name) => apply_op(op, have),
            // One that could not be made has said why.
            NetOp::Tell { tunnel, .. } if !errors.contains_key(tunnel) => match told(host, &index, op) {
                Ok(()) => apply_op(op, have),
                Err(error) => drop(errors.insert(tunnel.clone(), format!("tunnel {tunnel}: {error}"))),
            },
            _ => {}
        }
    }
    for op in all.iter().filter(|op| matches!(op, NetOp::SetIngress { .. })) {
        match set_ingress(host, owner, &index, op) {
            Ok(()) => apply_op(op, have),
            Err(error) => {
                errors.insert(names::ingress(owner), format!("ports of other nodes: {error}"));
            }
        }
    }
    Ok(errors)
}

/// Addresses, routes and rules.
fn set_ingress(host: &Socket, owner: u32, index: &BTreeMap<String, u32>, op: &NetOp) -> io::Result<()> {
    let NetOp::SetIngress { seen, wanted } = op else { return Ok(()) };
    let name = names::ingress(owner);
    set_family(host, &name, index, &seen.family(false), &wanted.family(false))?;
    let (seen, wanted) = (seen.family(true), wanted.family(true));
    if seen == wanted {
        return Ok(());
    }
    // A host without IPv6 is called by nobody over IPv6.
    let off = std::fs::read(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")).map_or(true, |it| it != b"0\n");
    let none = wanted == Ingress::default();
    if off && !none { Ok(()) } else { set_family(host, &name, index, &seen, &wanted) }
}

fn set_family(
    host: &Socket,
    name: &str,
    index: &BTreeMap<String, u32>,
    seen: &Ingress,
    wanted: &Ingress,
) -> io::Result<()> {
    let mut rules = Batch::default();
    wanted.rules.difference(&seen.rules).for_each(|rule| rule.add(&mut rules));
    if !rules.is_empty() {
        let there = |outcome: &Result<(), Errno>| *outcome != Err(Errno::EXIST);
        check("set rules", host.transact(rules)?.into_iter().filter(there))?;
    }
    // After those that may be in their place.
    let mut forget = Batch::default();
    seen.rules.difference(&wanted.rules).for_each(|rule| rule.delete(&mut forget));
    let gone = seen.routes.keys().filter(|key| !wanted.routes.contains_key(key));
    gone.for_each(|(table, destination)| route::delete(&mut forget, *table, *destination));
    if !forget.is_empty() {
        // Routes have gone with their link, if that is gone.
        host.transact(forget)?;
    }
    let mut batch = Batch::default();
    let whole = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    if !wanted.addresses.is_empty() {
        let index = *index.get(name).ok_or_else(|| io::Error::other("their link is missing"))?;
        for old in seen.addresses.difference(&wanted.addresses) {
            link::delete_address(&mut batch, index, *old, whole(old));
        }
        for new in wanted.addresses.difference(&seen.addresses) {
            link::add_address(&mut batch, index, *new, whole(new));
            switches(name, new.is_ipv6())?;
        }
        let news = wanted.routes.iter().filter(|(key, next)| seen.routes.get(key) != Some(next));
        news.for_each(|((table, destination), next)| route::add(&mut batch, *table, *destination, *next, index));
    }
    if batch.is_empty() { Ok(()) } else { check("set addresses and routes", host.transact(batch)?) }
}

/// Answers come over the link from addresses that are routed elsewhere, and calls from this host's loopback go there.
fn switches(link: &str, v6: bool) -> io::Result<()> {
    if v6 {
        return forward6();
    }
    let path = |of: &str, switch: &str| format!("/proc/sys/net/ipv4/conf/{of}/{switch}");
    // The larger of the two counts: what asks for strictness everywhere is made loose here.
    let strict = std::fs::read_to_string(path("all", "rp_filter")).is_ok_and(|value| value.trim() != "0");
    std::fs::write(path(link, "rp_filter"), if strict { "2" } else { "0" })?;
    std::fs::write(path(link, "route_localnet"), "1")?;
    if std::fs::read("/proc/sys/net/ipv4/ip_forward")?.first() != Some(&b'1') {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    }
    Ok(())
}

/// Takes the mesh's namespace away, and with it all that is carried through it.
pub(super) fn delete_mesh(run_root: &Path) -> io::Result<()> {
    let path = names::mesh_netns_path(run_root);
    if let Ok(Some(namespace)) = netns::open(&path) {
        // The device would live on while somebody holds a queue of it.
        netns::within(&namespace, || {
            let mut batch = Batch::default();
            link::delete(&mut batch, names::MESH_LINK);
            Socket::route()?.transact(batch).map(drop)
        })?;
    }
    netns::remove(&path)
}

/// Has the mesh carried by `netd` itself, if it is `userspace`, whatever the kernel can do.
const DATA_PATH: &str = "RSWARM_DATA_PATH";

fn set_mesh(run_root: &Path, host: &Socket, mesh: MeshLink, remeshed: &mut bool) -> io::Result<()> {
    let path = names::mesh_netns_path(run_root);
    netns::prepare_dir(&names::netns_dir(run_root))?;
    let namespace = match netns::find(&path)? {
        Some(namespace) => namespace,
        None => netns::aside(|| {
            let namespace = netns::unshare()?;
            netns::persist(&path)?;
            Ok(namespace)
        })?,
    };
    let kind = |link: link::Link| (link.name == names::MESH_LINK).then_some((link.kind, link.up));
    let look = || Ok(link::links(&Socket::route()?)?.into_iter().find_map(kind));
    let there = netns::within(&namespace, look)?;
    // Nobody can read from one that is down, or gone.
    *remeshed |= !there.as_ref().is_some_and(|(_, up)| *up);
    let kind = match there {
        Some((kind, _)) => kind,
        None => make_link(host, &namespace)?.to_owned(),
    };
    netns::within(&namespace, || configure(mesh, kind == wireguard::KIND))
}

/// Makes the interface of the mesh: the kernel's WireGuard where there is one.
fn make_link(host: &Socket, namespace: &OwnedFd) -> io::Result<&'static str> {
    if std::env::var_os(DATA_PATH).is_none_or(|wanted| wanted != "userspace") {
        let mut batch = Batch::default();
        wireguard::add(&mut batch, names::MESH_LINK, namespace.as_fd());
        match host.transact(batch)?.into_iter().collect::<Result<(), Errno>>() {
            Ok(()) => return Ok(wireguard::KIND),
            Err(error) => tracing::info!(%error, "the kernel has no WireGuard: netd carries the mesh"),
        }
    }
    let make = || tun::make(names::MESH_LINK).map_err(|error| about("make its interface (/dev/net/tun)", error));
    netns::within(namespace, make).map(|()| "tun")
}

/// In the namespace of the mesh.
fn configure(mesh: MeshLink, wireguard: bool) -> io::Result<()> {
    let socket = Socket::route()?;
    let links = link::links(&socket)?;
    let Some(index) = links.iter().find(|link| link.name == names::MESH_LINK).map(|link| link.index) else {
        return Err(io::Error::other("its interface has vanished"));
    };
    let mut quiet = Batch::default();
    link::no_link_local(&mut quiet, names::MESH_LINK);
    socket.transact(quiet)?;
    let mut batch = Batch::default();
    for (_, address, prefix) in link::addresses(&socket)?.into_iter().filter(|(of, ..)| *of == index) {
        if address != mesh.address {
            link::delete_address(&mut batch, index, address, prefix);
        }
    }
    link::set_mtu(&mut batch, names::MESH_LINK, mesh.mtu);
    link::add_address(&mut batch, index, mesh.address.into(), MESH_PREFIX);
    match wireguard {
        true => link::set_up(&mut batch, names::MESH_LINK),
        false => link::set_up_alike(&mut batch, names::MESH_LINK, tun::MAC),
    }
    check("set up its interface", socket.transact(batch)?)
}

/// Where tunnels are made.
struct Place<'a> {
    home: OwnedFd,
    run_root: &'a Path,
    owner: u32,
}

impl Place<'_> {
    /// Makes all of them, each kind in one go. Gives those that could not be, with the reason.
    fn make<'a>(
        &self,
        host: &Socket,
        tunnels: &[(&'a str, &Tunnel)],
    ) -> io::Result<impl Iterator<Item = (&'a str, io::Error)> + use<'a>> {
        let index: BTreeMap<String, u32> = link::links(host)?.into_iter().map(|link| (link.name, link.index)).collect();
        let (mut plain, mut inside) = (Making::default(), Making::default());
        let mut failed: BTreeMap<&'a str, io::Error> = BTreeMap::new();
        for (name, tunnel) in tunnels {
            let bridge = index.get(&tunnel.bridge).copied();
            if bridge.is_none() && !tunnel.bridge.is_empty() {
                failed.insert(name, io::Error::other(format!("bridge {} is missing", tunnel.bridge)));
                continue;
            }
            let making = if tunnel.plain { &mut plain } else { &mut inside };
            vxlan::add(&mut making.batch, name, tunnel, self.owner, bridge, self.home.as_fd());
            making.names.push(name);
        }
        failed.extend(plain.run(|batch| host.transact(batch))?);
        if !inside.names.is_empty() {
            match netns::open_mesh(self.run_root) {
                Ok(namespace) => {
                    let work = |batch| netns::within(&namespace, || Socket::route()?.transact(batch));
                    failed.extend(inside.run(work)?);
                }
                Err(error) => {
                    let reason = format!("the namespace of the mesh: {error}");
                    failed.extend(inside.names.into_iter().map(|name| (name, io::Error::other(reason.clone()))));
                }
            }
        }
        let (mut quiet, mut up) = (Batch::default(), Making::default());
        for (name, tunnel) in tunnels.iter().filter(|(name, _)| !failed.contains_key(name)) {
            link::no_link_local(&mut quiet, name);
            match tunnel.bridge.is_empty() {
                false => link::set_up_tunnel(&mut up.batch, name),
                true => link::set_up(&mut up.batch, name),
            }
            up.names.push(name);
        }
        if !up.names.is_empty() {
            // A host without IPv6 has no such addresses to forbid.
            host.transact(quiet)?;
            failed.extend(up.run(|batch| host.transact(batch))?);
        }
        Ok(failed.into_iter())
    }
}

/// Messages, one for each of these tunnels.
#[derive(Default)]
struct Making<'a> {
    batch: Batch,
    names: Vec<&'a str>,
}

impl<'a> Making<'a> {
    /// Sends them. Gives those that failed.
    fn run(
        self,
        send: impl FnOnce(Batch) -> io::Result<Vec<Result<(), Errno>>>,
    ) -> io::Result<Vec<(&'a str, io::Error)>> {
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.names.into_iter().zip(send(self.batch)?);
        Ok(outcomes.filter_map(|(name, outcome)| Some((name, outcome.err()?.into()))).collect())
    }
}

fn told(host: &Socket, index: &BTreeMap<String, u32>, op: &NetOp) -> io::Result<()> {
    let NetOp::Tell { tunnel, lost, unknown, ways, neighbours, mtu, bridged } = op else { return Ok(()) };
    let index = *index.get(tunnel).ok_or_else(|| io::Error::other("it has vanished"))?;
    let mut forget = Batch::default();
    lost.iter().for_each(|(mac, host)| vxlan::delete_way(&mut forget, index, *mac, *host));
    unknown.iter().for_each(|address| vxlan::delete_neighbour(&mut forget, index, *address));
    if !forget.is_empty() {
        // What is gone already cannot be taken away, and need not be.
        host.transact(forget)?;
    }
    let mut batch = Batch::default();
    ways.iter().for_each(|(mac, host)| vxlan::add_way(&mut batch, index, *mac, *host, *bridged));
    neighbours.iter().for_each(|(address, mac)| vxlan::add_neighbour(&mut batch, index, *address, *mac));
    if let Some(mtu) = mtu {
        link::set_mtu(&mut batch, tunnel, *mtu);
    }
    if batch.is_empty() { Ok(()) } else { check("tell it who is where", host.transact(batch)?) }
}
