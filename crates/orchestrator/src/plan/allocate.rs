//! Addresses of tasks. Subnets and host ports are decided where networks and services are made.

use super::slots;
use crate::address::{self, Range};
use crate::cluster::{Cluster, TaskExt};
use crate::draft::Draft;
use crate::explain::Wait;
use model::{Endpoint, Network, NetworkAttachment, NetworkId, NetworkMode, ServiceId, Task, TaskId, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Addresses in use, by network. Those of a network are collected when somebody needs one of it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_network: BTreeMap<NetworkId, Taken>,
    /// Networks that services attach to under this name, with the addresses that they name: those are not
    /// given to others.
    named: Option<BTreeMap<String, Vec<IpAddr>>>,
    /// Virtual addresses of services.
    vips: Option<BTreeMap<NetworkId, Vec<u32>>>,
}

#[derive(Debug, Default)]
struct Taken {
    v4: BTreeMap<u32, Option<TaskId>>,
    v6: BTreeMap<u128, Option<TaskId>>,
}

impl Taken {
    fn is_free(&self, network: &Network, candidate: u32) -> bool {
        let derived = address::derived6(network, candidate);
        !self.v4.contains_key(&candidate) && derived.is_none_or(|v6| !self.v6.contains_key(&v6.into()))
    }
}

impl Held {
    /// What the tasks on a network hold, and what specs name.
    fn collect(&mut self, cluster: &Cluster, network: &Network) {
        if self.by_network.contains_key(&network.id) {
            return;
        }
        let mut taken = Taken::default();
        let named = self.named.get_or_insert_with(|| named(cluster));
        for address in named.get(&network.spec.name).into_iter().flatten() {
            match address {
                IpAddr::V4(v4) => drop(taken.v4.entry((*v4).into()).or_default()),
                IpAddr::V6(v6) => drop(taken.v6.entry((*v6).into()).or_default()),
            }
        }
        let vips = self.vips.get_or_insert_with(|| vips(cluster));
        for vip in vips.get(&network.id).into_iter().flatten() {
            taken.v4.entry(*vip).or_default();
            taken.v6.extend(address::derived6(network, *vip).map(|v6| (v6.into(), None)));
        }
        self.by_network.insert(network.id, taken);
        for (id, seat) in cluster.on_network.of(network.id).filter(|(_, seat)| !seat.has_ended) {
            self.take(id, network.id, seat.address, seat.address6);
            let task = cluster.tasks.get(&id).filter(|_| seat.has_more);
            let all = task.into_iter().flat_map(|task| &task.endpoints);
            self.take_all(id, all.filter(|endpoint| endpoint.network == network.id));
        }
    }

    /// May somebody have this address of the network, and the IPv6 one that goes with it? `candidate`: as a number.
    pub(crate) fn is_free(&mut self, cluster: &Cluster, network: &Network, candidate: u32) -> bool {
        self.collect(cluster, network);
        self.by_network.get(&network.id).is_none_or(|taken| taken.is_free(network, candidate))
    }

    fn take_all<'e>(&mut self, task: TaskId, endpoints: impl IntoIterator<Item = &'e Endpoint>) {
        for endpoint in endpoints {
            self.take(task, endpoint.network, endpoint.address, endpoint.address6);
        }
    }

    fn take(&mut self, task: TaskId, network: NetworkId, address: IpAddr, address6: Option<IpAddr>) {
        let taken = self.by_network.entry(network).or_default();
        if let IpAddr::V4(v4) = address {
            taken.v4.insert(v4.into(), Some(task));
        }
        if let Some(IpAddr::V6(v6)) = address6 {
            taken.v6.insert(v6.into(), Some(task));
        }
    }

    /// Does another task hold one of the addresses of this one?
    pub(crate) fn conflicts(&mut self, cluster: &Cluster, task: &Task) -> bool {
        task.endpoints.iter().any(|endpoint| {
            let Some(network) = cluster.networks.get(&endpoint.network) else { return false };
            self.collect(cluster, network);
            let Some(taken) = self.by_network.get(&endpoint.network) else { return false };
            let other =
                |holder: Option<&Option<TaskId>>| holder.copied().flatten().is_some_and(|holder| holder != task.id);
            let v4 = matches!(endpoint.address, IpAddr::V4(v4) if other(taken.v4.get(&v4.into())));
            v4 || matches!(endpoint.address6, Some(IpAddr::V6(v6)) if other(taken.v6.get(&v6.into())))
        })
    }
}

/// Fixed addresses in the specs of services, by the name of the network.
fn named(cluster: &Cluster) -> BTreeMap<String, Vec<IpAddr>> {
    let mut named: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for attachment in cluster.services.values().flat_map(|service| &service.spec.networks) {
        let fixed = [attachment.ipv4_address.as_deref(), attachment.ipv6_address.as_deref()];
        for address in fixed.into_iter().filter_map(parse) {
            named.entry(attachment.network.clone()).or_default().push(address);
        }
    }
    named
}

fn vips(cluster: &Cluster) -> BTreeMap<NetworkId, Vec<u32>> {
    let mut vips: BTreeMap<NetworkId, Vec<u32>> = BTreeMap::new();
    for (network, vip) in cluster.services.values().flat_map(|service| &service.vips) {
        vips.entry(*network).or_default().push((*vip).into());
    }
    vips
}

