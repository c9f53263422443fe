//! A stack on its way up, as seen from outside: which replicas serve, which fail, and whether there
//! is anything left to wait for. Pure: states and times come in, a [`Board`] comes out.

use model::{
    ContainerState, Desired, Mode, NodeId, RestartCondition, RestartScope, Service, ServiceId, State, Task, TaskId,
    TaskState, Time, UpdateState, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A replica that has failed before must run so long to count as running.
const STEADY: Duration = Duration::from_secs(3);
/// A replica without a health check must be seen to run for half as long again as its start took to count, but
/// at least and at most so long: what ends as soon as it has begun is not up. Enough for a wrong option, a missing
/// library or file, mostly also on a machine that is busy; whoever wants more writes a health check.
const HOLD: [Duration; 2] = [Duration::from_millis(30), Duration::from_secs(1)];
/// A replica that has ended gets its replacement within this time, if at all.
const REPLACED_WITHIN: Duration = Duration::from_millis(1500);
/// Others get so long to show their own failure, once one has failed for good.
const TOGETHER: Duration = Duration::from_millis(800);
/// A service that is to run on every node has a task on one of them within this time, if at all.
const PLACED_WITHIN: Duration = Duration::from_secs(2);
/// In-place restarts of one replica that mean that it will not come up.
const RESTARTS: u32 = 5;
/// Failed tasks of one slot that mean the same.
const FAILURES: u32 = 3;
/// Tasks of one slot that could not even be started.
const REJECTIONS: u32 = 2;

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not there yet.
    Working,
    /// As asked for.
    Ready,
    /// Will not come up by itself, as far as can be seen.
    Failed,
    /// Is being removed.
    Leaving,
}

/// A service in a word and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Key of the service.
    pub(crate) key: String,
    pub(crate) standing: Standing,
    /// Replicas as asked for.
    pub(crate) ready: usize,
    /// Replicas wanted.
    pub(crate) wanted: usize,
    /// `running`, `starting`, `waits for db`, …
    pub(crate) phase: String,
}

/// A replica that failed or is late, for the report at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// `web.1`.
    pub(crate) replica: String,
    /// The newest task that has something to tell.
    pub(crate) task: TaskId,
    /// What happened: `exit code 3, 5 times`.
    pub(crate) what: String,
    /// What its health check wrote last, if that is the trouble.
    pub(crate) check: Option<String>,
    /// There may be a log.
    pub(crate) has_run: bool,
    /// It is tried again.
    pub(crate) again: bool,
}

/// Is there anything left to wait for?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Settled,
    Failed,
}

/// Number of the slot, and the node where that is the slot.
type Slot = (ServiceId, u32, Option<NodeId>);

#[derive(Debug, Clone, Default)]
struct Past {
    failed: BTreeSet<TaskId>,
    rejected: BTreeSet<TaskId>,
    /// The runtime refused to start one: the next will fare no better.
    refused: bool,
    /// The run that serves: when it started by the clock of its node, and when it was first seen here.
    serving: Option<(Time, Time)>,
    restarts: BTreeMap<TaskId, u32>,
    /// A health check failed so often that it counted; what it wrote last.
    unhealthy: Option<String>,
    /// The slot has nothing that runs or will run, since then.
    ended_since: Option<Time>,
}

/// What is known of a stack that comes up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// The services to look at, by full name; `None`: all of the stack.
    wanted: Option<BTreeSet<String>>,
    /// Services that `up` has not changed: what ended before it is not its business.
    unchanged: BTreeSet<String>,
    /// The one service that was asked for, where that is not the whole stack.
    service: Option<String>,
    /// Services were to go.
    removes: bool,
    /// A rollback is no failure of an update: a person asked for it.
    rolls_back: bool,
    /// An update is over when its tasks have been watched as long as it says, not when they run.
    verifies: bool,
    old: BTreeSet<TaskId>,
    old_restarts: BTreeMap<TaskId, u32>,
    began: Option<Time>,
    slots: BTreeMap<Slot, Past>,
    failed_since: Option<Time>,
    state: State,
}

