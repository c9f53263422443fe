//! The queue of events, and what each does.

use super::GroupSummary;
use super::clients::Client;
use super::drive::{Deed, Reply};
use super::flaw::Flaw;
use super::outside::Word;
use super::peer::{Ask, Peer};
use super::storm::Weather;
use super::verify::Seen;
use crate::chance::Chance;
use crate::node::SimNode;
use crate::trace::Trace;
use bytes::Bytes;
use consensus::{Input, Member, Members, Stable};
use model::{NodeId, Time};
use orchestrator::ManagerInput;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// When the world begins: far enough from 0 for clocks that are behind.
const BEGIN: Time = Time(1_000_000);
/// How long everything may go wrong.
const STORM: Duration = Duration::from_secs(40);
/// How long the group may take afterwards until all is as it should be.
const CALM: Duration = Duration::from_secs(20);
/// Between two ticks, in milliseconds: the daemon's.
const TICK: u64 = 100;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    Tick {
        to: u64,
        life: u64,
    },
    /// A message arrives; with the sender, its life then, and whether it waits to hear how it went.
    Step {
        to: u64,
        from: u64,
        life: u64,
        message: Bytes,
        snapshot: bool,
    },
    SnapshotSent {
        to: u64,
        life: u64,
        about: Member,
        arrived: bool,
    },
    Synced {
        to: u64,
        life: u64,
        seq: u64,
    },
    Starts(u64),
    /// The weather changes.
    Weather,
    /// A client does something next.
    Acts(usize),
    /// It asks again, if it still waits.
    Retries(Ask),
    Asked {
        to: u64,
        ask: Ask,
    },
    Answered {
        ask: Ask,
        reply: Reply,
    },
    Heal,
}

/// A group, its clients, and what lies between them.
pub(crate) struct World {
    pub(super) now: Time,
    pub(super) chance: Chance,
    pub(super) weather: Weather,
    pub(super) peers: BTreeMap<u64, Peer>,
    /// Who should belong to the group.
    pub(super) wanted: BTreeSet<Member>,
    pub(super) clients: Vec<Client>,
    pub(super) seen: Seen,
    pub(crate) trace: Trace,
    pub(crate) summary: GroupSummary,
    pub(super) flaw: Option<Flaw>,
    pub(super) calm: bool,
    pub(super) problem: Option<String>,
    /// What members say to nodes and operators, and who says it; `None`: there are none.
    pub(super) words: Option<Vec<(u64, Word)>>,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
}

impl World {
    /// The group of a seed, which heals by itself.
    pub(super) fn new(seed: u64, whole: bool, flaw: Option<Flaw>) -> World {
        let mut chance = Chance::new(seed);
        let voters = [1, 3, 3, 3, 5].get(usize::try_from(chance.below(5)).unwrap_or(0)).copied().unwrap_or(3);
        let mut world = World::of(chance, voters, &Bytes::new(), whole, flaw);
        world.after(u64::try_from(STORM.as_millis()).unwrap_or(u64::MAX), Event::Heal);
        world
    }

    /// A group of so many that begins with a state.
    pub(super) fn of(mut chance: Chance, voters: u64, state: &Bytes, whole: bool, flaw: Option<Flaw>) -> World {
        let wanted: BTreeSet<Member> = (1..=voters).map(Member).collect();
        let mut first = Stable::bootstrap(Members::of(wanted.iter().copied()));
        first.snapshot.data = state.clone();
        let peers = wanted.iter().map(|id| (id.0, Peer::new(*id, first.clone(), flaw))).collect();
        let mut world = World {
            now: BEGIN,
            weather: Weather::draw(&mut chance),
            peers,
            wanted,
            clients: (0..3).map(|_| Client::default()).collect(),
            seen: Seen::default(),
            trace: Trace::new(whole),
            summary: GroupSummary::default(),
            flaw,
            calm: false,
            problem: None,
            words: None,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            chance,
        };
        world.trace.say(world.now, format_args!("{voters} members, {:?}", world.weather));
        (1..=voters).for_each(|id| world.after(id, Event::Starts(id)));
        (0..world.clients.len()).for_each(|client| world.after(1_000, Event::Acts(client)));
        world.after(2_000, Event::Weather);
        world
    }

