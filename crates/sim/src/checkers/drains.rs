//! Who is told to leave is not told to end while another machine still sends to it.

use crate::world::World;
use model::{
    AssignedTask, Assignment, Desired, Endpoint, NetworkId, Protocol, PublishedPort, TaskId, Time, VirtualAddress,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Whom it takes longer to hear of it is not waited for; a little less than that.
const PATIENCE: Duration = Duration::from_secs(4);

impl World {
    /// An order has come to a node: since when do its tasks leave?
    pub(crate) fn note_leaving(&mut self, node: usize, order: &Assignment) {
        let leaves: BTreeSet<TaskId> = order
            .tasks
            .values()
            .filter(|assigned| is_told_to_leave(assigned))
            .map(|assigned| assigned.task.id)
            .collect();
        let now = self.now;
        let known = &mut self.checkers.leaving;
        known.retain(|(of, task), _| *of != node || leaves.contains(task));
        for task in leaves {
            known.entry((node, task)).or_insert(now);
        }
    }

    /// The clock of a node was set: what it waits for may be over at once, or take longer.
    pub(crate) fn clock_was_set(&mut self, node: usize) {
        self.checkers.leaving.iter_mut().filter(|((of, _), _)| *of == node).for_each(|(_, since)| *since = Time(0));
    }

    /// Looks at a stop before it is begun. Machines without a session that is older than the order are not asked for: one
    /// that is out of reach is given up.
    pub(super) fn check_drain(&self, node: usize, task: TaskId) -> Option<String> {
        let since = *self.checkers.leaving.get(&(node, task))?;
        let assigned = self.nodes.get(node)?.order.as_ref()?.tasks.get(&task)?;
        let is_in_touch = |node: usize| self.in_touch(node).is_some_and(|begun| begun < since);
        if self.now >= since.after(PATIENCE) || !is_in_touch(node) {
            return None;
        }
        let own: BTreeSet<IpAddr> = assigned.task.endpoints.iter().flat_map(Endpoint::addresses).collect();
        let leaving: BTreeSet<IpAddr> = self.leaving().collect();
        let others = self.nodes.iter().enumerate().filter(|(at, _)| *at != node);
        let mut there = others.filter(|(at, _)| is_in_touch(*at));
        let (at, _) = there.find(|(_, other)| {
            let Some(order) = &other.order else { return false };
            // What leads to nobody any more as a whole is no matter of who leaves.
            let stays = backends(&order.ports, &order.vips);
            let has_others = |place: &Place| stays.iter().any(|(it, all)| it == place && !all.is_subset(&leaving));
            let there = backends(&other.host.net.ports, &other.host.net.vips);
            let leads = there.iter().any(|(place, all)| !all.is_disjoint(&own) && has_others(place));
            other.host.net.mesh.is_some() && leads
        })?;
        Some(format!("{} is stopped while n{} still sends to it", task.short(), at + 1))
    }

    /// The addresses of all that leave. Where nobody else is left, nobody is served any longer.
    fn leaving(&self) -> impl Iterator<Item = IpAddr> {
        let tasks = self.checkers.leaving.keys();
        let assigned = tasks.filter_map(|(node, task)| self.nodes.get(*node)?.order.as_ref()?.tasks.get(task));
        assigned.flat_map(|assigned| assigned.task.endpoints.iter()).flat_map(Endpoint::addresses)
    }
}

/// One that was given up is led to by nobody who has heard of that.
fn is_told_to_leave(assigned: &AssignedTask) -> bool {
    let task = &assigned.task;
    (task.desired >= Desired::Shutdown || task.stopped_by_user) && !task.status.state.is_terminal()
}

/// A published port, or a virtual address.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Port(Protocol, u16),
    Virtual(IpAddr),
}

/// Whom each of them leads to.
fn backends(
    ports: &[PublishedPort],
    vips: &BTreeMap<NetworkId, Arc<Vec<VirtualAddress>>>,
) -> Vec<(Place, BTreeSet<IpAddr>)> {
    let ports = ports.iter().map(|port| {
        let all = port.backends.iter().map(|(address, _)| *address).collect();
        (Place::Port(port.protocol, port.host_port), all)
    });
    let vips = vips.values().flat_map(|all| all.iter());
    ports.chain(vips.map(|vip| (Place::Virtual(vip.address), vip.backends.clone()))).collect()
}