/// One replica, now.
enum Replica {
    Ready,
    Working(String),
    /// It cannot go on by itself until something else does.
    Blocked(String),
    Failed,
}

impl Board {
    /// Of every service of the stack.
    pub(crate) fn all() -> Board {
        Board::default()
    }

    /// Of these services (full names); `unchanged` are those among them that were there already, as they should be.
    pub(crate) fn of(wanted: BTreeSet<String>, unchanged: BTreeSet<String>) -> Board {
        Board { wanted: Some(wanted), unchanged, ..Board::default() }
    }

    /// The same where some are to be removed.
    #[must_use]
    pub(crate) fn removing(self, some: bool) -> Board {
        Board { removes: some, ..self }
    }

    /// The same for a command about this one service.
    #[must_use]
    pub(crate) fn about(mut self, service: &str) -> Board {
        self.service = Some(service.to_owned());
        self
    }

    /// What it is that comes up or does not: the stack, or services of none.
    pub(crate) fn subject(&self, stack: &str) -> String {
        let names = match (&self.service, &self.wanted) {
            (Some(service), _) => vec![service.as_str()],
            (None, Some(wanted)) if stack.is_empty() => wanted.iter().map(String::as_str).collect(),
            (None, _) => return stack.to_owned(),
        };
        format!("{} {}", if names.len() == 1 { "service" } else { "services" }, names.join(", "))
    }

    /// Until an update is completed: its tasks may fail within the time that it watches them for.
    #[must_use]
    pub(crate) fn verifying(mut self) -> Board {
        self.verifies = true;
        self
    }

    /// The same where going back is what was asked for.
    #[must_use]
    pub(crate) fn rolling_back(mut self) -> Board {
        self.rolls_back = true;
        self
    }

    /// Takes a newer state in.
    pub(crate) fn observe(&mut self, mut state: State, now: Time) {
        if let Some(wanted) = &self.wanted {
            state.services.retain(|service| wanted.contains(&service.spec.name));
        }
        if self.began.is_none() {
            self.began = Some(now);
            let old = state.tasks.iter().filter(|task| self.unchanged.contains(&task.spec.name));
            for task in old {
                if task.status.state.is_terminal() {
                    self.old.insert(task.id);
                }
                let restarts = task.status.container.as_ref().map_or(0, |container| container.restart_count);
                self.old_restarts.insert(task.id, restarts);
            }
        }
        self.state = state;
        let state = std::mem::take(&mut self.state);
        for service in &state.services {
            for task in current(&state, service).filter(|task| !self.old.contains(&task.id)) {
                let past = self.slots.entry(slot(task)).or_default();
                match task.status.state {
                    TaskState::Failed | TaskState::Orphaned => {
                        past.failed.insert(task.id);
                    }
                    TaskState::Rejected => {
                        past.rejected.insert(task.id);
                        past.refused |= task.status.container.as_ref().is_some_and(|it| it.exit_code.is_some());
                    }
                    _ => {}
                }
                if let Some(said) = failed_check(task) {
                    past.unhealthy = Some(said);
                }
                let restarts = task.status.container.as_ref().map_or(0, |container| container.restart_count);
                let before = self.old_restarts.get(&task.id).copied().unwrap_or(0);
                past.restarts.insert(task.id, restarts.saturating_sub(before));
            }
        }
        self.state = state;
        self.look(now);
    }

    /// Was there something to wait for that somebody else has taken away?
    pub(crate) fn is_gone(&self) -> bool {
        self.state.services.is_empty() && !self.slots.is_empty() && !self.removes
    }

