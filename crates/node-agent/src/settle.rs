//! After each input: the next step of everything.

use crate::agent::{Agent, AgentOutput, PATIENCE, Target};
use crate::drain::{Drain, LINGER};
use crate::effect::{Effect, WriteHosts};

use crate::task::{Around, Goal, Kind, Local, Place, Step};
use crate::{health, hosts, launch, memory, net, volumes};
use model::{TaskId, TaskState, Time};

/// Steps that one task may take at once: more would be a circle.
const MAX_STEPS: usize = 8;

impl Agent {
    /// Asks for all that can be done now, tells what changed, and says when to look again.
    pub(crate) fn settle(&mut self, now: Time) {
        self.want_net(now);
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        let mut wake = None;
        for id in ids {
            wake = earliest(wake, self.step(now, id));
            wake = earliest(wake, self.probe(now, id));
        }
        // Steps may have let go of endpoints and ports, or have come to need them.
        self.want_net(now);
        self.ensure_net(now);
        self.remove_volumes(now);
        if self.report(now) {
            // Whose address was a forgotten one's may be somebody else.
            self.want_net(now);
            self.ensure_net(now);
        }
        self.remember(now);
        let moving = self.moving();
        for more in [
            self.net_wake(now),
            self.nets.tells_at(),
            self.volumes.wake(now),
            self.reporter.due(moving),
            self.memory.due(),
            self.alone_at().filter(|at| *at > now),
        ] {
            wake = earliest(wake, more);
        }
        self.wake = wake;
    }

    /// Takes a task as far as it goes without waiting; returns when to look at it again.
    fn step(&mut self, now: Time, id: TaskId) -> Option<Time> {
        for _ in 0..MAX_STEPS {
            let local = self.tasks.get(&id)?;
            let around = self.around(now, local);
            let step = local.next(&around);
            match step {
                Step::Rest => {
                    self.not_waiting(id);
                    return None;
                }
                Step::Until(at) => return Some(at),
                Step::Wait(why) => {
                    self.waits(id, why);
                    return None;
                }
                Step::Become(state, message) => self.becomes(now, id, state, message),
                Step::Schedule => self.schedule(now, id),
                Step::Revive => self.revive(now, id),
                Step::Removed => self.gone(now, id),
                Step::Prepare => return self.begin(now, id, Kind::Prepare, TaskState::Preparing),
                Step::Create => return self.begin_launch(now, id, 0, true),
                Step::Start(restarts) => return self.begin_launch(now, id, restarts, false),
                Step::CheckHosts => {
                    if self.check_hosts(now, id) {
                        return None;
                    }
                }
                Step::Leave => self.leaves(now, id),
                Step::Quiet => self.is_quiet(now, id),
                Step::Stop => {
                    self.moves(id, around.moved);
                    return self.begin(now, id, Kind::Stop, TaskState::New);
                }
                Step::Remove => return self.begin(now, id, Kind::Remove, TaskState::New),
            }
        }
        debug_assert!(false, "task {id} goes in circles");
        None
    }

    fn around(&self, now: Time, local: &Local) -> Around {
        let starts = local.flight.is_none() && !local.runs();
        let blocked = starts.then(|| self.blocked(local)).flatten();
        let held = starts.then(|| volumes::held_by(&self.tasks, local)).flatten();
        let net = if starts { self.nets.place(&self.tasks, local) } else { Place::There };
        let moved = self.confirmed && self.nets.has_moved(&self.tasks, local);
        let alone = self.alone(now);
        // Most tasks stay where they are, and who sends to them is a long story.
        let sent_to = || self.assignment.as_ref().is_some_and(|assignment| assignment.sent_to.contains(&local.id));
        let leaves = local.is_leaving(self.confirmed, alone);
        let drain = if leaves { self.nets.drain(local, sent_to()) } else { Drain::Done };
        let deserted = self.deserted.map(|since| since.after(PATIENCE));
        Around { now, confirmed: self.confirmed, alone, deserted, net, moved, drain, blocked, held }
    }

