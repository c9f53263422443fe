//! The manager's side of the world: its log, its sessions, what it asks for.

use crate::faults::Sabotage;
use crate::world::{Event, World};
use model::Time;
use orchestrator::{ManagerInput, ManagerOutput};

impl World {
    /// Hands the manager an input, and does what it asks for.
    pub(crate) fn manager(&mut self, input: ManagerInput) {
        let Some(manager) = self.member.manager.as_mut() else { return };
        manager.handle(self.now, input);
        self.drain_manager();
    }

    pub(crate) fn wake_manager(&mut self) {
        self.trace.say(self.now, "manager wakes");
        let Some(manager) = self.member.manager.as_mut() else { return };
        manager.handle(self.now, ManagerInput::Tick);
        self.drain_manager();
        let wake = self.member.manager.as_ref().and_then(|manager| manager.next_wake());
        if wake.is_some_and(|wake| wake <= self.now) {
            self.fail(format!("the manager wants to wake at {}, which is not ahead", wake.unwrap_or_default().0));
        }
    }

    fn drain_manager(&mut self) {
        while let Some(output) = self.member.manager.as_mut().and_then(|manager| manager.poll()) {
            match output {
                ManagerOutput::Propose { ticket, entry } => {
                    self.busy = self.now;
                    self.trace.say(self.now, format_args!("propose {ticket}: {}", said(&entry)));
                    let life = self.member.life;
                    self.member.open.push((ticket, *entry));
                    let delay = self.chance.delay(self.faults.commit);
                    if self.chance.permille(self.faults.proposal_lost) {
                        self.after(delay, Event::Lost { life, ticket });
                    } else {
                        let at = Time(self.now.0 + delay).max(self.member.commit_at);
                        self.member.commit_at = at;
                        self.at(at, Event::Commit { life, ticket });
                    }
                }
                ManagerOutput::Reply(id, response) => {
                    let delay = self.chance.delay(self.faults.message);
                    self.after(delay, Event::Reply { id, response });
                }
                ManagerOutput::Assign(order) => self.send_order(order),
                ManagerOutput::Changed { .. } => {}
            }
        }
    }

    fn send_order(&mut self, mut order: Box<model::Assignment>) {
        if self.sabotaged(Sabotage::OrdersLost) {
            return;
        }
        let at = self.nodes.iter().position(|node| node.id == order.node);
        let delay = self.chance.delay(self.faults.message);
        let Some((index, node)) = at.and_then(|at| Some((at, self.nodes.get_mut(at)?))) else {
            self.fail(format!("an order for {}, which does not exist", order.node));
            return;
        };
        let Some(session) = node.session else {
            let id = node.id;
            self.fail(format!("an order for {id}, which has no session"));
            return;
        };
        let arrives = Time(self.now.0 + delay).max(node.to_agent);
        node.to_agent = arrives;
        let old = node.order.clone();
        if let Some(old) = old.filter(|_| self.sabotaged(Sabotage::OldOrders)) {
            let generation = order.generation;
            order = old;
            order.generation = generation;
        }
        self.at(arrives, Event::Order { node: index, session, order });
    }

    pub(crate) fn commit(&mut self, life: u64, ticket: u64) {
        if life != self.member.life {
            return;
        }
        let Some(entry) = self.member.commit(ticket) else { return };
        self.summary.entries += 1;
        self.trace.say(self.now, format_args!("commit {ticket}"));
        self.manager(ManagerInput::Committed(Box::new(entry)));
        if self.chance.below(50) == 0 {
            self.member.cut();
        }
        self.check_state();
    }

    pub(crate) fn manager_begins(&mut self) {
        let (manager, log) = self.member.begin();
        self.trace.say(self.now, format_args!("manager begins, life {}, {} entries", self.member.life, log.len()));
        self.busy = self.now;
        self.member.manager = Some(manager);
        for entry in log {
            self.manager(ManagerInput::Committed(Box::new(entry)));
        }
        let term = self.member.term;
        self.manager(ManagerInput::Leading { term });
        self.check_state();
        for node in 0..self.nodes.len() {
            let delay = self.chance.delay(1_000);
            self.after(delay, Event::Dial(node));
        }
    }

    pub(crate) fn manager_dies(&mut self) {
        if self.calm || self.member.manager.is_none() {
            return;
        }
        self.trace.say(self.now, "manager dies");
        for node in 0..self.nodes.len() {
            self.cut(node);
        }
        let chance = &mut self.chance;
        self.member.crash(|| chance.coin());
        if self.sabotage == Some(Sabotage::TailLost) {
            self.member.lose_tail();
        }
        let delay = self.chance.delay(20_000);
        self.after(delay, Event::ManagerBegins);
        if let Some(delay) = self.span(self.faults.manager_crash) {
            self.after(delay + 1_000, Event::ManagerDies);
        }
    }
}

/// The facts of an entry, each cut short.
fn said(entry: &orchestrator::Entry) -> String {
    let short = |change: &orchestrator::Change| format!("{change:?}").chars().take(160).collect::<String>();
    let facts: Vec<String> = entry.changes.iter().take(8).map(short).collect();
    format!("{} facts, {} answers {facts:?}", entry.changes.len(), entry.answers.len())
}
