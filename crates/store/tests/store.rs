//! The store as its driver meets it: what is acknowledged is found again, what is damaged is named.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState, Member, Members, Persist, Snapshot, Stable};
use std::fs;
use std::path::{Path, PathBuf};
use store::{Ledger, NodeKey, Store, StoreError};

fn key() -> NodeKey {
    NodeKey::from_bytes([7; 32])
}

fn entry(index: u64, term: u64, text: &str) -> Entry {
    Entry { index, term, kind: EntryKind::Normal, data: Bytes::copy_from_slice(text.as_bytes()) }
}

fn entries(entries: Vec<Entry>) -> Persist {
    let hard_state = entries.last().map(|entry| HardState { term: entry.term, vote: 1, commit: 1 });
    Persist { seq: 1, snapshot: None, entries, hard_state, must_sync: true }
}

fn cut(index: u64, term: u64, text: &str) -> Persist {
    let data = Bytes::copy_from_slice(text.as_bytes());
    let snapshot = Snapshot { index, term, members: Members::of([Member(1), Member(9)]), data };
    Persist { seq: 1, snapshot: Some(snapshot), entries: Vec::new(), hard_state: None, must_sync: true }
}

fn begun(dir: &Path) -> Store {
    let (mut store, recovered) = Store::open(dir, &key()).unwrap();
    assert_eq!(recovered.into_stable(), None);
    store.bootstrap(&Stable::bootstrap(Members::of([Member(1)]))).unwrap();
    store
}

fn reopen(dir: &Path) -> Stable {
    Store::open(dir, &key()).unwrap().1.into_stable().unwrap()
}

fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
        .collect();
    found.sort();
    found
}

#[test]
fn what_was_persisted_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "a"), entry(3, 2, "b")]), entries(vec![entry(4, 2, "c")])]).unwrap();
    drop(store);
    for _ in 0..3 {
        let stable = reopen(dir.path());
        assert_eq!(stable.entries, [entry(2, 2, "a"), entry(3, 2, "b"), entry(4, 2, "c")]);
        assert_eq!(stable.hard_state, HardState { term: 2, vote: 1, commit: 1 });
        assert_eq!(stable.snapshot.members, Members::of([Member(1)]));
    }
}

#[test]
fn a_conflicting_suffix_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "a"), entry(3, 2, "b"), entry(4, 2, "c")])]).unwrap();
    store.persist(&[entries(vec![entry(3, 3, "B")])]).unwrap();
    drop(store);
    assert_eq!(reopen(dir.path()).entries, [entry(2, 2, "a"), entry(3, 3, "B")]);
}

#[test]
fn a_commit_index_alone_waits_for_the_next_write_or_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "a")])]).unwrap();
    let before = store.log_bytes();
    let hard_state = HardState { term: 2, vote: 1, commit: 2 };
    let lazy = Persist { seq: 2, snapshot: None, entries: Vec::new(), hard_state: Some(hard_state), must_sync: false };
    store.persist(&[lazy]).unwrap();
    assert_eq!(store.log_bytes(), before);
    store.flush().unwrap();
    drop(store);
    assert_eq!(reopen(dir.path()).hard_state, hard_state);
}

#[test]
fn a_snapshot_cuts_the_log_and_keeps_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries((2..=50).map(|index| entry(index, 2, "x")).collect())]).unwrap();
    store.persist(&[cut(40, 2, "state")]).unwrap();
    store.persist(&[entries(vec![entry(51, 2, "y")])]).unwrap();
    drop(store);
    let stable = reopen(dir.path());
    assert_eq!(stable.snapshot.data, "state");
    assert_eq!(stable.snapshot.members, Members::of([Member(1), Member(9)]));
    assert_eq!(stable.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), (41..=51).collect::<Vec<_>>());
    assert_eq!(stable.hard_state.commit, 40);

    let (mut store, _) = Store::open(dir.path(), &key()).unwrap();
    store.persist(&[cut(51, 2, "later")]).unwrap();
    assert_eq!(files(dir.path(), "log-").len(), 1, "older segments are gone");
    assert_eq!(files(dir.path(), "snapshot-").len(), 1, "older snapshots are gone");
    drop(store);
    assert_eq!(reopen(dir.path()).entries, []);
}

