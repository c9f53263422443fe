//! Whole clusters: a group of managers, and the nodes that have sessions with whoever leads it.
//!
//! The group is the one of [`crate::group`] with all that goes wrong in it, nodes and the operator are those of a
//! single manager; what lies between them is here. Agents dial any manager and follow redirects. A session dies with
//! its manager's leadership, with either daemon, and of silence where a link is cut, be it one way. Clocks of nodes
//! are wrong as well.

mod asking;
mod found;
mod links;
mod session;
mod slip;

pub use slip::Slip;

use crate::chance::Chance;
use crate::group::{Group, Word};
use crate::node::SimNode;
use crate::world::{Event, World};
use links::Links;
use model::{AgentReport, Assignment, Node, Request, RequestId, State, Time};
use orchestrator::ManagerInput;
use session::Session;
use std::collections::BTreeMap;

/// Something between managers and nodes that will happen.
#[derive(Debug)]
pub(crate) enum Between {
    /// A node's first words arrive at a manager.
    Hello(u64),
    /// A manager lets a node in.
    Welcome(u64),
    /// A manager does not; this one may.
    Redirect(u64, Option<u64>),
    /// A sign of life is due.
    Pulse(u64),
    /// The manager's end is closed, as the node sees it.
    ManagerClosed(u64),
    /// The node's end is closed, as the manager sees it.
    NodeClosed(u64),
    /// A manager looks whether it still leads.
    Look(u64),
    Order(u64, Box<Assignment>),
    /// An order arrives once more, long after it was sent, at this life of a node's agent.
    LateOrder {
        node: usize,
        life: u64,
        order: Box<Assignment>,
    },
    Report(u64, Box<AgentReport>),
    /// A request of the operator arrives at a manager, passed on so often.
    Ask {
        to: u64,
        id: RequestId,
        request: Box<Request>,
        hops: u8,
    },
    /// What is between them changes.
    Weather,
}

/// Managers, and what is between them and nodes.
pub(crate) struct Joint {
    pub(crate) group: Group,
    sessions: BTreeMap<u64, Session>,
    links: Links,
    slip: Option<Slip>,
    /// Where the operator had an answer last.
    helpful: Option<u64>,
    /// Chance of its own.
    chance: Chance,
}

impl std::fmt::Debug for Joint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joint").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl Joint {
    /// The managers of these nodes.
    ///
    /// # Errors
    /// The cluster can't even be founded.
    pub(crate) fn new(chance: &mut Chance, nodes: &[SimNode], now: Time, slip: Option<Slip>) -> Result<Joint, String> {
        let voters = chance.pick(&[1, 3, 3, 3, 5]).copied().unwrap_or(3);
        let nodes: Vec<Node> = nodes.iter().map(SimNode::describe).collect();
        let state = found::state(&nodes, now)?;
        let group = Group::heard(chance.fork(), voters, &state, true, slip.and_then(Slip::flaw));
        let links = Links::draw(chance);
        let chance = chance.fork();
        Ok(Joint { group, sessions: BTreeMap::new(), links, slip, helpful: None, chance })
    }

    fn is(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }

    /// What a client sees that asks whoever leads.
    pub(crate) fn state(&self) -> Option<State> {
        self.group.state_of(self.group.newest_leader()?)
    }
}

impl World {
    /// The next thing in the group of managers.
    pub(crate) fn step_group(&mut self) {
        let Some(joint) = &mut self.joint else { return };
        if let Err(what) = joint.group.step() {
            self.fail(what);
        }
        self.hear();
    }

    /// Takes what managers have said.
    fn hear(&mut self) {
        loop {
            let Some(joint) = &mut self.joint else { return };
            self.trace.take(&mut joint.group.trace);
            let words = joint.group.take_words();
            if words.is_empty() {
                return;
            }
            for (member, word) in words {
                self.heard(member, word);
            }
        }
    }

    fn heard(&mut self, member: u64, word: Word) {
        match word {
            Word::Leads => self.begins_to_lead(member),
            Word::Follows => {
                let delay = self.chance.between(1, 50);
                self.after(delay, Event::Between(Between::Look(member)));
            }
            Word::Crashed => self.manager_crashed(member),
            Word::Proposed => self.busy = self.now,
            Word::Changed(revision) => {
                if revision > self.checkers.revision()
                    && let Some(state) = self.joint.as_ref().and_then(|joint| joint.group.state_of(member))
                {
                    self.summary.entries += 1;
                    self.check_this_state(&state);
                }
            }
            Word::Order(order) => self.send_to_node(member, order),
            Word::Answer(id, response) => self.answer_operator(member, id, response),
        }
    }

    /// Tells a manager something.
    fn tell(&mut self, member: u64, input: ManagerInput) {
        let now = self.now;
        if let Some(joint) = &mut self.joint {
            joint.group.tell(now, member, input);
        }
        self.hear();
    }

    pub(crate) fn happen_between(&mut self, event: Between) {
        if let Some(until) = self.frozen(&event) {
            self.at(until, Event::Between(event));
            return;
        }
        match event {
            Between::Hello(number) => self.hello(number),
            Between::Welcome(number) => self.welcome(number),
            Between::Redirect(number, to) => self.redirected(number, to),
            Between::Pulse(number) => self.pulse(number),
            Between::ManagerClosed(number) => self.node_lets_go(number, false),
            Between::NodeClosed(number) => self.manager_lets_go(number, false),
            Between::Look(member) => self.look_at_leading(member),
            Between::Order(number, order) => self.order_arrives(number, order),
            Between::LateOrder { node, life, order } => {
                if self.lives(node, life) {
                    self.hand_over(node, order);
                }
            }
            Between::Report(number, report) => self.report_arrives(number, report),
            Between::Ask { to, id, request, hops } => self.asked(to, id, request, hops),
            Between::Weather => self.change_links(),
        }
    }

    /// What waits while the manager that it is for does nothing.
    fn frozen(&self, event: &Between) -> Option<Time> {
        let joint = self.joint.as_ref()?;
        let member = match event {
            Between::Hello(number) | Between::NodeClosed(number) | Between::Report(number, _) => {
                joint.sessions.get(number)?.member
            }
            Between::Ask { to, .. } => *to,
            Between::Look(member) => *member,
            _ => return None,
        };
        joint.group.frozen_until(self.now, member)
    }

    /// Everything between managers and nodes works from now on.
    pub(crate) fn heal_between(&mut self) {
        if let Some(joint) = &mut self.joint {
            joint.links.clear();
            joint.group.heal();
        }
        self.hear();
        for node in 0..self.nodes.len() {
            let was = self.nodes.get_mut(node).map(|node| std::mem::take(&mut node.ahead));
            if was != Some(0) {
                self.clock_was_set(node);
            }
        }
    }

    /// What is missing for the managers to be at rest as well.
    ///
    /// # Errors
    /// Something is.
    pub(crate) fn check_managers(&self) -> Result<(), String> {
        let Some(joint) = &self.joint else { return Ok(()) };
        let unrest = joint.group.unrest();
        if !unrest.is_empty() {
            return Err(unrest);
        }
        let leader = joint.group.newest_leader();
        for (at, sim) in self.nodes.iter().enumerate().filter(|(_, sim)| !sim.lost) {
            let with = sim.session.and_then(|number| joint.sessions.get(&number)).map(|session| session.member);
            if with != leader {
                return Err(format!("n{} has its session with {with:?}, and {leader:?} leads", at + 1));
            }
        }
        joint.group.check_clients()
    }
}
