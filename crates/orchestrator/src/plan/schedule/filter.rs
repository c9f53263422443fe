//! What tasks of one spec ask of a node, and who can't give it.

use super::homes;
use super::usage::{self, HostPort, Usage};
use crate::explain::Unplaced;
use model::{Availability, NodeId, Service, ServiceSpec};
use std::sync::Arc;

/// What binds one task alone to some nodes.
#[derive(Default)]
pub(super) struct Limits {
    /// The node of the container whose network it shares.
    pub(super) beside: Option<NodeId>,
    /// Where its volumes are.
    pub(super) home: Option<homes::Bound>,
}

/// What the tasks of one batch ask for.
pub(super) struct Asking<'s> {
    pub(super) spec: &'s ServiceSpec,
    /// Ports of the task's own node.
    ports: Vec<HostPort>,
    /// All that it publishes.
    published: Vec<HostPort>,
    /// Of each node the constraint that it fails.
    failing: Arc<Vec<Option<usize>>>,
}

impl<'s> Asking<'s> {
    pub(super) fn new(usage: &mut Usage, service: &Service, spec: &'s ServiceSpec) -> Asking<'s> {
        let failing = usage.failing(&spec.placement.constraints);
        let ports = usage::host_ports(spec, service).collect();
        Asking { spec, ports, published: usage::all_ports(spec, Some(service)).collect(), failing }
    }

    /// Does a person run it, on one very machine? What that takes of services does not matter then.
    fn is_run_here(&self) -> bool {
        self.spec.standalone && self.spec.placement.constraints.iter().any(|text| text.starts_with("node.id=="))
    }

    /// Asks the filters in turn; the first that refuses is counted.
    pub(super) fn can_take(&self, usage: &Usage, place: usize, limits: &Limits, unplaced: &mut Unplaced) -> bool {
        let node = usage.node(place);
        if !node.ready {
            unplaced.down += 1;
            return false;
        }
        match node.availability {
            Availability::Active => {}
            Availability::Pause | Availability::Drain if self.is_run_here() => {}
            Availability::Pause => {
                unplaced.paused += 1;
                return false;
            }
            Availability::Drain => {
                unplaced.drained += 1;
                return false;
            }
        }
        if limits.beside.is_some_and(|beside| beside != node.id) {
            unplaced.elsewhere += 1;
            return false;
        }
        if let Some((volume, _)) = limits.home.as_ref().filter(|(_, nodes)| !nodes.contains(&node.id)) {
            Unplaced::count(&mut unplaced.volumes, volume.clone());
            return false;
        }
        if let Some(failing) = self.failing.get(place).copied().flatten() {
            let text = self.spec.placement.constraints.get(failing).cloned().unwrap_or_default();
            Unplaced::count(&mut unplaced.constraints, text);
            return false;
        }
        self.has_room(usage, place, unplaced)
    }

    /// Is there room? What is found once may be taken by the task before.
    pub(super) fn has_room(&self, usage: &Usage, place: usize, unplaced: &mut Unplaced) -> bool {
        let (node, used) = (usage.node(place), usage.used(place));
        let wanted = &self.spec.resources;
        let memory = wanted.reserve_memory.unwrap_or(0);
        if memory > 0 && used.memory.saturating_add(memory) > node.memory {
            unplaced.memory = (unplaced.memory.0 + 1, memory);
            return false;
        }
        let cpus = wanted.reserve_nano_cpus.unwrap_or(0);
        if cpus > 0 && used.nano_cpus.saturating_add(cpus) > node.nano_cpus {
            unplaced.cpus = (unplaced.cpus.0 + 1, cpus);
            return false;
        }
        for (kind, count) in &wanted.reserve_generic {
            let has = node.generic.get(kind).copied().unwrap_or(0);
            if used.generic.get(kind).copied().unwrap_or(0).saturating_add(*count) > has {
                Unplaced::count(&mut unplaced.generic, kind.clone());
                return false;
            }
        }
        let mut others = self.published.iter().filter(|port| used.holds_for_another(port, &self.spec.name));
        if let Some(port) = self.ports.iter().find(|port| used.holds(port)).or_else(|| others.next()) {
            Unplaced::count(&mut unplaced.ports, port.1);
            return false;
        }
        let most = self.spec.placement.max_replicas_per_node;
        if most > 0 && usage.own(place) >= most {
            unplaced.full = (unplaced.full.0 + 1, most);
            return false;
        }
        true
    }

    /// Why none of some nodes can take one of them.
    pub(super) fn why(&self, usage: &Usage, among: impl Fn(usize) -> bool) -> Box<Unplaced> {
        let mut unplaced = Unplaced { nodes: usage.len(), ..Unplaced::default() };
        for place in usage.places().filter(|place| among(*place)) {
            let _ = self.can_take(usage, place, &Limits::default(), &mut unplaced);
        }
        Box::new(unplaced)
    }
}
