//! The nodes' side of the world: agents, what they ask of their hosts, their sessions.

use crate::faults::Sabotage;
use crate::host::Done;
use crate::world::{Event, World};
use model::{Assignment, Exit, TaskId, Time};
use node_agent::{AgentInput, AgentOutput, Effect, EffectError, EffectId, Outcome};
use orchestrator::ManagerInput;

impl World {
    /// Hands an agent an input, and does what it asks for.
    pub(crate) fn agent(&mut self, node: usize, input: AgentInput) {
        let now = self.now;
        let Some(sim) = self.nodes.get_mut(node) else { return };
        let now = sim.clock(now);
        let Some(agent) = sim.agent.as_mut() else { return };
        agent.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = agent.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.take(node, output);
        }
        self.check_agent(node);
    }

    pub(crate) fn wake_agent(&mut self, node: usize) {
        self.agent(node, AgentInput::Tick);
    }

    fn take(&mut self, node: usize, output: AgentOutput) {
        match output {
            AgentOutput::Do(id, effect) => {
                self.summary.effects += 1;
                self.trace.say(self.now, format_args!("n{} asks {} {}", node + 1, id.0, said(&effect)));
                self.check_effect(node, &effect);
                if !is_looking_after(&effect) {
                    self.busy = self.now;
                }
                let longest = match &*effect {
                    Effect::Prepare(_) => self.faults.pull,
                    Effect::Stop { grace, .. } => self.faults.effect.min(u64::try_from(grace.as_millis()).unwrap_or(0)),
                    _ => self.faults.effect,
                };
                let delay = self.chance.delay(longest);
                let Some(sim) = self.nodes.get_mut(node) else { return };
                let life = sim.life;
                sim.open.insert(id, *effect);
                self.after(delay, Event::Done { node, life, effect: id });
            }
            AgentOutput::Report(report) => {
                self.trace.say(self.now, format_args!("n{} tells {}", node + 1, reported(&report)));
                let delay = self.chance.delay(self.faults.message);
                if self.sabotaged(Sabotage::ReportsLost) {
                    return;
                }
                if self.joint.is_some() {
                    self.report_up(node, Box::new(report));
                    return;
                }
                let Some(sim) = self.nodes.get_mut(node) else { return };
                let Some(session) = sim.session else { return };
                let arrives = Time(self.now.0 + delay).max(sim.to_manager);
                sim.to_manager = arrives;
                self.at(arrives, Event::Report { node, session, report: Box::new(report) });
            }
            AgentOutput::Remember(number, ledger) => {
                let delay = self.chance.delay(self.faults.disk);
                let life = self.nodes.get(node).map_or(0, |sim| sim.life);
                self.after(delay, Event::Written { node, life, number, ledger });
            }
        }
    }

    /// The host does an effect; its answer may get lost.
    pub(crate) fn done(&mut self, node: usize, life: u64, id: EffectId) {
        if !self.lives(node, life) {
            return;
        }
        let Some(effect) = self.nodes.get(node).and_then(|sim| sim.open.get(&id)).cloned() else { return };
        let result = if self.chance.permille(self.faults.effect_fails) {
            Err(EffectError::transient("it did not work"))
        } else {
            let result = self.perform(node, &effect);
            match self.chance.permille(self.faults.answer_lost) {
                true => Err(EffectError::transient("the answer was lost")),
                false => result,
            }
        };
        let delay = self.chance.below(3);
        self.after(delay, Event::Answer { node, life, effect: id, result: Box::new(result) });
    }

    fn perform(&mut self, node: usize, effect: &Effect) -> Result<Outcome, EffectError> {
        if let Some(lie) = self.lie(effect) {
            return Ok(lie);
        }
        let (now, chance) = (self.now, self.chance.any());
        let Some(sim) = self.nodes.get_mut(node) else { return Err(EffectError::fatal("no such node")) };
        let Done { result, started, ended } = sim.host.perform(effect, sim.clock(now), chance);
        let life = sim.life;
        if let Some(task) = started {
            self.begins(node, task);
        }
        if matches!(effect, Effect::EnsureNet(_)) && self.sabotaged(Sabotage::NetForgets) {
            self.forget_a_namespace(node);
        }
        if let Some((task, attempt, exit)) = ended {
            self.tell_end(node, life, task, attempt, exit);
        }
        self.check_host(node);
        result
    }

    /// A container has begun to run: when will it end by itself?
    fn begins(&mut self, node: usize, task: TaskId) {
        let Some(image) =
            self.nodes.get(node).and_then(|sim| sim.host.containers.get(&task)).map(|it| it.image.clone())
        else {
            return;
        };
        let began = self.nodes.get(node).map_or(self.now, |sim| sim.clock(self.now));
        let end = match image.as_str() {
            "job" => Some((self.chance.delay(3_000), 0)),
            "crash" if !self.calm => Some((self.chance.delay(15_000), 1)),
            _ if self.chance.permille(self.faults.exits) => {
                let code = [0, 1, 137].get(usize::try_from(self.chance.below(3)).unwrap_or(0)).copied().unwrap_or(1);
                Some((self.chance.delay(30_000), code))
            }
            _ => None,
        };
        if let Some((delay, code)) = end {
            self.after(delay, Event::Ends { node, task, began, code });
        }
    }

    pub(crate) fn ends(&mut self, node: usize, task: TaskId, began: Time, code: i32) {
        let now = self.now;
        let Some(sim) = self.nodes.get_mut(node) else { return };
        let Some((attempt, exit)) = sim.host.end(task, began, code, sim.clock(now)) else { return };
        let life = sim.life;
        self.busy = now;
        self.trace.say(now, format_args!("n{} {} ends with {code}", node + 1, task.short()));
        self.tell_end(node, life, task, attempt, exit);
    }

    fn tell_end(&mut self, node: usize, life: u64, task: TaskId, attempt: u32, exit: Exit) {
        if !self.sabotaged(Sabotage::ExitsUntold) {
            let delay = self.chance.delay(20);
            self.after(delay, Event::Ended { node, life, task, attempt, exit });
        }
    }

    /// The answer of a host that does not do what it says; `None`: it does.
    fn lie(&mut self, effect: &Effect) -> Option<Outcome> {
        let (by, outcome) = match effect {
            Effect::Stop { .. } => (Sabotage::StopLies, Outcome::Stopped(None)),
            Effect::Remove { .. } => (Sabotage::RemoveLies, Outcome::Removed),
            Effect::RemoveVolume(_) => (Sabotage::VolumeStays, Outcome::VolumeRemoved),
            _ => return None,
        };
        self.sabotaged(by).then_some(outcome)
    }

    fn forget_a_namespace(&mut self, node: usize) {
        if let Some(sim) = self.nodes.get_mut(node) {
            sim.host.net.endpoints.pop_first();
        }
    }

    pub(crate) fn agent_begins(&mut self, node: usize) {
        let now = self.now;
        let seed = self.chance.any();
        let Some(sim) = self.nodes.get_mut(node).filter(|sim| sim.agent.is_none() && !sim.lost) else {
            return;
        };
        sim.life += 1;
        let remembered = sim.ledger.as_ref().and_then(|ledger| ledger.assignment.as_ref());
        let newest = remembered.map(|order| order.generation).unwrap_or_default();
        (sim.order, sim.newest, sim.redirect) = (None, newest, None);
        sim.agent = Some(node_agent::Agent::new(sim.id, seed));
        let (mut observed, ledger) = (sim.host.observed(), sim.ledger.clone());
        if self.sabotage == Some(Sabotage::HostUnseen) {
            observed.clear();
        }
        self.busy = now;
        self.trace.say(now, format_args!("n{} begins with {} containers", node + 1, observed.len()));
        self.checkers.agent_begins(node);
        self.agent(node, AgentInput::Found { observed, ledger });
        let delay = self.chance.delay(500);
        self.after(delay, Event::Dial(node));
    }

    pub(crate) fn agent_dies(&mut self, node: usize, reboot: bool) {
        if self.calm || self.nodes.get(node).is_none_or(|sim| sim.agent.is_none()) {
            return;
        }
        self.trace.say(self.now, format_args!("n{} dies, reboot={reboot}", node + 1));
        match self.joint {
            Some(_) => self.hang_up(node, !reboot),
            None => self.cut(node),
        }
        let Some(sim) = self.nodes.get_mut(node) else { return };
        sim.agent = None;
        // What was under way may still be done.
        for (_, effect) in std::mem::take(&mut sim.open) {
            if self.chance.coin() {
                drop(self.perform(node, &effect));
            }
        }
        let now = self.now;
        if reboot && let Some(sim) = self.nodes.get_mut(node) {
            let clock = sim.clock(now);
            sim.host.reboot(clock);
        }
        let delay = self.chance.delay(if reboot { 60_000 } else { 10_000 });
        self.after(delay, Event::AgentBegins(node));
        if let Some(delay) = self.span(self.faults.agent_crash) {
            let reboot = self.chance.permille(self.faults.reboot);
            self.after(delay + 1_000, Event::AgentDies { node, reboot });
        }
    }

    /// A node dials the manager until there is one.
    pub(crate) fn dial(&mut self, node: usize) {
        if self.joint.is_some() {
            self.dial_managers(node);
            return;
        }
        let Some(sim) = self.nodes.get(node).filter(|sim| sim.agent.is_some() && sim.session.is_none()) else { return };
        if self.member.manager.is_none() {
            return;
        }
        let described = sim.describe();
        let session = self.next_session();
        if let Some(sim) = self.nodes.get_mut(node) {
            sim.session = Some(session);
        }
        self.trace.say(self.now, format_args!("n{} is connected", node + 1));
        self.manager(ManagerInput::SessionUp(Box::new(described)));
        self.agent(node, AgentInput::SessionUp);
    }

    /// A session breaks; the node dials again.
    pub(crate) fn cut(&mut self, node: usize) {
        if self.calm {
            return;
        }
        if self.joint.is_some() {
            self.hang_up(node, true);
            return;
        }
        let Some(sim) = self.nodes.get_mut(node) else { return };
        if sim.session.take().is_none() {
            return;
        }
        let id = sim.id;
        self.trace.say(self.now, format_args!("n{} is cut off", node + 1));
        self.manager(ManagerInput::SessionLost(id));
        self.agent(node, AgentInput::SessionLost);
        let delay = self.chance.delay(20_000);
        self.after(delay, Event::Dial(node));
    }

    pub(crate) fn order(&mut self, node: usize, order: Box<Assignment>) {
        let Some(sim) = self.nodes.get_mut(node).filter(|sim| sim.agent.is_some()) else { return };
        sim.order = Some(order.clone());
        self.note_leaving(node, &order);
        self.trace.say(self.now, format_args!("n{} is told {}", node + 1, ordered(&order)));
        self.agent(node, AgentInput::Assignment(order));
    }
}

