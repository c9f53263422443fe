//! The machine: inputs in, outputs out, nothing before it is durable.

use crate::memory::Memory;
use crate::stable::{Entry, HardState, Member, Members, Snapshot, Stable};
use crate::wire;
use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{self, EntryType, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How one member takes part.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Who it is.
    pub member: Member,
    /// Ticks without word from a leader before an election; the actual time is drawn between this
    /// and twice as much.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats; fewer than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Entries kept in memory behind a snapshot, for followers that are a little late.
    pub trailing_entries: u64,
    /// Where election times are drawn from. Members and runs should differ in it.
    pub seed: u64,
}

impl Config {
    /// The usual: ten ticks to an election, a heartbeat every tick.
    pub fn new(member: Member, seed: u64) -> Config {
        Config { member, election_ticks: 10, heartbeat_ticks: 1, trailing_entries: 0, seed }
    }
}

/// What can happen to a member.
#[derive(Debug, Clone)]
pub enum Input {
    /// One unit of time has passed.
    Tick,
    /// Put this into the log. Answered by [`Output::Accepted`] or [`Output::Refused`].
    Propose {
        /// The driver's mark, returned in the answer.
        ticket: u64,
        /// What to replicate; not empty.
        data: Bytes,
    },
    /// A message of another member, which the driver has authenticated.
    Step(Bytes),
    /// All [`Persist`]s up to this number are on disk.
    Persisted(u64),
    /// The state machine as it was after `index`, so that the log can be cut.
    Snapshot {
        /// Index of a [`Output::Committed`] that it includes, and nothing later; or [`Raft::applied`].
        index: u64,
        /// The state machine's bytes.
        data: Bytes,
    },
    /// A message with a snapshot has reached its receiver, or has not.
    SnapshotSent {
        /// Who was to get it.
        to: Member,
        /// It arrived.
        arrived: bool,
    },
    /// Nothing can be sent there now.
    Unreachable(Member),
    /// Somebody wants to read what is true now; the number is used once. Answered by
    /// [`Output::Readable`] or [`Output::Unreadable`], or by neither when messages get lost: ask again
    /// after a while.
    Read(u64),
    /// The group is to be this: by joint consensus, so that no two majorities can disagree. Seen to be
    /// done with [`Output::Members`]; may be lost with its leader.
    ChangeMembers {
        /// Who votes.
        voters: BTreeSet<Member>,
        /// Who only follows.
        learners: BTreeSet<Member>,
    },
    /// This voter should lead in this member's place. It may fail; nothing is lost then.
    HandOver(Member),
}

/// What to write, as one unit. The writer answers with [`Input::Persisted`] once all of it, and
/// all before it, would survive a crash (or at once, if not `must_sync`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persist {
    /// Rises by one.
    pub seq: u64,
    /// A snapshot to put on disk first. The log up to its index may be cut then; if the log holds
    /// another term at that index, or ends before it, all of the log goes (Raft §7).
    pub snapshot: Option<Snapshot>,
    /// Entries to append; they replace what stands at their index and after.
    pub entries: Vec<Entry>,
    /// The new hard state.
    pub hard_state: Option<HardState>,
    /// Must be on disk before `Persisted`; else losing it in a crash does no harm.
    pub must_sync: bool,
}

/// What a member asks of its driver. Outputs are to be handled in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write this.
    Persist(Persist),
    /// Send this.
    Send {
        /// To whom.
        to: Member,
        /// For its [`Input::Step`].
        message: Bytes,
        /// Carries a whole snapshot: say with [`Input::SnapshotSent`] how that went.
        snapshot: bool,
    },
    /// This is now part of the group's history. Every member sees the same, in the same order;
    /// after a restart all since the snapshot are seen again.
    Committed {
        /// Its place; some are skipped (they carry nothing for the driver).
        index: u64,
        /// Term of the leader that proposed it.
        term: u64,
        /// As proposed.
        data: Bytes,
    },
    /// The leader's snapshot took the place of what this member had: load it.
    Restore(Snapshot),
    /// This member's part has changed.
    Role(Role),
    /// The group has changed.
    Members(Members),
    /// A proposal has its place, but may yet lose it: it stands once [`Output::Committed`] shows the same index
    /// *and* term, and is lost once that shows the index with another term.
    Accepted {
        /// Of the proposal.
        ticket: u64,
        /// Its place in the log.
        index: u64,
        /// The term it was proposed in.
        term: u64,
    },
    /// A proposal was not taken: this member does not lead, or too much is under way.
    Refused {
        /// Of the proposal.
        ticket: u64,
        /// Who leads instead, if known.
        leader: Option<Member>,
    },
    /// A follower waits for a snapshot newer than the last one: make one soon.
    SnapshotWanted,
    /// All that anybody could have seen committed when this was asked has been handed out here: what is
    /// read now is not stale (Raft §6.4).
    Readable(u64),
    /// Nobody leads, or the leader does not know yet what was committed before it: ask again.
    Unreadable(u64),
}

