//! One task: what its host shows, what is wanted of it, and its next step.

use crate::backoff::{Restarts, Retry};
use crate::drain::Drain;
use crate::effect::EffectId;
use crate::health::Monitor;
use model::{
    AssignedTask, ContainerState, ContainerStatus, Desired, Exit, HealthCheck, HostLines, Observed, ObservedState,
    TaskId, TaskState, TaskStatus, Time,
};
use std::time::Duration;

/// An exit code that stands for a failure of whatever kind.
const FAILURE: i32 = 1;

/// The container of a task as last seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Host {
    /// Nothing is there.
    Absent,
    /// Its files are there, it never ran.
    Created,
    /// A start failed half way: it may or may not run. How it ended before, if it ever ran.
    Unclear(Option<Exit>),
    /// It runs.
    Running { pid: u32, started_at: Time, paused: bool },
    /// It ran and ended.
    Exited(Exit),
}

/// The effect that a task has in flight (probes are apart).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prepare,
    Launch { attempt: u32, restarts: u32 },
    WriteHosts,
    Stop,
    Remove,
}

impl Kind {
    /// Is a failure of `self` a reason to wait before `other`?
    pub(crate) fn same(self, other: Kind) -> bool {
        matches!(
            (self, other),
            (Kind::Prepare, Kind::Prepare)
                | (Kind::Launch { .. }, Kind::Launch { .. })
                | (Kind::WriteHosts, Kind::WriteHosts)
                | (Kind::Stop, Kind::Stop)
                | (Kind::Remove, Kind::Remove)
        )
    }
}

/// What should become of a task now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Nothing is decided yet: leave it as it is.
    Hold,
    /// Ready to start at once.
    Ready,
    /// Running.
    Run,
    /// Not running.
    Stop,
    /// Not there.
    Gone,
}

/// A task on this node.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) id: TaskId,
    /// As assigned last; `None`: only found on the host.
    pub(crate) assigned: Option<AssignedTask>,
    /// The newest assignment names it.
    pub(crate) wanted: bool,
    pub(crate) host: Host,
    /// Whose anonymous volumes it has, as assigned, or else as the container was found.
    pub(crate) volumes_of: TaskId,
    /// Attempt that the container was last started for; 0 if never.
    pub(crate) attempt: u32,
    /// In-place restarts of that attempt.
    pub(crate) restarts: u32,
    pub(crate) flight: Option<(EffectId, Kind)>,
    /// Whose namespace it was last started in; `None`: the host's, or not known.
    pub(crate) space: Option<TaskId>,
    /// What its /etc/hosts says, if that is known, and whether it is what it should say.
    pub(crate) hosts: Option<HostLines>,
    pub(crate) hosts_checked: bool,
    /// It was stopped to be started in another namespace.
    pub(crate) moving: bool,
    /// Since when it is on its way out while somebody may still send to it.
    pub(crate) leaves: Option<Time>,
    /// Nobody does any more; until when what was sent before is on its way.
    pub(crate) quiet: Option<Time>,
    /// Image and volumes are there; the image's health check.
    pub(crate) prepared: Option<Option<HealthCheck>>,
    /// Its health check, since the last start.
    pub(crate) health: Option<Monitor>,
    /// The probe in flight, and the start of the run that it is for.
    pub(crate) probe: Option<(EffectId, Time)>,
    /// Why it has to be stopped and counts as failed.
    pub(crate) doomed: Option<String>,
    /// It ended before the start had been told.
    pub(crate) early: Option<Exit>,
    /// How the last run ended.
    pub(crate) last: Option<Exit>,
    pub(crate) backoff: Restarts,
    /// When to restart in place; set once for each ending.
    pub(crate) restart_at: Option<Time>,
    pub(crate) retry: Option<(Kind, Retry)>,
    pub(crate) state: TaskState,
    pub(crate) since: Time,
    pub(crate) message: String,
    /// What it waits for; told in place of the message.
    pub(crate) waiting: Option<String>,
    /// Exit code in Docker's habit of a start that failed.
    pub(crate) start_code: Option<i32>,
    /// Nothing is left of it, though all was asked to go.
    pub(crate) removed: bool,
}

