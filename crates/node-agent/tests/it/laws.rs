//! Laws that hold whatever happens: random orders, results, endings, restarts of the agent.

use crate::rig::{NODE, assignment, in_place, port, service, task};
use model::*;
use node_agent::{Agent, AgentInput, AgentOutput, Effect, EffectError, EffectId, Ledger, Outcome};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A container of the host; how often it was started in place.
#[derive(Debug, Clone)]
struct Container {
    attempt: u32,
    restarts: u32,
    state: ObservedContainer,
    hosts: Vec<(std::net::IpAddr, Vec<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum ObservedContainer {
    Created,
    Running(Time),
    Exited(Exit),
}

/// The world around one agent. Every choice comes from one seed.
struct World {
    agent: Agent,
    life: u64,
    chance: Ids,
    now: Time,
    order: Assignment,
    containers: BTreeMap<TaskId, Container>,
    net: BTreeSet<TaskId>,
    open: Vec<(EffectId, Effect)>,
    /// Endings that the runtime has still to tell of.
    endings: Vec<AgentInput>,
    /// This life of the agent has had an order.
    ordered: bool,
    ledger: Option<Box<Ledger>>,
    /// What this agent told last.
    life_told: BTreeMap<TaskId, TaskStatus>,
    /// What the managers hold: the highest that any agent told.
    told: BTreeMap<TaskId, TaskStatus>,
    removed: BTreeSet<TaskId>,
    next_task: u128,
    calm: bool,
}

/// By which statuses rise.
fn rank(status: &TaskStatus) -> (u32, TaskState) {
    (status.attempt, status.state)
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            agent: Agent::new(NODE, seed),
            life: 0,
            chance: Ids::new(seed),
            now: Time(1_000_000),
            order: assignment(),
            containers: BTreeMap::new(),
            net: BTreeSet::new(),
            open: Vec::new(),
            endings: Vec::new(),
            ordered: false,
            ledger: None,
            life_told: BTreeMap::new(),
            told: BTreeMap::new(),
            removed: BTreeSet::new(),
            next_task: 1,
            calm: false,
        };
        world.begin();
        world
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.chance.next_u64() % sides
    }

    /// The agent begins, with what was remembered.
    fn begin(&mut self) {
        self.life += 1;
        self.agent = Agent::new(NODE, self.life);
        self.life_told.clear();
        // What was under way may or may not have been done.
        for (_, effect) in std::mem::take(&mut self.open) {
            if self.dice(2) == 0 {
                self.perform(&effect);
            }
        }
        let observed = self.containers.iter().map(|(task, it)| Observed {
            task: *task,
            attempt: it.attempt,
            restart_count: it.restarts,
            space: None,
            hosts: it.hosts.clone(),
            state: match it.state {
                ObservedContainer::Created => ObservedState::Created,
                ObservedContainer::Running(started_at) => ObservedState::Running { pid: 1, started_at, paused: false },
                ObservedContainer::Exited(exit) => ObservedState::Exited(exit),
            },
            volumes_of: None,
        });
        let observed = observed.collect();
        self.endings.clear();
        self.ordered = false;
        let ledger = self.ledger.clone();
        self.input(AgentInput::Found { observed, ledger });
        self.input(AgentInput::SessionUp);
    }

    fn input(&mut self, input: AgentInput) {
        self.agent.handle(self.now, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.agent.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.take(output);
        }
        self.check_wake();
    }

    fn take(&mut self, output: AgentOutput) {
        match output {
            AgentOutput::Do(id, effect) => {
                self.check_effect(&effect);
                self.open.push((id, *effect));
            }
            AgentOutput::Report(report) => {
                for told in report.tasks {
                    self.check_status(&told);
                    if told.removed {
                        assert!(!self.containers.contains_key(&told.task), "removed, and still there");
                        self.removed.insert(told.task);
                    }
                    self.life_told.insert(told.task, told.status.clone());
                    let held = self.told.entry(told.task).or_insert_with(|| told.status.clone());
                    if rank(held) <= rank(&told.status) {
                        *held = told.status;
                    }
                }
            }
            AgentOutput::Remember(number, ledger) => {
                // The disk may be slow, or the agent may die before.
                if self.calm || self.dice(4) > 0 {
                    self.ledger = Some(ledger);
                }
                self.agent.handle(self.now, AgentInput::Remembered(number));
            }
        }
    }

