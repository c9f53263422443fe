//! Sessions: how they begin, what goes over them, and how either end notices that they are over.

use super::links::Way;
use super::slip::Slip;
use super::{Between, Joint};
use crate::world::{Event, World};
use model::{AgentReport, Assignment, Availability, NodeId, Request, RequestId, Time};
use node_agent::AgentInput;
use orchestrator::ManagerInput;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often an agent gives a sign of life, in milliseconds; the manager answers each.
const ALIVE: u64 = 1_500;
/// How long either end may hear nothing.
const SILENCE: Duration = Duration::from_secs(4);

/// A connection between a node and a manager, as both ends see it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) node: usize,
    /// The agent's life that dialled.
    life: u64,
    pub(super) member: u64,
    /// The manager's life that took it; 0 before.
    served_by: u64,
    /// The node's end is open, be it only dialled.
    node_holds: bool,
    /// The manager's end is open.
    manager_holds: bool,
    up_works: bool,
    down_works: bool,
    node_heard: Time,
    manager_heard: Time,
    /// What is on its way arrives in its order: not before this.
    to_node: Time,
    to_manager: Time,
}

impl Session {
    /// Nothing more gets through that way.
    pub(super) fn breaks(&mut self, way: Way) {
        match way {
            Way::Up => self.up_works = false,
            Way::Down => self.down_works = false,
        }
    }
}

impl World {
    fn session(&mut self, number: u64) -> Option<&mut Session> {
        self.joint.as_mut()?.sessions.get_mut(&number)
    }

    /// An agent dials a manager: the one that it was sent to, or any.
    pub(crate) fn dial_managers(&mut self, node: usize) {
        let (now, number) = (self.now, self.next_session());
        let Some(sim) =
            self.nodes.get_mut(node).filter(|sim| sim.agent.is_some() && sim.session.is_none() && !sim.dials)
        else {
            return;
        };
        let Some(Joint { sessions, group, links, slip, chance, .. }) = self.joint.as_deref_mut() else {
            return;
        };
        let members = group.members();
        let any = chance.pick(&members).copied().unwrap_or(1);
        let member = if *slip == Some(Slip::OneDialled) { 1 } else { sim.redirect.take().unwrap_or(any) };
        sim.dials = true;
        let session = Session {
            node,
            life: sim.life,
            member,
            served_by: 0,
            node_holds: true,
            manager_holds: false,
            up_works: !links.is_cut(node, member, Way::Up),
            down_works: !links.is_cut(node, member, Way::Down),
            node_heard: now,
            manager_heard: now,
            to_node: now,
            to_manager: now,
        };
        sessions.insert(number, session);
        self.up(number, Between::Hello);
        self.after(ALIVE, Event::Between(Between::Pulse(number)));
    }

    /// Something goes from the node to the manager, in its order.
    fn up(&mut self, number: u64, event: impl FnOnce(u64) -> Between) {
        let now = self.now;
        let Some(joint) = &mut self.joint else { return };
        let delay = joint.chance.delay(joint.links.latency);
        let Some(session) = joint.sessions.get_mut(&number).filter(|session| session.up_works) else { return };
        session.to_manager = Time(now.0 + delay).max(session.to_manager);
        let at = session.to_manager;
        self.at(at, Event::Between(event(number)));
    }

    /// And back.
    fn down(&mut self, number: u64, event: impl FnOnce(u64) -> Between) {
        let now = self.now;
        let Some(joint) = &mut self.joint else { return };
        let delay = joint.chance.delay(joint.links.latency);
        let Some(session) = joint.sessions.get_mut(&number).filter(|session| session.down_works) else { return };
        session.to_node = Time(now.0 + delay).max(session.to_node);
        let at = session.to_node;
        self.at(at, Event::Between(event(number)));
    }