    /// Lets time pass: some judgements depend on how long something lasts.
    pub(crate) fn look(&mut self, now: Time) {
        let newest: Vec<(Slot, bool, Option<Time>)> = self
            .state
            .services
            .iter()
            .flat_map(|service| newest(&self.state, service))
            .map(|task| (slot(task), has_ended_badly(task), serving_since(task)))
            .collect();
        for (slot, ended, started) in newest {
            let past = self.slots.entry(slot).or_default();
            past.ended_since = if ended { past.ended_since.or(Some(now)) } else { None };
            let same = past.serving.filter(|(before, _)| Some(*before) == started);
            past.serving = same.or(started.map(|started| (started, now)));
        }
        let any = self.state.services.iter().any(|service| self.standing(service, now).0 == Standing::Failed);
        self.failed_since = if any { self.failed_since.or(Some(now)) } else { None };
    }

    /// When to look again, if nothing happens before.
    pub(crate) fn wake(&self, now: Time) -> Option<Time> {
        let tasks = self.state.services.iter().flat_map(|service| newest(&self.state, service));
        tasks.filter_map(|task| self.proven_at(task)).filter(|at| *at > now).min()
    }

    /// When a replica that serves will have run long enough. By our clock: that of its node may be wrong.
    fn proven_at(&self, task: &Task) -> Option<Time> {
        let (started, seen) = self.slots.get(&slot(task))?.serving?;
        let is_checked = task.status.container.as_ref().is_some_and(|container| container.health.is_some());
        let [least, most] = HOLD;
        // What ran before anybody looked would have been told of if it had ended.
        let settled = self.unchanged.contains(&task.spec.name) && self.began == Some(seen);
        let ran_before = self.began.is_some_and(|began| started.after(most) <= began);
        (!is_checked && !ran_before && !settled).then(|| seen.after((seen.since(started) * 3 / 2).clamp(least, most)))
    }

    /// Is there anything left to wait for?
    pub(crate) fn outcome(&self, now: Time) -> Outcome {
        let standings: Vec<Standing> =
            self.state.services.iter().map(|service| self.standing(service, now).0).collect();
        if standings.iter().all(|standing| *standing == Standing::Ready) {
            return Outcome::Settled;
        }
        let Some(since) = self.failed_since else { return Outcome::Pending };
        if now.since(since) >= TOGETHER && self.rest_cannot_help(now) {
            return Outcome::Failed;
        }
        Outcome::Pending
    }

    /// Once a replica has failed for good: are the others done, or waiting for it?
    fn rest_cannot_help(&self, now: Time) -> bool {
        let late = self.failed_since.is_some_and(|since| now.since(since) >= 10 * TOGETHER);
        late || self.state.services.iter().filter(|service| !service.removing).all(|service| {
            newest(&self.state, service).into_iter().all(|task| !matches!(self.replica(task, now), Replica::Working(_)))
        })
    }

