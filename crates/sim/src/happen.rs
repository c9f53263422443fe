//! What each event does.

use crate::world::{Event, World};
use model::Time;
use node_agent::AgentInput;
use orchestrator::ManagerInput;

impl World {
    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Commit { life, ticket } => self.commit(life, ticket),
            Event::Lost { life, ticket } => {
                if life == self.member.life {
                    self.member.open.retain(|(open, _)| *open != ticket);
                    self.manager(ManagerInput::Lost(ticket));
                }
            }
            Event::ManagerBegins => self.manager_begins(),
            Event::ManagerDies => self.manager_dies(),
            Event::AgentBegins(node) => self.agent_begins(node),
            Event::AgentDies { node, reboot } => self.agent_dies(node, reboot),
            Event::NodeLost(node) => {
                self.agent_dies(node, true);
                if let Some(sim) = self.nodes.get_mut(node) {
                    sim.lost = true;
                    self.operator.lost.insert(sim.id);
                }
            }
            Event::Dial(node) => self.dial(node),
            Event::Between(event) => self.happen_between(event),
            Event::Cut(node) => {
                self.cut(node);
                if let Some(delay) = self.span(self.faults.session_cut) {
                    self.after(delay, Event::Cut(node));
                }
            }
            Event::Order { node, session, order } => {
                if self.nodes.get(node).is_some_and(|node| node.session == Some(session)) {
                    self.order(node, order);
                }
            }
            Event::Report { node, session, report } => {
                if let Some(sim) = self.nodes.get(node).filter(|node| node.session == Some(session)) {
                    let id = sim.id;
                    self.manager(ManagerInput::Report(id, report));
                }
            }
            Event::Done { node, life, effect } => self.done(node, life, effect),
            Event::Answer { node, life, effect, result } => {
                if self.lives(node, life) {
                    if let Some(sim) = self.nodes.get_mut(node) {
                        sim.open.remove(&effect);
                    }
                    self.agent(node, AgentInput::Done(effect, *result));
                }
            }
            Event::Written { node, life, number, ledger } => {
                if self.lives(node, life) {
                    if let Some(sim) = self.nodes.get_mut(node) {
                        sim.ledger = Some(ledger);
                    }
                    self.agent(node, AgentInput::Remembered(number));
                }
            }
            Event::Ends { node, task, began, code } => self.ends(node, task, began, code),
            Event::Ended { node, life, task, attempt, exit } => {
                if self.lives(node, life) {
                    self.agent(node, AgentInput::Exited { task, attempt, exit });
                }
            }
            Event::Operate => self.operate(),
            Event::Ask { life, id, request } => {
                if life == self.member.life && self.member.manager.is_some() {
                    self.trace.say(self.now, format_args!("request {}", id.0));
                    self.busy = self.now;
                    self.manager(ManagerInput::Request(id, request));
                }
            }
            Event::Reply { id, response } => {
                self.summary.requests += 1;
                if let Err(what) = self.operator.answered(id, *response) {
                    self.fail(what);
                }
            }
            Event::Spurious => self.spurious(),
            Event::Heal => self.heal(),
        }
    }

    /// The same life of a node's daemon as then?
    pub(crate) fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes.get(node).is_some_and(|sim| sim.life == life && sim.agent.is_some())
    }

    fn operate(&mut self) {
        if self.calm && self.operator.open.is_none() {
            return;
        }
        let mut delay = self.chance.delay(8_000);
        if let Some(state) = self.state()
            && let Some((id, request)) = self.operator.ask(&state)
        {
            self.trace.say(self.now, format_args!("operator {}: {}", id.0, said(&request)));
            if self.joint.is_some() {
                self.ask_managers(id, request);
            } else {
                let (life, late) = (self.member.life, self.chance.delay(self.faults.message));
                self.after(late, Event::Ask { life, id, request: Box::new(request) });
            }
            // Whoever gets no answer asks again.
            delay = delay.max(1_000);
        }
        self.after(delay, Event::Operate);
    }

    /// Wakes somebody before the time that was named: nothing may come of it.
    fn spurious(&mut self) {
        if self.problem.is_none() {
            self.check_spurious();
        }
        let delay = self.chance.between(1, 2_000);
        if !self.calm || self.now < Time(self.busy.0 + 5_000) {
            self.after(delay, Event::Spurious);
        }
    }

    fn heal(&mut self) {
        self.trace.say(self.now, "everything is healed");
        self.calm = true;
        self.busy = self.now;
        self.faults.heal();
        self.heal_between();
        for node in &mut self.nodes {
            node.host.foreign = false;
            node.host.sick = 0;
            node.host.all_images = true;
        }
    }
}

fn said(request: &model::Request) -> String {
    use model::Request;
    match request {
        Request::Deploy { stack, remove_orphans, force_recreate } => {
            let services = stack.services.values().map(|spec| {
                let (image, restart) = (&spec.container.image, &spec.restart);
                format!(
                    "{} {image} {:?} {:?} {:?} {:?}",
                    spec.name, spec.mode, restart.scope, restart.condition, spec.update
                )
            });
            let services: Vec<String> = services.collect();
            format!("deploy {} orphans={remove_orphans} force={force_recreate} {services:?}", stack.name)
        }
        Request::PutService { spec, .. } => format!("run {} {}", spec.name, spec.container.image),
        other => format!("{other:?}"),
    }
}