    fn blocked(&self, local: &Local) -> Option<String> {
        let assignment = self.assignment.as_ref()?;
        volumes::awaited(local, assignment).map(|name| format!("waits until the old volume {name} is removed"))
    }

    fn not_waiting(&mut self, id: TaskId) {
        if let Some(local) = self.tasks.get_mut(&id)
            && local.flight.is_none()
            && local.waiting.take().is_some()
        {
            self.touched.insert(id);
        }
    }

    fn waits(&mut self, id: TaskId, why: String) {
        if let Some(local) = self.tasks.get_mut(&id)
            && local.waiting.as_ref() != Some(&why)
        {
            local.waiting = Some(why);
            self.touched.insert(id);
        }
    }

    fn becomes(&mut self, now: Time, id: TaskId, state: TaskState, message: String) {
        if let Some(local) = self.tasks.get_mut(&id) {
            local.become_state(state, message, now);
            self.touched.insert(id);
            if state.is_terminal() {
                self.memory.soon(now);
            }
        }
    }

    fn leaves(&mut self, now: Time, id: TaskId) {
        if let Some(local) = self.tasks.get_mut(&id) {
            local.leaves = Some(now);
        }
    }

    fn is_quiet(&mut self, now: Time, id: TaskId) {
        let until = self.nets.settles(now).max(now.after(LINGER));
        if let Some(local) = self.tasks.get_mut(&id) {
            local.quiet = Some(until);
        }
    }

    /// A stop only to be started in another namespace is no ending.
    fn moves(&mut self, id: TaskId, moved: bool) {
        if let Some(local) = self.tasks.get_mut(&id) {
            local.moving = moved;
        }
    }

    /// When to start it again in place.
    fn schedule(&mut self, now: Time, id: TaskId) {
        let Some(local) = self.tasks.get_mut(&id) else { return };
        let Some(exit) = local.last else { return };
        let delay = local.backoff.next(exit.finished_at.since(exit.started_at)).max(local.delay());
        // A little apart, so that many that failed together do not come back at the same instant.
        let jitter = self.random.next_u64() % (1 + u64::try_from(delay.as_millis() / 10).unwrap_or(0));
        local.restart_at = Some(now.after(delay + std::time::Duration::from_millis(jitter)));
        if local.state < TaskState::Running {
            local.become_state(TaskState::Running, String::new(), now);
        }
        local.message = format!("restarts after exit code {}", exit.code);
        self.touched.insert(id);
    }

    /// It failed, and nobody is there to replace it. That may have been told: then the state falls, which managers take
    /// for old news; one that knows of the failure replaces the task when it is back.
    fn revive(&mut self, now: Time, id: TaskId) {
        if let Some(local) = self.tasks.get_mut(&id) {
            (local.doomed, local.health) = (None, None);
            if local.ended() {
                local.become_state(TaskState::Running, String::new(), now);
            }
        }
    }

    /// Nothing of it is left.
    fn gone(&mut self, now: Time, id: TaskId) {
        let Some(local) = self.tasks.get_mut(&id) else { return };
        local.removed = true;
        if !local.ended() {
            local.become_state(TaskState::Shutdown, String::new(), now);
        }
        self.touched.insert(id);
    }

    /// Asks for an effect that needs nothing but the task.
    fn begin(&mut self, now: Time, id: TaskId, kind: Kind, state: TaskState) -> Option<Time> {
        let local = self.tasks.get(&id)?;
        let effect = match kind {
            Kind::Prepare => {
                let (assigned, assignment) = (local.assigned.as_ref()?, self.assignment.as_ref()?);
                Effect::Prepare(Box::new(launch::prepare(assigned, assignment, &self.machine)))
            }
            Kind::Stop => {
                let (signal, grace) = local.stop_with();
                let receives = local.quiet.is_some() && !grace.is_zero();
                let sends = receives && matches!(self.goal(local, now), Goal::Stop | Goal::Gone);
                Effect::Stop { task: id, signal, grace, receives, sends }
            }
            Kind::Remove => Effect::Remove { task: id, volumes: local.takes_volumes() },
            Kind::Launch { .. } | Kind::WriteHosts => return None,
        };
        self.fly(now, id, kind, state, effect);
        None
    }

