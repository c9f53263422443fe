//! One look at every task, to find the services that need a closer one. At rest that is all there is to
//! a plan, so it stays cheap for many tasks.

use crate::cluster::{Cluster, TaskExt};
use model::{Availability, Desired, Mode, NetworkMode, Service, ServiceId, Task};
use std::collections::BTreeMap;

/// Past tasks of a slot that are no reason to look: as many as are kept beside the present one.
const PAST: u8 = super::reap::HISTORY as u8 - 1;

/// What was seen of one service.
struct Seen {
    restless: bool,
    live: usize,
    /// Of each slot from 1: is it held, and how many past tasks has it?
    slots: Vec<(bool, u8)>,
}

/// Services for which a step of the plan may have something to do, in the order of their ids. Of all
/// others no step would change or say anything.
pub(crate) fn restless(cluster: &Cluster) -> Vec<ServiceId> {
    let draining = cluster.nodes.values().any(|node| node.availability == Availability::Drain);
    let mut all: BTreeMap<ServiceId, Seen> =
        cluster.services.values().map(|service| (service.id, begin(service, draining))).collect();
    for task in cluster.tasks.values() {
        if let Some(seen) = all.get_mut(&task.service).filter(|seen| !seen.restless) {
            seen.restless = !is_settled(seen, task);
        }
    }
    all.into_iter().filter(|(_, seen)| seen.restless || seen.live != seen.slots.len()).map(|(id, _)| id).collect()
}

fn begin(service: &Service, draining: bool) -> Seen {
    let updating = service.update_status.as_ref().is_some_and(|status| status.state.is_active());
    let shares = matches!(service.spec.network_mode, NetworkMode::Service(_));
    let (restless, replicas) = match service.spec.mode {
        Mode::Replicated { replicas } => (service.removing || updating || draining || shares, replicas as usize),
        Mode::Global | Mode::ReplicatedJob { .. } | Mode::GlobalJob => (true, 0),
    };
    Seen { restless, live: 0, slots: if restless { Vec::new() } else { vec![(false, 0); replicas] } }
}

/// Does the task run as it should, alone in its slot, or is it past and few enough?
fn is_settled(seen: &mut Seen, task: &Task) -> bool {
    let Some((held, past)) = (task.slot as usize).checked_sub(1).and_then(|place| seen.slots.get_mut(place)) else {
        return false;
    };
    if task.node.is_none() {
        return false;
    }
    if task.desired == Desired::Shutdown && task.status.state.is_terminal() {
        *past += 1;
        return *past <= PAST;
    }
    let alone = !std::mem::replace(held, true);
    seen.live += 1;
    alone && task.desired == Desired::Running && task.is_running()
}
