//! What must hold at every moment, and in the end.

use super::clients::KEYS;
use super::drive::number;
use super::world::World;
use consensus::Member;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen anywhere.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Who led, by term.
    leaders: BTreeMap<u64, u64>,
    /// The one history: index → term, and the number of what stands there.
    history: BTreeMap<u64, (u64, u64)>,
    /// The number of the state once an index is applied.
    states: BTreeMap<u64, u64>,
}

impl World {
    /// A term has one leader.
    pub(super) fn led(&mut self, id: u64, term: u64) {
        if let Some(other) = self.seen.leaders.insert(term, id).filter(|other| *other != id) {
            self.fail(format!("{other} and {id} both lead in term {term}"));
        }
        self.summary.leaders = self.seen.leaders.len() as u64;
    }

    /// What one member saw committed all see.
    pub(super) fn committed(&mut self, id: u64, index: u64, term: u64, data: &[u8]) {
        let entry = (term, number(data));
        if *self.seen.history.entry(index).or_insert(entry) != entry {
            self.fail(format!("{id} saw another entry committed at {index} than others did"));
        }
    }

    /// Who has applied the same has the same state.
    pub(super) fn state_is(&mut self, id: u64, index: u64, hash: u64) {
        if *self.seen.states.entry(index).or_insert(hash) != hash {
            self.fail(format!("the state of {id} at {index} is not that of others"));
        }
    }

    /// Everything has come to rest as it should.
    pub(super) fn is_done(&self) -> bool {
        self.unrest().is_empty()
    }

    /// What is missing; empty: nothing.
    pub(crate) fn unrest(&self) -> String {
        if let Some(at) = self.clients.iter().position(|client| client.content < KEYS) {
            let last = self.clients.get(at).and_then(|client| client.operations.last());
            let led = self.peers.values().filter(|peer| peer.leads());
            let groups: Vec<_> = led.map(|peer| (peer.id, peer.raft.as_ref().map(|raft| raft.members()))).collect();
            let wanted = &self.wanted;
            return format!(
                "client {at} still waits for {last:?}; leaders and their groups {groups:?}, wanted {wanted:?}"
            );
        }
        let leaders: Vec<_> = self.peers.values().filter(|peer| peer.leads()).collect();
        let [leader] = leaders.as_slice() else { return format!("{} lead", leaders.len()) };
        let Some(raft) = &leader.raft else { return "the leader is down".to_owned() };
        let members = raft.members();
        let voters: BTreeSet<Member> = members.voters.iter().copied().map(Member).collect();
        if voters != self.wanted || !members.voters_outgoing.is_empty() {
            return format!("the group is {members:?}, and should be {:?}", self.wanted);
        }
        let behind = self.wanted.iter().find(|member| {
            let own = self.peers.get(&member.0).and_then(|peer| peer.raft.as_ref());
            own.is_none_or(|own| own.applied() != raft.applied())
        });
        behind.map_or_else(String::new, |member| format!("{member} is behind"))
    }
}
