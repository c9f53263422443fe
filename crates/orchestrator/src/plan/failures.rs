//! Where a service keeps failing: such a node is the last to be chosen for a while. It is only a
//! preference, for where there is no other node it is better to try again than to wait.

use crate::cluster::{Cluster, Failures};
use crate::draft::Draft;
use model::{Avoided, NodeId, Service, ServiceId, Task, TaskState, Time};
use std::time::Duration;

/// So many failures (swarmkit's numbers) ...
const MOST: usize = 5;
/// ... within this time make a node a bad one for a service.
const MEMORY: Duration = Duration::from_secs(5 * 60);

/// A task that failed is about to be replaced. What is too old to count is forgotten in passing: time alone
/// is no reason for an entry.
pub(super) fn note(draft: &mut Draft<'_>, service: &Service, task: &Task) {
    let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
    let Some(node) = task.node.filter(|_| failed && task.spec_version == service.spec_version) else { return };
    let (now, since) = (draft.now, task.status.since);
    let cluster = draft.edit();
    cluster.failures.retain(|_, known| known.at.last().is_some_and(|last| counts(*last, now)));
    let begin = || Failures { spec_version: service.spec_version, at: Vec::new() };
    let known = cluster.failures.entry((service.id, node)).or_insert_with(begin);
    if known.spec_version != service.spec_version {
        *known = begin();
    }
    known.at.retain(|at| counts(*at, now));
    known.at.push(since);
    let extra = known.at.len().saturating_sub(2 * MOST);
    known.at.drain(..extra);
}

fn counts(at: Time, now: Time) -> bool {
    now.since(at) < MEMORY
}

/// Where services avoid nodes, and until when.
pub(crate) fn avoided(cluster: &Cluster, now: Time) -> Vec<Avoided> {
    let avoided = |((service, node), known): (&(ServiceId, NodeId), &Failures)| {
        let failures = penalty(cluster, cluster.services.get(service)?, *node, now);
        // The last of those that make it a bad one.
        let oldest = known.at.len().checked_sub(MOST).and_then(|place| known.at.get(place))?;
        (failures > 0).then(|| Avoided { service: *service, node: *node, failures, until: oldest.after(MEMORY) })
    };
    cluster.failures.iter().filter_map(avoided).collect()
}

/// How bad a node is for a service: 0, or the number of its failures there when they are too many.
pub(super) fn penalty(cluster: &Cluster, service: &Service, node: NodeId, now: Time) -> u32 {
    let Some(known) = cluster.failures.get(&(service.id, node)) else { return 0 };
    let recent = known.at.iter().filter(|at| counts(**at, now)).count();
    let bad = recent >= MOST && known.spec_version == service.spec_version;
    u32::try_from(recent).ok().filter(|_| bad).unwrap_or(0)
}
