//! Clients: they write and read registers, ask anybody, and ask again until they know.

use super::drive::{LABEL, Reply, register};
use super::linear::{Act, MOST, Span};
use super::peer::Ask;
use super::world::{Event, World};
use crate::chance::Chance;
use model::{Mode, Request, RequestId, RestartPolicy, Time};

/// Registers that are written and read.
pub(super) const KEYS: usize = 2;

/// One thing that a client wants.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) key: usize,
    pub(super) id: RequestId,
    /// What to write; `None`: it reads.
    pub(super) write: Option<u64>,
    pub(super) asked: Time,
    /// When it was answered, and with what.
    pub(super) answered: Option<(Time, u64)>,
    /// The client waits no longer: it may have happened or not.
    pub(super) given_up: bool,
}

impl Operation {
    /// As the checker wants it; `None` for a read that saw nothing.
    fn span(&self) -> Option<Span> {
        let act = match (self.write, self.answered) {
            (Some(value), _) => Act::Write(value),
            (None, Some((_, seen))) => Act::Read(seen),
            (None, None) => return None,
        };
        Some(Span { asked: self.asked.0, answered: self.answered.map(|(at, _)| at.0), act })
    }
}

/// A client: one thing after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) operations: Vec<Operation>,
    /// Since everything was healed it has seen an answer about each register.
    pub(super) content: usize,
}

impl World {
    fn operation(&mut self, ask: Ask) -> Option<&mut Operation> {
        self.clients.get_mut(ask.client)?.operations.get_mut(ask.operation)
    }

    /// It wants something new.
    pub(super) fn act(&mut self, client: usize) {
        let calm = self.calm;
        let (id, number) = (RequestId(u128::from(self.chance.any())), self.chance.any() >> 1);
        let draw = usize::try_from(self.chance.below(KEYS as u64)).unwrap_or(0);
        let writes = !calm && self.chance.coin();
        let Some(it) = self.clients.get_mut(client) else { return };
        if it.operations.last().is_some_and(|last| last.answered.is_none() && !last.given_up) {
            return;
        }
        // What is read when all is healed is what the storm has left.
        let key = if calm { it.content } else { draw };
        if key >= KEYS || it.operations.len() >= MOST / 3 - 4 && !calm {
            return;
        }
        let operation = it.operations.len();
        it.operations.push(Operation {
            key,
            id,
            write: writes.then_some(number | 1),
            asked: self.now,
            answered: None,
            given_up: false,
        });
        self.put(Ask { client, operation, key }, None);
    }

    /// Sends it to somebody, and looks after it.
    fn put(&mut self, ask: Ask, to: Option<u64>) {
        let living: Vec<u64> = self.wanted.iter().map(|member| member.0).collect();
        let to = to.or_else(|| self.chance.pick(&living).copied()).unwrap_or(1);
        if !self.chance.permille(self.weather.loss) {
            let delay = self.chance.between(1, 30);
            self.after(delay, Event::Asked { to, ask });
        }
        if self.chance.permille(self.weather.doubled) {
            let late = self.chance.between(100, 5_000);
            self.after(late, Event::Asked { to, ask });
        }
        let patience = self.chance.between(300, 1_500);
        self.after(patience, Event::Retries(ask));
    }

    /// It asks again, or gives up.
    pub(super) fn retry(&mut self, ask: Ask) {
        let gives_up = !self.calm && self.chance.below(12) == 0;
        let Some(operation) = self.operation(ask) else { return };
        if operation.answered.is_some() || operation.given_up {
            return;
        }
        if gives_up {
            operation.given_up = true;
            self.after(100, Event::Acts(ask.client));
        } else {
            self.put(ask, None);
        }
    }

    /// A request arrives at a member.
    pub(super) fn asked(&mut self, to: u64, ask: Ask) {
        let Some(operation) = self.operation(ask) else { return };
        let (id, request) = (operation.id, request(operation));
        let mut deeds = Vec::new();
        self.with(to, |peer, now| peer.ask(now, ask, id, &request, &mut deeds));
        for deed in deeds {
            if let super::drive::Deed::Tell(ask, reply) = deed {
                self.reply(ask, reply);
            }
        }
    }

    /// A member answers; that may get lost.
    pub(super) fn reply(&mut self, ask: Ask, reply: Reply) {
        if !self.chance.permille(self.weather.loss) {
            let delay = self.chance.between(1, 30);
            self.after(delay, Event::Answered { ask, reply });
        }
    }

    /// An answer arrives at its client.
    pub(super) fn answered(&mut self, ask: Ask, reply: Reply) {
        let (now, calm) = (self.now, self.calm);
        let Some(operation) = self.operation(ask).filter(|it| it.answered.is_none() && !it.given_up) else { return };
        match reply {
            Reply::Done => operation.answered = Some((now, 0)),
            Reply::Value(seen) => operation.answered = Some((now, seen)),
            Reply::Elsewhere(Some(to)) => {
                self.after(20, Event::Asked { to: to.0, ask });
                return;
            }
            Reply::Elsewhere(None) | Reply::Full => return,
            Reply::Wrong(what) => {
                self.fail(format!("a client was answered {what}"));
                return;
            }
        }
        let (write, since) = (operation.write, operation.asked);
        self.trace.say(now, format_args!("client {} had {ask:?} {write:?} since {}", ask.client, since.0));
        match write {
            Some(_) => self.summary.writes += 1,
            None => self.summary.reads += 1,
        }
        if calm
            && write.is_none()
            && let Some(client) = self.clients.get_mut(ask.client).filter(|it| it.content == ask.key)
        {
            client.content += 1;
        }
        let pause = if calm { 10 } else { self.chance.between(50, 1_500) };
        self.after(pause, Event::Acts(ask.client));
    }

    /// What clients saw of each register is what one that never fails would show.
    pub(crate) fn check_clients(&self) -> Result<(), String> {
        for key in 0..KEYS {
            let all = self.clients.iter().flat_map(|client| &client.operations).filter(|it| it.key == key);
            let history: Vec<Span> = all.filter_map(Operation::span).collect();
            if history.len() > MOST {
                return Err(format!("{} operations on one register are too many to check", history.len()));
            }
            if !super::linear::is_linear(&history) {
                return Err(format!("register {key} is not linearizable: {history:?}"));
            }
        }
        Ok(())
    }
}

fn request(operation: &Operation) -> Request {
    let Some(value) = operation.write else { return Request::Read };
    let mut spec = crate::specs::standalone(&register(operation.key), &mut Chance::new(0));
    (spec.standalone, spec.restart) = (false, RestartPolicy::SWARM);
    spec.networks.clear();
    spec.mode = Mode::Replicated { replicas: 0 };
    spec.labels.insert(LABEL.to_owned(), value.to_string());
    Request::PutService { spec: Box::new(spec), create: false }
}
