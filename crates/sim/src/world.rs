//! The world: a queue of events, and everything that they happen to. One thread, no clock but its own.

use crate::chance::Chance;
use crate::checkers::Checkers;
use crate::faults::{Faults, Sabotage};
use crate::joint::{Between, Joint, Slip};
use crate::member::Member;
use crate::node::SimNode;
use crate::operator::Operator;
use crate::trace::Trace;
use model::{AgentReport, Assignment, Exit, NodeId, Request, RequestId, Response, State, TaskId, Time};
use node_agent::{EffectError, EffectId, Ledger, Outcome};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// When the world begins.
const BEGIN: Time = Time(1_000_000);
/// How long everything may go wrong.
const STORM: Duration = Duration::from_secs(60);
/// How long the cluster may take to come to rest afterwards.
const CALM: Duration = Duration::from_secs(400);
/// How long it has to stay at rest.
const QUIET: Duration = Duration::from_secs(600);
/// The same for a group of managers, which is never quite at rest: ticks are events.
const JOINT_QUIET: Duration = Duration::from_secs(60);

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A proposal is on disk.
    Commit { life: u64, ticket: u64 },
    /// A proposal is lost.
    Lost { life: u64, ticket: u64 },
    /// The manager's daemon begins.
    ManagerBegins,
    /// It dies.
    ManagerDies,
    /// A node's daemon begins.
    AgentBegins(usize),
    /// It dies, and the machine with it if `reboot`.
    AgentDies { node: usize, reboot: bool },
    /// A node dies for good.
    NodeLost(usize),
    /// A node dials the manager.
    Dial(usize),
    /// A session breaks.
    Cut(usize),
    /// An order arrives.
    Order { node: usize, session: u64, order: Box<Assignment> },
    /// A report arrives.
    Report { node: usize, session: u64, report: Box<AgentReport> },
    /// An effect has been done.
    Done { node: usize, life: u64, effect: EffectId },
    /// Its answer arrives.
    Answer { node: usize, life: u64, effect: EffectId, result: Box<Result<Outcome, EffectError>> },
    /// A ledger is on disk.
    Written { node: usize, life: u64, number: u64, ledger: Box<Ledger> },
    /// A container ends by itself.
    Ends { node: usize, task: TaskId, began: Time, code: i32 },
    /// Its end is told.
    Ended { node: usize, life: u64, task: TaskId, attempt: u32, exit: Exit },
    /// The operator wants something.
    Operate,
    /// A request arrives.
    Ask { life: u64, id: RequestId, request: Box<Request> },
    /// An answer arrives at the operator.
    Reply { id: RequestId, response: Box<Response> },
    /// Something between managers and nodes.
    Between(Between),
    /// Somebody is woken who did not ask for it.
    Spurious,
    /// Nothing goes wrong from now on.
    Heal,
}

/// A failure of the system under test.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that shows it.
    pub seed: u64,
    /// When.
    pub at: Time,
    /// What is wrong.
    pub what: String,
    /// What happened before, oldest first.
    pub trace: Vec<String>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The number of its history.
    pub hash: u64,
    /// Events that happened.
    pub events: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Effects that were asked for.
    pub effects: u64,
    /// Whole history, if it was asked for.
    pub trace: Vec<String>,
}

/// The simulated world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    /// The one manager; switched off where there is a group of them.
    pub(crate) member: Member,
    /// The group of managers, in a whole cluster.
    pub(crate) joint: Option<Box<Joint>>,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) operator: Operator,
    pub(crate) checkers: Checkers,
    pub(crate) trace: Trace,
    pub(crate) calm: bool,
    pub(crate) summary: Summary,
    /// The last instant at which something other than looking after things happened.
    pub(crate) busy: Time,
    pub(crate) problem: Option<String>,
    /// A bug that is planted.
    pub(crate) sabotage: Option<Sabotage>,
    sessions: u64,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
}

impl World {
    /// The world of a seed, at its beginning.
    pub(crate) fn new(seed: u64, whole: bool, sabotage: Option<Sabotage>) -> World {
        let mut chance = Chance::new(seed);
        let faults = Faults::draw(&mut chance);
        let mut world = World::of(chance, faults, whole, sabotage);
        world.begin();
        world
    }

    /// The whole cluster of a seed: a group of managers, at its beginning.
    pub(crate) fn joint(seed: u64, whole: bool, slip: Option<Slip>) -> World {
        let mut chance = Chance::new(seed);
        let faults = Faults::draw_joint(&mut chance);
        let mut world = World::of(chance, faults, whole, None);
        let meshed = world.chance.coin();
        world.nodes.iter_mut().for_each(|node| node.meshed = meshed);
        world.operator.manages = true;
        match Joint::new(&mut world.chance, &world.nodes, BEGIN, slip) {
            Ok(joint) => world.joint = Some(Box::new(joint)),
            Err(what) => world.fail(what),
        }
        world.begin();
        world
    }

    fn of(mut chance: Chance, faults: Faults, whole: bool, sabotage: Option<Sabotage>) -> World {
        let mut nodes: Vec<SimNode> = (1..=faults.nodes).map(|id| SimNode::new(NodeId(id as u128))).collect();
        for node in &mut nodes {
            node.host.foreign = faults.foreign_port;
            node.host.sick = faults.sick;
        }
        let operator = Operator::new(chance.fork());
        World {
            now: BEGIN,
            joint: None,
            member: Member::new(chance.any()),
            nodes,
            operator,
            checkers: Checkers::default(),
            trace: Trace::new(whole),
            calm: false,
            summary: Summary { hash: 0, events: 0, requests: 0, entries: 0, effects: 0, trace: Vec::new() },
            busy: BEGIN,
            problem: None,
            sabotage,
            sessions: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            chance,
            faults,
        }
    }

