//! What must outlive a crash, as plain values: the store writes them, a restarted member begins
//! from them.

use crate::machine::Persist;
use bytes::Bytes;

/// A member of the group: a small number, never 0 and never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member(pub u64);

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member {}", self.0)
    }
}

/// Term, vote and commit index (Raft §5.2, §5.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// Newest term seen.
    pub term: u64,
    /// Whom this member voted for in that term; 0 for nobody.
    pub vote: u64,
    /// Highest index known to be committed. A hint: it may lag behind without harm.
    pub commit: u64,
}

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// The driver's bytes; empty in the entry with which a leader opens its term.
    Normal,
    /// A change of membership in the first form of the `raft` crate.
    Change,
    /// A change of membership in its second form (joint consensus).
    ChangeV2,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Place in the log, from 1.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// How to read `data`.
    pub kind: EntryKind,
    /// The content.
    pub data: Bytes,
}

/// Who belongs to the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those that vote.
    pub voters: Vec<u64>,
    /// Those that only follow.
    pub learners: Vec<u64>,
    /// Voters of the configuration being left (joint consensus).
    pub voters_outgoing: Vec<u64>,
    /// Voters of the old configuration that become learners once it is left.
    pub learners_next: Vec<u64>,
    /// Leave the joint configuration as soon as it is committed.
    pub auto_leave: bool,
}

impl Members {
    /// A group of these voters.
    pub fn of(voters: impl IntoIterator<Item = Member>) -> Members {
        Members { voters: voters.into_iter().map(|member| member.0).collect(), ..Members::default() }
    }
}

/// The state machine at one index, standing in for the log up to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Last index that it includes.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The group as of that index.
    pub members: Members,
    /// The driver's bytes.
    pub data: Bytes,
}

/// All that a member begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stable {
    /// Last hard state on disk.
    pub hard_state: HardState,
    /// Newest snapshot on disk. Every member has one: a new group starts from [`Stable::bootstrap`].
    pub snapshot: Snapshot,
    /// Entries after it, without a gap.
    pub entries: Vec<Entry>,
}

impl Stable {
    /// The beginning of a member that joins a group: it knows nothing, not even who belongs to it, and
    /// waits for the leader's snapshot.
    pub fn joining() -> Stable {
        let snapshot = Snapshot { index: 0, term: 0, members: Members::default(), data: Bytes::new() };
        Stable { hard_state: HardState::default(), snapshot, entries: Vec::new() }
    }

    /// The common beginning of a new group: an empty state machine at index 1 of term 1. It must be
    /// on disk before a machine is made from it, and be the same on every first member.
    pub fn bootstrap(members: Members) -> Stable {
        Stable {
            hard_state: HardState { term: 1, vote: 0, commit: 1 },
            snapshot: Snapshot { index: 1, term: 1, members, data: Bytes::new() },
            entries: Vec::new(),
        }
    }

    /// What is on disk once this was written on top of it.
    pub fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            let agrees = self.entries.iter().any(|it| (it.index, it.term) == (snapshot.index, snapshot.term));
            if agrees {
                self.entries.retain(|entry| entry.index > snapshot.index);
            } else {
                self.entries.clear();
            }
            self.snapshot = snapshot.clone();
            self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
        }
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
    }
}
