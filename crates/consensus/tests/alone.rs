//! A group of one: leads at once, commits with one write per batch.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use bytes::Bytes;
use consensus::{Config, Entry, Input, Member, Members, Output, Persist, Raft, Role, Stable};

fn drain(raft: &mut Raft) -> Vec<Output> {
    std::iter::from_fn(|| raft.poll()).collect()
}

fn persists(outputs: &[Output]) -> Vec<&Persist> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Persist(persist) = output { Some(persist) } else { None })
        .collect()
}

fn committed(outputs: &[Output]) -> Vec<(u64, Bytes)> {
    let pick = |output: &Output| match output {
        Output::Committed { index, data, .. } => Some((*index, data.clone())),
        _ => None,
    };
    outputs.iter().filter_map(pick).collect()
}

/// Writes all that is asked for into `disk` and says so, until nothing more happens.
fn run(raft: &mut Raft, disk: &mut Stable) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let outputs = drain(raft);
        if outputs.is_empty() {
            return all;
        }
        for persist in persists(&outputs) {
            write(disk, persist);
            raft.handle(Input::Persisted(persist.seq)).unwrap();
        }
        all.extend(outputs);
    }
}

fn write(disk: &mut Stable, persist: &Persist) {
    if let Some(snapshot) = &persist.snapshot {
        disk.entries.retain(|entry| entry.index > snapshot.index);
        disk.snapshot = snapshot.clone();
    }
    if let Some(first) = persist.entries.first() {
        disk.entries.retain(|entry: &Entry| entry.index < first.index);
        disk.entries.extend(persist.entries.iter().cloned());
    }
    if let Some(hard_state) = persist.hard_state {
        disk.hard_state = hard_state;
    }
}

fn start(disk: &Stable) -> Raft {
    Raft::new(Config::new(Member(1), 7), disk.clone()).unwrap()
}

fn propose(raft: &mut Raft, ticket: u64, text: &'static str) {
    raft.handle(Input::Propose { ticket, data: Bytes::from_static(text.as_bytes()) }).unwrap();
}

#[test]
fn leads_without_a_tick_but_not_before_the_term_is_on_disk() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    let first = drain(&mut raft);
    assert_eq!(persists(&first).len(), 1, "{first:?}");
    assert!(persists(&first)[0].must_sync);
    assert!(!first.iter().any(|output| matches!(output, Output::Role(Role::Leader { .. }))), "{first:?}");
    write(&mut disk, persists(&first)[0]);
    raft.handle(Input::Persisted(persists(&first)[0].seq)).unwrap();
    let then = run(&mut raft, &mut disk);
    assert!(then.contains(&Output::Role(Role::Leader { term: 2 })), "{then:?}");
}

#[test]
fn a_batch_of_proposals_costs_one_write_and_commits_only_after_it() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    run(&mut raft, &mut disk);
    for ticket in 0..100 {
        propose(&mut raft, ticket, "x");
    }
    let outputs = drain(&mut raft);
    let writes = persists(&outputs);
    assert_eq!(writes.iter().filter(|persist| persist.must_sync).count(), 1);
    assert_eq!(writes[0].entries.len(), 100);
    assert!(committed(&outputs).is_empty(), "nothing is committed before it is on disk");
    write(&mut disk, writes[0]);
    raft.handle(Input::Persisted(writes[0].seq)).unwrap();
    let outputs = run(&mut raft, &mut disk);
    assert_eq!(committed(&outputs).len(), 100);
    assert!(persists(&outputs).iter().all(|persist| !persist.must_sync), "no second sync for the commit index");
}

#[test]
fn proposals_in_flight_overlap_with_writes() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    run(&mut raft, &mut disk);
    let mut writes = Vec::new();
    for ticket in 0..5 {
        propose(&mut raft, ticket, "x");
        writes.extend(persists(&drain(&mut raft)).into_iter().cloned());
    }
    assert_eq!(writes.len(), 5);
    for persist in &writes {
        write(&mut disk, persist);
    }
    raft.handle(Input::Persisted(writes[4].seq)).unwrap();
    assert_eq!(committed(&run(&mut raft, &mut disk)).len(), 5);
}

#[test]
fn after_a_restart_history_is_the_same_and_a_new_term_begins() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    run(&mut raft, &mut disk);
    propose(&mut raft, 1, "a");
    propose(&mut raft, 2, "b");
    let before = committed(&run(&mut raft, &mut disk));
    // Even when the commit index never reached the disk.
    disk.hard_state.commit = 1;
    let mut raft = start(&disk);
    let outputs = run(&mut raft, &mut disk);
    assert_eq!(committed(&outputs), before);
    let leader = outputs.iter().position(|output| *output == Output::Role(Role::Leader { term: 3 })).unwrap();
    let last = outputs.iter().rposition(|output| matches!(output, Output::Committed { .. })).unwrap();
    assert!(last < leader, "a leader first learns what earlier ones committed");
}

#[test]
fn a_snapshot_cuts_the_log_and_is_what_a_restart_begins_from() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    run(&mut raft, &mut disk);
    for ticket in 0..10 {
        propose(&mut raft, ticket, "x");
    }
    let done = committed(&run(&mut raft, &mut disk));
    let at = done[6].0;
    raft.handle(Input::Snapshot { index: at, data: Bytes::from_static(b"state") }).unwrap();
    assert!(raft.handle(Input::Snapshot { index: at, data: Bytes::new() }).is_err(), "one as new exists");
    assert!(raft.handle(Input::Snapshot { index: at + 100, data: Bytes::new() }).is_err(), "not committed yet");
    run(&mut raft, &mut disk);
    assert_eq!(disk.snapshot.index, at);
    let mut raft = start(&disk);
    assert_eq!(committed(&run(&mut raft, &mut disk)), done[7..]);
}

#[test]
fn impossible_states_are_refused() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    disk.hard_state.commit = 9;
    assert!(Raft::new(Config::new(Member(1), 7), disk.clone()).is_err());
    disk.hard_state.commit = 1;
    disk.entries = vec![Entry { index: 3, term: 1, kind: consensus::EntryKind::Normal, data: Bytes::new() }];
    assert!(Raft::new(Config::new(Member(1), 7), disk.clone()).is_err());
}

#[test]
fn bytes_that_are_no_message_change_nothing() {
    let mut disk = Stable::bootstrap(Members::of([Member(1)]));
    let mut raft = start(&disk);
    run(&mut raft, &mut disk);
    assert!(raft.handle(Input::Step(Bytes::from_static(b"\xff\xff\xff"))).is_err());
    assert!(drain(&mut raft).is_empty());
}