    fn begin(&mut self) {
        self.trace.say(self.now, format_args!("{:?}", self.faults));
        match self.joint {
            Some(_) => self.after(1_000, Event::Between(Between::Weather)),
            None => self.after(1, Event::ManagerBegins),
        };
        for node in 0..self.nodes.len() {
            let delay = self.chance.between(1, 500);
            self.after(delay, Event::AgentBegins(node));
        }
        self.after(1_000, Event::Operate);
        self.after(500, Event::Spurious);
        let storm = u64::try_from(STORM.as_millis()).unwrap_or(u64::MAX);
        self.after(storm, Event::Heal);
        self.plan_crashes();
    }

    /// When what dies first.
    fn plan_crashes(&mut self) {
        if let Some(delay) = self.span(self.faults.manager_crash) {
            self.after(delay, Event::ManagerDies);
        }
        if self.faults.node_lost && self.nodes.len() > 1 {
            // In a whole cluster late, so that the leader that has to notice it is the last one now and then.
            let first = if self.joint.is_some() { 35_000 } else { 1 };
            let delay = self.chance.between(first, 55_000);
            self.after(delay, Event::NodeLost(self.nodes.len() - 1));
        }
        for node in 0..self.nodes.len() {
            if let Some(delay) = self.span(self.faults.agent_crash) {
                let reboot = self.chance.permille(self.faults.reboot);
                self.after(delay, Event::AgentDies { node, reboot });
            }
            if let Some(delay) = self.span(self.faults.session_cut) {
                self.after(delay, Event::Cut(node));
            }
        }
    }

    /// A span around this mean; `None` for zero.
    pub(crate) fn span(&mut self, mean: u64) -> Option<u64> {
        (mean > 0).then(|| self.chance.between(1, mean * 2))
    }

    /// Something will happen so many milliseconds from now.
    pub(crate) fn after(&mut self, delay: u64, event: Event) -> Time {
        let at = Time(self.now.0 + delay);
        self.at(at, event);
        at
    }

    /// Something will happen at that time.
    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// A fresh session number.
    pub(crate) fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// What clients see now; `None` while there is no manager.
    pub(crate) fn state(&self) -> Option<State> {
        match &self.joint {
            Some(joint) => joint.state(),
            None => self.member.manager.as_ref().map(|manager| manager.state(self.now)),
        }
    }

    /// Runs the storm, and then until everything has been at rest for long enough.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let end = BEGIN.after(STORM);
        while !self.calm {
            self.step(end)?;
        }
        let deadline = self.now.after(CALM);
        loop {
            let rest = self.busy.after(if self.joint.is_some() { JOINT_QUIET } else { QUIET });
            if self.now >= rest {
                return self.check_rest();
            }
            if self.busy > deadline {
                let why = self.check_rest().err().unwrap_or_else(|| "something is always done".to_owned());
                return Err(format!("no rest {} s after everything was healed: {why}", CALM.as_secs()));
            }
            self.step(rest)?;
        }
    }

    /// When the manager and the first of the agents want to be woken.
    fn wakes(&self) -> (Option<Time>, Option<(Time, usize)>) {
        let manager = self.member.manager.as_ref().and_then(|manager| manager.next_wake());
        let wakes = self.nodes.iter().enumerate();
        let wakes = wakes.filter_map(|(at, node)| Some((node.when(node.agent.as_ref()?.next_wake()?), at)));
        match self.sabotage {
            Some(Sabotage::AgentAsleep) => (manager, None),
            Some(Sabotage::ManagerAsleep) => (None, wakes.min()),
            _ => (manager, wakes.min()),
        }
    }

    /// The next thing that happens, or the end of the span.
    fn step(&mut self, end: Time) -> Result<(), String> {
        let queued = self.queue.peek().map(|Reverse((at, _))| *at);
        let (manager, agent) = self.wakes();
        let group = self.joint.as_ref().and_then(|joint| joint.group.next());
        let first = [queued, manager, group, agent.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(first) = first.filter(|first| *first <= end) else {
            self.now = end;
            return Ok(());
        };
        self.summary.events += 1;
        // A wake in the past is due now.
        self.now = self.now.max(first);
        if queued.is_some_and(|at| at <= first) {
            if let Some(Reverse((_, sequence))) = self.queue.pop()
                && let Some(event) = self.events.remove(&sequence)
            {
                self.happen(event);
            }
        } else if group.is_some_and(|at| at <= first) {
            self.step_group();
        } else if manager.is_some_and(|at| at <= first) {
            self.wake_manager();
        } else if let Some((_, node)) = agent {
            self.wake_agent(node);
        }
        self.problem.take().map_or(Ok(()), Err)
    }

    /// Is this bug planted, and does it show now? Not each time, or nothing else would happen.
    pub(crate) fn sabotaged(&mut self, by: Sabotage) -> bool {
        self.sabotage == Some(by) && self.chance.below(4) == 0
    }

    /// Something is wrong; the first thing counts.
    pub(crate) fn fail(&mut self, what: String) {
        self.problem.get_or_insert(what);
    }
}
