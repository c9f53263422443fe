//! Rolling updates and rollbacks: tasks of an earlier spec are replaced, some slots at a time, watched.

use super::dirty::is_dirty;
use super::gates;
use super::slots::{self, Begin};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use crate::request::{self, vips};
use model::{
    Desired, FailureAction, HealthCheck, Mode, NetworkMode, STOP_GRACE, Service, ServiceId, Task, TaskState, Time,
    UpdateConfig, UpdateOrder, UpdateState, UpdateStatus, Verdict,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    for service in slots::standing(draft.cluster(), restless) {
        let Some(status) = service.update_status.clone().filter(|status| status.state.is_active()) else { continue };
        let job = matches!(service.spec.mode, Mode::ReplicatedJob { .. } | Mode::GlobalJob);
        let update = Update::new(draft, service, status);
        // Each change of its spec begins a job anew, all at once: there is nothing to see through, be it that a
        // rollback has made a job of it.
        if job { update.over(draft) } else { update.step(draft) }
    }
}

/// One slot, seen by an update.
#[derive(Debug, Default)]
struct View {
    /// Live tasks of the new spec.
    new: Vec<Arc<Task>>,
    /// Live tasks of earlier ones.
    old: Vec<Arc<Task>>,
}

struct Update {
    service: Arc<Service>,
    status: UpdateStatus,
    config: UpdateConfig,
    slots: Vec<View>,
}

impl Update {
    fn new(draft: &Draft<'_>, service: Arc<Service>, status: UpdateStatus) -> Update {
        let back = status.state == UpdateState::RollbackStarted;
        let config = if back { service.spec.rollback } else { service.spec.update };
        let slots = slots::live(draft.cluster(), service.id)
            .into_values()
            .map(|tasks| {
                let (old, new) = tasks.into_iter().partition(|task| is_dirty(&service, task));
                View { new, old }
            })
            .collect();
        Update { service, status, config, slots }
    }

    fn step(mut self, draft: &mut Draft<'_>) {
        if let Some(why) = self.failed(draft) {
            match self.config.failure_action {
                FailureAction::Continue => {}
                FailureAction::Pause => return self.pause(draft, &why),
                FailureAction::Rollback => return self.roll_back(draft, &why),
            }
        }
        self.hand_over(draft);
        let busy = self.slots.iter().filter(|slot| self.is_busy(slot, draft)).count();
        let most = if self.config.parallelism == 0 { usize::MAX } else { self.config.parallelism as usize };
        let mut waiting: Vec<&View> =
            self.slots.iter().filter(|slot| slot.new.is_empty() && !slot.old.is_empty()).collect();
        if waiting.is_empty() {
            if busy == 0 {
                self.complete(draft);
            }
            return;
        }
        if let Some(other) = self.waits_for(draft) {
            return self.tell(draft, format!("waits for the update of {other}"));
        }
        // Who serves is not stopped for one that would have to wait. A rollback may be what the others wait for.
        let forward = self.status.state == UpdateState::Updating;
        let lacks = gates::dependency(draft.cluster(), &self.service).filter(|_| forward);
        if let Some(lacks) = &lacks {
            waiting.retain(|slot| !slot.old.iter().any(|task| task.is_serving()));
            self.tell(draft, lacks.sentence(draft.now));
        } else {
            self.tell(draft, self.progress());
        }
        // Slots that serve nobody lose nothing.
        waiting.sort_by_key(|slot| slot.old.iter().any(|task| task.is_serving()));
        for slot in waiting.into_iter().take(most.saturating_sub(busy)) {
            self.replace(draft, slot);
        }
    }

    /// With start-first the old task goes when the new one serves.
    fn hand_over(&mut self, draft: &mut Draft<'_>) {
        for slot in &mut self.slots {
            if slot.new.iter().any(|task| is_settled(task)) {
                for old in slot.old.drain(..) {
                    slots::lower(draft, old.id, Desired::Shutdown);
                }
            }
        }
    }