/// An effect that a host at rest sees too.
fn is_looking_after(effect: &Effect) -> bool {
    matches!(effect, Effect::Probe { .. } | Effect::EnsureNet(_))
}

fn ordered(order: &Assignment) -> String {
    let tasks = order.tasks.values().map(|assigned| {
        let task = &assigned.task;
        let stopped = if task.stopped_by_user { " stopped" } else { "" };
        format!("{} {:?} {}{stopped} {:?}", task.id.short(), task.desired, task.attempt, task.status.state)
    });
    let tasks: Vec<String> = tasks.collect();
    format!("{}/{} {tasks:?} {:?}", order.generation.term, order.generation.revision, order.removed_volumes)
}

fn reported(report: &model::AgentReport) -> String {
    let tasks = report.tasks.iter().map(|told| {
        let removed = if told.removed { " removed" } else { "" };
        let container = told.status.container.as_ref().map(|it| it.state);
        format!("{} {} {:?} {container:?}{removed}", told.task.short(), told.status.attempt, told.status.state)
    });
    let tasks: Vec<String> = tasks.collect();
    format!("{tasks:?} {:?}", report.volumes_removed)
}

fn said(effect: &Effect) -> String {
    match effect {
        Effect::Prepare(prepare) => format!("prepare {}", prepare.task.short()),
        Effect::EnsureNet(net) => {
            let ids: Vec<String> = net.endpoints.keys().map(model::TaskId::short).collect();
            format!("net {ids:?}")
        }
        Effect::CreateAndStart(launch) => format!("create {} attempt {}", launch.task.short(), launch.attempt),
        Effect::Start(launch) => {
            format!("start {} attempt {} restarts {}", launch.task.short(), launch.attempt, launch.restarts)
        }
        Effect::WriteHosts(write) => format!("hosts {} {:?}", write.task.short(), write.hosts.lines),
        Effect::Stop { task, .. } => format!("stop {}", task.short()),
        Effect::Remove { task, volumes } => format!("remove {} volumes={volumes}", task.short()),
        Effect::Probe { task, .. } => format!("probe {}", task.short()),
        Effect::RemoveVolume(name) => format!("remove volume {name}"),
    }
}
