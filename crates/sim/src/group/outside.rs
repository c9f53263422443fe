//! A group as those see it who are no members: nodes, and operators. Where there are none, nobody listens.

use super::flaw::Flaw;
use super::world::World;
use crate::chance::Chance;
use bytes::Bytes;
use model::{Assignment, Request, RequestId, Response, State, Time};
use orchestrator::ManagerInput;

/// What a member says to them.
#[derive(Debug)]
pub(crate) enum Word {
    /// It leads now.
    Leads,
    /// It does not.
    Follows,
    /// Its daemon is gone.
    Crashed,
    /// It has put something forward.
    Proposed,
    /// Its state has this revision now.
    Changed(u64),
    /// What a node should do.
    Order(Box<Assignment>),
    /// The answer to a request of an operator.
    Answer(RequestId, Box<Response>),
}

impl World {
    /// A group of so many, whose words are listened to; it goes on failing until it is healed.
    pub(crate) fn heard(chance: Chance, voters: u64, state: &Bytes, whole: bool, flaw: Option<Flaw>) -> World {
        let mut world = World::of(chance, voters, state, whole, flaw);
        world.words = Some(Vec::new());
        world
    }

    pub(super) fn say(&mut self, id: u64, word: Word) {
        if let Some(words) = &mut self.words {
            words.push((id, word));
        }
    }

    /// What was said since the last call, and by whom.
    pub(crate) fn take_words(&mut self) -> Vec<(u64, Word)> {
        self.words.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All members that there ever were.
    pub(crate) fn members(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    /// Counts the lives of a member; `None` while it is down.
    pub(crate) fn life(&self, id: u64) -> Option<u64> {
        self.peers.get(&id).filter(|peer| peer.raft.is_some()).map(|peer| peer.life)
    }

    /// Until when a member does nothing, if it is frozen.
    pub(crate) fn frozen_until(&self, now: Time, id: u64) -> Option<Time> {
        self.peers.get(&id).map(|peer| peer.frozen).filter(|until| *until > now)
    }

    /// Does this member believe that it leads?
    pub(crate) fn leads(&self, id: u64) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.raft.is_some() && peer.manager.leads())
    }

    /// Whom a member takes for the leader.
    pub(crate) fn follows(&self, id: u64) -> Option<u64> {
        self.peers.get(&id)?.leader().map(|leader| leader.0).filter(|leader| *leader != id)
    }

    /// The one with the newest state of those that believe that they lead.
    pub(crate) fn newest_leader(&self) -> Option<u64> {
        let terms = self.peers.values().filter(|peer| self.leads(peer.id.0));
        terms.max_by_key(|peer| (peer.raft.as_ref().map(|raft| raft.applied()), peer.id)).map(|peer| peer.id.0)
    }

    /// The state as a member has it.
    pub(crate) fn state_of(&self, id: u64) -> Option<State> {
        let peer = self.peers.get(&id).filter(|peer| peer.raft.is_some())?;
        Some(peer.manager.state(peer.clock))
    }

    /// Somebody tells a member something, at that time.
    pub(crate) fn tell(&mut self, now: Time, id: u64, input: ManagerInput) {
        self.now = self.now.max(now);
        self.with(id, |peer, now| peer.tell(now, input));
    }

    /// An operator asks a member; `false`: it does not lead, or has no room for it.
    pub(crate) fn request(&mut self, now: Time, id: u64, request: RequestId, what: &Request) -> bool {
        self.now = self.now.max(now);
        let full = self.peers.get(&id).is_none_or(|peer| now < peer.disk.full);
        if full || !self.leads(id) {
            return false;
        }
        self.with(id, |peer, now| {
            peer.guests.insert(request);
            peer.tell(now, ManagerInput::Request(request, Box::new(what.clone())));
        });
        true
    }

    /// Wakes the leader before the time that it named, which must lead to nothing; what it wanted instead.
    pub(crate) fn wake_early(&mut self, now: Time) -> Option<String> {
        self.now = self.now.max(now);
        let leader = self.newest_leader().filter(|leader| self.frozen_until(now, *leader).is_none())?;
        let peer = self.peers.get_mut(&leader)?;
        let clock = peer.tell_time(now);
        let before = peer.manager.next_wake();
        if before.is_some_and(|wake| wake <= clock) {
            return None;
        }
        peer.manager.handle(clock, ManagerInput::Tick);
        let output = peer.manager.poll()?;
        Some(format!("manager {leader} had something to do before the time that it named ({before:?}): {output:?}"))
    }
}
