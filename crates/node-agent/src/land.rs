//! What effects came to, and what containers did by themselves.

use crate::agent::{Agent, Target};
use crate::backoff::{Retry, shown};
use crate::effect::{EffectError, EffectErrorKind, EffectId, Outcome};
use crate::health::Monitor;
use crate::task::{Host, Kind, Local};
use model::{Exit, TaskId, TaskState, Time};

type Done = Result<Outcome, EffectError>;

impl Agent {
    /// An effect has ended.
    pub(crate) fn land(&mut self, now: Time, id: EffectId, result: Done) {
        match self.flights.remove(&id) {
            Some(Target::Task(task)) => self.landed_task(now, task, id, result),
            Some(Target::Probe(task)) => self.probed(now, task, id, result),
            Some(Target::Net) => self.landed_net(now, result),
            Some(Target::Volume(name)) => {
                let worked = matches!(result, Ok(Outcome::VolumeRemoved));
                if self.volumes.landed(&name, id, worked, now) {
                    self.reporter.volume_removed(&name);
                }
            }
            None => debug_assert!(false, "an effect ended that nobody asked for"),
        }
    }

    fn landed_net(&mut self, now: Time, result: Done) {
        match result {
            Ok(Outcome::Net { faults, settles }) => self.nets.land(faults, settles, now),
            Ok(_) => self.nets.fail("an answer that makes no sense".to_owned(), now),
            Err(error) => self.nets.fail(error.message, now),
        }
        for local in self.tasks.values_mut().filter(|local| local.runs() && local.state == TaskState::Running) {
            let complaint = self.nets.complaint(local).unwrap_or_default();
            if local.message != complaint {
                local.message = complaint;
                self.touched.insert(local.id);
            }
        }
    }

    fn landed_task(&mut self, now: Time, task: TaskId, id: EffectId, result: Done) {
        let Some(local) = self.tasks.get_mut(&task) else { return };
        let Some((flight, kind)) = local.flight.take() else { return };
        debug_assert_eq!(flight, id, "task {task} had another effect in flight");
        self.touched.insert(task);
        match (kind, result) {
            (_, Err(error)) => local.failed(kind, error, now),
            (Kind::Prepare, Ok(Outcome::Prepared { healthcheck })) => {
                local.prepared = Some(healthcheck);
                local.worked(Kind::Prepare);
                self.watch(now, task);
            }
            (Kind::Launch { attempt, restarts }, Ok(Outcome::Started { pid, started_at })) => {
                local.started(attempt, restarts, pid, started_at, now);
                self.watch(now, task);
                self.ended_early(task);
            }
            (Kind::WriteHosts, Ok(Outcome::HostsWritten)) => local.worked(Kind::WriteHosts),
            (Kind::Stop, Ok(Outcome::Stopped(exit))) => {
                local.stopped(exit);
                local.worked(Kind::Stop);
            }
            (Kind::Remove, Ok(Outcome::Removed)) => {
                local.host = Host::Absent;
                local.worked(Kind::Remove);
            }
            (kind, Ok(_)) => {
                let error = EffectError::transient("an answer that makes no sense");
                local.failed(kind, error, now);
            }
        }
    }

    /// Begins to watch the health of a run, or goes on with a check that has become known.
    fn watch(&mut self, now: Time, task: TaskId) {
        let Some(local) = self.tasks.get_mut(&task) else { return };
        let Host::Running { started_at, .. } = local.host else { return };
        match (Agent::check(local), &mut local.health) {
            (Some(check), Some(monitor)) if monitor.started_at() == started_at => {
                if !monitor.is_known() {
                    monitor.set(check, now);
                }
            }
            (Some(check), health) => *health = Some(Monitor::new(check, started_at, now)),
            (None, health) => *health = None,
        }
    }

    fn probed(&mut self, now: Time, task: TaskId, id: EffectId, result: Done) {
        let Some(local) = self.tasks.get_mut(&task) else { return };
        let Some((_, run)) = local.probe.take_if(|(probe, _)| *probe == id) else { return };
        let is_run = matches!(local.host, Host::Running { started_at, .. } if started_at == run);
        let Some(health) = local.health.as_mut().filter(|health| is_run && health.started_at() == run) else { return };
        let Ok(Outcome::Probed { start, exit_code, output }) = result else {
            health.skipped(now);
            return;
        };
        if health.probed(start, exit_code, output, now) {
            self.memory.soon(now);
        }
        self.touched.insert(task);
        local.judge();
    }

    /// A container ended.
    pub(crate) fn exited(&mut self, task: TaskId, attempt: u32, exit: Exit) {
        let Some(local) = self.tasks.get_mut(&task) else { return };
        // Also told for a container that a stop ended, whose result says the same.
        if local.last.is_some_and(|last| last.started_at == exit.started_at) {
            return;
        }
        match local.host {
            Host::Running { started_at, .. } if attempt == local.attempt && exit.started_at >= started_at => {
                local.ended_with(exit);
                self.touched.insert(task);
            }
            _ if matches!(local.flight, Some((_, Kind::Launch { .. }))) => local.early = Some(exit),
            _ => {}
        }
    }