    fn replace(&self, draft: &mut Draft<'_>, View { old: all, .. }: &View) {
        let Some(old) = all.last() else { return };
        let runs = |task: &Task| task.is_running() && gates::still_runs(draft.cluster(), task);
        let start_first = self.config.order == UpdateOrder::StartFirst
            && !old.stopped_by_user
            && all.iter().any(|task| !task.has_ended() && (runs(task) || task.inherits.is_none()));
        // Beside one that serves there may be one that was to take over and failed.
        let rank = |task: &&Arc<Task>| (runs(task) && task.is_serving(), runs(task), task.created, task.id);
        let heir = Begin::after(draft.cluster(), all.iter().max_by_key(rank).unwrap_or(old));
        let inherits = heir.inherits.filter(|_| !start_first);
        if !start_first {
            all.iter().for_each(|task| slots::lower(draft, task.id, Desired::Shutdown));
        }
        // What went before counts no more.
        slots::create(draft, &self.service, Begin { inherits, restarts: Vec::new(), ..heir });
    }

    /// Is the slot one of those that are being replaced, or was it until a moment ago?
    fn is_busy(&self, slot: &View, draft: &mut Draft<'_>) -> bool {
        let Some(task) = slot.new.last().filter(|task| task.created >= self.status.started) else { return false };
        if task.has_ended() || task.stopped_by_user {
            return false;
        }
        if !task.is_serving() {
            return true;
        }
        let free = served_since(task).after(self.config.delay);
        let more = self.slots.iter().any(|slot| slot.new.is_empty() && !slot.old.is_empty());
        if more {
            draft.wake_at(free);
        }
        more && free > draft.now
    }

    /// What this one depends on, or shares the network of, is updated first.
    fn waits_for(&self, draft: &Draft<'_>) -> Option<String> {
        let spec = &self.service.spec;
        let shared = match &spec.network_mode {
            NetworkMode::Service(key) => Some(key),
            _ => None,
        };
        let mut keys = spec.depends_on.keys().chain(shared);
        let first = keys.find(|key| {
            let other = draft.cluster().service_of(spec.stack.as_deref(), key);
            other.is_some_and(|other| other.id != self.service.id && is_changing(draft, other))
        });
        first.cloned()
    }

    fn progress(&self) -> String {
        match self.status.state {
            UpdateState::RollbackStarted => self.status.message.clone(),
            _ => "update in progress".to_owned(),
        }
    }

    fn tell(&self, draft: &mut Draft<'_>, message: String) {
        if self.status.message != message {
            let status = UpdateStatus { message, ..self.status.clone() };
            draft.edit().edit_service(self.service.id, |service| service.update_status = Some(status));
        }
    }

    /// Too many of the new tasks failed while they were watched: why, else `None`.
    fn failed(&self, draft: &Draft<'_>) -> Option<String> {
        let failed: Vec<&Arc<Task>> = draft
            .cluster()
            .tasks_of(self.service.id)
            .filter(|task| task.spec_version == self.service.spec_version && task.created >= self.status.started)
            .filter(|task| matches!(task.status.state, TaskState::Failed | TaskState::Rejected))
            .filter(|task| self.was_watched(task))
            .collect();
        let share = failed.len() as f64 / self.slots.len().max(1) as f64;
        if failed.is_empty() || share <= self.config.max_failure_ratio {
            return None;
        }
        let last = failed.iter().max_by_key(|task| (task.status.since, task.id))?;
        let name = format!("{}.{}", self.service.spec.key, last.slot.max(1));
        let code = last.status.container.as_ref().and_then(|container| container.exit_code);
        Some(match (last.status.message.as_str(), code) {
            ("", Some(code)) => format!("{name} failed (exit code {code})"),
            ("", None) => format!("{name} failed"),
            (message, _) => format!("{name} failed ({message})"),
        })
    }

    /// Did it end before its time of watching was over? That begins when a task serves, so what its health check takes to
    /// find out comes on top.
    fn was_watched(&self, task: &Task) -> bool {
        let started = task.status.container.as_ref().and_then(|container| container.started_at);
        let watched = self.config.monitor.saturating_add(judged_within(task));
        started.is_none_or(|started| task.status.since.since(started) <= watched)
    }

    fn pause(&self, draft: &mut Draft<'_>, why: &str) {
        let back = self.status.state == UpdateState::RollbackStarted;
        let (state, word) = match back {
            true => (UpdateState::RollbackPaused, "rollback"),
            false => (UpdateState::Paused, "update"),
        };
        self.end(draft, state, format!("{word} paused: {why}"));
    }

