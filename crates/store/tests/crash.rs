//! Crashes at any byte: whatever history, whatever a write left behind, all that was acknowledged
//! is found, and nothing that was never asked for.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState, Members, Persist, Snapshot, Stable};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use store::{NodeKey, Store};

/// A step of a history; numbers are taken modulo what is possible.
#[derive(Debug, Clone)]
enum Step {
    Append { back: u64, count: u64, size: usize, new_term: bool },
    Commit,
    Cut { at: u64 },
    Restore { ahead: u64 },
    Reopen,
    Crash { cut: usize, garble: Vec<(usize, u8)> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u64, 1..4_u64, 0..300_usize, any::<bool>())
            .prop_map(|(back, count, size, new_term)| Step::Append { back, count, size, new_term }),
        1 => Just(Step::Commit),
        1 => any::<u64>().prop_map(|at| Step::Cut { at }),
        1 => (1..9_u64).prop_map(|ahead| Step::Restore { ahead }),
        1 => Just(Step::Reopen),
        3 => (any::<usize>(), prop::collection::vec((any::<usize>(), 1..=u8::MAX), 0..4))
            .prop_map(|(cut, garble)| Step::Crash { cut, garble }),
    ]
}

/// The store beside what it should hold.
struct World {
    dir: tempfile::TempDir,
    store: Option<Store>,
    want: Stable,
}

fn key() -> NodeKey {
    NodeKey::from_bytes([7; 32])
}

