//! What goes wrong between members and with them, and how it ends.

use super::flaw::Flaw;
use super::outside::Word;
use super::peer::Peer;
use super::world::{Event, World};
use crate::chance::Chance;
use bytes::Bytes;
use consensus::{Input, Member, Persist, Stable};
use std::collections::BTreeSet;

/// How bad everything is; odds in thousandths, times in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) doubled: u64,
    /// Longest delay of a message.
    latency: u64,
    /// Longest time that a write takes.
    pub(super) fsync: u64,
    /// A tick comes so much late.
    pub(super) jitter: u64,
    /// A member crashes when it has just voted.
    pub(super) jinx: u64,
    /// From one time of change to the next, on average.
    pace: u64,
    /// Nothing gets from here to there.
    cut: BTreeSet<(u64, u64)>,
    /// What gets from here to there takes long.
    slow: Option<(u64, u64)>,
}

impl Weather {
    pub(super) fn draw(chance: &mut Chance) -> Weather {
        let mut maybe = |most: u64| if chance.coin() { chance.between(1, most) } else { 0 };
        let (loss, doubled, jitter, jinx) = (maybe(150), maybe(100), maybe(80), maybe(900));
        let pick = |chance: &mut Chance, of: [u64; 3]| chance.pick(&of).copied().unwrap_or(1);
        Weather {
            loss,
            doubled,
            latency: pick(chance, [5, 30, 150]),
            fsync: pick(chance, [2, 20, 200]),
            jitter,
            jinx,
            pace: chance.between(500, 4_000),
            cut: BTreeSet::new(),
            slow: None,
        }
    }

    /// A message from here to there is lost.
    pub(super) fn loses(&self, chance: &mut Chance, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to)) || chance.permille(self.loss)
    }

    /// How long a message from here to there takes.
    pub(super) fn delay(&self, chance: &mut Chance, from: u64, to: u64) -> u64 {
        let slow = if self.slow == Some((from, to)) { 700 } else { 0 };
        slow + chance.delay(self.latency)
    }

    fn clear(&mut self) {
        (self.loss, self.doubled, self.slow) = (0, 0, None);
        (self.latency, self.fsync, self.jitter) = (self.latency.min(30), self.fsync.min(20), self.jitter.min(20));
        self.cut.clear();
    }
}

impl World {
    fn someone(&mut self) -> u64 {
        let up: Vec<u64> = self.peers.values().filter(|peer| !peer.lost).map(|peer| peer.id.0).collect();
        self.chance.pick(&up).copied().unwrap_or(1)
    }

    fn leader(&self) -> Option<u64> {
        self.peers.values().find(|peer| peer.leads()).map(|peer| peer.id.0)
    }

    /// One more thing goes wrong, or one less.
    pub(super) fn change_weather(&mut self) {
        if self.calm {
            return;
        }
        let next = self.chance.between(1, self.weather.pace * 2);
        self.after(next, Event::Weather);
        let (one, other) = (self.someone(), self.someone());
        let what = self.chance.below(14);
        self.trace.say(self.now, format_args!("weather {what}: {one}, {other}"));
        match what {
            0..=2 => self.crash(one, 3_000),
            3 => self.leader().into_iter().for_each(|leader| self.crash(leader, 3_000)),
            4 => self.power_failure(),
            5 => drop(self.weather.cut.insert((one, other))),
            6 => self.isolate(one),
            7 => self.weather.cut.clear(),
            8 => self.weather.slow = if self.chance.coin() { Some((one, other)) } else { None },
            9 => {
                let until = self.now.0 + self.chance.between(100, 4_000);
                self.with(one, |peer, _| peer.frozen = model::Time(until));
            }
            10 => {
                let until = self.now.0 + self.chance.between(100, 4_000);
                self.with(one, |peer, _| peer.disk.full = model::Time(until));
            }
            11 => {
                let ahead = i64::try_from(self.chance.below(20_000)).unwrap_or(0) - 10_000;
                self.with(one, |peer, _| peer.ahead = ahead);
            }
            12 => self.reshape(),
            _ => self.lose_for_good(),
        }
        if self.flaw == Some(Flaw::SurvivorAmongTheLiving) && self.chance.below(4) == 0 {
            self.survive(one);
        }
    }