    /// One effect in flight for each task; nothing is started that is not wanted now.
    fn check_effect(&self, effect: &Effect) {
        let of = |effect: &Effect| match effect {
            Effect::Prepare(it) => Some(it.task),
            Effect::CreateAndStart(it) | Effect::Start(it) => Some(it.task),
            Effect::WriteHosts(it) => Some(it.task),
            Effect::Stop { task, .. } | Effect::Remove { task, .. } => Some(*task),
            Effect::EnsureNet(_) | Effect::Probe { .. } | Effect::RemoveVolume(_) => None,
        };
        if let Some(task) = of(effect) {
            assert!(!self.open.iter().any(|(_, open)| of(open) == Some(task)), "two effects for {task}");
        }
        match effect {
            Effect::CreateAndStart(launch) | Effect::Start(launch) => {
                // An agent that no manager has spoken to acts upon what it remembers, which may be old.
                if self.ordered {
                    let wanted = &self.order.tasks[&launch.task].task;
                    assert_eq!(wanted.attempt, launch.attempt);
                    let run = wanted.desired == Desired::Running && !wanted.stopped_by_user;
                    assert!(run, "{} is not wanted", launch.task);
                }
                assert!(self.net.contains(&launch.task), "{} has no network", launch.task);
            }
            Effect::EnsureNet(_) => {
                assert!(!self.open.iter().any(|(_, open)| matches!(open, Effect::EnsureNet(_))), "two networks");
            }
            _ => {}
        }
    }

    /// (attempt, state) only rises, within one life of the agent.
    fn check_status(&self, fresh: &TaskReport) {
        if let Some(told) = self.life_told.get(&fresh.task) {
            let (before, after) = (rank(told), rank(&fresh.status));
            assert!(before <= after, "{} fell from {before:?} to {after:?}", fresh.task);
        }
    }

    /// Before the instant that it named, there is nothing to do.
    fn check_wake(&self) {
        let Some(wake) = self.agent.next_wake() else { return };
        assert!(wake > self.now, "it wants to wake at {wake:?}, at {:?}", self.now);
        let mut early = self.agent.clone();
        early.handle(Time(wake.0 - 1), AgentInput::Tick);
        assert_eq!(early.poll(), None, "there was something to do before {wake:?}");
        assert_eq!(early.next_wake(), Some(wake), "the time to wake has moved");
    }