    /// A line for every service, in the order of their keys.
    pub(crate) fn lines(&self, now: Time) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .state
            .services
            .iter()
            .map(|service| {
                let (standing, ready, wanted, phase) = self.standing(service, now);
                Line { key: service.spec.key.clone(), standing, ready, wanted, phase }
            })
            .collect();
        lines.sort_by(|a, b| a.key.cmp(&b.key));
        lines
    }

    fn standing(&self, service: &Service, now: Time) -> (Standing, usize, usize, String) {
        let tasks = newest(&self.state, service);
        if service.removing {
            let left = self.state.tasks.iter().filter(|task| task.service == service.id && runs(task)).count();
            return (Standing::Leaving, left, left, "stopping".to_owned());
        }
        let wanted = service.replicas().map_or(tasks.len(), |count| usize::try_from(count).unwrap_or(usize::MAX));
        if let Mode::ReplicatedJob { .. } = service.spec.mode {
            return self.job(service, wanted, now);
        }
        let (mut ready, mut failed, mut phase) = (0, 0, None::<String>);
        for task in &tasks {
            match self.replica(task, now) {
                Replica::Ready => ready += 1,
                Replica::Failed => failed += 1,
                // The one that is least far tells most.
                Replica::Blocked(text) => phase = Some(text),
                Replica::Working(text) => phase = phase.or(Some(text)),
            }
        }
        // A rollback that `up` found completed is what it was asked for.
        let settled = self.unchanged.contains(&service.spec.name);
        if let Some(text) = update_failure(service, settled || self.rolls_back, self.rolls_back) {
            return (Standing::Failed, ready, wanted, text);
        }
        if failed > 0 {
            return (Standing::Failed, ready, wanted, "failed".to_owned());
        }
        // What it depends on has failed, or is not there: no task is replaced for that.
        if let Some(status) = service.update_status.as_ref().filter(|status| status.state == UpdateState::Updating)
            && status.message.starts_with("depends on ")
        {
            return (Standing::Failed, ready, wanted, status.message.clone());
        }
        let placed = service.replicas().is_some()
            || !tasks.is_empty()
            || self.began.is_some_and(|began| now.since(began) >= PLACED_WITHIN);
        let surplus = self.surplus(service, &tasks);
        let goes_on = service.update_status.as_ref().is_some_and(|status| status.state.is_active());
        match (ready >= wanted && placed, surplus) {
            (true, 0) if self.verifies && goes_on => {
                return (Standing::Working, ready, wanted, "running, watched for a while".to_owned());
            }
            (true, 0) => return (Standing::Ready, ready, wanted, settled_phase(&tasks)),
            (true, surplus) => return (Standing::Working, ready, wanted, format!("stopping {surplus} more")),
            (false, _) => {}
        }
        let phase = phase.unwrap_or_else(|| "planned".to_owned());
        (Standing::Working, ready, wanted, phase)
    }

    /// Tasks that the service has no more use for, and that still run.
    fn surplus(&self, service: &Service, newest: &[&Task]) -> usize {
        let of_it = self.state.tasks.iter().filter(|task| task.service == service.id && runs(task));
        of_it.filter(|task| !newest.iter().any(|kept| kept.id == task.id)).count()
    }

    fn job(&self, service: &Service, wanted: usize, now: Time) -> (Standing, usize, usize, String) {
        let done = current(&self.state, service).filter(|task| task.status.state == TaskState::Complete).count();
        let failed =
            newest(&self.state, service).into_iter().any(|task| matches!(self.replica(task, now), Replica::Failed));
        match (done >= wanted, failed) {
            (true, _) => (Standing::Ready, wanted, wanted, "completed".to_owned()),
            (false, true) => (Standing::Failed, done, wanted, "failed".to_owned()),
            (false, false) => (Standing::Working, done, wanted, "running".to_owned()),
        }
    }

    fn replica(&self, task: &Task, now: Time) -> Replica {
        let past = self.slots.get(&slot(task));
        let count = |set: Option<&BTreeSet<TaskId>>| set.map_or(0, |set| u32::try_from(set.len()).unwrap_or(u32::MAX));
        let restarts = past.and_then(|past| past.restarts.get(&task.id)).copied().unwrap_or(0);
        let failures = count(past.map(|past| &past.failed));
        let rejections = count(past.map(|past| &past.rejected));
        let stopped = task.stopped_by_user && task.status.state.is_terminal();
        if task.status.state == TaskState::Complete || stopped || is_paused(task) {
            return Replica::Ready;
        }
        let given_up = past.and_then(|past| past.ended_since).is_some_and(|since| now.since(since) >= REPLACED_WITHIN);
        let unhealthy = past.is_some_and(|past| past.unhealthy.is_some()) && !task.is_serving();
        let refused = past.is_some_and(|past| past.refused) && !task.is_serving();
        let too_often = restarts >= RESTARTS || failures >= FAILURES || rejections >= REJECTIONS;
        if given_up || unhealthy || refused || too_often {
            return Replica::Failed;
        }
        if task.is_serving() {
            let started = task.status.container.as_ref().and_then(|container| container.started_at);
            let steady = started.is_none_or(|started| now.since(started) >= STEADY);
            if steady {
                return Replica::Ready;
            }
            if restarts > 0 || failures > 0 || rejections > 0 {
                return Replica::Working("started again".to_owned());
            }
            if self.proven_at(task).is_some_and(|at| at > now) {
                return Replica::Working("starting".to_owned());
            }
            return Replica::Ready;
        }
        if let Some(why) = self.state.waiting.get(&task.id) {
            return Replica::Blocked(why.clone());
        }
        Replica::Working(phase(task))
    }

    /// Replicas that are not as they should be, with what is known of them.
    pub(crate) fn troubles(&self, now: Time) -> Vec<Trouble> {
        let mut all = Vec::new();
        for service in self.state.services.iter().filter(|service| !service.removing) {
            for task in newest(&self.state, service) {
                if !matches!(self.replica(task, now), Replica::Ready) {
                    all.push(self.trouble(service, task));
                }
            }
        }
        all.sort_by(|a, b| a.replica.cmp(&b.replica));
        all
    }

    fn trouble(&self, service: &Service, task: &Task) -> Trouble {
        let past = self.slots.get(&slot(task));
        let last = current(&self.state, service)
            .filter(|other| slot(other) == slot(task) && has_ended_badly(other))
            .max_by_key(|other| (other.created, other.id));
        let told = last.unwrap_or(task);
        let mut what = match self.state.waiting.get(&task.id) {
            Some(why) if last.is_none() => why.clone(),
            _ => match told.status.message.as_str() {
                "" => phase(told),
                message => message.to_owned(),
            },
        };
        let times = past.map_or(0, |past| {
            let tasks = past.failed.len() + past.rejected.len();
            let restarts = past.restarts.values().copied().max().unwrap_or(0);
            tasks.max(usize::try_from(restarts).unwrap_or(usize::MAX))
        });
        if times > 1 {
            what = format!("{what} ({times} times)");
        }
        let replica =
            if task.slot == 0 { service.spec.key.clone() } else { format!("{}.{}", service.spec.key, task.slot) };
        let check = past.and_then(|past| past.unhealthy.clone()).filter(|said| !said.is_empty());
        let again = service.spec.restart.condition != RestartCondition::None || !told.status.state.is_terminal();
        Trouble { replica, task: told.id, what, check, has_run: told.status.container.is_some(), again }
    }
}