    pub(super) fn crash(&mut self, id: u64, longest: u64) {
        let down = self.chance.delay(longest);
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.raft.is_some()) else { return };
        peer.crash(&mut self.chance);
        self.say(id, Word::Crashed);
        self.summary.crashes += 1;
        self.trace.say(self.now, format_args!("{id} crashes for {down} ms"));
        self.after(down, Event::Starts(id));
    }

    /// Everybody at once.
    fn power_failure(&mut self) {
        let all: Vec<u64> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|id| self.crash(id, 1_000));
    }

    fn isolate(&mut self, id: u64) {
        let others: Vec<u64> = self.peers.keys().copied().filter(|other| *other != id).collect();
        self.weather.cut.extend(others.into_iter().flat_map(|other| [(id, other), (other, id)]));
    }

    /// The operator wants another group: one more, one less, or the leader gone.
    fn reshape(&mut self) {
        let next = self.peers.keys().max().copied().unwrap_or(0) + 1;
        let live: Vec<Member> =
            self.wanted.iter().copied().filter(|it| self.peers.get(&it.0).is_some_and(|peer| !peer.lost)).collect();
        let leader = self.leader().map(Member).filter(|leader| self.wanted.contains(leader));
        let goes = if self.chance.coin() { leader } else { self.chance.pick(&live).copied() };
        match (self.chance.coin(), goes) {
            (true, Some(goes)) if live.len() > 2 => {
                self.wanted.remove(&goes);
            }
            _ if next <= 8 && self.wanted.len() < 7 => self.join(next),
            _ => {}
        }
        self.trace.say(self.now, format_args!("wanted: {:?}", self.wanted));
    }

    fn join(&mut self, id: u64) {
        self.wanted.insert(Member(id));
        self.peers.insert(id, Peer::new(Member(id), Stable::joining(), self.flaw));
        self.after(1, Event::Starts(id));
    }

    /// A machine burns; its place is given to another. Only where all others can do without it.
    fn lose_for_good(&mut self) {
        let lost = self.peers.values().any(|peer| peer.lost);
        let Some(leader) = self.leader().and_then(|leader| self.peers.get(&leader)) else { return };
        let Some(members) = leader.raft.as_ref().map(|raft| raft.members().clone()) else { return };
        let settled: BTreeSet<Member> = members.voters.iter().copied().map(Member).collect();
        if lost || settled.len() < 3 || settled != self.wanted || !members.voters_outgoing.is_empty() {
            return;
        }
        let goes = self.chance.pick(&members.voters).copied().unwrap_or(1);
        self.crash(goes, 1);
        if let Some(peer) = self.peers.get_mut(&goes) {
            peer.lost = true;
        }
        self.wanted.remove(&Member(goes));
        let next = self.peers.keys().max().copied().unwrap_or(0) + 1;
        self.join(next);
        self.trace.say(self.now, format_args!("{goes} is lost for good, {next} comes"));
    }

    /// What `force-new-cluster` does, as the daemon does it.
    fn survive(&mut self, id: u64) {
        let seed = self.chance.any();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(raft) = peer.raft.as_ref() else { return };
        let data = Bytes::from(serde_json::to_vec(&peer.manager.snapshot()).unwrap_or_default());
        // One that has nothing can't.
        let Ok(Stable { hard_state, snapshot, entries }) = raft.survivor(data) else { return };
        let whole =
            Persist { seq: 0, snapshot: Some(snapshot), entries, hard_state: Some(hard_state), must_sync: true };
        peer.disk.stable.write(&whole);
        peer.disk.open.clear();
        peer.life += 1;
        peer.raft = None;
        self.after(1, Event::Starts(id));
        self.trace.say(self.now, format_args!("{id} goes on alone, with {seed:x}"));
    }

    /// Everything that can be mended is.
    pub(crate) fn heal(&mut self) {
        self.trace.say(self.now, "healed");
        self.calm = true;
        self.weather.clear();
        let all: Vec<u64> = self.peers.keys().copied().collect();
        for id in all {
            if let Some(peer) = self.peers.get_mut(&id) {
                (peer.frozen, peer.disk.full, peer.ahead) = (self.now, self.now, 0);
            }
            self.after(1, Event::Starts(id));
            self.with(id, |peer, _| peer.input(Input::Tick));
        }
        // Also those that had done all that they wanted in the storm.
        (0..self.clients.len()).for_each(|client| self.after(1, Event::Acts(client)));
    }
}