    /// Something will happen so many milliseconds from now.
    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.at(Time(self.now.0 + delay), event);
    }

    fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    /// Runs the storm, and then until the group agrees, or has had its time.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let end = BEGIN.after(STORM).after(CALM);
        while self.next().is_some_and(|at| at <= end) {
            self.step()?;
            if self.calm && self.is_done() {
                return self.check_clients();
            }
        }
        self.check_clients()?;
        Err(format!("{} s after everything was healed: {}", CALM.as_secs(), self.unrest()))
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets it happen.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        if let Some(Reverse((at, sequence))) = self.queue.pop() {
            self.now = at;
            self.summary.events += 1;
            if let Some(event) = self.events.remove(&sequence) {
                self.happen(event);
            }
        }
        self.problem.take().map_or(Ok(()), Err)
    }

    /// Whom an event concerns that waits while that member is frozen.
    fn frozen(&self, event: &Event) -> Option<Time> {
        let (Event::Tick { to, .. } | Event::Step { to, .. } | Event::Synced { to, .. } | Event::Asked { to, .. }) =
            event
        else {
            return None;
        };
        self.peers.get(to).map(|peer| peer.frozen).filter(|until| *until > self.now)
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.frozen(&event) {
            self.at(until, event);
            return;
        }
        match event {
            Event::Tick { to, life } => self.tick(to, life),
            Event::Step { to, from, life, message, snapshot } => {
                let up = self.peers.get(&to).is_some_and(|peer| peer.raft.is_some());
                if snapshot {
                    self.after(5, Event::SnapshotSent { to: from, life, about: Member(to), arrived: up });
                }
                self.with(to, |peer, _| peer.input(Input::Step(message)));
            }
            Event::SnapshotSent { to, life, about, arrived } => self.with(to, |peer, _| {
                if peer.life == life {
                    peer.input(Input::SnapshotSent { to: about, arrived });
                }
            }),
            Event::Synced { to, life, seq } => self.synced(to, life, seq),
            Event::Starts(id) => self.start(id),
            Event::Weather => self.change_weather(),
            Event::Acts(client) => self.act(client),
            Event::Retries(ask) => self.retry(ask),
            Event::Asked { to, ask } => self.asked(to, ask),
            Event::Answered { ask, reply } => self.answered(ask, reply),
            Event::Heal => self.heal(),
        }
    }

    /// Does something to a member that is up, and then all that it wants.
    pub(super) fn with(&mut self, id: u64, what: impl FnOnce(&mut Peer, Time)) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.raft.is_some()) else { return };
        what(peer, now);
        let mut deeds = peer.drive(now);
        while !deeds.is_empty() {
            let mut again = false;
            for deed in deeds {
                again |= self.deed(id, deed);
            }
            let peer = self.peers.get_mut(&id).filter(|_| again);
            deeds = peer.map(|peer| peer.drive(now)).unwrap_or_default();
        }
    }

    fn tick(&mut self, id: u64, life: u64) {
        if self.peers.get(&id).is_none_or(|peer| peer.life != life || peer.raft.is_none()) {
            return;
        }
        let late = self.chance.below(self.weather.jitter + 1);
        self.after(TICK + late, Event::Tick { to: id, life });
        let wanted = self.wanted.clone();
        self.with(id, |peer, now| peer.tick(now, &wanted));
    }

    fn synced(&mut self, id: u64, life: u64, seq: u64) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.life == life) else { return };
        if now < peer.disk.full {
            let at = peer.disk.full;
            self.at(at, Event::Synced { to: id, life, seq });
            return;
        }
        let votes = peer.disk.votes(seq);
        peer.disk.synced(seq);
        self.with(id, |peer, _| peer.input(Input::Persisted(seq)));
        if votes && !self.calm && self.chance.permille(self.weather.jinx) {
            self.crash(id, 100);
        }
    }

    fn start(&mut self, id: u64) {
        let seed = self.chance.any();
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.lost && peer.raft.is_none()) else { return };
        let life = peer.life;
        self.trace.say(self.now, format_args!("{id} starts"));
        if let Err(why) = peer.start(seed) {
            self.fail(why);
            return;
        }
        self.after(TICK, Event::Tick { to: id, life });
        self.with(id, |_, _| {});
    }

    /// `true`: the member wants more now.
    fn deed(&mut self, id: u64, deed: Deed) -> bool {
        match deed {
            Deed::Write(persist) => {
                let (seq, delay) = (persist.seq, self.chance.delay(self.weather.fsync));
                let Some(peer) = self.peers.get_mut(&id) else { return false };
                let (life, at) = (peer.life, Time(self.now.0 + delay).max(peer.disk.busy));
                peer.disk.busy = at;
                peer.disk.open.push_back(persist);
                self.at(at, Event::Synced { to: id, life, seq });
                if self.flaw == Some(Flaw::PersistedTooEarly)
                    && let Some(peer) = self.peers.get_mut(&id)
                {
                    peer.input(Input::Persisted(seq));
                    return true;
                }
            }
            Deed::Send { to, message, snapshot } => self.send(id, to, &message, snapshot),
            Deed::Tell(ask, reply) => self.reply(ask, reply),
            Deed::Leads(term) => {
                self.trace.say(self.now, format_args!("{id} leads in term {term}"));
                self.led(id, term);
                if self.words.is_some() {
                    self.say(id, Word::Leads);
                    return false;
                }
                let node = SimNode::new(NodeId(1)).describe();
                let now = self.now;
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.tell(now, ManagerInput::SessionUp(Box::new(node)));
                    return true;
                }
            }
            Deed::Committed { index, term, data } => self.committed(id, index, term, &data),
            Deed::State { index, hash } => self.state_is(id, index, hash),
            Deed::Restored => {
                self.trace.say(self.now, format_args!("{id} takes the leader's snapshot"));
                self.summary.restored += 1;
            }
            Deed::Reshaped => self.summary.reshaped += 1,
            Deed::Say(word) => self.say(id, word),
            Deed::Wrong(what) => self.fail(format!("member {id}: {what}")),
        }
        false
    }

    fn send(&mut self, from: u64, to: Member, message: &Bytes, snapshot: bool) {
        let life = self.peers.get(&from).map_or(0, |peer| peer.life);
        if self.weather.loses(&mut self.chance, from, to.0) {
            if snapshot {
                self.after(50, Event::SnapshotSent { to: from, life, about: to, arrived: false });
            }
            return;
        }
        let copies = if self.chance.permille(self.weather.doubled) { 2 } else { 1 };
        for copy in 0..copies {
            let delay = self.weather.delay(&mut self.chance, from, to.0);
            let snapshot = snapshot && copy == 0;
            self.after(delay, Event::Step { to: to.0, from, life, message: message.clone(), snapshot });
        }
    }

    /// Something is wrong; the first thing counts.
    pub(super) fn fail(&mut self, what: String) {
        self.problem.get_or_insert(what);
    }
}
