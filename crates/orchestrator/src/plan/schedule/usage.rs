//! What of each node is taken.

use super::constraint;
use crate::cluster::{Cluster, TaskExt};
use model::{Desired, Node, NodeId, PortMode, Protocol, ServiceId, ServiceSpec, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A port of a host: protocol, port, address (empty: all).
pub(super) type HostPort = (Protocol, u16, String);

/// What tasks use of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Used {
    pub(super) tasks: u32,
    pub(super) memory: u64,
    pub(super) nano_cpus: u64,
    pub(super) generic: BTreeMap<String, u64>,
    ports: BTreeSet<HostPort>,
    services: BTreeMap<ServiceId, u32>,
}

impl Used {
    pub(super) fn of_service(&self, service: ServiceId) -> u32 {
        self.services.get(&service).copied().unwrap_or(0)
    }

    /// Is a port taken? All addresses clash with each.
    pub(super) fn holds(&self, port: &HostPort) -> bool {
        let same = |held: &&HostPort| held.0 == port.0 && held.1 == port.1;
        self.ports.iter().filter(same).any(|held| held.2 == port.2 || held.2.is_empty() || port.2.is_empty())
    }
}

/// What tasks use of all nodes.
#[derive(Debug, Default)]
pub(super) struct Usage {
    nodes: BTreeMap<NodeId, Used>,
    known: BTreeMap<NodeId, Arc<Node>>,
    nothing: Used,
}

impl Usage {
    pub(super) fn of(cluster: &Cluster) -> Usage {
        let mut usage = Usage { nodes: BTreeMap::new(), known: cluster.nodes.clone(), nothing: Used::default() };
        for task in cluster.tasks.values() {
            let ended = task.has_ended() || (task.desired >= Desired::Shutdown && task.status.state.is_terminal());
            // A task whose slot is its node has one from the start, and is counted when it is placed.
            let placed = task.status.state > model::TaskState::Pending;
            if let Some(node) = task.node.filter(|_| !ended && placed) {
                usage.add(task, node);
            }
        }
        usage
    }

    pub(super) fn add(&mut self, task: &Task, node: NodeId) {
        let used = self.nodes.entry(node).or_default();
        let wanted = &task.spec.resources;
        used.tasks += 1;
        used.memory = used.memory.saturating_add(wanted.reserve_memory.unwrap_or(0));
        used.nano_cpus = used.nano_cpus.saturating_add(wanted.reserve_nano_cpus.unwrap_or(0));
        for (kind, count) in &wanted.reserve_generic {
            *used.generic.entry(kind.clone()).or_default() += count;
        }
        used.ports.extend(host_ports(&task.spec));
        if task.is_live() {
            *used.services.entry(task.service).or_default() += 1;
        }
    }

    pub(super) fn node(&self, node: NodeId) -> &Used {
        self.nodes.get(&node).unwrap_or(&self.nothing)
    }

    /// Tasks of a service on all nodes that have this value for a descriptor.
    pub(super) fn in_group(&self, service: ServiceId, descriptor: &str, value: &str) -> u32 {
        let same = |id: &NodeId| self.known.get(id).is_some_and(|node| constraint::value(descriptor, node) == value);
        self.nodes.iter().filter(|(id, _)| same(id)).map(|(_, used)| used.of_service(service)).sum()
    }
}

/// Fixed ports that a task takes on its own node.
pub(super) fn host_ports(spec: &ServiceSpec) -> impl Iterator<Item = HostPort> {
    let ports = spec.ports.iter().filter(|port| port.mode == PortMode::Host);
    ports.filter_map(|port| Some((port.protocol, port.published?, port.host_ip.clone().unwrap_or_default())))
}
