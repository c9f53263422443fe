//! One member: consensus and manager, its disk, its clock.

use super::flaw::Flaw;
use crate::chance::Chance;
use consensus::{Config, Member, Persist, Proposals, Raft, Stable};
use model::{RequestId, Time};
use orchestrator::Manager;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A disk: what would survive a crash, and what is being written.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) stable: Stable,
    pub(super) open: VecDeque<Persist>,
    /// One write after the other: the last one is done then.
    pub(super) busy: Time,
    /// There is no room before then.
    pub(super) full: Time,
    /// What was safe one write ago, for a disk that lies.
    pub(super) before: Stable,
}

impl Disk {
    pub(super) fn new(stable: Stable) -> Disk {
        Disk { before: stable.clone(), stable, open: VecDeque::new(), busy: Time(0), full: Time(0) }
    }

    /// All up to this number is safe.
    pub(super) fn synced(&mut self, seq: u64) {
        while self.open.front().is_some_and(|persist| persist.seq <= seq) {
            let Some(persist) = self.open.pop_front() else { break };
            self.before.clone_from(&self.stable);
            self.stable.write(&persist);
        }
    }

    /// Is there a vote among what is safe once this number is?
    pub(super) fn votes(&self, seq: u64) -> bool {
        let before = self.stable.hard_state;
        let states = self.open.iter().take_while(|persist| persist.seq <= seq).filter_map(|persist| persist.hard_state);
        states.into_iter().any(|state| state.vote != 0 && (state.term, state.vote) != (before.term, before.vote))
    }

    /// Of what was being written some is there: all up to a torn record.
    pub(super) fn crash(&mut self, chance: &mut Chance, flaw: Option<Flaw>) {
        let whole = chance.below(self.open.len() as u64 + 1);
        for persist in std::mem::take(&mut self.open).into_iter().take(usize::try_from(whole).unwrap_or(0)) {
            self.stable.write(&persist);
        }
        if flaw == Some(Flaw::DiskLies) {
            self.stable.clone_from(&self.before);
        }
    }
}

/// Who asked: the client, and its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ask {
    pub(super) client: usize,
    pub(super) operation: usize,
    /// What about.
    pub(super) key: usize,
}

/// A member of the group.
pub(super) struct Peer {
    pub(super) id: Member,
    /// Counts its lives.
    pub(super) life: u64,
    /// `None`: it is down.
    pub(super) raft: Option<Raft>,
    pub(super) manager: Manager,
    pub(super) disk: Disk,
    pub(super) proposals: Proposals,
    pub(super) asked: BTreeMap<RequestId, Vec<Ask>>,
    /// Requests of others than the group's own clients.
    pub(super) guests: BTreeSet<RequestId>,
    pub(super) reads: BTreeMap<u64, Ask>,
    pub(super) ticket: u64,
    /// It never comes back.
    pub(super) lost: bool,
    /// It does nothing before then.
    pub(super) frozen: Time,
    /// By so much its clock is ahead, in milliseconds.
    pub(super) ahead: i64,
    /// Its own clock, which never runs backwards.
    pub(super) clock: Time,
    pub(super) ticks: u64,
    /// Since the last snapshot.
    pub(super) entries: u64,
    pub(super) snapshot_wanted: bool,
    pub(super) flaw: Option<Flaw>,
}

impl Peer {
    pub(super) fn new(id: Member, stable: Stable, flaw: Option<Flaw>) -> Peer {
        Peer {
            id,
            life: 0,
            raft: None,
            manager: Manager::new(id.0),
            disk: Disk::new(stable),
            proposals: Proposals::default(),
            asked: BTreeMap::new(),
            guests: BTreeSet::new(),
            reads: BTreeMap::new(),
            ticket: 0,
            lost: false,
            frozen: Time(0),
            ahead: 0,
            clock: Time(0),
            ticks: 0,
            entries: 0,
            snapshot_wanted: false,
            flaw,
        }
    }

    /// Begins a life, from what is on disk.
    ///
    /// # Errors
    /// The disk holds what nobody can begin from.
    pub(super) fn start(&mut self, seed: u64) -> Result<(), String> {
        let stable = self.disk.stable.clone();
        self.manager = Manager::new(seed);
        if !stable.snapshot.data.is_empty() {
            let state = serde_json::from_slice(&stable.snapshot.data).map_err(|error| error.to_string())?;
            self.manager.restore(state);
        }
        self.proposals.clear();
        let config = Config { trailing_entries: 8, ..Config::new(self.id, seed) };
        self.raft = Some(Raft::new(config, stable).map_err(|error| format!("{} does not start: {error}", self.id))?);
        self.entries = 0;
        Ok(())
    }

    /// The power fails.
    pub(super) fn crash(&mut self, chance: &mut Chance) {
        self.life += 1;
        self.raft = None;
        self.asked.clear();
        self.guests.clear();
        self.reads.clear();
        self.clock = Time(0);
        self.snapshot_wanted = false;
        self.disk.crash(chance, self.flaw);
    }

    /// What its clock says.
    pub(super) fn tell_time(&mut self, now: Time) -> Time {
        self.clock = self.clock.max(Time(now.0.saturating_add_signed(self.ahead)));
        self.clock
    }
}
