//! From what is to what should be: a list of steps, each of which can be repeated. Pure.

use super::ingress::Ingress;
use super::tunnel::{MeshLink, Tunnel};
use super::{Bridge, Cidr, Kernel, Mac, Namespace, Veth};
use model::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One step. The order in which `diff` lists them matters: what goes, goes first, since its names and
/// addresses may be wanted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetOp {
    /// Remove a link on the host that belongs to nothing.
    DeleteStray(String),
    /// Remove a namespace with its links.
    DeleteNamespace(TaskId),
    /// Remove an interface of a namespace.
    Detach {
        /// Whose namespace.
        task: TaskId,
        /// Name of the interface in it.
        interface: String,
        /// Name of the host's end.
        host_name: String,
    },
    /// Remove a bridge.
    DeleteBridge(String),
    /// Make a bridge.
    CreateBridge(String, Bridge),
    /// Remove a VXLAN.
    DeleteTunnel(String),
    /// Remove the mesh with its namespace.
    DeleteMesh,
    /// Make the mesh's namespace and interface, or give it another address and size.
    SetMesh(MeshLink),
    /// Make a VXLAN that knows nobody yet.
    CreateTunnel(String, Tunnel),
    /// Tell a VXLAN what it did not know, and what is not so any more.
    Tell {
        /// The VXLAN.
        tunnel: String,
        /// MAC addresses and hosts to forget.
        lost: BTreeMap<Mac, IpAddr>,
        /// Addresses to forget.
        unknown: BTreeSet<IpAddr>,
        /// MAC addresses, with the host that each is behind.
        ways: BTreeMap<Mac, IpAddr>,
        /// Addresses, with the MAC address of each.
        neighbours: BTreeMap<IpAddr, Mac>,
        /// The largest packet, where that has changed.
        mtu: Option<u32>,
        /// It is a port of a bridge, which has to know as well.
        bridged: bool,
    },
    /// Make the way to and from backends on other hosts what it should be.
    SetIngress {
        /// What is there.
        seen: Ingress,
        /// What should be.
        wanted: Ingress,
    },
    /// Let an interface of a namespace carry larger packets, or only smaller ones.
    Resize {
        /// Whose namespace.
        task: TaskId,
        /// Name of the interface in it.
        interface: String,
        /// Name of the host's end.
        host_name: String,
        /// The largest packet, in bytes.
        mtu: u32,
    },
    /// Give a bridge exactly these addresses.
    SetBridge {
        /// The bridge.
        bridge: String,
        /// To take away.
        remove: BTreeSet<Cidr>,
        /// To give.
        add: BTreeSet<Cidr>,
        /// The largest packet, in bytes.
        mtu: u32,
    },
    /// Make a namespace with loopback up and all of its links.
    CreateNamespace(TaskId, Namespace),
    /// Add an interface to a namespace.
    Attach {
        /// Whose namespace.
        task: TaskId,
        /// Name of the interface in it.
        interface: String,
        /// What it should be.
        veth: Veth,
    },
    /// Set the default routes; they go when their link goes.
    SetGateways(TaskId, BTreeSet<IpAddr>),
}