    /// A manager is dialled.
    pub(super) fn hello(&mut self, number: u64) {
        let Some(session) = self.session(number).filter(|session| session.up_works).map(|session| session.clone())
        else {
            return;
        };
        let Some(joint) = &mut self.joint else { return };
        // A machine that is up, whose daemon is not, says so at once.
        let Some(life) = joint.group.life(session.member) else {
            self.down(number, |number| Between::Redirect(number, None));
            return;
        };
        if !self.nodes.get(session.node).is_some_and(|sim| sim.agent.is_some() && sim.life == session.life) {
            return;
        }
        if !joint.group.leads(session.member) {
            let to = joint.group.follows(session.member);
            self.down(number, move |number| Between::Redirect(number, to));
            return;
        }
        let older: Vec<u64> = self.served(session.member, |other| other.node == session.node);
        for other in older {
            self.manager_end_closes(other);
        }
        let now = self.now;
        if let Some(session) = self.session(number) {
            (session.manager_holds, session.served_by, session.manager_heard) = (true, life, now);
        }
        self.down(number, Between::Welcome);
        let Some(described) = self.nodes.get(session.node).map(|sim| sim.describe()) else { return };
        self.tell(session.member, ManagerInput::SessionUp(Box::new(described)));
    }

    /// Sessions whose manager's end is open.
    fn served(&self, member: u64, which: impl Fn(&Session) -> bool) -> Vec<u64> {
        let sessions = self.joint.iter().flat_map(|joint| &joint.sessions);
        sessions
            .filter(|(_, it)| it.member == member && it.manager_holds && which(it))
            .map(|(number, _)| *number)
            .collect()
    }

    pub(super) fn welcome(&mut self, number: u64) {
        let now = self.now;
        let Some(session) = self.session(number).filter(|session| session.node_holds && session.down_works) else {
            return;
        };
        session.node_heard = now;
        let (node, member) = (session.node, session.member);
        let Some(sim) = self.nodes.get_mut(node) else { return };
        (sim.session, sim.session_since, sim.dials) = (Some(number), now, false);
        self.trace.say(now, format_args!("n{} is connected to {member}", node + 1));
        self.agent(node, AgentInput::SessionUp);
    }

    pub(super) fn redirected(&mut self, number: u64, to: Option<u64>) {
        let Some(session) = self.session(number).filter(|session| session.node_holds) else { return };
        let node = session.node;
        if let Some(sim) = self.nodes.get_mut(node) {
            sim.redirect = to;
        }
        self.node_lets_go(number, to.is_some());
    }

    /// Since when a node has a session that both ends hold; all gets through.
    pub(crate) fn in_touch(&self, node: usize) -> Option<Time> {
        let sim = self.nodes.get(node)?;
        let session = self.joint.as_ref()?.sessions.get(&sim.session?)?;
        let works = session.node_holds && session.manager_holds && session.up_works && session.down_works;
        works.then_some(sim.session_since)
    }

    /// A sign of life is sent and answered, or an end gives up.
    pub(super) fn pulse(&mut self, number: u64) {
        let now = self.now;
        let Some(joint) = &mut self.joint else { return };
        let unnoticed = joint.is(Slip::SilenceUnnoticed);
        let Some(session) = joint.sessions.get_mut(&number) else { return };
        let member = session.member;
        let awake = joint.group.life(member).is_some() && joint.group.frozen_until(now, member).is_none();
        let serves = session.manager_holds && joint.group.life(member) == Some(session.served_by);
        if session.node_holds && session.up_works && awake {
            if serves {
                session.manager_heard = now;
            }
            if session.down_works && serves {
                session.node_heard = now;
            }
        }
        let (node_silent, manager_silent) =
            (session.node_heard.after(SILENCE) <= now, session.manager_heard.after(SILENCE) <= now);
        let (node_holds, manager_holds) = (session.node_holds, session.manager_holds);
        if !node_holds && !manager_holds {
            joint.sessions.remove(&number);
            return;
        }
        if node_holds && node_silent {
            self.trace.say(now, format_args!("a node hears nothing of {member}"));
            self.node_lets_go(number, false);
            self.up(number, Between::NodeClosed);
        }
        if manager_holds && manager_silent && awake && !unnoticed {
            self.manager_lets_go(number, true);
            self.down(number, Between::ManagerClosed);
        }
        self.after(ALIVE, Event::Between(Between::Pulse(number)));
    }

