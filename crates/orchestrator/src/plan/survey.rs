//! One look at every task, to find the services that need a closer one. At rest that is all there is to
//! a plan, so it stays cheap for many tasks.

use super::unfit::Unfit;
use crate::cluster::{Brief, Cluster, TaskExt};
use model::{Availability, Desired, Mode, NetworkMode, NodeId, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Past tasks of a slot that are no reason to look: as many as are kept beside the present one.
const PAST: u8 = super::reap::HISTORY as u8 - 1;

/// A slot: is it held, and how many past tasks has it?
type Place = (bool, u8);

/// The slots that a service should have.
enum Places {
    /// By number, from 1.
    Numbered(Vec<Place>),
    /// By node; those that should be held. Others may have a past.
    Nodes(BTreeMap<NodeId, Place>, BTreeSet<NodeId>),
}

/// What was seen of one service.
struct Seen {
    restless: bool,
    live: usize,
    places: Places,
    /// Nodes where its tasks can't stay.
    unfit: Arc<BTreeSet<NodeId>>,
}

/// Services for which a step of the plan may have something to do, in the order of their ids. Of all
/// others no step would change or say anything.
pub(crate) fn restless(cluster: &Cluster) -> Vec<ServiceId> {
    let mut unfit = Unfit::default();
    let mut is_restless = |service: &Service| {
        let mut seen = begin(cluster, service, &mut unfit);
        seen.restless
            || !cluster.briefs_of(service.id).all(|task| is_settled(&mut seen, task))
            || seen.live != seen.wanted()
    };
    cluster.services.values().filter(|service| is_restless(service)).map(|service| service.id).collect()
}

impl Seen {
    fn wanted(&self) -> usize {
        match &self.places {
            Places::Numbered(slots) => slots.len(),
            Places::Nodes(_, wanted) => wanted.len(),
        }
    }
}

fn begin(cluster: &Cluster, service: &Service, unfit: &mut Unfit) -> Seen {
    let updating = service.update_status.as_ref().is_some_and(|status| status.state.is_active());
    let shares = matches!(service.spec.network_mode, NetworkMode::Service(_));
    let restless = service.removing || updating || shares;
    let unfit = unfit.of(cluster, &service.spec.placement.constraints);
    let places = match service.spec.mode {
        Mode::Replicated { replicas } if !restless => Places::Numbered(vec![(false, 0); replicas as usize]),
        Mode::Global if !restless => {
            let takes = cluster.nodes.values().filter(|node| node.ready && node.availability == Availability::Active);
            let wanted = takes.map(|node| node.id).filter(|id| !unfit.contains(id)).collect();
            Places::Nodes(BTreeMap::new(), wanted)
        }
        _ => return Seen { restless: true, live: 0, places: Places::Numbered(Vec::new()), unfit },
    };
    Seen { restless, live: 0, places, unfit }
}

/// Does the task run as it should, alone in its slot, or is it past and few enough?
fn is_settled(seen: &mut Seen, task: &Brief) -> bool {
    let Some(node) = task.node else { return false };
    let place = match &mut seen.places {
        Places::Numbered(slots) => (task.number as usize).checked_sub(1).and_then(|place| slots.get_mut(place)),
        Places::Nodes(nodes, _) if task.number == 0 => Some(nodes.entry(node).or_default()),
        Places::Nodes(..) => None,
    };
    let Some((held, past)) = place else { return false };
    if task.desired == Desired::Shutdown && task.state.is_terminal() {
        *past += 1;
        return *past <= PAST;
    }
    let alone = !std::mem::replace(held, true);
    let wanted = match &seen.places {
        Places::Numbered(_) => true,
        Places::Nodes(_, wanted) => wanted.contains(&node),
    };
    seen.live += 1;
    alone && wanted && task.desired == Desired::Running && task.is_running() && !seen.unfit.contains(&node)
}
