//! The log as the `raft` crate reads it: in memory, the mirror of what the store has or is about
//! to have on disk.

use crate::stable::{Entry, Snapshot, Stable};
use crate::wire;
use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Result, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

pub(crate) struct Memory {
    hard_state: eraftpb::HardState,
    members: eraftpb::ConfState,
    snapshot: eraftpb::Snapshot,
    /// Index and term of the entry before the first one kept.
    base: (u64, u64),
    entries: VecDeque<eraftpb::Entry>,
    /// A follower lacks what only a newer snapshot can give it.
    wanted: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(stable: &Stable) -> Memory {
        Memory {
            hard_state: wire::hard_state_in(stable.hard_state),
            members: wire::members_in(&stable.snapshot.members),
            snapshot: wire::snapshot_in(&stable.snapshot),
            base: (stable.snapshot.index, stable.snapshot.term),
            entries: stable.entries.iter().map(wire::entry_in).collect(),
            wanted: Cell::new(false),
        }
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: eraftpb::HardState) {
        self.hard_state = hard_state;
    }

    /// Puts new entries in their place; what stood there and after it goes (Raft §5.3).
    pub(crate) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        debug_assert!(self.base.0 < first.index && first.index <= self.last() + 1, "the log has no gaps");
        let keep = first.index.saturating_sub(self.base.0 + 1);
        self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.entries.extend(entries.iter().cloned());
    }

    /// Begins again from a leader's snapshot: the log that disagreed with it goes.
    pub(crate) fn restore(&mut self, snapshot: eraftpb::Snapshot) {
        let metadata = snapshot.get_metadata();
        self.base = (metadata.index, metadata.term);
        self.members = metadata.get_conf_state().clone();
        self.hard_state.commit = self.hard_state.commit.max(metadata.index);
        self.hard_state.term = self.hard_state.term.max(metadata.term);
        self.snapshot = snapshot;
        self.entries.clear();
    }

    /// A snapshot of our own: offered to followers from now on.
    pub(crate) fn offer(&mut self, snapshot: &Snapshot) {
        self.snapshot = wire::snapshot_in(snapshot);
        self.wanted.set(false);
    }

    /// Forgets entries up to `index`, which a snapshot includes.
    pub(crate) fn forget(&mut self, index: u64) {
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            if let Some(entry) = self.entries.pop_front() {
                self.base = (entry.index, entry.term);
            }
        }
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    pub(crate) fn entry_term(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let offset = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.term)
    }

    /// All entries after this index.
    pub(crate) fn after(&self, index: u64) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.index > index).map(wire::entry_out).collect()
    }

    fn last(&self) -> u64 {
        self.entries.back().map_or(self.base.0, |entry| entry.index)
    }
}

impl Storage for Memory {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<eraftpb::Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let (skip, take) = (low - self.base.0 - 1, high.saturating_sub(low));
        let wanted = self
            .entries
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(usize::try_from(take).unwrap_or(usize::MAX));
        let mut size = 0_u64;
        let mut found = Vec::new();
        for entry in wanted {
            // 32: index, term, kind and lengths, generously.
            size = size.saturating_add(entry.data.len() as u64 + entry.context.len() as u64 + 32);
            if size > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if let Some(term) = self.entry_term(index) {
            return Ok(term);
        }
        let metadata = self.snapshot.get_metadata();
        if index == metadata.index {
            return Ok(metadata.term);
        }
        if index < self.base.0 { Err(StorageError::Compacted.into()) } else { Err(StorageError::Unavailable.into()) }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<eraftpb::Snapshot> {
        let metadata = self.snapshot.get_metadata();
        let members = metadata.get_conf_state();
        // One who came after the snapshot was made could not find itself in it, and would not take it.
        let names = |list: &[u64]| list.contains(&to);
        let known = names(&members.voters) || names(&members.learners) || names(&members.voters_outgoing);
        if metadata.index < request_index || !known {
            self.wanted.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.clone())
    }
}