/// The steps from `have` to `want`.
pub fn diff(want: &Kernel, have: &Kernel) -> Vec<NetOp> {
    let mut gone: Vec<NetOp> = have.strays.iter().cloned().map(NetOp::DeleteStray).collect();
    let mut come = Vec::new();
    gone.extend(
        have.namespaces.keys().filter(|t| !want.namespaces.contains_key(t)).map(|t| NetOp::DeleteNamespace(*t)),
    );
    for (task, wanted) in &want.namespaces {
        match have.namespaces.get(task) {
            None => come.push(NetOp::CreateNamespace(*task, wanted.clone())),
            Some(seen) => diff_namespace(*task, wanted, seen, &mut gone, &mut come),
        }
    }
    let mut bridges = Vec::new();
    for (name, wanted) in &want.bridges {
        match have.bridges.get(name) {
            None => bridges.push(NetOp::CreateBridge(name.clone(), wanted.clone())),
            Some(seen) if seen != wanted => bridges.push(NetOp::SetBridge {
                mtu: wanted.mtu,
                bridge: name.clone(),
                remove: seen.addresses.difference(&wanted.addresses).copied().collect(),
                add: wanted.addresses.difference(&seen.addresses).copied().collect(),
            }),
            Some(_) => {}
        }
    }
    gone.extend(have.bridges.keys().filter(|b| !want.bridges.contains_key(*b)).map(|b| NetOp::DeleteBridge(b.clone())));
    let mut tunnels = Vec::new();
    diff_tunnels(want, have, &mut gone, &mut tunnels);
    gone.extend(bridges);
    gone.extend(tunnels);
    gone.extend(come);
    gone
}

/// A VXLAN belongs to the mesh's namespace for good: with that, it is made anew.
fn diff_tunnels(want: &Kernel, have: &Kernel, gone: &mut Vec<NetOp>, come: &mut Vec<NetOp>) {
    let same_place = |a: &Tunnel, b: &Tunnel| {
        (a.vni, &a.bridge, a.plain, a.mac) == (b.vni, &b.bridge, b.plain, b.mac) && (a.plain || have.mesh.is_some())
    };
    let stays = |name: &String, seen: &Tunnel| want.tunnels.get(name).is_some_and(|wanted| same_place(wanted, seen));
    let leaving = have.tunnels.iter().filter(|(name, seen)| !stays(name, seen));
    gone.extend(leaving.map(|(name, _)| NetOp::DeleteTunnel(name.clone())));
    match (want.mesh, have.mesh) {
        (None, Some(_)) => gone.push(NetOp::DeleteMesh),
        (Some(wanted), seen) if Some(wanted) != seen => come.push(NetOp::SetMesh(wanted)),
        _ => {}
    }
    let mut made_anew = false;
    for (name, wanted) in &want.tunnels {
        made_anew |= wanted.bridge.is_empty() && !have.tunnels.get(name).is_some_and(|seen| stays(name, seen));
        match have.tunnels.get(name).filter(|seen| stays(name, seen)) {
            None => {
                let bare = Tunnel { ways: BTreeMap::new(), neighbours: BTreeMap::new(), ..wanted.clone() };
                let tell = tell(name, wanted, &bare);
                come.extend([NetOp::CreateTunnel(name.clone(), bare), tell]);
            }
            Some(seen) if seen != wanted => come.push(tell(name, wanted, seen)),
            Some(_) => {}
        }
    }
    // Routes and addresses go with their link, rules do not.
    let rules = have.ingress.rules.clone();
    let seen = if made_anew { Ingress { rules, ..Ingress::default() } } else { have.ingress.clone() };
    if want.ingress != seen {
        come.push(NetOp::SetIngress { seen, wanted: want.ingress.clone() });
    }
}

fn tell(name: &str, want: &Tunnel, have: &Tunnel) -> NetOp {
    fn news<K: Ord + Copy, V: PartialEq + Copy>(want: &BTreeMap<K, V>, have: &BTreeMap<K, V>) -> BTreeMap<K, V> {
        want.iter().filter(|(key, value)| have.get(key) != Some(value)).map(|(key, value)| (*key, *value)).collect()
    }
    NetOp::Tell {
        tunnel: name.to_owned(),
        // A way that leads elsewhere now is taken away first: the kernel would keep both.
        lost: news(&have.ways, &want.ways),
        unknown: have.neighbours.keys().filter(|address| !want.neighbours.contains_key(address)).copied().collect(),
        ways: news(&want.ways, &have.ways),
        neighbours: news(&want.neighbours, &have.neighbours),
        mtu: (want.mtu != have.mtu).then_some(want.mtu),
        bridged: !want.bridge.is_empty(),
    }
}

