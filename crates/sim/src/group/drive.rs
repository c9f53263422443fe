//! How a member is driven: what it is told, and what it asks for.

use super::flaw::Flaw;
use super::outside::Word;
use super::peer::{Ask, Peer};
use bytes::Bytes;
use consensus::{Input, Member, Output, Persist, Role, Snapshot, Step, next_step};
use model::{Request, RequestId, Response, Time};
use orchestrator::{Entry, ManagerInput, ManagerOutput};
use std::collections::BTreeSet;

/// The log is cut after so many entries.
const SNAPSHOT_ENTRIES: u64 = 12;

/// What a member wants done.
#[derive(Debug)]
pub(super) enum Deed {
    Write(Persist),
    Send {
        to: Member,
        message: Bytes,
        snapshot: bool,
    },
    Tell(Ask, Reply),
    /// It leads now.
    Leads(u64),
    /// It sees this as part of the one history.
    Committed {
        index: u64,
        term: u64,
        data: Bytes,
    },
    /// Its state has this number once that index is applied.
    State {
        index: u64,
        hash: u64,
    },
    Restored,
    Reshaped,
    /// Something for those who are no members.
    Say(Word),
    /// It fails in a way that must not be.
    Wrong(String),
}

/// What a client hears.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Done,
    Value(u64),
    /// Ask somebody else: this one, if it is known.
    Elsewhere(Option<Member>),
    /// Not now.
    Full,
    Wrong(String),
}

/// The service whose label is the register of this number.
pub(super) fn register(key: usize) -> String {
    format!("register{key}")
}

/// Is this service there for a register?
pub(crate) fn is_register(name: &str) -> bool {
    name.starts_with("register")
}

/// The label.
pub(super) const LABEL: &str = "value";

impl Peer {
    pub(super) fn input(&mut self, input: Input) {
        if let Some(raft) = &mut self.raft {
            // What is refused changes nothing; the driver of the daemon only notes it too.
            let _refused = raft.handle(input);
        }
    }

