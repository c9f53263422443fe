//! Which node each task runs on: filters say who can, the order of the ranking says who should.

mod constraint;
mod filter;
mod homes;
mod rank;
mod usage;

pub(crate) use constraint::{fits, problem};

use crate::cluster::{Brief, Cluster, TaskExt};
use crate::draft::Draft;
use crate::explain::{Unplaced, Wait};
use filter::{Asking, Limits};
use homes::Homes;
use model::{NetworkMode, NodeId, Service, ServiceId, Task, TaskState};
use rank::Ranking;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use usage::Usage;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let is_pending = |task: &Brief| task.state == TaskState::Pending && task.is_live();
    let mut pending: Vec<Arc<Task>> =
        super::slots::tasks_where(draft.cluster(), restless, is_pending).cloned().collect();
    if pending.is_empty() {
        return;
    }
    // By name, not by id: ids are drawn anew when a plan that was shown is done.
    let key = |task: &Task| (task.service, task.slot, task.created, task.id);
    pending.sort_by(|a, b| a.spec.name.cmp(&b.spec.name).then_with(|| key(a).cmp(&key(b))));
    let mut usage = Usage::of(draft.cluster());
    let mut claimed = BTreeMap::new();
    // Tasks of one service and spec ask for the same.
    for batch in pending.chunk_by(|a, b| a.service == b.service && Arc::ptr_eq(&a.spec, &b.spec)) {
        let Some(service) = batch.first().and_then(|task| draft.cluster().services.get(&task.service)).cloned() else {
            continue;
        };
        place(draft, &mut usage, claimed.entry(service.id).or_default(), &service, batch);
    }
}

/// Has its node still room for a task that has ended, and takes nothing now?
pub(crate) fn has_room(cluster: &Cluster, service: &Service, task: &Task) -> bool {
    let mut usage = Usage::of(cluster);
    let asking = Asking::new(&mut usage, service, &task.spec);
    let place = task.node.and_then(|node| usage.place_of(node));
    place.is_none_or(|place| asking.has_room(&usage, place, &mut Unplaced::default()))
}

/// `claimed`: the homes of volumes that tasks of the service wait for.
fn place(
    draft: &mut Draft<'_>,
    usage: &mut Usage,
    claimed: &mut BTreeSet<NodeId>,
    service: &Service,
    batch: &[Arc<Task>],
) {
    let Some(first) = batch.first() else { return };
    let asking = Asking::new(usage, service, &first.spec);
    usage.begin(draft.cluster(), service, draft.now);
    let mut homes = Homes::of(draft.cluster(), service, &first.spec);
    let shares = matches!(first.spec.network_mode, NetworkMode::Service(_) | NetworkMode::Container(_));
    let mut ranking: Option<Ranking> = None;
    // Nothing becomes free while tasks are placed: what one was refused for, the others are.
    let mut refused: Option<Box<Unplaced>> = None;
    for task in batch {
        let home = homes.as_ref().filter(|_| task.node.is_none()).and_then(|homes| homes.free(task.slot, claimed));
        let waits_for = home.as_ref().map(|(_, nodes)| nodes.clone());
        let bound = task.node.is_some() || shares || home.is_some();
        let chosen = match (bound, &refused) {
            (true, _) => bound_to(draft, usage, &asking, task, home),
            (false, Some(refused)) => Err(refused.clone()),
            (false, None) => {
                let ranking = ranking.get_or_insert_with(|| Ranking::new(usage, &asking));
                ranking.take(usage, &asking).ok_or_else(|| asking.why(usage, |_| true))
            }
        };
        match chosen {
            Ok(place) => {
                settle(draft, usage, service, task, place);
                homes.as_mut().into_iter().for_each(|homes| live_in(draft, homes, task.slot, usage.node(place).id));
            }
            Err(unplaced) => {
                claimed.extend(waits_for.into_iter().flatten().find(|node| !claimed.contains(node)));
                draft.wait(task.id, Wait::Nodes(unplaced.clone()));
                refused = (!bound).then_some(unplaced).or(refused);
            }
        }
    }
}

/// Where the node is the slot no other will do, and others are not told of; who shares a network goes to
/// where that is.
fn bound_to(
    draft: &Draft<'_>,
    usage: &Usage,
    asking: &Asking<'_>,
    task: &Task,
    home: Option<homes::Bound>,
) -> Result<usize, Box<Unplaced>> {
    let beside = super::gates::join_target(draft.cluster(), task)
        .and_then(|target| draft.cluster().tasks.get(&target))
        .and_then(|target| target.node);
    let limits = Limits { beside, home };
    let may = |id: NodeId| task.node.is_none_or(|wanted| wanted == id);
    let mut unplaced = Unplaced { nodes: usage.len(), ..Unplaced::default() };
    let fitting = usage.places().filter(|place| may(usage.node(*place).id));
    let fitting = fitting.filter(|place| asking.can_take(usage, *place, &limits, &mut unplaced));
    let best = fitting.min_by_key(|place| rank::order(usage, *place));
    best.ok_or_else(|| Box::new(unplaced))
}

/// The volumes of a task are on its node from now on.
fn live_in(draft: &mut Draft<'_>, homes: &mut Homes, slot: u32, node: NodeId) {
    homes.hold(node, slot);
    for name in &homes.volumes {
        if !draft.cluster().homes.get(name).is_some_and(|nodes| nodes.contains(&node)) {
            draft.edit().homes.entry(name.clone()).or_default().insert(node);
        }
    }
}

fn settle(draft: &mut Draft<'_>, usage: &mut Usage, service: &Service, task: &Task, place: usize) {
    let node = usage.node(place).id;
    usage.add(task, service, place);
    let now = draft.now;
    draft.edit().edit_task(task.id, |task| {
        task.node = Some(node);
        (task.status.state, task.status.since) = (TaskState::Assigned, now);
    });
}
