//! Volumes hold data that stays on its node: a task goes to where the data of its volumes is. A slot for
//! which there is none yet, as when a service is scaled up, begins with an empty volume where it likes. A slot whose
//! data is on a node that can't be used waits for that; others do not wait with it.

use crate::cluster::{Brief, Cluster, TaskExt};
use crate::usage::volumes_of;
use model::{Availability, Node, NodeId, Service, ServiceSpec, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that have the volumes of a spec, and who is there.
pub(super) struct Homes {
    /// Names of the volumes that stay on their nodes.
    pub(super) volumes: Vec<String>,
    /// A volume with data, for people.
    named: String,
    nodes: BTreeSet<NodeId>,
    /// Those that take tasks now.
    open: BTreeSet<NodeId>,
    /// Slots of the service with a live task, by node.
    held: BTreeMap<NodeId, BTreeSet<u32>>,
    /// Where the task before was in each slot.
    past: BTreeMap<u32, NodeId>,
    /// Those that slots wait for whose task was there before.
    awaited: BTreeSet<NodeId>,
}

/// The nodes to which a task is bound, and by which volume.
pub(super) type Bound = (String, BTreeSet<NodeId>);

impl Homes {
    /// `None` if the spec has no such volume.
    pub(super) fn of(cluster: &Cluster, service: &Service, spec: &ServiceSpec) -> Option<Homes> {
        let stays = |name: &&str| !cluster.volumes.get(*name).is_some_and(|volume| is_elsewhere(volume));
        let volumes: Vec<String> = volumes_of(spec).filter(stays).map(str::to_owned).collect();
        if volumes.is_empty() {
            return None;
        }
        let mut named = String::new();
        let mut nodes: Option<BTreeSet<NodeId>> = None;
        for (name, homes) in volumes.iter().filter_map(|name| Some((name, cluster.homes.get(name)?))) {
            let there = homes.iter().filter(|node| cluster.nodes.contains_key(node)).copied();
            let both = there.filter(|node| nodes.as_ref().is_none_or(|nodes| nodes.contains(node))).collect();
            nodes = Some(both);
            named.clone_from(name);
        }
        let nodes = nodes.unwrap_or_default();
        let takes = |node: &Node| node.ready && node.availability == Availability::Active;
        let open = nodes.iter().filter(|id| cluster.nodes.get(id).is_some_and(|node| takes(node))).copied().collect();
        let mut homes = Homes {
            volumes,
            named,
            nodes,
            open,
            held: BTreeMap::new(),
            past: BTreeMap::new(),
            awaited: BTreeSet::new(),
        };
        for task in cluster.briefs_of(service.id).filter(|task| task.is_live()) {
            task.node.into_iter().for_each(|node| homes.hold(node, task.number));
        }
        let mut ages = BTreeMap::new();
        for task in cluster.tasks_where(service.id, |task| !task.is_live()) {
            let age = (task.created, task.id);
            if let Some(node) = task.node.filter(|node| homes.nodes.contains(node))
                && ages.get(&task.slot).is_none_or(|newest| age > *newest)
            {
                ages.insert(task.slot, age);
                homes.past.insert(task.slot, node);
            }
        }
        let waits = |task: &&Brief| task.is_live() && task.node.is_none();
        let waiting = cluster.briefs_of(service.id).filter(waits).filter_map(|task| homes.past.get(&task.number));
        homes.awaited = waiting.copied().collect();
        Some(homes)
    }

    /// Where a slot has to go: to where its task was before; else to one of the homes that no other slot of the service
    /// holds or waits for (`claimed` too), one that takes tasks if there is any. `None`: any node will do, there is no
    /// such home.
    pub(super) fn free(&self, slot: u32, claimed: &BTreeSet<NodeId>) -> Option<Bound> {
        let bound = |nodes| Some((self.named.clone(), nodes));
        if let Some(own) = self.past.get(&slot) {
            return bound(BTreeSet::from([*own]));
        }
        let is_free = |node: &&NodeId| {
            ![&self.awaited, claimed].iter().any(|all| all.contains(node)) && !self.held.contains_key(node)
        };
        let free: BTreeSet<NodeId> = self.nodes.iter().filter(is_free).copied().collect();
        let open: BTreeSet<NodeId> = &free & &self.open;
        match (open.is_empty(), free.is_empty()) {
            (false, _) => bound(open),
            (true, false) => bound(free),
            (true, true) => None,
        }
    }

    /// A slot is there from now on.
    pub(super) fn hold(&mut self, node: NodeId, slot: u32) {
        self.held.entry(node).or_default().insert(slot);
    }
}

/// Does the data live on a server that every node can reach?
fn is_elsewhere(volume: &VolumeSpec) -> bool {
    let kind = volume.driver_opts.get("type").map(String::as_str);
    kind.is_some_and(|kind| matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "glusterfs" | "9p"))
}