    fn roll_back(&self, draft: &mut Draft<'_>, why: &str) {
        let previous = self.service.previous.clone();
        let Some(previous) = previous.filter(|_| self.status.state == UpdateState::Updating) else {
            return self.pause(draft, why);
        };
        // What was made of the bad spec at this very moment is not worth a task.
        let made: Vec<_> =
            draft.cluster().tasks_of(self.service.id).map(|task| task.id).filter(|id| draft.is_new(*id)).collect();
        made.into_iter().for_each(|id| draft.edit().drop_task(id));
        let now = draft.now;
        draft.edit().edit_service(self.service.id, |service| {
            service.spec = previous;
            service.previous = None;
            service.spec_version += 1;
            service.updated = now;
            service.update_status = Some(UpdateStatus {
                state: UpdateState::RollbackStarted,
                started: now,
                finished: None,
                message: format!("rollback: {why}"),
            });
        });
        request::choose_again(draft, self.service.id);
    }

    /// Every slot is of the new spec; the update is over when the last one has been watched long enough.
    fn complete(&self, draft: &mut Draft<'_>) {
        if !self.slots.iter().flat_map(|slot| &slot.new).all(|task| is_settled(task)) {
            return;
        }
        let new = self.slots.iter().flat_map(|slot| &slot.new).filter(|task| task.created >= self.status.started);
        let watched =
            new.filter(|task| !task.has_ended()).map(|task| served_since(task).after(self.config.monitor)).max();
        if let Some(watched) = watched.filter(|watched| *watched > draft.now) {
            return draft.wake_at(watched);
        }
        self.over(draft);
    }

    fn over(&self, draft: &mut Draft<'_>) {
        let (state, text) = match self.status.state {
            UpdateState::RollbackStarted => (UpdateState::RollbackCompleted, "rollback completed"),
            _ => (UpdateState::Completed, "update completed"),
        };
        self.end(draft, state, text.to_owned());
    }

    fn end(&self, draft: &mut Draft<'_>, state: UpdateState, message: String) {
        let now = draft.now;
        let status = UpdateStatus { state, started: self.status.started, finished: Some(now), message };
        draft.edit().edit_service(self.service.id, |service| service.update_status = Some(status));
        // Addresses that the tasks of before were called by, where they were and the new ones are not.
        vips::choose(draft, self.service.id);
    }
}

/// Are tasks of the service being replaced, or have the new ones not come up yet?
fn is_changing(draft: &Draft<'_>, service: &Service) -> bool {
    let Some(status) = service.update_status.as_ref().filter(|status| status.state.is_active()) else { return false };
    let mut live = draft.cluster().tasks_of(service.id).filter(|task| task.is_live());
    live.any(|task| is_dirty(service, task) || task.created >= status.started && !is_settled(task))
}

/// Is there nothing more to wait for?
fn is_settled(task: &Task) -> bool {
    task.is_serving() || task.has_ended() || task.stopped_by_user
}

/// How long the health check of a task takes at most until it is known that it never was healthy, and it has ended for
/// that. Zero without one, and where it was healthy to the end.
fn judged_within(task: &Task) -> Duration {
    let spec = &task.spec.container;
    let health = task.status.container.as_ref().and_then(|container| container.health.as_ref());
    let stopping = match health.map(|health| health.verdict) {
        None | Some(Verdict::Healthy) => return Duration::ZERO,
        // One that ended by itself was not asked to.
        Some(Verdict::Starting) => Duration::ZERO,
        Some(Verdict::Unhealthy) => spec.stop_grace_period.unwrap_or(STOP_GRACE),
    };
    let check = spec.healthcheck.clone().unwrap_or_default();
    let span = |said: Option<Duration>| said.filter(|span| !span.is_zero()).unwrap_or(HealthCheck::INTERVAL);
    let retries = check.retries.filter(|retries| *retries > 0).unwrap_or(HealthCheck::RETRIES);
    let checks = span(check.interval).saturating_add(span(check.timeout)).saturating_mul(retries);
    checks.saturating_add(check.start_period.unwrap_or_default()).saturating_add(stopping)
}

/// Since when a task runs: what it was started at, as far as that is known.
fn served_since(task: &Task) -> Time {
    let started = task.status.container.as_ref().and_then(|container| container.started_at);
    started.unwrap_or(task.status.since).max(task.created)
}