/// A member's part in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads and has seen all that earlier leaders committed: it may decide.
    Leader {
        /// Its term: it rises with every leader.
        term: u64,
    },
    /// It does not lead.
    Follower {
        /// Who does, if known.
        leader: Option<Member>,
        /// The term.
        term: u64,
    },
}

/// An input that was not taken. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration or a stable state that no correct driver hands in.
    #[error("start a member of the raft group: {0}")]
    Start(String),
    /// Bytes that are no message for this member.
    #[error("read a raft message: {0}")]
    Message(String),
    /// The library refused a step.
    #[error("take a raft message")]
    Step(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A change of the group that cannot be begun now.
    #[error("change the members of the raft group: {0}")]
    Members(&'static str),
    /// A snapshot that does not fit the log.
    #[error("take a snapshot at index {index}: {why}")]
    Snapshot {
        /// Where it was to be.
        index: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What waits for the disk.
struct Waiting {
    seq: u64,
    /// The library's number of the same.
    ready: Option<u64>,
    /// Rest on it.
    then: Vec<Output>,
    /// Entries up to here may be forgotten once it is done.
    forget: Option<u64>,
    /// A leader's snapshot up to here is in place once it is done.
    restored: Option<u64>,
}

/// One member of a Raft group.
pub struct Raft {
    pub(crate) node: RawNode<Memory>,
    pub(crate) config: Config,
    pub(crate) outputs: VecDeque<Output>,
    waiting: VecDeque<Waiting>,
    next_seq: u64,
    /// The last role told.
    pub(crate) role: Role,
    /// Highest index handed out in `Committed` or `Restore`, or skipped.
    pub(crate) applied: u64,
    pub(crate) members: Members,
    /// Index of the last change of members.
    members_since: u64,
    /// Reads that nobody has answered yet; with the index that is to be handed out first, once that is
    /// known.
    pub(crate) reads: BTreeMap<u64, Option<u64>>,
}

impl Raft {
    /// A member that continues from `stable`, which is on disk. The only voter of a group elects
    /// itself at once, without waiting for a tick.
    ///
    /// # Errors
    /// [`Error::Start`] when the configuration is impossible or `stable` has gaps.
    pub fn new(config: Config, stable: Stable) -> Result<Raft, Error> {
        check(&stable)?;
        let raft_config = raft::Config {
            id: config.member.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: stable.snapshot.index,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_uncommitted_size: 64 << 20,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        raft_config.validate().map_err(|error| Error::Start(error.to_string()))?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&raft_config, Memory::new(&stable), &logger)
            .map_err(|error| Error::Start(error.to_string()))?;
        let mut raft = Raft {
            role: Role::Follower { leader: None, term: node.raft.term },
            node,
            config,
            outputs: VecDeque::new(),
            waiting: VecDeque::new(),
            next_seq: 1,
            applied: stable.snapshot.index,
            members: stable.snapshot.members,
            members_since: stable.snapshot.index,
            reads: BTreeMap::new(),
        };
        raft.settle();
        if raft.alone() {
            raft.node.campaign().map_err(|error| Error::Start(error.to_string()))?;
            raft.settle();
        }
        Ok(raft)
    }

    /// Takes one input. Poll after any number of them: what arrives together is persisted together.
    ///
    /// # Errors
    /// The input was bad and is ignored; the machine goes on.
    pub fn handle(&mut self, input: Input) -> Result<(), Error> {
        let result = match input {
            Input::Tick => {
                // A group that has shrunk to this member would elect it within the tick, which the
                // library allows only when nothing is being written.
                if !self.alone() || self.waiting.is_empty() || self.node.raft.state == StateRole::Leader {
                    self.node.tick();
                }
                Ok(())
            }
            Input::Propose { ticket, data } => {
                self.propose(ticket, data);
                Ok(())
            }
            Input::Step(message) => self.step(&message),
            Input::Persisted(seq) => {
                self.persisted(seq);
                Ok(())
            }
            Input::Snapshot { index, data } => self.snapshot(index, data),
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(to.0, status);
                Ok(())
            }
            Input::Unreachable(member) => {
                self.node.report_unreachable(member.0);
                Ok(())
            }
            Input::Read(ticket) => {
                self.read(ticket);
                Ok(())
            }
            Input::ChangeMembers { voters, learners } => self.propose_members(&voters, &learners),
            Input::HandOver(to) => {
                self.node.transfer_leader(to.0);
                Ok(())
            }
        };
        self.seed_election();
        result
    }

    /// The next thing to do, `None` when all is done until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle();
        }
        self.outputs.pop_front()
    }

    /// The last role told.
    pub fn role(&self) -> Role {
        self.role
    }

    /// All up to this index has been handed out.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The group as of the last committed entry.
    pub fn members(&self) -> &Members {
        &self.members
    }

    fn alone(&self) -> bool {
        self.members.voters == [self.config.member.0] && self.members.voters_outgoing.is_empty()
    }

    fn propose(&mut self, ticket: u64, data: Bytes) {
        let term = self.node.raft.term;
        let taken = self.node.raft.state == StateRole::Leader
            && !data.is_empty()
            && self.node.propose(Vec::new(), data.to_vec()).is_ok();
        self.outputs.push_back(if taken {
            Output::Accepted { ticket, index: self.node.raft.raft_log.last_index(), term }
        } else {
            Output::Refused { ticket, leader: leader_of(self.node.raft.leader_id) }
        });
    }

    fn step(&mut self, message: &[u8]) -> Result<(), Error> {
        let message = eraftpb::Message::parse_from_bytes(message).map_err(|error| Error::Message(error.to_string()))?;
        if message.to != self.config.member.0 {
            return Err(Error::Message(format!("it is for {}", Member(message.to))));
        }
        match self.node.step(message) {
            // A message of a member that has left: late, and of no interest.
            Ok(()) | Err(raft::Error::StepPeerNotFound) => Ok(()),
            Err(error) => Err(Error::Step(error.to_string().into())),
        }
    }

    fn persisted(&mut self, seq: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.seq <= seq) {
            let Some(done) = self.waiting.pop_front() else { break };
            self.outputs.extend(done.then);
            if let Some(index) = done.forget {
                self.node.mut_store().forget(index);
            }
            if let Some(number) = done.ready {
                self.node.on_persist_ready(number);
            }
            if let Some(index) = done.restored {
                // Not before: until `Restore` is handed out the driver still has the state before it.
                self.applied = self.applied.max(index);
                self.node.advance_apply_to(index);
            }
        }
        self.answer_reads();
    }

    fn snapshot(&mut self, index: u64, data: Bytes) -> Result<(), Error> {
        let refuse = |why| Err(Error::Snapshot { index, why });
        if index > self.applied {
            return refuse("it lies ahead of what was committed here");
        }
        if index <= self.node.store().snapshot_index() {
            return refuse("there is one as new already");
        }
        if index < self.members_since {
            return refuse("the group has changed since");
        }
        let Some(term) = self.node.store().entry_term(index) else {
            return refuse("the log does not reach there");
        };
        let snapshot = Snapshot { index, term, members: self.members.clone(), data };
        self.node.mut_store().offer(&snapshot);
        let seq = self.take_seq();
        let forget = Some(index.saturating_sub(self.config.trailing_entries));
        self.waiting.push_back(Waiting { seq, ready: None, then: Vec::new(), forget, restored: None });
        self.outputs.push_back(Output::Persist(Persist {
            seq,
            snapshot: Some(snapshot),
            entries: Vec::new(),
            hard_state: None,
            must_sync: true,
        }));
        Ok(())
    }

    /// Turns all that the library has ready into outputs.
    fn settle(&mut self) {
        while self.node.has_ready() {
            self.take_ready();
        }
        self.seed_election();
        if self.node.store().take_wanted() {
            self.outputs.push_back(Output::SnapshotWanted);
        }
    }

    fn take_ready(&mut self) {
        let mut ready = self.node.ready();
        for message in ready.take_messages() {
            self.outputs.extend(send(&message));
        }
        let mut then = Vec::new();
        let mut snapshot = None;
        if !ready.snapshot().is_empty() {
            let restored = wire::snapshot_out(ready.snapshot());
            self.node.mut_store().restore(ready.snapshot().clone());
            then.push(Output::Restore(restored.clone()));
            then.push(Output::Members(restored.members.clone()));
            self.members = restored.members.clone();
            self.members_since = restored.index;
            snapshot = Some(restored);
        }
        self.node.mut_store().append(ready.entries());
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().set_hard_state(hard_state.clone());
        }
        then.extend(ready.take_persisted_messages().iter().filter_map(send));
        let durable = self.persist(&ready, snapshot, then);
        self.tell_role(&ready);
        self.learn_reads(ready.take_read_states());
        let committed = ready.take_committed_entries();
        let number = ready.number();
        self.node.advance_append_async(ready);
        if durable {
            self.node.on_persist_ready(number);
        }
        for entry in &committed {
            self.commit(entry);
        }
        if let Some(last) = committed.last() {
            self.node.advance_apply_to(last.index);
        }
        self.answer_reads();
    }

    /// Asks for what is to be written, and keeps back what rests on it. `true`: nothing is kept back.
    fn persist(&mut self, ready: &raft::Ready, snapshot: Option<Snapshot>, then: Vec<Output>) -> bool {
        let entries: Vec<Entry> = ready.entries().iter().map(wire::entry_out).collect();
        let hard_state = ready.hs().map(wire::hard_state_out);
        let must_sync = ready.must_sync();
        let restored = snapshot.as_ref().map(|snapshot| snapshot.index);
        if snapshot.is_some() || !entries.is_empty() || hard_state.is_some() {
            let seq = self.take_seq();
            self.outputs.push_back(Output::Persist(Persist { seq, snapshot, entries, hard_state, must_sync }));
        }
        // Even what has nothing to write rests on what is still being written before it.
        if must_sync || !self.waiting.is_empty() {
            let seq = self.next_seq - 1;
            self.waiting.push_back(Waiting { seq, ready: Some(ready.number()), then, forget: None, restored });
            return false;
        }
        self.outputs.extend(then);
        true
    }

    fn commit(&mut self, entry: &eraftpb::Entry) {
        self.applied = entry.index;
        match entry.entry_type {
            EntryType::EntryNormal if entry.data.is_empty() => {}
            EntryType::EntryNormal => self.outputs.push_back(Output::Committed {
                index: entry.index,
                term: entry.term,
                data: entry.data.clone(),
            }),
            EntryType::EntryConfChange => {
                if let Ok(change) = eraftpb::ConfChange::parse_from_bytes(&entry.data) {
                    let changed = self.node.apply_conf_change(&change);
                    self.change_members(entry.index, changed);
                }
            }
            EntryType::EntryConfChangeV2 => {
                if let Ok(change) = eraftpb::ConfChangeV2::parse_from_bytes(&entry.data) {
                    let changed = self.node.apply_conf_change(&change);
                    self.change_members(entry.index, changed);
                }
            }
        }
        let raft = &self.node.raft;
        if raft.state == StateRole::Leader && entry.term == raft.term {
            let role = Role::Leader { term: raft.term };
            self.set_role(role);
        }
    }

    fn change_members(&mut self, index: u64, changed: raft::Result<eraftpb::ConfState>) {
        // A change that the library refuses is refused alike by every member: it changes nothing.
        if let Ok(members) = changed {
            self.members = wire::members_out(&members);
            self.members_since = index;
            self.outputs.push_back(Output::Members(self.members.clone()));
            self.step_down();
        }
    }

    /// Tells at once that this member does not lead; that it does, only `commit` tells.
    fn tell_role(&mut self, ready: &raft::Ready) {
        if let Some(soft) = ready.ss()
            && soft.raft_state != StateRole::Leader
        {
            let role = Role::Follower { leader: leader_of(soft.leader_id), term: self.node.raft.term };
            self.set_role(role);
        }
    }

    fn set_role(&mut self, role: Role) {
        if self.role != role {
            self.role = role;
            self.drop_reads();
            self.outputs.push_back(Output::Role(role));
        }
    }

    fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// The library draws election times from a generator of its own; ours are a function of seed
    /// and term, so that a run can be lived again.
    fn seed_election(&mut self) {
        let ticks = self.config.election_ticks as u64;
        let mut draw = model::Ids::new(self.config.seed ^ self.node.raft.term.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let extra = draw.next_u64() % ticks.max(1);
        let timeout = usize::try_from(ticks + extra).unwrap_or(usize::MAX);
        self.node.raft.set_randomized_election_timeout(timeout);
    }
}

