//! What of each node is taken. Nodes are known by their place in the order of ids here.

use crate::cluster::{Brief, Cluster, TaskExt};
use crate::plan::failures;
use crate::usage::published;
use model::{Desired, NetworkMode, Node, NodeId, PortMode, Protocol, Service, ServiceSpec, Task, TaskState, Time};
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
    /// Of tasks that publish them on their own node only.
    ports: BTreeSet<HostPort>,
    /// Of all tasks, each with the name of its service.
    published: BTreeSet<(HostPort, String)>,
}

impl Used {
    /// Is a port taken that no two tasks of one node can have?
    pub(super) fn holds(&self, port: &HostPort) -> bool {
        self.ports.iter().any(|held| clash(held, port))
    }

    /// Is a port taken by a task of another service? Its own tasks can share it, also those of an earlier spec or of an
    /// earlier service of the name. Services that want one port at the same time are refused; but a task keeps its own
    /// until it ends, though its service has gone, or wants another by now.
    pub(super) fn holds_for_another(&self, port: &HostPort, name: &str) -> bool {
        self.published.iter().any(|(held, of)| clash(held, port) && of != name)
    }
}

/// All addresses clash with each.
fn clash(a: &HostPort, b: &HostPort) -> bool {
    (a.0, a.1) == (b.0, b.1) && (a.2 == b.2 || a.2.is_empty() || b.2.is_empty())
}

/// What tasks use of all nodes.
#[derive(Debug, Default)]
pub(super) struct Usage {
    nodes: Vec<Arc<Node>>,
    used: Vec<Used>,
    places: BTreeMap<NodeId, usize>,
    /// Live tasks of the service that is being placed.
    own: Vec<u32>,
    /// How bad nodes are for it.
    penalties: Vec<u32>,
    /// By constraints: of each node the first that it fails.
    failing: BTreeMap<Vec<String>, Arc<Vec<Option<usize>>>>,
    nothing: Used,
}

impl Usage {
    pub(super) fn of(cluster: &Cluster) -> Usage {
        let nodes: Vec<Arc<Node>> = cluster.nodes.values().cloned().collect();
        let places = nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect();
        let used = vec![Used::default(); nodes.len()];
        let mut usage = Usage { nodes, used, places, ..Usage::default() };
        for id in cluster.members.keys() {
            let service = cluster.services.get(&id);
            for (task, brief) in cluster.members.of(id) {
                let Some(place) = usage.place(brief) else { continue };
                // Most are of the spec that their service has, and need not be looked up.
                match service.filter(|service| service.spec_version == brief.spec_version) {
                    Some(service) => usage.count(&service.spec, Some(service), place),
                    None => {
                        let spec = cluster.tasks.get(&task).map(|task| &task.spec);
                        spec.into_iter().for_each(|spec| usage.count(spec, service.map(|it| &**it), place));
                    }
                }
            }
        }
        usage
    }

    /// Where a task takes something, if it does.
    fn place(&self, task: &Brief) -> Option<usize> {
        let ended = task.has_ended() || (task.desired >= Desired::Shutdown && task.state.is_terminal());
        // A task whose slot is its node has one from the start, and is counted when it is placed.
        let placed = task.state > TaskState::Pending;
        task.node.filter(|_| !ended && placed).and_then(|node| self.place_of(node))
    }

    /// Tasks of this service are placed from now on.
    pub(super) fn begin(&mut self, cluster: &Cluster, service: &Service, now: Time) {
        self.own.clear();
        self.own.resize(self.nodes.len(), 0);
        let penalty = |node: &Arc<Node>| failures::penalty(cluster, service, node.id, now);
        self.penalties = self.nodes.iter().map(penalty).collect();
        for task in cluster.briefs_of(service.id).filter(|task| task.is_live()) {
            if let Some(own) = self.place(task).and_then(|place| self.own.get_mut(place)) {
                *own += 1;
            }
        }
    }

    /// One more of that service.
    pub(super) fn add(&mut self, task: &Task, service: &Service, place: usize) {
        self.count(&task.spec, Some(service), place);
        if let Some(own) = self.own.get_mut(place) {
            *own += 1;
        }
    }

    fn count(&mut self, spec: &ServiceSpec, service: Option<&Service>, place: usize) {
        let Some(used) = self.used.get_mut(place) else { return };
        let wanted = &spec.resources;
        used.tasks += 1;
        used.memory = used.memory.saturating_add(wanted.reserve_memory.unwrap_or(0));
        used.nano_cpus = used.nano_cpus.saturating_add(wanted.reserve_nano_cpus.unwrap_or(0));
        for (kind, count) in &wanted.reserve_generic {
            *used.generic.entry(kind.clone()).or_default() += count;
        }
        if !spec.ports.is_empty() {
            match service {
                Some(service) => used.ports.extend(host_ports(spec, service)),
                None => used.ports.extend(named_ports(spec)),
            }
            used.published.extend(all_ports(spec, service).map(|port| (port, spec.name.clone())));
        }
    }

    /// Of each node the first of these constraints that it fails. Most services share few lists.
    pub(super) fn failing(&mut self, constraints: &[String]) -> Arc<Vec<Option<usize>>> {
        if let Some(known) = self.failing.get(constraints) {
            return known.clone();
        }
        let first = |node: &Arc<Node>| constraints.iter().position(|text| !super::constraint::fits(text, node));
        let failing = Arc::new(self.nodes.iter().map(first).collect::<Vec<_>>());
        self.failing.insert(constraints.to_vec(), failing.clone());
        failing
    }

    /// Where a node is.
    pub(super) fn place_of(&self, node: NodeId) -> Option<usize> {
        self.places.get(&node).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn places(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// The node of a place; places are made here, one for each node.
    pub(super) fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    pub(super) fn used(&self, place: usize) -> &Used {
        self.used.get(place).unwrap_or(&self.nothing)
    }

    /// See [`failures::penalty`].
    pub(super) fn penalty(&self, place: usize) -> u32 {
        self.penalties.get(place).copied().unwrap_or(0)
    }

    /// Live tasks there of the service that is being placed.
    pub(super) fn own(&self, place: usize) -> u32 {
        self.own.get(place).copied().unwrap_or(0)
    }
}

/// Ports that a task takes on its own node: those that its spec names, and those chosen for its service.
pub(super) fn host_ports(spec: &ServiceSpec, service: &Service) -> impl Iterator<Item = HostPort> {
    let chosen = published(service).filter(|(index, (mode, _))| {
        let named = service.spec.ports.get(*index).is_some_and(|port| port.published.is_some());
        *mode == PortMode::Host && !named
    });
    let chosen = chosen.map(|(_, (_, (protocol, port, address)))| (protocol, port, address.unwrap_or_default()));
    named_ports(spec).chain(chosen)
}

/// Ports that a task publishes, wherever they are answered.
pub(super) fn all_ports<'s>(
    spec: &'s ServiceSpec,
    service: Option<&'s Service>,
) -> impl Iterator<Item = HostPort> + use<'s> {
    let networked = spec.network_mode == NetworkMode::Networks;
    spec.ports.iter().enumerate().filter(move |_| networked).filter_map(move |(index, port)| {
        let chosen = || service.and_then(|service| service.chosen_port(index));
        Some((port.protocol, port.published.or_else(chosen)?, port.host_ip.clone().unwrap_or_default()))
    })
}

fn named_ports(spec: &ServiceSpec) -> impl Iterator<Item = HostPort> {
    let ports = spec.ports.iter().filter(|port| port.mode == PortMode::Host);
    ports.filter_map(|port| Some((port.protocol, port.published?, port.host_ip.clone().unwrap_or_default())))
}
