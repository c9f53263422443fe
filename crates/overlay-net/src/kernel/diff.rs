//! From what is to what should be: a list of steps, each of which can be repeated. Pure.

use super::{Bridge, Cidr, Kernel, Namespace, Veth};
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
    /// Give a bridge exactly these addresses.
    SetBridgeAddresses {
        /// The bridge.
        bridge: String,
        /// To take away.
        remove: BTreeSet<Cidr>,
        /// To give.
        add: BTreeSet<Cidr>,
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
            Some(seen) if seen != wanted => bridges.push(NetOp::SetBridgeAddresses {
                bridge: name.clone(),
                remove: seen.addresses.difference(&wanted.addresses).copied().collect(),
                add: wanted.addresses.difference(&seen.addresses).copied().collect(),
            }),
            Some(_) => {}
        }
    }
    gone.extend(have.bridges.keys().filter(|b| !want.bridges.contains_key(*b)).map(|b| NetOp::DeleteBridge(b.clone())));
    gone.extend(bridges);
    gone.extend(come);
    gone
}

fn diff_namespace(task: TaskId, want: &Namespace, have: &Namespace, gone: &mut Vec<NetOp>, come: &mut Vec<NetOp>) {
    let mut relinked = false;
    for (interface, seen) in &have.links {
        if want.links.get(interface) != Some(seen) {
            gone.push(NetOp::Detach { task, interface: interface.clone(), host_name: seen.host_name.clone() });
            relinked = true;
        }
    }
    for (interface, wanted) in &want.links {
        if have.links.get(interface) != Some(wanted) {
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
        NetOp::SetBridgeAddresses { bridge, remove, add } => {
            let addresses = &mut kernel.bridges.entry(bridge.clone()).or_default().addresses;
            addresses.retain(|address| !remove.contains(address));
            addresses.extend(add);
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
        let veth = (0_u8..3, 0_u8..2, cidrs()).prop_map(|(bridge, mac, addresses)| Veth {
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
            cidrs().prop_map(|addresses| Bridge { addresses }),
            0..4,
        );
        let namespaces = proptest::collection::btree_map((0_u128..5).prop_map(TaskId), namespace(), 0..5);
        let strays =
            proptest::collection::btree_set((0_u8..4).prop_map(|n| format!("v{n}")), 0..=usize::from(strays) * 3);
        (bridges, namespaces, strays).prop_map(|(bridges, namespaces, strays)| Kernel { bridges, namespaces, strays })
    }

    proptest! {
        #[test]
        fn the_steps_lead_to_what_is_wanted(want in kernel(false), have in kernel(true)) {
            prop_assert_eq!(apply_ops(&diff(&want, &have), &have), want.clone());
            prop_assert!(diff(&want, &want).is_empty());
        }
    }
}