    fn begin_launch(&mut self, now: Time, id: TaskId, restarts: u32, create: bool) -> Option<Time> {
        let local = self.tasks.get(&id)?;
        let (assigned, assignment) = (local.assigned.as_ref()?, self.assignment.as_ref()?);
        match launch::launch(&self.tasks, assigned, assignment, &self.machine, restarts) {
            Ok(launch) => {
                let kind = Kind::Launch { attempt: launch.attempt, restarts };
                let (space, lines) = (launch.net.owner(), launch.hosts.lines.clone());
                let launch = Box::new(launch);
                let effect = if create { Effect::CreateAndStart(launch) } else { Effect::Start(launch) };
                self.fly(now, id, kind, TaskState::Starting, effect);
                if let Some(local) = self.tasks.get_mut(&id) {
                    local.space = space;
                    (local.hosts, local.hosts_checked) = (Some(lines), true);
                    (local.leaves, local.quiet) = (None, None);
                }
            }
            Err(why) => self.waits(id, why),
        }
        None
    }

    /// Asks for other lines in /etc/hosts, if they are not as they should be; does it?
    fn check_hosts(&mut self, now: Time, id: TaskId) -> bool {
        let wanted = self.wanted_hosts(id);
        let Some(local) = self.tasks.get_mut(&id) else { return true };
        local.hosts_checked = true;
        let known = local.hosts.as_ref();
        let Some(write) = wanted.filter(|it| known != Some(&it.hosts.lines) || !it.hosts.gateway.is_empty()) else {
            return false;
        };
        local.hosts = Some(write.hosts.lines.clone());
        self.fly(now, id, Kind::WriteHosts, TaskState::New, Effect::WriteHosts(Box::new(write)));
        true
    }

    fn wanted_hosts(&self, id: TaskId) -> Option<WriteHosts> {
        let (assigned, assignment) = (self.tasks.get(&id)?.assigned.as_ref()?, self.assignment.as_ref()?);
        hosts::wanted(&self.tasks, assigned, assignment, &self.machine)
    }

    fn fly(&mut self, now: Time, id: TaskId, kind: Kind, state: TaskState, effect: Effect) {
        let effect = self.emit(Target::Task(id), effect);
        let Some(local) = self.tasks.get_mut(&id) else { return };
        debug_assert!(local.flight.is_none(), "task {id} has an effect in flight already");
        local.flight = Some((effect, kind));
        local.early = None;
        if local.state < state {
            local.state = state;
            local.since = now;
        }
        self.touched.insert(id);
    }

    /// Asks for a probe when one is due; returns when the next one is.
    fn probe(&mut self, now: Time, id: TaskId) -> Option<Time> {
        let local = self.tasks.get(&id)?;
        let (due, check) = local.health.as_ref()?.due()?;
        if local.probe.is_some() || !local.can_be_probed() || self.goal(local, now) != Goal::Run {
            return None;
        }
        if due > now {
            return Some(due);
        }
        let started_at = local.health.as_ref()?.started_at();
        let effect = Effect::Probe { task: id, test: check.test.clone(), timeout: check.timeout };
        let probe = self.emit(Target::Probe(id), effect);
        if let Some(local) = self.tasks.get_mut(&id) {
            local.probe = Some((probe, started_at));
        }
        None
    }

