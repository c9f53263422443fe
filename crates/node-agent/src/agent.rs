//! The machine: inputs in, effects and reports out.

use crate::effect::{Effect, EffectError, EffectId, Outcome};
use crate::ledger::Ledger;
use crate::memory::Memory;
use crate::net::Nets;
use crate::report::Reporter;
use crate::task::{Goal, Local};
use crate::template::Machine;
use crate::volumes::Volumes;
use model::{AgentReport, Assignment, Exit, NodeId, Observed, TaskId, TaskStatus, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long an agent that has just begun waits for a manager's word before it acts upon what it
/// remembers: what ended may have been stopped on purpose. After the end of a session it waits as long before it does
/// what managers would do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What can happen to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentInput {
    /// The first input: what the host already runs, and what was remembered. Nothing is done before.
    Found {
        /// Every container on the host.
        observed: Vec<Observed>,
        /// What [`AgentOutput::Remember`] was last made durable, if anything.
        ledger: Option<Box<Ledger>>,
    },
    /// The managers want this. Older generations than the newest seen are ignored.
    Assignment(Box<Assignment>),
    /// An effect has ended.
    Done(EffectId, Result<Outcome, EffectError>),
    /// A container ended.
    Exited {
        /// Which.
        task: TaskId,
        /// The attempt that it was started for.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// It was frozen, or thawed.
    Paused {
        /// Which.
        task: TaskId,
        /// Frozen now.
        paused: bool,
    },
    /// The ledger of this number is on disk.
    Remembered(u64),
    /// Reports are taken (again): tell everything once.
    SessionUp,
    /// Nobody takes reports.
    SessionLost,
    /// The time of [`Agent::next_wake`] has come.
    Tick,
}

/// What an agent asks of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentOutput {
    /// Do this; effects may run side by side.
    Do(EffectId, Box<Effect>),
    /// Tell the manager.
    Report(AgentReport),
    /// Make this durable, then say [`AgentInput::Remembered`].
    Remember(u64, Box<Ledger>),
}

/// What an effect in flight is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Task(TaskId),
    Probe(TaskId),
    Net,
    Volume(String),
}

/// The agent of one node.
#[derive(Debug, Clone)]
pub struct Agent {
    node: NodeId,
    pub(crate) machine: Machine,
    pub(crate) random: model::Ids,
    /// When the host was looked at; `None`: not yet.
    pub(crate) found: Option<Time>,
    /// A manager has spoken since.
    pub(crate) confirmed: bool,
    /// Since when nobody takes reports; `None`: somebody does.
    pub(crate) deserted: Option<Time>,
    pub(crate) assignment: Option<Box<Assignment>>,
    pub(crate) tasks: BTreeMap<TaskId, Local>,
    pub(crate) flights: BTreeMap<EffectId, Target>,
    pub(crate) nets: Nets,
    pub(crate) volumes: Volumes,
    pub(crate) reporter: Reporter,
    pub(crate) memory: Memory,
    /// Tasks that may have something new to tell.
    pub(crate) touched: BTreeSet<TaskId>,
    pub(crate) next_effect: u64,
    pub(crate) outputs: VecDeque<AgentOutput>,
    pub(crate) wake: Option<Time>,
}

impl Agent {
    /// An agent that knows nothing yet. `seed`: where jitter is drawn from.
    pub fn new(node: NodeId, seed: u64) -> Agent {
        Agent {
            node,
            machine: Machine::default(),
            random: model::Ids::new(seed),
            found: None,
            confirmed: false,
            deserted: None,
            assignment: None,
            tasks: BTreeMap::new(),
            flights: BTreeMap::new(),
            nets: Nets::default(),
            volumes: Volumes::default(),
            reporter: Reporter::default(),
            memory: Memory::default(),
            touched: BTreeSet::new(),
            next_effect: 1,
            outputs: VecDeque::new(),
            wake: None,
        }
    }

    /// Tells it about the machine, for the placeholders that name it.
    #[must_use]
    pub fn on(mut self, machine: Machine) -> Agent {
        self.machine = machine;
        self
    }

    /// Whose agent this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The newest assignment, be it one that was remembered.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_deref()
    }

    /// How its tasks are at this moment, whoever was told.
    pub fn statuses(&self) -> impl Iterator<Item = (TaskId, TaskStatus)> {
        self.tasks.iter().filter(|(_, local)| !local.removed).map(|(id, local)| (*id, local.status()))
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Time, input: AgentInput) {
        match input {
            AgentInput::Found { observed, ledger } => self.recover(now, &observed, ledger),
            AgentInput::Assignment(assignment) => self.assigned(now, assignment),
            AgentInput::Done(id, result) => self.land(now, id, result),
            AgentInput::Exited { task, attempt, exit } => self.exited(task, attempt, exit),
            AgentInput::Paused { task, paused } => self.paused(task, paused),
            AgentInput::Remembered(number) => self.memory.remembered(number),
            AgentInput::SessionUp => self.session_up(),
            AgentInput::SessionLost => {
                self.reporter.session_lost();
                self.deserted = self.deserted.or(Some(now));
            }
            AgentInput::Tick => {}
        }
        if self.found.is_some() {
            self.settle(now);
        }
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<AgentOutput> {
        self.outputs.pop_front()
    }

    /// When it wants a [`AgentInput::Tick`], if nothing else happens.
    pub fn next_wake(&self) -> Option<Time> {
        self.wake
    }

    /// Somebody listens and knows nothing: all is told once.
    fn session_up(&mut self) {
        self.reporter.session_up();
        self.deserted = None;
        self.touched.extend(self.tasks.keys().copied());
        for name in self.volumes.done() {
            self.reporter.volume_removed(name);
        }
    }

    /// No manager has spoken for so long that what was remembered has to do.
    pub(crate) fn alone(&self, now: Time) -> bool {
        !self.confirmed && self.found.is_some_and(|found| found.after(PATIENCE) <= now)
    }

    /// When it will be [`Agent::alone`].
    pub(crate) fn alone_at(&self) -> Option<Time> {
        if self.confirmed || self.assignment.is_none() { None } else { self.found.map(|found| found.after(PATIENCE)) }
    }

    pub(crate) fn goal(&self, local: &Local, now: Time) -> Goal {
        local.goal(self.confirmed, self.alone(now))
    }

    /// Asks for an effect.
    pub(crate) fn emit(&mut self, target: Target, effect: Effect) -> EffectId {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        self.flights.insert(id, target);
        self.outputs.push_back(AgentOutput::Do(id, Box::new(effect)));
        id
    }
}