/// What the rest of the node means for a task.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    pub(crate) now: Time,
    /// A manager has spoken in this life of the agent.
    pub(crate) confirmed: bool,
    /// The remembered assignment may be acted upon, since no manager speaks.
    pub(crate) alone: bool,
    /// Nobody takes reports: from then on what managers would replace is started again here.
    pub(crate) deserted: Option<Time>,
    /// Its place in the network of the host.
    pub(crate) net: Place,
    /// The namespace that it should run in is another than the one that it runs in.
    pub(crate) moved: bool,
    /// Does anybody still send new connections to it?
    pub(crate) drain: Drain,
    /// What it has to wait for besides.
    pub(crate) blocked: Option<String>,
    /// Who has to stop before it may start.
    pub(crate) held: Option<TaskId>,
}

/// Is the network there for a task?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    There,
    Awaited(String),
    Fault(String),
}

/// The next step of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Nothing until something happens.
    Rest,
    /// Nothing until then.
    Until(Time),
    /// Nothing yet, for this reason.
    Wait(String),
    /// It has come to this state.
    Become(TaskState, String),
    /// Decide when to restart in place.
    Schedule,
    /// It was stopped because it failed, and is to be started again all the same.
    Revive,
    /// Everything is gone.
    Removed,
    Prepare,
    /// Create and start, for the task's attempt.
    Create,
    /// Start again, with this count of restarts.
    Start(u32),
    /// See to it that its /etc/hosts says what it should.
    CheckHosts,
    /// It begins to leave: others get a moment to hear of it.
    Leave,
    /// Nobody sends new connections to it any more; those that are on their way get a moment.
    Quiet,
    Stop,
    Remove,
}

impl Local {
    /// A task that was just assigned; nothing of it is on the host.
    pub(crate) fn new(id: TaskId, now: Time) -> Local {
        Local {
            id,
            assigned: None,
            wanted: false,
            host: Host::Absent,
            volumes_of: id,
            attempt: 0,
            restarts: 0,
            flight: None,
            space: None,
            hosts: None,
            hosts_checked: false,
            moving: false,
            leaves: None,
            quiet: None,
            prepared: None,
            health: None,
            probe: None,
            doomed: None,
            early: None,
            last: None,
            backoff: Restarts::default(),
            restart_at: None,
            retry: None,
            state: TaskState::Accepted,
            since: now,
            message: String::new(),
            waiting: None,
            start_code: None,
            removed: false,
        }
    }

    /// A container that the host was found to have.
    pub(crate) fn found(observed: &Observed, now: Time) -> Local {
        let mut local = Local::new(observed.task, now);
        local.attempt = observed.attempt;
        local.volumes_of = observed.volumes_of.unwrap_or(observed.task);
        local.restarts = observed.restart_count;
        local.space = observed.space;
        local.hosts = Some(observed.hosts.clone());
        local.host = match observed.state {
            ObservedState::Created => Host::Created,
            ObservedState::Running { pid, started_at, paused } => {
                local.state = TaskState::Running;
                local.since = started_at;
                Host::Running { pid, started_at, paused }
            }
            ObservedState::Exited(exit) => {
                local.last = Some(exit);
                Host::Exited(exit)
            }
        };
        local
    }

    /// The start that is wanted.
    pub(crate) fn wanted_attempt(&self) -> u32 {
        self.assigned.as_ref().map_or(self.attempt, |assigned| assigned.task.attempt)
    }