#[test]
fn a_leaders_snapshot_voids_a_log_that_disagrees_or_is_shorter() {
    for (index, term) in [(4, 3), (90, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = begun(dir.path());
        store.persist(&[entries((2..=9).map(|index| entry(index, 2, "x")).collect())]).unwrap();
        // A crash right after the snapshot came into place, before the log heard of it.
        let crashed = tempfile::tempdir().unwrap();
        for file in files(dir.path(), "log-") {
            fs::copy(&file, crashed.path().join(file.file_name().unwrap())).unwrap();
        }
        store.persist(&[cut(index, term, "theirs")]).unwrap();
        for file in files(dir.path(), "snapshot-") {
            fs::copy(&file, crashed.path().join(file.file_name().unwrap())).unwrap();
        }
        drop(store);
        for dir in [dir.path(), crashed.path()] {
            let stable = reopen(dir);
            assert_eq!((stable.snapshot.index, &stable.entries), (index, &Vec::new()));
            assert_eq!((stable.hard_state.term, stable.hard_state.commit), (3, index));
            let (mut store, _) = Store::open(dir, &key()).unwrap();
            store.persist(&[entries(vec![entry(index + 1, 3, "new")])]).unwrap();
            drop(store);
            assert_eq!(reopen(dir).entries, [entry(index + 1, 3, "new")]);
        }
    }
}

#[test]
fn long_logs_roll_over_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    let big = "x".repeat(3 << 20);
    for index in 2..=8 {
        store.persist(&[entries(vec![entry(index, 2, &big)])]).unwrap();
    }
    assert!(files(dir.path(), "log-").len() > 2);
    drop(store);
    assert_eq!(reopen(dir.path()).entries.len(), 7);
    let (mut store, _) = Store::open(dir.path(), &key()).unwrap();
    store.persist(&[cut(8, 2, "s")]).unwrap();
    assert!(store.log_bytes() < 1000);
}

#[test]
fn damage_in_the_middle_is_refused_with_file_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    for index in 2..=6 {
        store.persist(&[entries(vec![entry(index, 2, "content")])]).unwrap();
    }
    drop(store);
    let path = files(dir.path(), "log-").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let last_frame = whole.len() - whole.len() / 6;
    for at in 0..last_frame - 40 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        fs::write(&path, &bytes).unwrap();
        match Store::open(dir.path(), &key()) {
            Err(StoreError::Corrupt { path: named, .. }) => assert_eq!(named, path),
            other => panic!("byte {at} of {}: {other:?}", whole.len()),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "evidence is left alone");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(reopen(dir.path()).entries.len(), 5);
}

#[test]
fn zeros_behind_the_last_frame_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "a")])]).unwrap();
    let path = files(dir.path(), "log-").pop().unwrap();
    // As a killed process leaves it.
    let killed = fs::read(&path).unwrap();
    drop(store);
    let ended = fs::read(&path).unwrap();
    assert!(killed.len() > ended.len() + 1000 && killed.starts_with(&ended), "zeros are written ahead");
    fs::write(&path, &killed).unwrap();
    let (store, recovered) = Store::open(dir.path(), &key()).unwrap();
    assert_eq!((recovered.entries.len(), recovered.torn), (1, None));
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), ended);
}

#[test]
fn a_damaged_or_missing_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "a")])]).unwrap();
    store.persist(&[cut(2, 2, "state")]).unwrap();
    drop(store);
    let path = files(dir.path(), "snapshot-").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(Store::open(dir.path(), &key()), Err(StoreError::Corrupt { .. })), "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(Store::open(dir.path(), &key()), Err(StoreError::Corrupt { .. })), "cut at {at}");
    }
    fs::remove_file(&path).unwrap();
    let error = Store::open(dir.path(), &key()).unwrap_err().to_string();
    assert!(error.contains("snapshot-"), "{error}");
}