fn parse(text: Option<&str>) -> Option<IpAddr> {
    text.and_then(|text| text.parse().ok())
}

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let mut new: Vec<Arc<Task>> =
        slots::tasks_where(draft.cluster(), restless, |task| task.state == TaskState::New && task.is_live())
            .cloned()
            .collect();
    if new.is_empty() {
        return;
    }
    // Fixed addresses before others, so that nobody takes them first; then by slot, for people's eyes.
    new.sort_by_key(|task| (!is_fixed(task), task.service, task.slot, task.created, task.id));
    let mut held = Held::default();
    let now = draft.now;
    let networks = by_name(draft.cluster());
    for task in new {
        match endpoints(draft, &mut held, &networks, &task) {
            Ok(endpoints) => draft.edit().edit_task(task.id, |task| {
                task.endpoints = endpoints;
                (task.status.state, task.status.since) = (TaskState::Pending, now);
            }),
            Err(wait) => draft.wait(task.id, wait),
        }
    }
}

/// Networks by their full names.
pub(crate) fn by_name(cluster: &Cluster) -> BTreeMap<String, Arc<Network>> {
    cluster.networks.values().map(|network| (network.spec.name.clone(), network.clone())).collect()
}

fn is_fixed(task: &Task) -> bool {
    task.spec.networks.iter().any(|attachment| attachment.ipv4_address.is_some() || attachment.ipv6_address.is_some())
}

/// Addresses for a task, one per network.
pub(crate) fn endpoints(
    draft: &mut Draft<'_>,
    held: &mut Held,
    networks: &BTreeMap<String, Arc<Network>>,
    task: &Task,
) -> Result<Vec<Endpoint>, Wait> {
    if task.spec.network_mode != NetworkMode::Networks {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for attachment in &task.spec.networks {
        let Some(network) = networks.get(&attachment.network) else {
            return Err(Wait::NoNetwork(attachment.network.clone()));
        };
        held.collect(draft.cluster(), network);
        all.push(endpoint(draft, held, task, attachment, network)?);
    }
    held.take_all(task.id, &all);
    Ok(all)
}

/// Addresses for a task on one network more.
pub(crate) fn added(
    draft: &mut Draft<'_>,
    task: &Task,
    attachment: &NetworkAttachment,
    network: &Network,
) -> Result<Endpoint, Wait> {
    let mut held = Held::default();
    held.collect(draft.cluster(), network);
    endpoint(draft, &held, task, attachment, network)
}

fn endpoint(
    draft: &mut Draft<'_>,
    held: &Held,
    task: &Task,
    attachment: &NetworkAttachment,
    network: &Network,
) -> Result<Endpoint, Wait> {
    let nothing = Taken::default();
    let taken = held.by_network.get(&network.id).unwrap_or(&nothing);
    let range = Range::of(network);
    let used = |address: IpAddr, holder: Option<Option<TaskId>>| match holder.flatten() {
        Some(holder) if holder != task.id => {
            let name = draft.cluster().tasks.get(&holder).map_or_else(|| holder.short(), |task| task.name());
            Err(Wait::Address(address, name))
        }
        _ => Ok(()),
    };
    let fixed6 = match parse(attachment.ipv6_address.as_deref()) {
        Some(IpAddr::V6(v6)) => {
            used(v6.into(), taken.v6.get(&v6.into()).copied())?;
            Some(v6)
        }
        _ => None,
    };
    let v4 = match parse(attachment.ipv4_address.as_deref()) {
        Some(IpAddr::V4(v4)) => {
            used(v4.into(), taken.v4.get(&v4.into()).copied())?;
            if let Some(v6) = address::derived6(network, v4.into()).filter(|_| fixed6.is_none()) {
                used(v6.into(), taken.v6.get(&v6.into()).copied())?;
            }
            u32::from(v4)
        }
        _ => {
            let last = draft.cluster().last_address.get(&network.id).copied();
            let Some(v4) = range.next(last, |candidate| taken.is_free(network, candidate)) else {
                return Err(Wait::Full { network: network.spec.name.clone(), size: range.size() });
            };
            draft.edit().last_address.insert(network.id, v4);
            v4
        }
    };
    let address6 = fixed6.or_else(|| address::derived6(network, v4));
    Ok(Endpoint {
        network: network.id,
        address: Ipv4Addr::from(v4).into(),
        address6: address6.map(IpAddr::V6),
        mac: attachment.mac_address.clone(),
        aliases: names(task),
        interface: None,
    })
}

/// The names of one task, beside those of its service.
fn names(task: &Task) -> Vec<String> {
    let mut names = BTreeSet::from([task.name(), task.id.to_string(), task.id.short()]);
    if !task.spec.standalone {
        let slot = task.slot.max(1);
        names.insert(format!("{}.{slot}", task.spec.name));
        if let Some(stack) = &task.spec.stack {
            names.insert(format!("{stack}-{}-{slot}", task.spec.key));
        }
    }
    // A placeholder is filled in on the node; such a name is known only there.
    names.extend(task.spec.container.hostname.iter().filter(|name| !name.contains("{{")).cloned());
    names.into_iter().map(|name| name.to_lowercase()).collect()
}
