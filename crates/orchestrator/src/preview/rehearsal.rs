//! The planner at work on a copy, in a world where every container comes up at once: which replica stops
//! and starts when, where it lands, and what would wait for ever.

use crate::apply::apply;
use crate::cluster::{Cluster, TaskExt};
use crate::draft::Draft;
use crate::entry::Entry;
use crate::explain::Wait;
use crate::plan;
use crate::plan::liveness::Liveness;
use model::{
    ContainerState, ContainerStatus, DependencyCondition, Desired, Ids, Mode, ReplicaStep, Task, TaskId, TaskState,
    Time,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds times tasks that are looked at: bounds the time that a plan may take (about 50 ms).
const EFFORT: usize = 50_000;

/// More rounds than this nobody reads.
const MOST: usize = 200;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Rehearsed {
    pub(super) rounds: Vec<Vec<ReplicaStep>>,
    pub(super) unfinished: bool,
    pub(super) waiting: Vec<(String, String)>,
}

/// Lets the planner go on from `cluster` until nothing of the stack changes any more.
pub(super) fn run(cluster: &Cluster, stack: &str, now: Time) -> Rehearsed {
    let mut stage = Stage { cluster: cluster.clone(), now, ids: Ids::new(super::SEED), finite: finite(cluster, stack) };
    let most = (EFFORT / cluster.tasks.values().count().max(1)).clamp(1, MOST);
    let mut seen = Rehearsed::default();
    let mut waits = BTreeMap::new();
    for round in 0.. {
        let before = stage.cluster.clone();
        let (changed, wait, wake) = stage.plan();
        waits = wait;
        let steps = steps(&before, &stage.cluster, stack);
        if !steps.is_empty() {
            seen.rounds.push(steps);
        }
        let moved = stage.live(stack);
        if round + 1 >= most {
            seen.unfinished = changed || moved;
            break;
        }
        match wake {
            _ if changed || moved => {}
            Some(wake) if stage.is_busy(stack) => stage.now = wake,
            _ => break,
        }
    }
    seen.waiting = waiting(&stage.cluster, stack, &waits, stage.now);
    seen
}

struct Stage {
    cluster: Cluster,
    now: Time,
    ids: Ids,
    /// Keys of services that end by themselves, as somebody waits for that.
    finite: BTreeSet<String>,
}

/// Services that others of the stack wait for to complete.
fn finite(cluster: &Cluster, stack: &str) -> BTreeSet<String> {
    let services = cluster.services.values().filter(|service| service.spec.stack.as_deref() == Some(stack));
    let dependencies = services.flat_map(|service| service.spec.depends_on.iter());
    dependencies
        .filter(|(_, dependency)| dependency.condition == DependencyCondition::ServiceCompletedSuccessfully)
        .map(|(key, _)| key.clone())
        .collect()
}

impl Stage {
    /// One plan, applied.
    fn plan(&mut self) -> (bool, BTreeMap<TaskId, Wait>, Option<Time>) {
        let mut draft = Draft::new(&self.cluster, self.now, &mut self.ids);
        plan::plan(&mut draft, &Liveness::default());
        let at = draft.now;
        let (changes, waits, wake) = draft.finish();
        let changed = !changes.is_empty();
        if changed {
            let base = self.cluster.revision;
            let entry = Entry { at, base, term: 0, ticket: 0, changes, answers: Vec::new() };
            apply(&mut self.cluster, &entry);
        }
        (changed, waits, wake)
    }

    /// Every container does at once what is wanted of it; false when there was nothing to do.
    fn live(&mut self, stack: &str) -> bool {
        let ours = |task: &&std::sync::Arc<Task>| task.spec.stack.as_deref() == Some(stack);
        let next: Vec<(TaskId, Option<TaskState>)> =
            self.cluster.tasks.values().filter(ours).filter_map(|task| Some((task.id, self.next(task)?))).collect();
        let now = self.now;
        for (id, state) in &next {
            match state {
                Some(state) => self.cluster.edit_task(*id, |task| step(task, *state, now)),
                None => self.cluster.drop_task(*id),
            }
        }
        !next.is_empty()
    }

    /// What a task comes to; the inner `None`: it is gone.
    fn next(&self, task: &Task) -> Option<Option<TaskState>> {
        let state = task.status.state;
        match task.desired {
            Desired::Remove => Some(None),
            Desired::Shutdown => (!state.is_terminal()).then_some(Some(TaskState::Shutdown)),
            _ if task.node.is_none() || task.has_ended() => None,
            Desired::Ready => (state < TaskState::Ready).then_some(Some(TaskState::Ready)),
            Desired::Running => {
                let job = matches!(task.spec.mode, Mode::ReplicatedJob { .. } | Mode::GlobalJob);
                match (job || self.finite.contains(&task.spec.key), task.is_running()) {
                    (true, _) => Some(Some(TaskState::Complete)),
                    (false, true) => None,
                    (false, false) => Some(Some(TaskState::Running)),
                }
            }
        }
    }

    /// Is anything of the stack still to come?
    fn is_busy(&self, stack: &str) -> bool {
        let ours = self.cluster.services.values().filter(|service| service.spec.stack.as_deref() == Some(stack));
        ours.into_iter().any(|service| {
            // An update whose tasks are all new only waits for its time of watching.
            self.cluster
                .tasks_of(service.id)
                .any(|task| task.is_live() && (plan::dirty::is_dirty(service, task) || task.desired == Desired::Ready))
        })
    }
}

fn step(task: &mut Task, state: TaskState, now: Time) {
    task.status.attempt = task.attempt;
    task.status.state = state;
    task.status.since = now;
    task.status.container = Some(ContainerStatus {
        state: if state == TaskState::Running { ContainerState::Running } else { ContainerState::Exited },
        pid: 1,
        exit_code: Some(0),
        oom_killed: false,
        restart_count: 0,
        started_at: Some(now),
        finished_at: None,
        health: None,
        ports: BTreeMap::new(),
    });
}

/// Replicas of the stack that were told to stop or to start.
fn steps(before: &Cluster, after: &Cluster, stack: &str) -> Vec<ReplicaStep> {
    let ours = |task: &&std::sync::Arc<Task>| task.spec.stack.as_deref() == Some(stack);
    let runs = |cluster: &Cluster, id: TaskId| {
        cluster.tasks.get(&id).is_some_and(|task| task.desired == Desired::Running && task.node.is_some())
    };
    let mut steps = Vec::new();
    for task in before.tasks.values().filter(ours) {
        let stops = !task.status.state.is_terminal() && task.is_live();
        if stops && after.tasks.get(&task.id).is_none_or(|after| !after.is_live()) && task.node.is_some() {
            steps.push(said(after, task, false));
        }
    }
    for task in after.tasks.values().filter(ours) {
        if runs(after, task.id) && !runs(before, task.id) && !task.has_ended() {
            steps.push(said(after, task, true));
        }
    }
    steps.sort_by(|a, b| (a.starts, &a.replica).cmp(&(b.starts, &b.replica)));
    steps
}

fn said(cluster: &Cluster, task: &Task, starts: bool) -> ReplicaStep {
    ReplicaStep { replica: replica(cluster, task), starts, node: host(cluster, task) }
}

fn host(cluster: &Cluster, task: &Task) -> String {
    let node = task.node.and_then(|node| cluster.nodes.get(&node));
    node.map(|node| node.hostname.clone()).unwrap_or_default()
}

fn replica(cluster: &Cluster, task: &Task) -> String {
    match task.slot {
        0 => format!("{}@{}", task.spec.key, host(cluster, task)),
        slot => format!("{}.{slot}", task.spec.key),
    }
}

/// Live replicas that still wait when nothing moves any more.
fn waiting(cluster: &Cluster, stack: &str, waits: &BTreeMap<TaskId, Wait>, now: Time) -> Vec<(String, String)> {
    let ours = |task: &std::sync::Arc<Task>| {
        task.is_live() && !task.is_running() && !task.has_ended() && task.spec.stack.as_deref() == Some(stack)
    };
    let mut list: Vec<(String, String)> = waits
        .iter()
        .filter_map(|(id, wait)| Some((cluster.tasks.get(id).filter(|task| ours(task))?, wait)))
        .map(|(task, wait)| (replica(cluster, task), wait.sentence(now)))
        .collect();
    list.sort();
    list
}
