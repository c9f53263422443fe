//! A host that does at once what it is told. Labels of a container say how it behaves:
//! `exit=CODE@SECONDS`, `healthy=SECONDS` (never without a number), `stop=SECONDS` to end,
//! `reject=MESSAGE`.

use model::{
    AgentReport, AssignedTask, Assignment, ContainerState, ContainerStatus, Desired, Health, TaskId, TaskReport,
    TaskState, TaskStatus, Time, Verdict,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a host runs.
#[derive(Debug, Default)]
pub(crate) struct Host {
    tasks: BTreeMap<TaskId, (AssignedTask, TaskStatus)>,
    /// Since when containers that take their time are being stopped.
    stopping: BTreeMap<TaskId, Time>,
    /// Does nothing and says nothing.
    pub(crate) silent: bool,
    /// Does not come to say that its network follows.
    pub(crate) slow: bool,
    pub(crate) assignment: Option<Box<Assignment>>,
    report: AgentReport,
}

impl Host {
    /// Obeys.
    pub(crate) fn assign(&mut self, now: Time, assignment: Box<Assignment>) {
        if let Some(before) = &self.assignment {
            assert!(assignment.generation >= before.generation, "generations rise");
        }
        self.tasks.retain(|id, _| assignment.tasks.contains_key(id));
        for volume in &assignment.removed_volumes {
            let used = assignment.tasks.values().any(|task| {
                task.task.desired <= Desired::Running
                    && task.task.status.state == TaskState::Running
                    && format!("{:?}", task.task.spec.container.mounts).contains(&format!("{volume:?}"))
            });
            assert!(!used, "volume {volume} is removed under a task that runs");
        }
        self.report.volumes_removed.extend(assignment.removed_volumes.iter().cloned());
        for (id, assigned) in &assignment.tasks {
            let status = match self.tasks.get(id) {
                Some((_, status)) => status.clone(),
                None => assigned.task.status.clone(),
            };
            let stops = assigned.task.desired >= Desired::Shutdown
                || assigned.task.stopped_by_user
                || status.attempt < assigned.task.attempt;
            if stops && status.state == TaskState::Running && label(assigned, "stop").is_some() {
                self.stopping.entry(*id).or_insert(now);
                self.tasks.insert(*id, (assigned.clone(), status));
                continue;
            }
            let next = next(now, assigned, status);
            self.put(*id, assigned.clone(), next, assigned.task.desired == Desired::Remove);
        }
        self.assignment = Some(assignment);
        if !self.slow {
            self.follow();
        }
    }

    /// Its network is as it was told.
    pub(crate) fn follow(&mut self) {
        self.report.network =
            self.assignment.as_ref().filter(|assignment| assignment.awaited).map(|assignment| assignment.generation);
    }

    fn put(&mut self, id: TaskId, assigned: AssignedTask, status: TaskStatus, removed: bool) {
        let before = self.tasks.get(&id).map(|(_, status)| status);
        if removed || before.unwrap_or(&assigned.task.status) != &status {
            self.report.tasks.retain(|report| report.task != id);
            self.report.tasks.push(TaskReport { task: id, status: status.clone(), removed });
        }
        if removed {
            self.tasks.remove(&id);
        } else {
            self.tasks.insert(id, (assigned, status));
        }
    }

    /// What it has to tell.
    pub(crate) fn report(&mut self) -> Option<AgentReport> {
        let report = std::mem::take(&mut self.report);
        (!self.silent && report != AgentReport::default()).then_some(report)
    }

    /// Tells everything once more.
    pub(crate) fn tell_all(&mut self) {
        let tasks = self.tasks.iter();
        self.report.tasks =
            tasks.map(|(id, (_, status))| TaskReport { task: *id, status: status.clone(), removed: false }).collect();
    }

    /// When something happens by itself.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        if self.silent {
            return None;
        }
        let stopped = self.stopping.iter().filter_map(|(id, since)| Some(stopped_at(&self.tasks.get(id)?.0, *since)));
        self.tasks.values().filter_map(|(assigned, status)| Some(due(assigned, status)?.0)).chain(stopped).min()
    }

    /// It happens.
    pub(crate) fn tick(&mut self, now: Time) {
        let stopped: Vec<TaskId> = self
            .stopping
            .iter()
            .filter(|(id, since)| self.tasks.get(id).is_none_or(|(assigned, _)| stopped_at(assigned, **since) <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in stopped {
            self.stopping.remove(&id);
            if let Some((assigned, status)) = self.tasks.get(&id).cloned() {
                let next = next(now, &assigned, status);
                self.put(id, assigned.clone(), next, assigned.task.desired == Desired::Remove);
            }
        }
        let due: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|(id, (assigned, status))| {
                let (at, next) = due(assigned, status)?;
                (at <= now).then(|| (*id, assigned.clone(), TaskStatus { since: now, ..next }))
            })
            .collect();
        for (id, assigned, mut status) in due {
            if let Some(container) = &mut status.container
                && status.state.is_terminal()
            {
                container.finished_at = Some(now);
            }
            self.put(id, assigned, status, false);
        }
    }

    /// A container ends.
    pub(crate) fn exit(&mut self, now: Time, id: TaskId, code: i32, oom: bool) {
        let Some((assigned, status)) = self.tasks.get(&id).cloned() else { return };
        if status.state == TaskState::Running {
            let mut status = exited(&status, code);
            status.since = now;
            if let Some(container) = &mut status.container {
                container.oom_killed = oom;
            }
            self.put(id, assigned, status, false);
        }
    }

    /// Its health check says so. What is unhealthy is stopped, unless a person runs it alone.
    pub(crate) fn health(&mut self, now: Time, id: TaskId, verdict: Verdict) {
        let Some((assigned, mut status)) = self.tasks.get(&id).cloned() else { return };
        let standalone = assigned.task.spec.standalone;
        if let Some(container) = &mut status.container {
            container.health = Some(Health { verdict, failing_streak: 0, log: Vec::new() });
            if verdict == Verdict::Unhealthy && !standalone {
                container.state = ContainerState::Exited;
                (status.state, status.since, status.message) = (TaskState::Failed, now, "unhealthy".to_owned());
            }
        }
        self.put(id, assigned, status, false);
    }

    /// What runs here.
    pub(crate) fn running(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().filter(|(_, (_, status))| status.state == TaskState::Running).map(|(id, _)| *id)
    }
}

