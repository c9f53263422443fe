//! The one manager of the cluster, on a log that keeps what was committed.

use model::Time;
use orchestrator::{Entry, Manager, Snapshot};

/// The manager and its disk.
#[derive(Debug)]
pub(crate) struct Member {
    /// `None`: the daemon is down.
    pub(crate) manager: Option<Manager>,
    /// Counts its lives.
    pub(crate) life: u64,
    /// Its term.
    pub(crate) term: u64,
    /// What the log begins with.
    snapshot: Option<Snapshot>,
    /// What was committed since.
    log: Vec<Entry>,
    /// Proposals under way: (ticket, entry).
    pub(crate) open: Vec<(u64, Entry)>,
    /// Entries are committed in their order: not before this.
    pub(crate) commit_at: Time,
    seed: u64,
}

impl Member {
    /// A manager that is switched off, with an empty log.
    pub(crate) fn new(seed: u64) -> Member {
        Member {
            manager: None,
            life: 0,
            term: 0,
            snapshot: None,
            log: Vec::new(),
            open: Vec::new(),
            commit_at: Time(0),
            seed,
        }
    }

    /// Takes a proposal for committed; `None`: it was lost meanwhile.
    pub(crate) fn commit(&mut self, ticket: u64) -> Option<Entry> {
        let at = self.open.iter().position(|(open, _)| *open == ticket)?;
        let (_, entry) = self.open.remove(at);
        self.log.push(entry.clone());
        Some(entry)
    }

    /// Cuts the log, if the manager is there.
    pub(crate) fn cut(&mut self) {
        if let Some(manager) = &self.manager {
            self.snapshot = Some(manager.snapshot());
            self.log.clear();
        }
    }

    /// The daemon dies. What was on its way to the disk may have come there (`reaches`).
    pub(crate) fn crash(&mut self, mut reaches: impl FnMut() -> bool) {
        self.manager = None;
        for (_, entry) in std::mem::take(&mut self.open) {
            if !reaches() {
                break;
            }
            self.log.push(entry);
        }
    }

    /// The disk loses the last entry.
    pub(crate) fn lose_tail(&mut self) {
        self.log.pop();
    }

    /// A fresh manager with all that the disk knows; it does not lead yet.
    pub(crate) fn begin(&mut self) -> (Manager, Vec<Entry>) {
        self.life += 1;
        self.term += 1;
        let mut manager = Manager::new(self.seed.wrapping_add(self.life));
        if let Some(snapshot) = self.snapshot.clone() {
            manager.restore(snapshot);
        }
        (manager, self.log.clone())
    }
}
