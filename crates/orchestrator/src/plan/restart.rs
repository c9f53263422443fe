//! Which tasks that ended are replaced, and when. Restarts in place are the agent's.

use super::failures;
use super::slots::{self, Begin};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use model::{
    Desired, Mode, NetworkMode, RestartCondition, RestartPolicy, RestartScope, Service, ServiceId, Task, TaskState,
    Time, Verdict,
};
use std::sync::Arc;
use std::time::Duration;

/// What could never start is tried again no sooner than this, whatever the policy says: it will not be otherwise a
/// moment later, and a registry that is asked all the time shuts its door.
const REJECTED: Duration = Duration::from_secs(1);

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    for service in slots::standing(draft.cluster(), restless) {
        if service.spec.standalone {
            continue;
        }
        let ended: Vec<Arc<Task>> = draft
            .cluster()
            .tasks_where(service.id, |task| task.is_live() && task.has_ended() && !task.stopped_by_user)
            .cloned()
            .collect();
        for task in ended {
            if let Some(begin) = again(draft, &service, &task) {
                // A new task gets ready while it waits for its time; one after a task that never got that far would
                // fail at once, and so on, hundreds of times until then. So the slot waits, and says why.
                if task.status.state == TaskState::Rejected {
                    let time = begin.not_before.max(task.status.since.after(REJECTED));
                    if time > draft.now {
                        draft.wake_at(time);
                        continue;
                    }
                }
                draft.wake_at(begin.not_before);
                failures::note(draft, &service, &task);
                // With a node that was removed goes the history that it had.
                let removed = task.node.is_some_and(|node| !draft.cluster().nodes.contains_key(&node));
                slots::lower(draft, task.id, if removed { Desired::Remove } else { Desired::Shutdown });
                // Where the node is the slot there is nothing to fill while the node is lost: a task made for
                // it would be orphaned at once, and so on for ever.
                if !(task.slot == 0 && task.status.state == TaskState::Orphaned) {
                    slots::create(draft, &service, begin);
                }
            }
        }
        if matches!(service.spec.network_mode, NetworkMode::Service(_)) {
            rejoin(draft, &service);
        }
    }
}

/// Who shares the network of a task that was replaced is replaced too: the old network is gone, and the new one may
/// be on another node, also for a task that was placed beside the old one and has not run yet.
fn rejoin(draft: &mut Draft<'_>, service: &Service) {
    let stale = |draft: &Draft<'_>, task: &Task| {
        let target = super::join_target(draft.cluster(), task).and_then(|target| draft.cluster().tasks.get(&target));
        target.is_some_and(|target| {
            let elsewhere = task.status.state > TaskState::Pending && target.node != task.node;
            target.is_running() && (elsewhere || task.is_running() && target.created > task.created)
        })
    };
    let joined = draft.cluster().tasks_where(service.id, |task| task.is_live() && !task.has_ended());
    let joined: Vec<Arc<Task>> = joined.filter(|task| stale(draft, task)).cloned().collect();
    for task in joined {
        slots::lower(draft, task.id, Desired::Shutdown);
        let begin = Begin::after(draft.cluster(), &task);
        slots::create(draft, service, begin);
    }
}

/// Should the slot of a task that ended be filled again? `None`: it stays as it is, the slot is done.
fn again(draft: &Draft<'_>, service: &Service, task: &Task) -> Option<Begin> {
    let policy = service.spec.restart;
    let orphaned = task.status.state == TaskState::Orphaned;
    let changed = super::dirty::is_dirty(service, task)
        && service.update_status.as_ref().is_some_and(|status| status.state.is_active());
    if changed {
        // The update replaces it, in its turn.
        return None;
    }
    if !(orphaned || wants(&policy, service.spec.mode, task)) {
        return None;
    }
    // A lost node is nobody's failure: it is neither counted nor waited for.
    let after = Begin { not_before: draft.now, ..Begin::after(draft.cluster(), task) };
    if orphaned {
        return Some(after);
    }
    let restarts = counted(&policy, task);
    if policy.max_attempts.is_some_and(|most| restarts.len() >= most as usize) {
        return None;
    }
    let mut restarts = restarts;
    match policy.max_attempts {
        Some(_) => restarts.push(draft.now),
        None => restarts.clear(),
    }
    let not_before = task.status.since.after(policy.delay).max(draft.now);
    Some(Begin { not_before, restarts, ..after })
}

/// Does the policy answer this ending with a new task?
fn wants(policy: &RestartPolicy, mode: Mode, task: &Task) -> bool {
    let failed = task.status.state != TaskState::Complete;
    // A job that completed has done its work, whatever the policy says.
    if !failed && mode.is_job() {
        return false;
    }
    let by_condition = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => failed,
        RestartCondition::Any | RestartCondition::UnlessStopped => true,
    };
    // In place, an ending is told only when the agent has done what the policy asks; but what turned
    // unhealthy, or could never start, gets a new container.
    by_condition
        && (policy.scope == RestartScope::Replace || is_unhealthy(task) || task.status.state == TaskState::Rejected)
}

fn is_unhealthy(task: &Task) -> bool {
    let health = task.status.container.as_ref().and_then(|container| container.health.as_ref());
    task.status.state == TaskState::Failed && health.is_some_and(|health| health.verdict == Verdict::Unhealthy)
}

/// Earlier restarts of the slot that still count, as of the moment when the task ended.
fn counted(policy: &RestartPolicy, task: &Task) -> Vec<Time> {
    let recent = |at: &&Time| policy.window.is_zero() || task.status.since.since(**at) < policy.window;
    task.restarts.iter().filter(recent).copied().collect()
}