fn leader_of(id: u64) -> Option<Member> {
    (id != 0).then_some(Member(id))
}

fn send(message: &eraftpb::Message) -> Option<Output> {
    // Encoding fails only for messages beyond 4 GiB; the receiver asks again.
    let bytes = message.write_to_bytes().ok()?;
    let snapshot = message.msg_type == MessageType::MsgSnapshot;
    Some(Output::Send { to: Member(message.to), message: bytes.into(), snapshot })
}

fn check(stable: &Stable) -> Result<(), Error> {
    let mut expected = stable.snapshot.index;
    let mut term = stable.snapshot.term;
    for entry in &stable.entries {
        expected += 1;
        if entry.index != expected {
            return Err(Error::Start(format!("the log has entry {} where {expected} belongs", entry.index)));
        }
        if entry.term < term {
            return Err(Error::Start(format!("the term falls from {term} to {} at entry {expected}", entry.term)));
        }
        term = entry.term;
    }
    let commit = stable.hard_state.commit;
    if commit < stable.snapshot.index || commit > expected {
        return Err(Error::Start(format!("commit index {commit} lies outside the log, which ends at {expected}")));
    }
    if stable.hard_state.term < term {
        return Err(Error::Start(format!("term {} is older than the log's, {term}", stable.hard_state.term)));
    }
    Ok(())
}