fn diff_namespace(task: TaskId, want: &Namespace, have: &Namespace, gone: &mut Vec<NetOp>, come: &mut Vec<NetOp>) {
    let mut relinked = false;
    let resized =
        |wanted: &Veth, seen: &Veth| wanted.mtu != seen.mtu && *wanted == Veth { mtu: wanted.mtu, ..seen.clone() };
    for (interface, seen) in &have.links {
        let wanted = want.links.get(interface);
        if let Some(wanted) = wanted.filter(|wanted| resized(wanted, seen)) {
            let (interface, host_name) = (interface.clone(), seen.host_name.clone());
            come.push(NetOp::Resize { task, interface, host_name, mtu: wanted.mtu });
        } else if wanted != Some(seen) {
            gone.push(NetOp::Detach { task, interface: interface.clone(), host_name: seen.host_name.clone() });
            relinked = true;
        }
    }
    for (interface, wanted) in &want.links {
        let seen = have.links.get(interface);
        if seen != Some(wanted) && !seen.is_some_and(|seen| resized(wanted, seen)) {
            come.push(NetOp::Attach { task, interface: interface.clone(), veth: wanted.clone() });
            relinked = true;
        }
    }
    // A route goes with its link, which may be any of those touched: set again what should be.
    if relinked || want.gateways != have.gateways {
        come.push(NetOp::SetGateways(task, want.gateways.clone()));
    }
}

/// What the steps make of `have`, were every one to succeed: the kernel as `netd` believes it to be.
pub fn apply_ops(ops: &[NetOp], have: &Kernel) -> Kernel {
    let mut kernel = have.clone();
    for op in ops {
        apply_op(op, &mut kernel);
    }
    kernel
}