    pub(super) fn tell(&mut self, now: Time, input: ManagerInput) {
        let now = self.tell_time(now);
        self.manager.handle(now, input);
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| matches!(raft.role(), Role::Leader { .. }))
    }

    pub(super) fn leader(&self) -> Option<Member> {
        match self.raft.as_ref()?.role() {
            Role::Leader { .. } => Some(self.id),
            Role::Follower { leader, .. } => leader,
        }
    }

    /// A client asks.
    pub(super) fn ask(&mut self, now: Time, ask: Ask, id: RequestId, request: &Request, deeds: &mut Vec<Deed>) {
        if *request == Request::Read {
            if self.flaw == Some(Flaw::ReadWithoutAsking) {
                deeds.push(Deed::Tell(ask, self.look_up(ask.key)));
                return;
            }
            self.ticket += 1;
            self.reads.insert(self.ticket, ask);
            self.input(Input::Read(self.ticket));
        } else if !self.manager.leads() {
            deeds.push(Deed::Tell(ask, Reply::Elsewhere(self.leader())));
        } else if now < self.disk.full {
            deeds.push(Deed::Tell(ask, Reply::Full));
        } else {
            self.ticket += 1;
            let lost = u128::from(self.ticket) << 64;
            let id = if self.flaw == Some(Flaw::RetryAppliedTwice) { RequestId(id.0 ^ lost) } else { id };
            self.asked.entry(id).or_default().push(ask);
            self.tell(now, ManagerInput::Request(id, Box::new(request.clone())));
        }
    }

    fn look_up(&self, key: usize) -> Reply {
        let state = self.manager.state(self.clock);
        let service = state.services.iter().find(|service| service.spec.name == register(key));
        let value = service.and_then(|service| service.spec.labels.get(LABEL)?.parse().ok());
        Reply::Value(value.unwrap_or(0))
    }

    /// One unit of time. `wanted`: who should belong to the group.
    pub(super) fn tick(&mut self, now: Time, wanted: &BTreeSet<Member>) {
        self.input(Input::Tick);
        self.ticks += 1;
        for lost in self.proposals.tick() {
            self.tell(now, ManagerInput::Lost(lost));
        }
        let clock = self.tell_time(now);
        if self.manager.next_wake().is_some_and(|wake| wake <= clock) {
            self.tell(now, ManagerInput::Tick);
        }
        if self.ticks.is_multiple_of(2) && self.leads() {
            self.shape(wanted);
            let full = now < self.disk.full && !self.disk.open.is_empty();
            if let Some(heir) = self.raft.as_ref().and_then(|raft| raft.heir()).filter(|_| full) {
                self.input(Input::HandOver(heir));
            }
        }
    }

    fn shape(&mut self, wanted: &BTreeSet<Member>) {
        let Some(raft) = &self.raft else { return };
        match next_step(self.id, wanted, raft.members(), |member| raft.progress(member)) {
            Some(Step::Change { voters, learners }) => self.input(Input::ChangeMembers { voters, learners }),
            Some(Step::HandOver(to)) => self.input(Input::HandOver(to)),
            None => {}
        }
    }

    /// All that it wants now.
    pub(super) fn drive(&mut self, now: Time) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while self.raft.is_some() {
            if let Some(output) = self.manager.poll() {
                self.managed(now, output, &mut deeds);
            } else if let Some(output) = self.raft.as_mut().and_then(|raft| raft.poll()) {
                self.agreed(now, output, &mut deeds);
            } else if !self.cut() {
                break;
            }
        }
        deeds
    }

    fn managed(&mut self, now: Time, output: ManagerOutput, deeds: &mut Vec<Deed>) {
        match output {
            ManagerOutput::Propose { ticket, entry } => {
                deeds.push(Deed::Say(Word::Proposed));
                if self.flaw == Some(Flaw::AcknowledgedTooEarly) {
                    entry.answers.iter().for_each(|(id, response)| self.answer(*id, response, deeds));
                }
                match serde_json::to_vec(&entry) {
                    Ok(data) => self.input(Input::Propose { ticket, data: data.into() }),
                    Err(error) => {
                        deeds.push(Deed::Wrong(format!("an entry that can't be written: {error}")));
                        self.tell(now, ManagerInput::Lost(ticket));
                    }
                }
            }
            ManagerOutput::Reply(id, response) => self.answer(id, &response, deeds),
            ManagerOutput::Assign(order) => deeds.push(Deed::Say(Word::Order(order))),
            ManagerOutput::Changed { revision } => deeds.push(Deed::Say(Word::Changed(revision))),
        }
    }

    fn answer(&mut self, id: RequestId, response: &Response, deeds: &mut Vec<Deed>) {
        if self.guests.remove(&id) {
            deeds.push(Deed::Say(Word::Answer(id, Box::new(response.clone()))));
        }
        for ask in self.asked.remove(&id).unwrap_or_default() {
            let reply = match response {
                Response::Done { .. } => Reply::Done,
                other => Reply::Wrong(format!("{other:?}")),
            };
            deeds.push(Deed::Tell(ask, reply));
        }
    }

    fn agreed(&mut self, now: Time, output: Output, deeds: &mut Vec<Deed>) {
        match output {
            Output::Persist(persist) => deeds.push(Deed::Write(persist)),
            Output::Send { to, message, snapshot } => deeds.push(Deed::Send { to, message, snapshot }),
            Output::Committed { index, term, data } => self.committed(now, index, term, data, deeds),
            Output::Restore(snapshot) => self.restore(now, &snapshot, deeds),
            Output::Role(Role::Leader { term }) => {
                self.tell(now, ManagerInput::Leading { term });
                deeds.push(Deed::Leads(term));
            }
            Output::Role(Role::Follower { .. }) => {
                self.asked.clear();
                self.guests.clear();
                self.tell(now, ManagerInput::Following);
                deeds.push(Deed::Say(Word::Follows));
            }
            Output::Members(_) => deeds.push(Deed::Reshaped),
            Output::Accepted { ticket, index, term } => {
                if let Some(lost) = self.proposals.accepted(index, term, ticket) {
                    self.tell(now, ManagerInput::Lost(lost));
                }
            }
            Output::Refused { ticket, .. } => self.proposals.refused(ticket),
            Output::SnapshotWanted => self.snapshot_wanted = true,
            Output::Readable(ticket) => {
                if let Some(ask) = self.reads.remove(&ticket) {
                    deeds.push(Deed::Tell(ask, self.look_up(ask.key)));
                }
            }
            // The client asks again.
            Output::Unreadable(ticket) => drop(self.reads.remove(&ticket)),
        }
    }

    fn committed(&mut self, now: Time, index: u64, term: u64, data: Bytes, deeds: &mut Vec<Deed>) {
        if let Some(lost) = self.proposals.committed(index, term) {
            self.tell(now, ManagerInput::Lost(lost));
        }
        self.entries += 1;
        let skipped = self.flaw == Some(Flaw::EntrySkipped) && index % 11 == self.id.0;
        match serde_json::from_slice::<Entry>(&data) {
            Ok(_) if skipped => {}
            Ok(entry) => self.tell(now, ManagerInput::Committed(Box::new(entry))),
            Err(error) => deeds.push(Deed::Wrong(format!("entry {index} can't be read: {error}"))),
        }
        deeds.extend(self.manager.take_refused().into_iter().map(Deed::Wrong));
        deeds.push(Deed::Committed { index, term, data });
        if index.is_multiple_of(3) {
            deeds.push(self.number(index));
        }
    }

    fn restore(&mut self, now: Time, snapshot: &Snapshot, deeds: &mut Vec<Deed>) {
        if !snapshot.data.is_empty() && self.flaw != Some(Flaw::SnapshotIgnored) {
            match serde_json::from_slice(&snapshot.data) {
                Ok(state) => self.manager.restore(state),
                Err(error) => deeds.push(Deed::Wrong(format!("a snapshot that can't be read: {error}"))),
            }
        }
        for lost in self.proposals.restored(snapshot.index) {
            self.tell(now, ManagerInput::Lost(lost));
        }
        self.entries = 0;
        deeds.push(Deed::Restored);
        if snapshot.index.is_multiple_of(3) {
            deeds.push(self.number(snapshot.index));
        }
    }

    fn number(&self, index: u64) -> Deed {
        match serde_json::to_vec(&self.manager.snapshot()) {
            Ok(state) => Deed::State { index, hash: number(&state) },
            Err(error) => Deed::Wrong(format!("a state that can't be written: {error}")),
        }
    }

    /// Cuts the log when it has become long. `true`: it did.
    fn cut(&mut self) -> bool {
        let Some(raft) = &mut self.raft else { return false };
        if self.entries < SNAPSHOT_ENTRIES && !self.snapshot_wanted {
            return false;
        }
        (self.entries, self.snapshot_wanted) = (0, false);
        let data = serde_json::to_vec(&self.manager.snapshot()).unwrap_or_default();
        let data = if self.flaw == Some(Flaw::SnapshotTooOld) { Vec::new() } else { data };
        let index = raft.applied();
        raft.handle(Input::Snapshot { index, data: data.into() }).is_ok()
    }
}

/// FNV-1a, 64 bits.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
