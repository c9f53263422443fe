//! What to tell the manager, and when: many changes in one report.

use crate::task::Local;
use model::{AgentReport, Generation, TaskId, TaskReport, TaskState, TaskStatus, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a change that nobody waits for may lie.
const LAZY: Duration = Duration::from_millis(50);
/// The longest time between two reports while many tasks are in motion.
const BUSY: u64 = 25;

/// What was told, and what is still to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter {
    up: bool,
    told: BTreeMap<TaskId, TaskReport>,
    changed: BTreeMap<TaskId, TaskReport>,
    volumes: BTreeSet<String>,
    last: Time,
    lazy_at: Option<Time>,
    urgent: bool,
    /// The newest assignment that the network follows, of those that somebody waits for.
    network: Option<Generation>,
    network_told: Option<Generation>,
}

impl Reporter {
    /// Somebody listens from now on, and knows nothing.
    pub(crate) fn session_up(&mut self) {
        *self = Reporter { up: true, last: self.last, ..Reporter::default() };
    }

    /// Nobody listens.
    pub(crate) fn session_lost(&mut self) {
        *self = Reporter { up: false, last: self.last, ..Reporter::default() };
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Looks at a task that may have changed.
    pub(crate) fn look(&mut self, local: &Local, now: Time) {
        if !self.up {
            return;
        }
        let fresh = TaskReport { task: local.id, status: local.status(), removed: local.removed };
        let before = self.told.get(&local.id);
        if before.is_some_and(|told| is_same(told, &fresh)) {
            self.changed.remove(&local.id);
            return;
        }
        self.urgent |= is_urgent(before, &fresh);
        self.lazy_at = self.lazy_at.or(Some(now.after(LAZY)));
        self.changed.insert(local.id, fresh);
    }

    /// A volume is gone.
    pub(crate) fn volume_removed(&mut self, name: &str) {
        if self.up {
            self.volumes.insert(name.to_owned());
            self.urgent = true;
        }
    }

    /// The network is as an assignment of this generation wants it, and somebody waits for that.
    pub(crate) fn network(&mut self, follows: Generation) {
        if self.up && self.network.max(self.network_told).is_none_or(|told| told < follows) {
            self.network = Some(follows);
            self.urgent = true;
        }
    }

    /// Has all of this task been told?
    pub(crate) fn has_told(&self, local: &Local) -> bool {
        !self.changed.contains_key(&local.id) && self.told.get(&local.id).is_some_and(|told| told.removed)
    }

    /// A task that nobody asks about any more.
    pub(crate) fn forget(&mut self, task: TaskId) {
        self.told.remove(&task);
    }

    /// When there is something to tell. `moving`: tasks with an effect in flight; their results are
    /// about to come, so that it pays to wait a moment.
    pub(crate) fn due(&self, moving: usize) -> Option<Time> {
        if self.changed.is_empty() && self.volumes.is_empty() && self.network.is_none() {
            return None;
        }
        let moving = u64::try_from(moving).unwrap_or(BUSY).min(BUSY);
        if self.urgent { Some(self.last.after(Duration::from_millis(moving))) } else { self.lazy_at }
    }

    /// The report, once it is due.
    pub(crate) fn take(&mut self, now: Time, moving: usize) -> Option<AgentReport> {
        if self.due(moving)? > now {
            return None;
        }
        self.last = now;
        self.urgent = false;
        self.lazy_at = None;
        let tasks: Vec<TaskReport> = std::mem::take(&mut self.changed).into_values().collect();
        for told in &tasks {
            self.told.insert(told.task, told.clone());
        }
        let network = self.network.take();
        self.network_told = network.or(self.network_told);
        Some(AgentReport { tasks, volumes_removed: std::mem::take(&mut self.volumes).into_iter().collect(), network })
    }
}

/// Is there nothing worth telling? The log of a health check that goes on as before is not.
fn is_same(told: &TaskReport, fresh: &TaskReport) -> bool {
    if told.removed != fresh.removed {
        return false;
    }
    let quiet = |status: &TaskStatus| {
        let mut status = status.clone();
        if let Some(health) = status.container.as_mut().and_then(|container| container.health.as_mut()) {
            health.log.clear();
        }
        status
    };
    told.status == fresh.status || quiet(&told.status) == quiet(&fresh.status)
}

/// Does somebody wait for it: it runs, has ended, is gone, or turned healthy?
fn is_urgent(before: Option<&TaskReport>, fresh: &TaskReport) -> bool {
    let told = |report: &TaskReport| {
        let container = report.status.container.as_ref();
        let container =
            container.map(|it| (it.state, it.restart_count, it.health.as_ref().map(|health| health.verdict)));
        (report.status.attempt, report.status.state, report.removed, container)
    };
    let reached = fresh.removed || fresh.status.state >= TaskState::Running || fresh.status.container.is_some();
    reached && before.is_none_or(|before| told(before) != told(fresh))
}