    /// The node's end of a session is closed; it dials again, at once where it knows whom.
    pub(super) fn node_lets_go(&mut self, number: u64, at_once: bool) {
        let Some(session) = self.session(number).filter(|session| session.node_holds) else { return };
        session.node_holds = false;
        let (node, life) = (session.node, session.life);
        if !self.lives(node, life) {
            return;
        }
        let Some(sim) = self.nodes.get_mut(node) else { return };
        sim.dials = false;
        if sim.session == Some(number) {
            sim.session = None;
            self.trace.say(self.now, format_args!("n{} has lost its session", node + 1));
            self.agent(node, AgentInput::SessionLost);
        }
        let pause = if at_once { 1 } else { self.chance.between(50, 1_000) };
        self.after(pause, Event::Dial(node));
    }

    /// The manager's end is closed. `silent`: nothing was heard for too long.
    pub(super) fn manager_lets_go(&mut self, number: u64, silent: bool) {
        let Some(session) = self.session(number).filter(|session| session.manager_holds) else { return };
        let (node, member, life) = (session.node, session.member, session.served_by);
        self.manager_end_closes(number);
        let Some(id) = self.nodes.get(node).map(|sim| sim.id) else { return };
        // A later one of the same node counts, and a manager that begins anew knows of none.
        let later = !self.served(member, |other| other.node == node).is_empty();
        if !later && self.joint.as_ref().and_then(|joint| joint.group.life(member)) == Some(life) {
            self.trace.say(self.now, format_args!("{member} has lost the session of n{}, silent={silent}", node + 1));
            self.tell(member, if silent { ManagerInput::SessionSilent(id) } else { ManagerInput::SessionLost(id) });
        }
    }

    fn manager_end_closes(&mut self, number: u64) {
        if let Some(session) = self.session(number) {
            session.manager_holds = false;
        }
    }

    /// A manager that does not lead (any more) sends its nodes to whoever does.
    pub(super) fn look_at_leading(&mut self, member: u64) {
        let Some(joint) = &self.joint else { return };
        if joint.group.leads(member) || joint.group.life(member).is_none() || joint.is(Slip::SessionsKept) {
            return;
        }
        let to = joint.group.follows(member);
        for number in self.served(member, |_| true) {
            self.manager_lets_go(number, false);
            self.down(number, move |number| Between::Redirect(number, to));
        }
    }

    /// Its connections break; the kernel says so, unless the machine is gone as well.
    pub(super) fn manager_crashed(&mut self, member: u64) {
        for number in self.served(member, |_| true) {
            self.manager_end_closes(number);
            if self.chance.coin() {
                self.down(number, Between::ManagerClosed);
            }
        }
    }

    /// A node's daemon is gone, or its connection.
    pub(crate) fn hang_up(&mut self, node: usize, told: bool) {
        let sessions = self.joint.iter().flat_map(|joint| &joint.sessions);
        let own: Vec<u64> = sessions.filter(|(_, it)| it.node == node && it.node_holds).map(|it| *it.0).collect();
        for number in own {
            self.node_lets_go(number, false);
            if told {
                self.up(number, Between::NodeClosed);
            }
        }
        if let Some(sim) = self.nodes.get_mut(node) {
            sim.dials = false;
        }
    }

    /// A manager has an order for a node.
    pub(super) fn send_to_node(&mut self, member: u64, order: Box<Assignment>) {
        let node = order.node;
        let at = self.nodes.iter().position(|sim| sim.id == node);
        let number = at.and_then(|at| self.served(member, |session| session.node == at).last().copied());
        match number {
            Some(number) => {
                self.doubles(at, &order);
                self.down(number, |number| Between::Order(number, order));
            }
            // Its leadership has just ended, or the session: whoever it has the next one with tells all again.
            None => self.trace.say(self.now, format_args!("an order of {member} for {node} goes nowhere")),
        }
    }