#[test]
fn a_missing_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(begun(dir.path()));
    for index in 2..=4 {
        let (mut store, _) = Store::open(dir.path(), &key()).unwrap();
        store.persist(&[entries(vec![entry(index, 2, "a")])]).unwrap();
    }
    let segments = files(dir.path(), "log-");
    fs::remove_file(&segments[segments.len() - 2]).unwrap();
    let error = Store::open(dir.path(), &key()).unwrap_err();
    assert!(error.to_string().contains("it is missing"), "{error}");
}

#[test]
fn another_key_opens_nothing_and_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(begun(dir.path()));
    let error = Store::open(dir.path(), &NodeKey::from_bytes([8; 32])).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
}

#[test]
fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = begun(dir.path());
    assert!(matches!(Store::open(dir.path(), &key()), Err(StoreError::Locked { .. })));
    drop(store);
    reopen(dir.path());
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(begun(dir.path()));
    let path = files(dir.path(), "log-").pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Store::open(dir.path(), &key()), Err(StoreError::Version { found: 2, known: 1, .. })));
}

#[test]
fn nothing_readable_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = begun(dir.path());
    store.persist(&[entries(vec![entry(2, 2, "hunter2-in-the-log")])]).unwrap();
    store.persist(&[cut(2, 2, "hunter2-in-the-snapshot")]).unwrap();
    Ledger::new(dir.path().join("assignment"), key()).write(b"hunter2-in-the-ledger").unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }
}

#[test]
fn a_ledger_holds_the_last_value_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(dir.path().join("assignment"), key());
    assert_eq!(ledger.read().unwrap(), None);
    let large = vec![3; 9 << 20];
    for value in [&b"one"[..], b"", &large, b"two"] {
        ledger.write(value).unwrap();
        assert_eq!(ledger.read().unwrap().unwrap(), value);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary files stay");
    let other = Ledger::new(dir.path().join("assignment"), NodeKey::from_bytes([1; 32]));
    assert!(matches!(other.read(), Err(StoreError::WrongKey { .. })));
}

#[test]
fn a_key_is_made_once_and_kept_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.key");
    let first = NodeKey::load_or_create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ledger = dir.path().join("ledger");
    Ledger::new(&ledger, first).write(b"x").unwrap();
    let again = NodeKey::load_or_create(&path).unwrap();
    assert_eq!(Ledger::new(&ledger, again).read().unwrap().unwrap(), b"x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(NodeKey::load_or_create(&path), Err(StoreError::BadKey { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "not a key").unwrap();
    assert!(matches!(NodeKey::load_or_create(&path), Err(StoreError::BadKey { .. })));
}

/// A small file system of our own, mounted where only this thread sees it.
fn small_disk(dir: &Path) -> bool {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: this thread shares no file-system state that other threads rely on.
    if unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.is_err() {
        println!("SKIP: needs root to mount a small file system");
        return false;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), c"size=256k").unwrap();
    true
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    if !small_disk(dir.path()) {
        return;
    }
    let home = dir.path().join("raft");
    let mut store = begun(&home);
    fs::write(dir.path().join("ballast"), vec![0; 100 << 10]).unwrap();
    let text = "x".repeat(9_000);
    let mut acknowledged = 1;
    let mut refusals = 0;
    for index in 2.. {
        match store.persist(&[entries(vec![entry(index, 2, &text)])]) {
            Ok(()) => acknowledged = index,
            Err(error) => {
                assert!(error.is_full(), "{error}");
                refusals += 1;
                break;
            }
        }
    }
    assert!(acknowledged > 3);
    assert!(store.persist(&[cut(acknowledged, 2, &text.repeat(9))]).is_err_and(|error| error.is_full()));
    fs::remove_file(dir.path().join("ballast")).unwrap();
    store.persist(&[entries(vec![entry(acknowledged + 1, 2, &text)])]).unwrap();
    drop(store);
    let stable = reopen(&home);
    assert_eq!(stable.entries.len() as u64, acknowledged, "{refusals} refused");
    assert!(stable.entries.iter().all(|entry| entry.data == text.as_bytes()));
    assert!(files(&home, "").iter().all(|path| !path.to_string_lossy().ends_with(".tmp")));
}