    /// It had ended before its start was told.
    fn ended_early(&mut self, task: TaskId) {
        let Some(local) = self.tasks.get_mut(&task) else { return };
        let Host::Running { started_at, .. } = local.host else { return };
        // An earlier run may have been told of late.
        if let Some(exit) = local.early.take().filter(|exit| exit.started_at >= started_at) {
            local.ended_with(exit);
        }
    }

    /// It was frozen, or thawed.
    pub(crate) fn paused(&mut self, task: TaskId, frozen: bool) {
        if let Some(local) = self.tasks.get_mut(&task)
            && let Host::Running { paused, .. } = &mut local.host
        {
            *paused = frozen;
            self.touched.insert(task);
        }
    }
}

impl Local {
    /// What failed before is over, unless it was a start: what has to be done before each says nothing of whether it
    /// will work, and it would be tried without any pause.
    fn worked(&mut self, kind: Kind) {
        let start = matches!(self.retry, Some((Kind::Launch { .. }, _)));
        if !start || matches!(kind, Kind::Launch { .. }) {
            self.retry = None;
            self.waiting = None;
        }
    }

    fn started(&mut self, attempt: u32, restarts: u32, pid: u32, started_at: Time, now: Time) {
        self.worked(Kind::Launch { attempt, restarts });
        self.host = Host::Running { pid, started_at, paused: false };
        self.attempt = attempt;
        self.restarts = restarts;
        self.restart_at = None;
        self.moving = false;
        self.start_code = None;
        self.health = None;
        // A newer start may be wanted by now, or none: then this one does not count.
        if attempt == self.wanted_attempt() && !self.ended() {
            self.become_state(TaskState::Running, String::new(), now);
        }
    }

    fn ended_with(&mut self, exit: Exit) {
        self.host = Host::Exited(exit);
        self.last = Some(exit);
        self.restart_at = None;
    }

    fn stopped(&mut self, exit: Option<Exit>) {
        let exit = match (exit, self.host) {
            (Some(exit), _) => Some(exit),
            (None, Host::Exited(exit)) | (None, Host::Unclear(Some(exit))) => Some(exit),
            (None, _) => None,
        };
        match exit {
            Some(exit) => self.ended_with(exit),
            None => self.host = Host::Created,
        }
    }

    /// An effect failed: it is tried again later, or the task is over.
    fn failed(&mut self, kind: Kind, error: EffectError, now: Time) {
        let launches = matches!(kind, Kind::Launch { .. });
        let fatal = error.kind == EffectErrorKind::Fatal;
        if launches {
            self.host = after_failed_start(self.host, fatal);
            // The image may be what is missing: it is asked for again.
            self.prepared = None;
        }
        // An adopted container runs, whatever became of its image.
        if fatal && (launches || kind == Kind::Prepare) && !self.runs() {
            self.retry = None;
            self.refused(kind, error, now);
            return;
        }
        let mut retry = match self.retry.take() {
            Some((failed, retry)) if failed.same(kind) => retry,
            _ => Retry::default(),
        };
        let delay = retry.failed(now);
        self.retry = Some((kind, retry));
        if kind == Kind::WriteHosts {
            (self.hosts, self.hosts_checked) = (None, false);
        }
        if !(matches!(kind, Kind::Prepare | Kind::WriteHosts) && self.runs()) {
            self.waiting = Some(format!("{} (trying again in {})", error.message, shown(delay)));
        }
    }

    /// It cannot be started.
    fn refused(&mut self, kind: Kind, error: EffectError, now: Time) {
        self.start_code = error.exit_code;
        let again = matches!(kind, Kind::Launch { restarts: 1.., .. });
        let state = if again { TaskState::Failed } else { TaskState::Rejected };
        let current = match kind {
            Kind::Launch { attempt, .. } => attempt == self.wanted_attempt(),
            _ => true,
        };
        if current && !self.ended() {
            self.become_state(state, error.message, now);
        }
    }

    /// An unhealthy task of a service is replaced; a container that a person runs is theirs to judge.
    pub(crate) fn judge(&mut self) {
        let standalone = self.assigned.as_ref().is_none_or(|assigned| assigned.task.spec.standalone);
        if let Some(health) = self.health.as_ref().filter(|health| health.is_unhealthy() && !standalone) {
            self.doomed.get_or_insert_with(|| health.complaint());
        }
    }
}

/// The container after a start that failed. A fatal error comes before anything has run; after any
/// other, nobody knows, until a stop or another start has cleared it up.
fn after_failed_start(before: Host, fatal: bool) -> Host {
    match before {
        Host::Exited(exit) if fatal => Host::Exited(exit),
        Host::Exited(exit) => Host::Unclear(Some(exit)),
        Host::Absent | Host::Created if fatal => Host::Created,
        Host::Absent | Host::Created => Host::Unclear(None),
        Host::Unclear(_) | Host::Running { .. } => before,
    }
}