    /// A copy of an order comes late, be it after its session.
    fn doubles(&mut self, node: Option<usize>, order: &Assignment) {
        let Some(joint) = self.joint.as_mut() else { return };
        let (twice, late) = (joint.chance.permille(joint.links.doubled), joint.chance.between(500, 10_000));
        if let Some((node, sim)) = node.and_then(|node| Some((node, self.nodes.get(node)?))).filter(|_| twice) {
            let late_order = Between::LateOrder { node, life: sim.life, order: Box::new(order.clone()) };
            self.after(late, Event::Between(late_order));
        }
    }

    pub(super) fn order_arrives(&mut self, number: u64, order: Box<Assignment>) {
        let now = self.now;
        let Some(session) = self.session(number) else { return };
        session.node_heard = now;
        let (node, holds) = (session.node, session.node_holds && session.down_works);
        if holds && self.nodes.get(node).is_some_and(|sim| sim.session == Some(number)) {
            self.hand_over(node, order);
        }
    }

    /// Gives an order to an agent, which must not care for one that is older than what it has.
    pub(super) fn hand_over(&mut self, node: usize, mut order: Box<Assignment>) {
        let Some(sim) = self.nodes.get_mut(node) else { return };
        let newest = sim.newest.max(order.generation);
        let older = order.generation < sim.newest;
        sim.newest = newest;
        if self.joint.as_ref().is_some_and(|joint| joint.is(Slip::DrainsUntold)) {
            order.sent_to.clear();
        }
        if self.joint.as_ref().is_some_and(|joint| joint.is(Slip::OlderObeyed)) && older {
            order.generation = newest;
            self.agent(node, AgentInput::Assignment(order));
        } else if older {
            self.agent(node, AgentInput::Assignment(order));
        } else {
            self.order(node, order);
        }
    }

    /// An agent tells the manager with which it has a session.
    pub(crate) fn report_up(&mut self, node: usize, report: Box<AgentReport>) {
        if let Some(number) = self.nodes.get(node).and_then(|sim| sim.session) {
            self.up(number, |number| Between::Report(number, report));
        }
    }

    pub(super) fn report_arrives(&mut self, number: u64, report: Box<AgentReport>) {
        let now = self.now;
        let Some(joint) = &mut self.joint else { return };
        let Some(session) = joint.sessions.get_mut(&number).filter(|session| session.manager_holds) else { return };
        session.manager_heard = now;
        let (node, member, life) = (session.node, session.member, session.served_by);
        if joint.group.life(member) != Some(life) {
            return;
        }
        let Some(id) = self.nodes.get(node).map(|sim| sim.id) else { return };
        self.tell(member, ManagerInput::Report(id, report));
    }

    pub(super) fn begins_to_lead(&mut self, member: u64) {
        let Some(joint) = &self.joint else { return };
        match joint.slip {
            Some(Slip::SessionCarriedOver) => self.carry_over(member),
            Some(Slip::DrainForgotten) => self.forget_drains(member),
            _ => {}
        }
    }

    /// A bug: all sessions are this manager's from now on, and agents know nothing of it.
    fn carry_over(&mut self, member: u64) {
        let Some(joint) = &mut self.joint else { return };
        let life = joint.group.life(member).unwrap_or(0);
        let mut moved = Vec::new();
        for session in joint.sessions.values_mut().filter(|it| it.node_holds && it.served_by != 0) {
            (session.member, session.served_by, session.manager_holds) = (member, life, true);
            moved.push(session.node);
        }
        for node in moved {
            let Some(described) = self.nodes.get(node).map(|sim| sim.describe()) else { continue };
            self.tell(member, ManagerInput::SessionUp(Box::new(described)));
        }
    }

    /// A bug: whoever leads next takes every node for active.
    fn forget_drains(&mut self, member: u64) {
        let nodes: Vec<NodeId> = self.nodes.iter().map(|sim| sim.id).collect();
        for id in nodes {
            let number = RequestId(u128::from(self.chance.any()) | 1 << 100);
            let availability = Some(Availability::Active);
            let request = Request::UpdateNode { id, availability, labels: BTreeMap::new() };
            self.tell(member, ManagerInput::Request(number, Box::new(request)));
        }
    }
}