    /// The host does it; `None`: it fails.
    fn perform(&mut self, effect: &Effect) -> Outcome {
        match effect {
            Effect::Prepare(_) => Outcome::Prepared { healthcheck: None },
            Effect::EnsureNet(net) => {
                self.net = net.endpoints.keys().copied().collect();
                for (task, container) in &self.containers {
                    if matches!(container.state, ObservedContainer::Running(_)) && self.order.tasks.contains_key(task) {
                        assert!(self.net.contains(task), "the network of {task} is torn down under it");
                    }
                }
                Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }
            }
            Effect::CreateAndStart(launch) | Effect::Start(launch) => {
                // No start takes less than a millisecond.
                self.now.0 += 1;
                let known = self.containers.get(&launch.task).map(|it| it.state);
                let started_at = match known {
                    Some(ObservedContainer::Running(started_at)) => started_at,
                    _ => self.now,
                };
                let state = ObservedContainer::Running(started_at);
                let hosts = launch.hosts.lines.clone();
                let container = Container { attempt: launch.attempt, restarts: launch.restarts, state, hosts };
                self.containers.insert(launch.task, container);
                Outcome::Started { pid: 1, started_at }
            }
            Effect::WriteHosts(write) => {
                let container = self.containers.get_mut(&write.task).expect("it is there");
                container.hosts.clone_from(&write.hosts.lines);
                Outcome::HostsWritten
            }
            Effect::Stop { task, .. } => {
                let now = self.now;
                let Some(container) = self.containers.get_mut(task) else { return Outcome::Stopped(None) };
                match container.state {
                    ObservedContainer::Created => Outcome::Stopped(None),
                    ObservedContainer::Exited(exit) => Outcome::Stopped(Some(exit)),
                    ObservedContainer::Running(started_at) => {
                        let exit = Exit { code: 143, oom_killed: false, started_at, finished_at: now };
                        container.state = ObservedContainer::Exited(exit);
                        let attempt = container.attempt;
                        self.endings.push(AgentInput::Exited { task: *task, attempt, exit });
                        Outcome::Stopped(Some(exit))
                    }
                }
            }
            Effect::Remove { task, .. } => {
                self.containers.remove(task);
                Outcome::Removed
            }
            Effect::Probe { .. } => {
                let exit_code = if self.calm { 0 } else { i32::from(self.dice(3) == 0) };
                Outcome::Probed { start: self.now, exit_code, output: String::new() }
            }
            Effect::RemoveVolume(_) => Outcome::VolumeRemoved,
        }
    }

    /// One effect ends, well or not; or an ending is told.
    fn finish_one(&mut self) {
        if !self.endings.is_empty() && (self.calm || self.dice(2) == 0) {
            let ending = self.endings.remove(0);
            self.input(ending);
            return;
        }
        if self.open.is_empty() {
            return;
        }
        let sides = u64::try_from(self.open.len()).unwrap();
        let at = usize::try_from(self.dice(sides)).unwrap();
        let (id, effect) = self.open.remove(at);
        let dice = if self.calm { 9 } else { self.dice(10) };
        let result = match dice {
            0 => {
                if let Effect::CreateAndStart(launch) = &effect {
                    let (state, hosts) = (ObservedContainer::Created, Vec::new());
                    let half = Container { attempt: 0, restarts: 0, state, hosts };
                    self.containers.entry(launch.task).or_insert(half);
                }
                Err(EffectError::transient("not now"))
            }
            // Done, and yet nobody heard of it.
            1 => {
                self.perform(&effect);
                Err(EffectError::transient("the answer was lost"))
            }
            2 if matches!(effect, Effect::Prepare(_)) => Err(EffectError::fatal("never")),
            _ => Ok(self.perform(&effect)),
        };
        self.input(AgentInput::Done(id, result));
    }

    /// A container ends by itself.
    fn one_dies(&mut self) {
        let running: Vec<TaskId> = self
            .containers
            .iter()
            .filter(|(_, it)| matches!(it.state, ObservedContainer::Running(_)))
            .map(|(task, _)| *task)
            .collect();
        if running.is_empty() {
            return;
        }
        let at = usize::try_from(self.dice(running.len() as u64)).unwrap();
        let code = i32::from(self.dice(2) == 0);
        let task = running[at];
        let (now, told) = (self.now, self.dice(8) > 0);
        let container = self.containers.get_mut(&task).unwrap();
        let ObservedContainer::Running(started_at) = container.state else { return };
        let exit = Exit { code, oom_killed: false, started_at, finished_at: now };
        container.state = ObservedContainer::Exited(exit);
        let attempt = container.attempt;
        self.input(AgentInput::Exited { task, attempt, exit });
        if !told {
            // Said twice.
            self.input(AgentInput::Exited { task, attempt, exit });
        }
    }

    /// The order changes as a manager would change it: desires and attempts only rise.
    fn change_order(&mut self) {
        let ids: Vec<TaskId> = self.order.tasks.keys().copied().collect();
        let action = self.dice(8);
        if ids.is_empty() || action < 2 {
            let mut spec = service();
            spec.restart = match self.dice(3) {
                0 => RestartPolicy::SWARM,
                1 => in_place(RestartCondition::Any, None),
                _ => in_place(RestartCondition::OnFailure, Some(2)),
            };
            if self.dice(3) == 0 {
                spec.ports = vec![port(80, 8080)];
            }
            if self.dice(2) == 0 {
                spec.container.healthcheck = Some(HealthCheck {
                    test: Some(HealthTest::CmdShell("true".to_owned())),
                    interval: Some(Duration::from_secs(1)),
                    retries: Some(2),
                    ..HealthCheck::default()
                });
            }
            let id = TaskId(self.next_task);
            self.next_task += 1;
            let mut assigned = task(id.0, &spec);
            if self.dice(3) == 0 {
                Arc::make_mut(&mut assigned.task).desired = Desired::Ready;
            }
            self.order.tasks.insert(id, assigned);
        } else {
            let at = usize::try_from(self.dice(ids.len() as u64)).unwrap();
            let id = ids[at];
            let removed = self.removed.contains(&id);
            let task = Arc::make_mut(&mut self.order.tasks.get_mut(&id).unwrap().task);
            match action {
                2 => task.desired = task.desired.max(Desired::Running),
                3 => task.desired = task.desired.max(Desired::Shutdown),
                4 => task.desired = Desired::Remove,
                5 => task.stopped_by_user = true,
                6 if task.desired == Desired::Running => {
                    task.stopped_by_user = false;
                    task.attempt += 1;
                }
                _ if removed => drop(self.order.tasks.remove(&id)),
                _ => {}
            }
        }
        self.assign();
    }

    /// Hands the order over, with what the managers hold of each task.
    fn assign(&mut self) {
        for (id, assigned) in &mut self.order.tasks {
            if let Some(held) = self.told.get(id) {
                Arc::make_mut(&mut assigned.task).status = held.clone();
            }
        }
        self.order.generation.revision += 1;
        self.ordered = true;
        self.input(AgentInput::Assignment(Box::new(self.order.clone())));
    }

    fn pass(&mut self) {
        let most = if self.dice(4) == 0 { 20_000 } else { 300 };
        let end = Time(self.now.0 + 1 + self.dice(most));
        while let Some(wake) = self.agent.next_wake().filter(|wake| *wake <= end) {
            self.now = wake;
            self.input(AgentInput::Tick);
        }
        self.now = end;
    }

    fn step(&mut self) {
        match self.dice(100) {
            0..45 => self.finish_one(),
            45..60 => self.pass(),
            60..75 => self.change_order(),
            75..85 => self.one_dies(),
            85..88 => self.begin(),
            88..91 if self.ordered => {
                let mut old = self.order.clone();
                old.generation.revision -= 1;
                old.tasks.clear();
                self.input(AgentInput::Assignment(Box::new(old)));
            }
            91..93 => {
                self.input(AgentInput::SessionLost);
                self.input(AgentInput::SessionUp);
            }
            _ => self.finish_one(),
        }
    }

    /// Nothing goes wrong any more: the host comes to what was ordered.
    fn settle(&mut self) {
        self.calm = true;
        self.assign();
        let end = self.now.after(Duration::from_secs(300));
        loop {
            while !self.open.is_empty() || !self.endings.is_empty() {
                self.finish_one();
            }
            match self.agent.next_wake().filter(|wake| *wake <= end) {
                Some(wake) => self.now = wake,
                None => break,
            }
            self.input(AgentInput::Tick);
        }
    }

    fn check_rest(&self) {
        for (id, container) in &self.containers {
            let Some(assigned) = self.order.tasks.get(id) else { panic!("{id} is not wanted and still there") };
            assert_ne!(assigned.task.desired, Desired::Remove, "{id} is still there");
            if matches!(container.state, ObservedContainer::Running(_)) {
                assert!(assigned.task.desired <= Desired::Running && !assigned.task.stopped_by_user, "{id} runs");
                assert_eq!(container.attempt, assigned.task.attempt);
                assert_eq!(self.told[id].state, TaskState::Running, "{id} runs, and that was not told");
            }
        }
        for (id, assigned) in &self.order.tasks {
            let told = self.told.get(id).unwrap_or_else(|| panic!("nothing was told of {id}"));
            assert_eq!(told.attempt, assigned.task.attempt);
            let runs = self.containers.get(id).is_some_and(|it| matches!(it.state, ObservedContainer::Running(_)));
            let wanted = assigned.task.desired == Desired::Running && !assigned.task.stopped_by_user;
            if wanted && !told.state.is_terminal() {
                assert!(runs, "{id} does not run: {told:?}");
            }
            if !wanted && assigned.task.desired != Desired::Ready {
                assert!(told.state.is_terminal(), "{id} is not told to be over: {told:?}");
            }
            if assigned.task.desired == Desired::Remove {
                assert!(self.removed.contains(id), "{id} is not told to be gone");
            }
            assert_eq!(
                self.net.contains(id),
                runs || assigned.task.desired == Desired::Ready && !told.state.is_terminal()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_laws_hold(seed: u64) {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.settle();
        world.check_rest();
    }
}