    /// May the network be touched? Not before it is known to whom all that runs belongs: an endpoint
    /// that is left out is torn down under its container.
    fn may_touch_net(&self) -> bool {
        let known = |local: &Local| local.assigned.is_some() && local.wanted;
        self.confirmed || self.assignment.is_some() && self.tasks.values().all(|local| !local.runs() || known(local))
    }

    fn want_net(&mut self, now: Time) {
        let Some(assignment) = &self.assignment else { return };
        let (confirmed, alone) = (self.confirmed, self.alone(now));
        let goal = |local: &Local| local.goal(confirmed, alone);
        let shape: Vec<(TaskId, net::Needs)> =
            self.tasks.values().map(|local| (local.id, net::needs(local, goal(local)))).collect();
        if self.nets.shape.as_ref() != Some(&shape) || self.nets.lingered(now) {
            self.nets.want(&self.tasks, assignment, goal, now);
            self.nets.shape = Some(shape);
        }
    }

    fn ensure_net(&mut self, now: Time) {
        if self.may_touch_net() && self.nets.is_due(now) {
            let net = self.nets.wanted.clone();
            let id = self.emit(Target::Net, Effect::EnsureNet(Box::new(net.clone())));
            self.nets.flight = Some((id, net));
            self.nets.flight_of = self.assignment.as_ref().map(|assignment| assignment.generation);
        }
    }

    fn net_wake(&self, now: Time) -> Option<Time> {
        if self.may_touch_net() { self.nets.wake(now) } else { None }
    }

    fn remove_volumes(&mut self, now: Time) {
        if !self.confirmed {
            return;
        }
        for name in self.volumes.ready(&self.tasks, now) {
            let id = self.emit(Target::Volume(name.clone()), Effect::RemoveVolume(name.clone()));
            self.volumes.begun(&name, id);
        }
    }

    /// Tasks whose effect will soon end.
    fn moving(&self) -> usize {
        self.tasks.values().filter(|local| local.flight.is_some()).count()
    }

    /// Returns whether a task was forgotten with it.
    fn report(&mut self, now: Time) -> bool {
        let (confirmed, alone) = (self.confirmed, self.alone(now));
        for id in std::mem::take(&mut self.touched) {
            let Some(local) = self.tasks.get(&id) else { continue };
            // Of what is not decided yet there is nothing to tell but what could be wrong.
            if local.goal(confirmed, alone) == Goal::Hold {
                self.touched.insert(id);
            } else {
                self.reporter.look(local, now);
            }
        }
        if let Some(follows) = self.assignment.as_ref().and_then(|assignment| self.nets.follows(assignment, now)) {
            self.reporter.network(follows);
        }
        let moving = self.moving();
        if let Some(report) = self.reporter.take(now, moving) {
            self.outputs.push_back(AgentOutput::Report(report));
        }
        self.forget_the_gone()
    }

    /// What is gone and not asked for any more has been told of once, or nobody listens.
    fn forget_the_gone(&mut self) -> bool {
        let (confirmed, before) = (self.confirmed, self.tasks.len());
        let reporter = &mut self.reporter;
        self.tasks.retain(|id, local| {
            let busy = local.flight.is_some() || local.probe.is_some();
            let over = confirmed && local.removed && !local.wanted && !busy;
            let forget = over && (!reporter.is_up() || reporter.has_told(local));
            if forget {
                reporter.forget(*id);
            }
            !forget
        });
        self.tasks.len() < before
    }

    fn remember(&mut self, now: Time) {
        if let Some(number) = self.memory.take(now) {
            let ledger = memory::ledger(self.assignment.as_deref(), &self.tasks);
            self.outputs.push_back(AgentOutput::Remember(number, Box::new(ledger)));
        }
    }

    /// The check of a task's container, once the image has been asked.
    pub(crate) fn check(local: &Local) -> Option<health::Check> {
        let image = local.prepared.as_ref()?;
        health::Check::of(&local.assigned.as_ref()?.task.spec.container, image.as_ref())
    }
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