fn newest_segment(dir: &Path) -> (PathBuf, Vec<u8>) {
    let names = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let path = names.filter(|path| path.to_string_lossy().contains("log-")).max().unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path(), &key()).unwrap();
        let want = Stable::bootstrap(Members::of([consensus::Member(1)]));
        store.bootstrap(&want).unwrap();
        World { dir, store: Some(store), want }
    }

    fn last(&self) -> u64 {
        self.want.entries.last().map_or(self.want.snapshot.index, |entry| entry.index)
    }

    fn append(&self, back: u64, count: u64, size: usize, new_term: bool) -> Persist {
        let floor = self.want.hard_state.commit.max(self.want.snapshot.index);
        let first = self.last().saturating_sub(back).max(floor) + 1;
        let conflict = first <= self.last();
        let term = self.want.hard_state.term + u64::from(new_term || conflict);
        let data = Bytes::from(vec![u8::try_from(first % 251).unwrap(); size]);
        let entries = (first..first + count)
            .map(|index| Entry { index, term, kind: EntryKind::Normal, data: data.clone() })
            .collect();
        let hard_state = Some(HardState { term, vote: 1, commit: self.want.hard_state.commit });
        Persist { seq: 0, snapshot: None, entries, hard_state, must_sync: true }
    }

    fn apply(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            let same = |entry: &Entry| entry.index == snapshot.index && entry.term == snapshot.term;
            if self.want.entries.iter().any(same) {
                self.want.entries.retain(|entry| entry.index > snapshot.index);
            } else {
                self.want.entries.clear();
            }
            self.want.snapshot = snapshot.clone();
        }
        if let Some(first) = persist.entries.first() {
            self.want.entries.retain(|entry| entry.index < first.index);
            self.want.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(hard_state) = persist.hard_state {
            self.want.hard_state = hard_state;
        }
    }

    fn persist(&mut self, persist: &Persist) {
        self.store.as_mut().unwrap().persist(std::slice::from_ref(persist)).unwrap();
        self.apply(persist);
    }

    fn snapshot(&self, index: u64, term: u64) -> Persist {
        let data = Bytes::from(format!("state at {index}"));
        let snapshot = Snapshot { index, term, members: self.want.snapshot.members.clone(), data };
        let term = self.want.hard_state.term.max(term);
        let hard_state = Some(HardState { term, vote: 1, commit: self.want.hard_state.commit.max(index) });
        Persist { seq: 0, snapshot: Some(snapshot), entries: Vec::new(), hard_state, must_sync: true }
    }

    fn reopen(&mut self) -> Stable {
        self.store = None;
        let (store, recovered) = Store::open(self.dir.path(), &key()).unwrap();
        self.store = Some(store);
        recovered.into_stable().unwrap()
    }

    /// A write is under way when the power fails: any part of its bytes reached the disk.
    fn crash(&mut self, cut: usize, garble: &[(usize, u8)]) {
        let pending = self.append(0, 2, 40, false);
        // So that the write under way appends to a segment that is there already.
        let settled = self.append(0, 1, 1, false);
        self.persist(&settled);
        let pending = Persist { entries: shifted(&pending, self.last() + 1), ..pending };
        let (path, before) = newest_segment(self.dir.path());
        self.store.as_mut().unwrap().persist(std::slice::from_ref(&pending)).unwrap();
        let (same, mut after) = newest_segment(self.dir.path());
        assert_eq!(path, same);
        // The write went over zeros, or went beyond the end; either way these are its bytes.
        let byte = |file: &[u8], at: usize| file.get(at).copied().unwrap_or(0);
        let differs = |at: &usize| byte(&before, *at) != byte(&after, *at);
        let first = (0..after.len()).find(differs).unwrap();
        let written = (first..after.len()).rfind(differs).unwrap() + 1 - first;
        let arrived = first + cut % (written + 1);
        if cut.is_multiple_of(2) {
            after.truncate(arrived);
        } else {
            after[arrived..].fill(0);
        }
        for (at, mask) in garble {
            if arrived > first {
                after[first + at % (arrived - first)] ^= mask;
            }
        }
        self.store = None;
        fs::write(&path, &after).unwrap();
        let found = self.reopen();
        if found.entries.len() > self.want.entries.len() {
            self.apply(&pending);
        }
        assert_eq!(found, self.want);
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append { back, count, size, new_term } => {
                let persist = self.append(*back, *count, *size, *new_term);
                self.persist(&persist);
            }
            Step::Commit => {
                let hard_state = HardState { commit: self.last(), ..self.want.hard_state };
                let lazy = Persist {
                    seq: 0,
                    snapshot: None,
                    entries: Vec::new(),
                    hard_state: Some(hard_state),
                    must_sync: false,
                };
                self.persist(&lazy);
                self.store.as_mut().unwrap().flush().unwrap();
            }
            Step::Cut { at } => {
                if !self.want.entries.is_empty() {
                    let at = usize::try_from(at % self.want.entries.len() as u64).unwrap();
                    let (index, term) = (self.want.entries[at].index, self.want.entries[at].term);
                    let persist = self.snapshot(index, term);
                    self.persist(&persist);
                }
            }
            Step::Restore { ahead } => {
                let persist = self.snapshot(self.want.hard_state.commit + ahead, self.want.hard_state.term + 1);
                self.persist(&persist);
            }
            Step::Reopen => {
                let found = self.reopen();
                assert_eq!(found, self.want);
            }
            Step::Crash { cut, garble } => self.crash(*cut, garble),
        }
    }
}

fn shifted(persist: &Persist, first: u64) -> Vec<Entry> {
    (first..).zip(&persist.entries).map(|(index, entry)| Entry { index, ..entry.clone() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_acknowledged_record_is_ever_lost(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        let found = world.reopen();
        assert_eq!(found, world.want);
        // And a machine can begin from it.
        consensus::Raft::new(consensus::Config::new(consensus::Member(1), 1), found).unwrap();
    }
}

#[test]
fn every_single_cut_of_a_write_under_way_is_survived() {
    let mut world = World::new();
    for cut in 0..170 {
        world.crash(cut, &[]);
    }
}

#[test]
fn a_conflict_may_reach_back_before_the_first_segment_that_is_left() {
    let mut world = World::new();
    let append = |back, count| Step::Append { back, count, size: 0, new_term: false };
    for step in [append(0, 2), Step::Reopen, append(0, 2), Step::Reopen, append(0, 2), Step::Reopen, append(2, 1)] {
        world.run(&step);
    }
    world.run(&Step::Cut { at: 3 });
    assert_eq!(world.reopen(), world.want);
}
