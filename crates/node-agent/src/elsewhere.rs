//! What of a host's network is not only its own: the way to other hosts, who is there, and the addresses that
//! services have beside those of their tasks.

use crate::net::{addresses, takes_traffic};
use crate::task::{Goal, Local};
use model::{Assignment, Mesh, Network, NetworkId, RemoteEndpoint, TaskId, VirtualAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A view on what the assignment says of others.
pub(crate) struct Others<'a> {
    pub(crate) locals: &'a BTreeMap<TaskId, Local>,
    pub(crate) assignment: &'a Assignment,
    /// Those that this host needs.
    pub(crate) networks: &'a BTreeMap<NetworkId, Network>,
}

impl Others<'_> {
    /// The way to them.
    pub(crate) fn mesh(&self) -> Option<Mesh> {
        self.assignment.mesh.as_ref()?.seen_from(self.assignment.node)
    }

    /// Tasks of the networks here that are elsewhere.
    pub(crate) fn remotes(&self) -> BTreeMap<NetworkId, Arc<Vec<RemoteEndpoint>>> {
        let Some(number) = number(self.assignment) else { return BTreeMap::new() };
        let known = self.networks.keys().filter_map(|id| Some((*id, self.assignment.remotes.get(id)?)));
        let elsewhere = |all: &Arc<Vec<RemoteEndpoint>>| match all.iter().any(|task| task.node == number) {
            true => Arc::new(all.iter().filter(|task| task.node != number).cloned().collect()),
            false => all.clone(),
        };
        known.map(|(id, all)| (id, elsewhere(all))).collect()
    }

    /// Where the tasks are that published ports lead to.
    pub(crate) fn ingress(&self) -> BTreeMap<IpAddr, u32> {
        if number(self.assignment).is_some() { (*self.assignment.ingress).clone() } else { BTreeMap::new() }
    }

    /// Virtual addresses on the networks here. Of tasks on this host, the agent knows best which may be sent
    /// traffic; of others, the manager does.
    pub(crate) fn vips(&self, goal: impl Fn(&Local) -> Goal) -> BTreeMap<NetworkId, Arc<Vec<VirtualAddress>>> {
        let own = self.locals.values().filter_map(|local| Some((local, local.assigned.as_ref()?)));
        let own = own.flat_map(|(local, it)| it.task.endpoints.iter().map(move |at| (local, it, at)));
        let ours = ours(self.locals, self.assignment);
        let mut serving: BTreeMap<(NetworkId, model::ServiceId), Vec<IpAddr>> = BTreeMap::new();
        for (_, assigned, at) in own.filter(|(local, ..)| takes_traffic(local, goal(local))) {
            serving.entry((at.network, assigned.task.service)).or_default().extend(at.addresses());
        }
        let known = self.networks.keys().filter_map(|id| Some((*id, self.assignment.vips.get(id)?)));
        let seen = |(id, all): (NetworkId, &Arc<Vec<VirtualAddress>>)| {
            let vips = all.iter().map(|vip| {
                let elsewhere = vip.backends.iter().filter(|address| !ours.contains(address));
                let here = serving.get(&(id, vip.service)).into_iter().flatten();
                VirtualAddress { backends: elsewhere.chain(here).copied().collect(), ..vip.clone() }
            });
            (id, Arc::new(vips.collect()))
        };
        known.map(seen).collect()
    }
}

/// Addresses of tasks on this host, for whom the agent speaks, whatever an assignment says that is older than what it
/// knows. Who ended has given its address back: from when another node is told to have it, it is that node's.
pub(crate) fn ours(locals: &BTreeMap<TaskId, Local>, assignment: &Assignment) -> BTreeSet<IpAddr> {
    let assigned = |local: &'_ Local| local.assigned.as_ref().map(|it| addresses(it).collect::<Vec<_>>());
    let of = |ended| locals.values().filter(move |local| local.ended() == ended).filter_map(assigned).flatten();
    let mut given_back: BTreeSet<IpAddr> = of(true).collect();
    if let Some(number) = number(assignment).filter(|_| !given_back.is_empty()) {
        let remotes = assignment.remotes.values().flat_map(|all| all.iter()).filter(|it| it.node != number);
        let entered = assignment.ingress.iter().filter(|(_, node)| **node != number).map(|(address, _)| *address);
        for address in remotes.flat_map(RemoteEndpoint::addresses).chain(entered) {
            given_back.remove(&address);
        }
    }
    of(false).chain(given_back).collect()
}

/// This node's number in the mesh.
fn number(assignment: &Assignment) -> Option<u32> {
    assignment.mesh.as_ref()?.nodes.get(&assignment.node).map(|own| own.number)
}
