//! Volumes hold data that stays on its node: a task goes to where the data of its volumes is. A slot for
//! which there is none yet, as when a service is scaled up, begins with an empty volume where it likes. A slot whose
//! data is on a node that can't be used waits for that; others do not wait with it while the service works elsewhere.

use crate::cluster::{Cluster, TaskExt};
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
    /// Where tasks of each slot were before.
    past: BTreeMap<u32, BTreeSet<NodeId>>,
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
        let mut homes = Homes { volumes, named, nodes, open, held: BTreeMap::new(), past: BTreeMap::new() };
        for task in cluster.briefs_of(service.id) {
            let Some(node) = task.node else { continue };
            if task.is_live() {
                homes.hold(node, task.number);
            } else {
                homes.past.entry(task.number).or_default().insert(node);
            }
        }
        Some(homes)
    }

    /// Where a slot has to go: of the homes that no other slot of the service holds its own, else those that take tasks.
    /// `None`: any node will do, for there is no such home, or one more may begin with its own beside those that work.
    pub(super) fn free(&self, slot: u32) -> Option<Bound> {
        let other = |node: &&NodeId| self.held.get(node).is_some_and(|slots| slots.iter().any(|held| *held != slot));
        let free: BTreeSet<NodeId> = self.nodes.iter().filter(|node| !other(node)).copied().collect();
        let own = self.past.get(&slot).map(|past| &free & past).unwrap_or_default();
        let bound = [own, &free & &self.open].into_iter().find(|nodes| !nodes.is_empty());
        let bound = bound.unwrap_or_else(|| if self.open.is_empty() { free } else { BTreeSet::new() });
        (!bound.is_empty()).then(|| (self.named.clone(), bound))
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