/// When a container that is being stopped has ended.
fn stopped_at(assigned: &AssignedTask, since: Time) -> Time {
    since.after(Duration::from_secs(label(assigned, "stop").and_then(|text| text.parse().ok()).unwrap_or(0)))
}

fn label<'a>(assigned: &'a AssignedTask, name: &str) -> Option<&'a str> {
    assigned.task.spec.container.labels.get(name).map(String::as_str)
}

/// From what is wanted and what is to what is next.
fn next(now: Time, assigned: &AssignedTask, status: TaskStatus) -> TaskStatus {
    let task = &assigned.task;
    let over = task.desired >= Desired::Shutdown || task.stopped_by_user;
    let ended = status.state.is_terminal() && status.attempt >= task.attempt;
    if ended {
        return status;
    }
    let fresh = TaskStatus {
        attempt: task.attempt,
        state: TaskState::Accepted,
        since: now,
        message: String::new(),
        container: status.container.clone(),
    };
    if over {
        let container = status.container.map(|container| ContainerStatus {
            state: ContainerState::Exited,
            pid: 0,
            finished_at: Some(now),
            exit_code: Some(143),
            ..container
        });
        return TaskStatus { state: TaskState::Shutdown, container, ..fresh };
    }
    if let Some(why) = label(assigned, "reject") {
        return TaskStatus { state: TaskState::Rejected, message: why.to_owned(), ..fresh };
    }
    if task.desired == Desired::Ready {
        return TaskStatus { state: TaskState::Ready, ..fresh };
    }
    if status.state == TaskState::Running && status.attempt == task.attempt {
        return status;
    }
    let health =
        label(assigned, "healthy").map(|_| Health { verdict: Verdict::Starting, failing_streak: 0, log: Vec::new() });
    let container = ContainerStatus {
        state: ContainerState::Running,
        pid: 1,
        exit_code: None,
        oom_killed: false,
        restart_count: 0,
        started_at: Some(now),
        finished_at: None,
        health,
        ports: BTreeMap::new(),
    };
    TaskStatus { state: TaskState::Running, container: Some(container), ..fresh }
}

fn exited(status: &TaskStatus, code: i32) -> TaskStatus {
    let state = if code == 0 { TaskState::Complete } else { TaskState::Failed };
    let message = if code == 0 { String::new() } else { format!("exit code {code}") };
    let container = status.container.clone().map(|container| ContainerStatus {
        state: ContainerState::Exited,
        pid: 0,
        exit_code: Some(code),
        ..container
    });
    TaskStatus { state, message, container, ..status.clone() }
}

/// What happens to a container by itself, and when.
fn due(assigned: &AssignedTask, status: &TaskStatus) -> Option<(Time, TaskStatus)> {
    if status.state != TaskState::Running {
        return None;
    }
    let started = status.container.as_ref()?.started_at?;
    let after =
        |seconds: &str| Some(started.after(Duration::from_millis((seconds.parse::<f64>().ok()? * 1000.0) as u64)));
    if let Some((code, seconds)) = label(assigned, "exit").and_then(|text| text.split_once('@')) {
        return Some((after(seconds)?, exited(status, code.parse().ok()?)));
    }
    let health = status.container.as_ref()?.health.as_ref()?;
    if health.verdict != Verdict::Starting {
        return None;
    }
    let at = after(label(assigned, "healthy")?)?;
    let mut next = status.clone();
    next.container.as_mut()?.health.as_mut()?.verdict = Verdict::Healthy;
    Some((at, next))
}