    /// Runs, as far as is known.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.host, Host::Running { .. })
    }

    /// May run.
    pub(crate) fn may_run(&self) -> bool {
        matches!(self.host, Host::Running { .. } | Host::Unclear(_))
            || matches!(self.flight, Some((_, Kind::Launch { .. })))
    }

    /// What should become of it.
    pub(crate) fn goal(&self, confirmed: bool, alone: bool) -> Goal {
        let Some(assigned) = &self.assigned else {
            return if confirmed { Goal::Gone } else { Goal::Hold };
        };
        if !self.wanted {
            return if confirmed { Goal::Gone } else { Goal::Hold };
        }
        if !confirmed && (!alone || self.host == Host::Absent) {
            // What was remembered may be older than the last word of the managers: a container that runs
            // stays, but nothing that ended or was removed comes back at once.
            return if self.runs() && self.attempt == assigned.task.attempt && !self.ended() && !self.told_to_stop() {
                Goal::Run
            } else {
                Goal::Hold
            };
        }
        if assigned.task.desired == Desired::Remove {
            return Goal::Gone;
        }
        if self.told_to_stop() || self.ended() || self.doomed.is_some() {
            return Goal::Stop;
        }
        if assigned.task.desired == Desired::Ready && !self.may_run() { Goal::Ready } else { Goal::Run }
    }

    pub(crate) fn told_to_stop(&self) -> bool {
        self.assigned.as_ref().is_some_and(|it| it.task.desired >= Desired::Shutdown || it.task.stopped_by_user)
    }

    /// The wanted attempt has come to its end.
    pub(crate) fn ended(&self) -> bool {
        self.state.is_terminal()
    }

    /// Does it run, and is not to go on as it does?
    pub(crate) fn is_leaving(&self, confirmed: bool, alone: bool) -> bool {
        let goes =
            matches!(self.goal(confirmed, alone), Goal::Gone | Goal::Stop) || self.attempt < self.wanted_attempt();
        goes && self.runs()
    }

    /// Does the manager know that it ends, or even want it?
    pub(crate) fn is_told_to_leave(&self) -> bool {
        self.told_to_stop() || self.attempt < self.wanted_attempt()
    }

    /// Its next step. Asks nothing about what changed: only what is.
    pub(crate) fn next(&self, around: &Around) -> Step {
        let goal = self.goal(around.confirmed, around.alone);
        if let Some((_, kind)) = self.flight {
            return self.while_busy(kind, goal);
        }
        match goal {
            Goal::Hold => Step::Rest,
            Goal::Gone => self.toward_gone(around),
            Goal::Stop => self.toward_stop(around),
            Goal::Ready | Goal::Run => self.toward_running(around),
        }
    }

    /// A pull may take long: a task that has nothing on the host and is not wanted any more is over at
    /// once. Nothing else is asked for before the effect has ended.
    fn while_busy(&self, kind: Kind, goal: Goal) -> Step {
        let only_pulls = kind == Kind::Prepare && self.host == Host::Absent;
        match goal {
            Goal::Gone if only_pulls && !self.removed => Step::Removed,
            Goal::Stop if only_pulls && !self.ended() => Step::Become(TaskState::Shutdown, String::new()),
            _ => Step::Rest,
        }
    }

    /// The step, unless it failed a short while ago.
    fn unless_late(&self, step: Step, kind: Kind, now: Time) -> Step {
        match &self.retry {
            Some((failed, retry)) if failed.same(kind) => retry.wait(now).map_or(step, Step::Until),
            _ => step,
        }
    }

    /// Stops it once nobody sends new connections to it any more. One that gets no grace gets none of this either.
    fn stop(&self, around: &Around) -> Step {
        let at_once = self.stop_with().1.is_zero();
        let now = around.now;
        let late = |since: Time, wait| now >= since.after(wait);
        match (around.drain, self.leaves, self.quiet) {
            _ if at_once => self.unless_late(Step::Stop, Kind::Stop, now),
            (Drain::Here | Drain::Elsewhere(_), None, _) => Step::Leave,
            (Drain::Here, ..) => Step::Rest,
            (Drain::Elsewhere(longest), Some(since), _) if !late(since, longest) => Step::Until(since.after(longest)),
            (_, Some(_), None) => Step::Quiet,
            (_, Some(_), Some(until)) if until > now => Step::Until(until),
            _ => self.unless_late(Step::Stop, Kind::Stop, now),
        }
    }

    fn toward_gone(&self, around: &Around) -> Step {
        match self.host {
            Host::Absent if self.removed => Step::Rest,
            Host::Absent => Step::Removed,
            Host::Running { .. } => self.stop(around),
            Host::Created | Host::Unclear(_) | Host::Exited(_) => {
                self.unless_late(Step::Remove, Kind::Remove, around.now)
            }
        }
    }

    fn toward_stop(&self, around: &Around) -> Step {
        match self.host {
            Host::Running { .. } => self.stop(around),
            Host::Unclear(_) => self.unless_late(Step::Stop, Kind::Stop, around.now),
            _ if self.ended() => match around.deserted.filter(|_| self.is_left()) {
                None => Step::Rest,
                Some(at) if at > around.now => Step::Until(at),
                Some(_) => Step::Revive,
            },
            _ => match &self.doomed {
                Some(why) => match around.deserted.filter(|_| !self.told_to_stop() && self.is_replaced(FAILURE)) {
                    None => Step::Become(TaskState::Failed, why.clone()),
                    Some(at) if at > around.now => Step::Until(at),
                    Some(_) => Step::Revive,
                },
                None => Step::Become(TaskState::Shutdown, String::new()),
            },
        }
    }

    fn toward_running(&self, around: &Around) -> Step {
        let wanted = self.wanted_attempt();
        match self.host {
            Host::Running { .. } if self.attempt < wanted => self.stop(around),
            // One that may run there would keep the old namespace for as long as its start waits.
            Host::Running { .. } | Host::Unclear(_) if around.moved => {
                self.unless_late(Step::Stop, Kind::Stop, around.now)
            }
            Host::Running { .. } if self.state != TaskState::Running => Step::Become(TaskState::Running, String::new()),
            Host::Running { .. } if !self.hosts_checked => {
                self.unless_late(Step::CheckHosts, Kind::WriteHosts, around.now)
            }
            // One that was adopted: the image may hold its health check.
            Host::Running { .. } if self.prepared.is_none() && self.image_matters() => {
                self.unless_late(Step::Prepare, Kind::Prepare, around.now)
            }
            Host::Running { .. } => Step::Rest,
            Host::Exited(_) if self.attempt < wanted => self.toward_start(Step::Start(0), around),
            Host::Exited(_) if self.moving => self.toward_start(Step::Start(self.restarts), around),
            Host::Exited(exit) => self.after_exit(exit, around),
            Host::Unclear(Some(_)) => {
                let restarts = if self.attempt < wanted { 0 } else { self.restarts.saturating_add(1) };
                self.toward_start(Step::Start(restarts), around)
            }
            Host::Absent | Host::Created | Host::Unclear(None) => self.toward_start(Step::Create, around),
        }
    }

    /// It ended by itself.
    fn after_exit(&self, exit: Exit, around: &Around) -> Step {
        if !self.comes_back(exit) {
            match around.deserted.filter(|_| self.is_replaced(exit.code)) {
                None => {
                    let (state, message) = ending(exit);
                    return Step::Become(state, message);
                }
                Some(at) if at > around.now => return Step::Until(at),
                Some(_) => {}
            }
        }
        match self.restart_at {
            None => Step::Schedule,
            Some(at) if at > around.now => Step::Until(at),
            Some(_) => self.toward_start(Step::Start(self.restarts.saturating_add(1)), around),
        }
    }

    fn toward_start(&self, start: Step, around: &Around) -> Step {
        if let Some(why) = &around.blocked {
            return Step::Wait(why.clone());
        }
        if self.prepared.is_none() {
            return self.unless_late(Step::Prepare, Kind::Prepare, around.now);
        }
        match &around.net {
            Place::There => {}
            Place::Awaited(why) => return Step::Wait(why.clone()),
            Place::Fault(why) => return Step::Become(TaskState::Rejected, why.clone()),
        }
        let Some(assigned) = &self.assigned else { return Step::Rest };
        if assigned.task.desired == Desired::Ready {
            return if self.state < TaskState::Ready {
                Step::Become(TaskState::Ready, String::new())
            } else {
                Step::Rest
            };
        }
        if assigned.task.not_before > around.now {
            return if self.state < TaskState::Ready {
                Step::Become(TaskState::Ready, String::new())
            } else {
                Step::Until(assigned.task.not_before)
            };
        }
        if let Some(other) = around.held {
            return Step::Wait(format!(
                "waits until container {}, whose data it goes on with, has stopped",
                other.short()
            ));
        }
        self.unless_late(start, Kind::Launch { attempt: 0, restarts: 0 }, around.now)
    }

    /// It has come to this state. States only rise within an attempt.
    pub(crate) fn become_state(&mut self, state: TaskState, message: String, now: Time) {
        if state != self.state {
            self.state = state;
            self.since = now;
        }
        self.message = message;
        self.waiting = None;
    }

    /// A newer start is wanted: what was true of the last one is over.
    pub(crate) fn begin_attempt(&mut self, now: Time) {
        self.state = TaskState::Accepted;
        self.since = now;
        self.message.clear();
        self.waiting = None;
        self.doomed = None;
        self.restart_at = None;
        self.retry = None;
        self.start_code = None;
        self.backoff = Restarts::default();
    }

    /// Signal and grace of a stop.
    pub(crate) fn stop_with(&self) -> (Option<String>, Duration) {
        let Some(assigned) = &self.assigned else { return (None, model::STOP_GRACE) };
        let (task, container) = (&assigned.task, &assigned.task.spec.container);
        let signal = task.stop_signal.clone().or_else(|| container.stop_signal.clone());
        let grace =
            task.stop_timeout.map(Duration::from_secs).or(container.stop_grace_period).unwrap_or(model::STOP_GRACE);
        (signal, grace)
    }

    /// May the image hold a health check that counts?
    fn image_matters(&self) -> bool {
        self.assigned.as_ref().is_some_and(|it| crate::health::needs_image(&it.task.spec.container))
    }

    /// Do its anonymous volumes go with it?
    pub(crate) fn takes_volumes(&self) -> bool {
        self.assigned.as_ref().is_some_and(|it| it.task.remove_volumes || it.task.spec.container.auto_remove)
    }

    /// A probe would tell something.
    pub(crate) fn can_be_probed(&self) -> bool {
        self.flight.is_none() && matches!(self.host, Host::Running { paused: false, .. })
    }

    /// Does it take traffic?
    pub(crate) fn serves(&self) -> bool {
        let healthy = || self.health.as_ref().is_none_or(|health| health.is_healthy());
        matches!(self.host, Host::Running { paused: false, .. }) && self.attempt == self.wanted_attempt() && healthy()
    }

    /// What is told of it.
    pub(crate) fn status(&self) -> TaskStatus {
        TaskStatus {
            attempt: self.wanted_attempt(),
            state: self.state,
            since: self.since,
            message: self.waiting.as_ref().unwrap_or(&self.message).clone(),
            container: self.container(),
        }
    }

    fn container(&self) -> Option<ContainerStatus> {
        let (state, pid, started_at) = match self.host {
            Host::Absent => return None,
            Host::Created | Host::Unclear(None) => (ContainerState::Created, 0, None),
            Host::Running { pid, started_at, paused: false } => (ContainerState::Running, pid, Some(started_at)),
            Host::Running { pid, started_at, paused: true } => (ContainerState::Paused, pid, Some(started_at)),
            Host::Exited(exit) if self.is_restarting(exit) => (ContainerState::Restarting, 0, Some(exit.started_at)),
            Host::Exited(exit) | Host::Unclear(Some(exit)) => (ContainerState::Exited, 0, Some(exit.started_at)),
        };
        let runs = self.runs();
        Some(ContainerStatus {
            state,
            pid,
            exit_code: if runs { None } else { self.start_code.or(self.last.map(|exit| exit.code)) },
            oom_killed: !runs && self.last.is_some_and(|exit| exit.oom_killed),
            restart_count: self.restarts,
            started_at,
            finished_at: self.last.map(|exit| exit.finished_at),
            health: self.health.as_ref().map(Monitor::shown),
            ports: self.assigned.as_ref().map(crate::net::chosen_ports).unwrap_or_default(),
        })
    }

    fn is_restarting(&self, exit: Exit) -> bool {
        !self.ended()
            && self.doomed.is_none()
            && !self.told_to_stop()
            && self.wanted
            && self.attempt == self.wanted_attempt()
            && self.comes_back(exit)
    }
}

/// What an ending means when nothing starts it again.
fn ending(exit: Exit) -> (TaskState, String) {
    match exit {
        Exit { oom_killed: true, code, .. } => {
            (TaskState::Failed, format!("out of memory: killed by the kernel (exit code {code})"))
        }
        Exit { code: 0, .. } => (TaskState::Complete, String::new()),
        Exit { code, .. } => (TaskState::Failed, format!("exit code {code}")),
    }
}