/// What the health check of an unhealthy container wrote last.
fn failed_check(task: &Task) -> Option<String> {
    let health = task.status.container.as_ref()?.health.as_ref()?;
    let last = health.log.last().map_or("", |result| result.output.as_str());
    (health.verdict == Verdict::Unhealthy).then(|| last.trim_end().to_owned())
}

/// Why the update failed, unless a rollback that has ended, or that goes on, is what was asked for.
fn update_failure(service: &Service, ended: bool, goes_on: bool) -> Option<String> {
    let status = service.update_status.as_ref()?;
    let accepted = match status.state {
        // What was changed since replaced no task.
        UpdateState::RollbackCompleted => ended || status.started < service.updated,
        UpdateState::RollbackStarted => goes_on,
        _ => false,
    };
    if accepted {
        return None;
    }
    let failed = matches!(
        status.state,
        UpdateState::Paused
            | UpdateState::RollbackStarted
            | UpdateState::RollbackPaused
            | UpdateState::RollbackCompleted
    );
    failed.then(|| if status.message.is_empty() { "the update failed".to_owned() } else { status.message.clone() })
}

fn settled_phase(tasks: &[&Task]) -> String {
    let complete = tasks.iter().filter(|task| task.status.state == TaskState::Complete).count();
    let checked = tasks.iter().any(|task| task.status.container.as_ref().is_some_and(|c| c.health.is_some()));
    match (tasks.is_empty(), complete == tasks.len(), checked) {
        (true, _, _) => "nothing to run".to_owned(),
        (_, true, _) => "completed".to_owned(),
        _ if tasks.iter().any(|task| is_paused(task)) => "paused (`rswarm unpause`)".to_owned(),
        (_, _, true) => "healthy".to_owned(),
        _ => "running".to_owned(),
    }
}