/// One step of `apply_ops`.
pub(crate) fn apply_op(op: &NetOp, kernel: &mut Kernel) {
    let namespaces: &mut BTreeMap<TaskId, Namespace> = &mut kernel.namespaces;
    match op {
        NetOp::DeleteStray(name) => drop(kernel.strays.remove(name)),
        NetOp::DeleteNamespace(task) => drop(namespaces.remove(task)),
        NetOp::Detach { task, interface, .. } => drop(namespaces.entry(*task).or_default().links.remove(interface)),
        NetOp::DeleteBridge(name) => drop(kernel.bridges.remove(name)),
        NetOp::CreateBridge(name, bridge) => drop(kernel.bridges.insert(name.clone(), bridge.clone())),
        NetOp::SetBridge { bridge, remove, add, mtu } => {
            let bridge = kernel.bridges.entry(bridge.clone()).or_default();
            bridge.addresses.retain(|address| !remove.contains(address));
            bridge.addresses.extend(add);
            bridge.mtu = *mtu;
        }
        NetOp::DeleteTunnel(name) => drop(kernel.tunnels.remove(name)),
        NetOp::DeleteMesh => kernel.mesh = None,
        NetOp::SetMesh(mesh) => kernel.mesh = Some(*mesh),
        NetOp::CreateTunnel(name, tunnel) => drop(kernel.tunnels.insert(name.clone(), tunnel.clone())),
        NetOp::Tell { tunnel, lost, unknown, ways, neighbours, mtu, .. } => {
            if let Some(tunnel) = kernel.tunnels.get_mut(tunnel) {
                tunnel.ways.retain(|mac, _| !lost.contains_key(mac));
                tunnel.ways.extend(ways);
                tunnel.neighbours.retain(|address, _| !unknown.contains(address));
                tunnel.neighbours.extend(neighbours);
                tunnel.mtu = mtu.unwrap_or(tunnel.mtu);
            }
        }
        NetOp::SetIngress { wanted, .. } => kernel.ingress.clone_from(wanted),
        NetOp::Resize { task, interface, mtu, .. } => {
            if let Some(veth) = namespaces.get_mut(task).and_then(|namespace| namespace.links.get_mut(interface)) {
                veth.mtu = *mtu;
            }
        }
        NetOp::CreateNamespace(task, namespace) => drop(namespaces.insert(*task, namespace.clone())),
        NetOp::Attach { task, interface, veth } => {
            namespaces.entry(*task).or_default().links.insert(interface.clone(), veth.clone());
        }
        NetOp::SetGateways(task, gateways) => namespaces.entry(*task).or_default().gateways.clone_from(gateways),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn cidrs() -> impl Strategy<Value = BTreeSet<Cidr>> {
        proptest::collection::btree_set(0_u8..4, 0..3)
            .prop_map(|set| set.into_iter().map(|n| (Ipv4Addr::new(10, 0, 0, n).into(), 24)).collect())
    }

    fn namespace() -> impl Strategy<Value = Namespace> {
        let veth = (0_u8..3, 0_u8..2, 1370_u32..1372, cidrs()).prop_map(|(bridge, mac, mtu, addresses)| Veth {
            mtu,
            host_name: format!("v{bridge}"),
            bridge: format!("rs{bridge}"),
            mac: [2, 0, 0, 0, 0, mac],
            addresses,
        });
        let links = proptest::collection::btree_map((0_u8..3).prop_map(|n| format!("eth{n}")), veth, 0..3);
        (links, cidrs()).prop_map(|(links, gateways)| Namespace {
            links,
            gateways: gateways.into_iter().map(|(address, _)| address).take(1).collect(),
        })
    }

    fn kernel(strays: bool) -> impl Strategy<Value = Kernel> {
        let bridges = proptest::collection::btree_map(
            (0_u8..4).prop_map(|n| format!("rs{n}")),
            (cidrs(), 1370_u32..1372).prop_map(|(addresses, mtu)| Bridge { addresses, mtu }),
            0..4,
        );
        let namespaces = proptest::collection::btree_map((0_u128..5).prop_map(TaskId), namespace(), 0..5);
        let strays =
            proptest::collection::btree_set((0_u8..4).prop_map(|n| format!("v{n}")), 0..=usize::from(strays) * 3);
        let mesh =
            proptest::option::of((1_u8..3).prop_map(|n| MeshLink { address: [100, 64, 0, n].into(), mtu: 1420 }));
        (bridges, namespaces, strays, mesh, tunnels()).prop_map(|(bridges, namespaces, strays, mesh, tunnels)| {
            // Without the mesh there are only plain ones.
            let tunnels = tunnels.into_iter().filter(|(_, tunnel)| tunnel.plain || mesh.is_some()).collect();
            Kernel { bridges, namespaces, strays, mesh, tunnels, ingress: Ingress::default() }
        })
    }

    fn tunnels() -> impl Strategy<Value = BTreeMap<String, Tunnel>> {
        let ways = proptest::collection::btree_map((0_u8..4).prop_map(|n| [2, 0, 0, 0, 0, n]), 0_u8..2, 0..4);
        let tunnel = (0_u32..2, 1370_u32..1372, any::<bool>(), ways).prop_map(|(vni, mtu, plain, hosts)| Tunnel {
            vni,
            bridge: "rs0".to_owned(),
            mac: None,
            mtu,
            plain,
            neighbours: hosts.keys().map(|mac| (Ipv4Addr::new(10, 0, 0, mac[5]).into(), *mac)).collect(),
            ways: hosts.into_iter().map(|(mac, host)| (mac, Ipv4Addr::new(100, 64, 0, host).into())).collect(),
        });
        proptest::collection::btree_map((0_u8..3).prop_map(|n| format!("rx{n}")), tunnel, 0..3)
    }

    proptest! {
        #[test]
        fn the_steps_lead_to_what_is_wanted(want in kernel(false), have in kernel(true)) {
            prop_assert_eq!(apply_ops(&diff(&want, &have), &have), want.clone());
            prop_assert!(diff(&want, &want).is_empty());
        }
    }
}