/// A person froze it.
fn is_paused(task: &Task) -> bool {
    task.status.container.as_ref().is_some_and(|container| container.state == ContainerState::Paused)
}

/// Where a task stands, in a word or two.
pub(crate) fn phase(task: &Task) -> String {
    let health = task.status.container.as_ref().and_then(|container| container.health.as_ref());
    let word = match task.status.state {
        TaskState::New | TaskState::Pending => "planned",
        TaskState::Assigned | TaskState::Accepted => "assigned",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "ready to start",
        TaskState::Starting => "starting",
        TaskState::Running => match health.map(|health| health.verdict) {
            Some(Verdict::Starting) => "running, health not known yet",
            Some(Verdict::Unhealthy) => "unhealthy",
            _ => "running",
        },
        TaskState::Complete => "completed",
        TaskState::Shutdown => "stopped",
        TaskState::Failed => "failed",
        TaskState::Rejected => "could not be started",
        TaskState::Orphaned => "lost with its node",
    };
    word.to_owned()
}

/// When the run that serves began.
fn serving_since(task: &Task) -> Option<Time> {
    task.status.container.as_ref().filter(|_| task.is_serving()).and_then(|container| container.started_at)
}

fn runs(task: &Task) -> bool {
    !task.status.state.is_terminal()
}

/// It has ended otherwise than it should, and will not run again by itself.
fn has_ended_badly(task: &Task) -> bool {
    let restarts_in_place = task.spec.restart.scope == RestartScope::InPlace && !task.status.state.is_terminal();
    let ended = matches!(
        task.status.state,
        TaskState::Failed | TaskState::Rejected | TaskState::Orphaned | TaskState::Shutdown
    );
    ended && !restarts_in_place && !task.stopped_by_user
}

fn slot(task: &Task) -> Slot {
    (task.service, task.slot, if task.slot == 0 { task.node } else { None })
}

/// Tasks that are as the service now asks for. Not those that ended before it asked for something else in between: their
/// place is another's, who is still to be replaced.
fn current<'a>(state: &'a State, service: &'a Service) -> impl Iterator<Item = &'a Task> {
    let of_it = state.tasks.iter().map(AsRef::as_ref).filter(|task: &&Task| task.service == service.id);
    let (other, same): (Vec<&Task>, Vec<&Task>) = of_it.partition(|task| orchestrator::is_dirty(service, task));
    let age = |task: &Task| (task.created, task.id);
    let mut since = BTreeMap::new();
    for task in other {
        let newest = since.entry(slot(task)).or_insert(age(task));
        *newest = age(task).max(*newest);
    }
    same.into_iter().filter(move |task| runs(task) || since.get(&slot(task)).is_none_or(|since| age(task) > *since))
}

/// The newest of each slot that the service still has.
fn newest<'a>(state: &'a State, service: &'a Service) -> Vec<&'a Task> {
    let mut slots: BTreeMap<Slot, &Task> = BTreeMap::new();
    let limit = match service.spec.mode {
        Mode::Replicated { replicas } => replicas,
        _ => u32::MAX,
    };
    for task in current(state, service).filter(|task| task.slot <= limit) {
        let best = slots.entry(slot(task)).or_insert(task);
        if (task.created, task.id) > (best.created, best.id) {
            *best = task;
        }
    }
    // Where the node is the slot there is none where no task is wanted.
    slots.into_values().filter(|task| task.slot > 0 || task.desired <= Desired::Running).collect()
}

#[cfg(test)]
mod tests;
