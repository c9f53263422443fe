//! A group of several on a bad network: messages are lost, late and doubled, members crash without
//! what was not on disk. What one has committed all commit; a term has one leader; a read sees all that
//! was acknowledged before it; a group can be exchanged member by member.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use bytes::Bytes;
use consensus::{Config, Input, Member, Members, Output, Persist, Raft, Role, Stable, Step, next_step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

struct Node {
    raft: Option<Raft>,
    disk: Stable,
    /// Asked for and not yet on disk.
    unwritten: VecDeque<Persist>,
    /// Index and data, as handed out since the snapshot that it began from.
    history: BTreeMap<u64, Bytes>,
}

struct World {
    nodes: BTreeMap<u64, Node>,
    /// From, to, what, and whether it is a snapshot, whose fate is told.
    wire: Vec<(Member, Member, Bytes, bool)>,
    draw: model::Ids,
    /// The one history.
    committed: BTreeMap<u64, Bytes>,
    leaders: BTreeMap<u64, u64>,
    /// Read tickets: who asked, and the highest index that was committed anywhere then.
    reads: BTreeMap<u64, (u64, u64)>,
    answered: usize,
    /// In thousandths.
    loss: u64,
    cut_off: Option<u64>,
    ticket: u64,
}

impl World {
    fn new(seed: u64, voters: &[u64]) -> World {
        let members = Members::of(voters.iter().copied().map(Member));
        let mut world = World {
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            draw: model::Ids::new(seed),
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            reads: BTreeMap::new(),
            answered: 0,
            loss: 0,
            cut_off: None,
            ticket: 0,
        };
        voters.iter().for_each(|id| world.add(*id, Stable::bootstrap(members.clone())));
        world
    }

    fn add(&mut self, id: u64, disk: Stable) {
        let node = Node { raft: None, disk, unwritten: VecDeque::new(), history: BTreeMap::new() };
        self.nodes.insert(id, node);
        self.start(id);
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.draw.next_u64() % limit.max(1)
    }

    fn start(&mut self, id: u64) {
        let seed = self.draw.next_u64();
        let node = self.nodes.get_mut(&id).unwrap();
        node.history.clear();
        node.raft = Some(Raft::new(Config::new(Member(id), seed), node.disk.clone()).unwrap());
    }

    /// The power fails: what was being written is there up to some point, the rest is not.
    fn crash(&mut self, id: u64) {
        let kept = self.below(4);
        let node = self.nodes.get_mut(&id).unwrap();
        node.raft = None;
        for persist in std::mem::take(&mut node.unwritten).into_iter().take(usize::try_from(kept).unwrap()) {
            node.disk.write(&persist);
        }
    }

    fn input(&mut self, id: u64, input: Input) {
        if let Some(raft) = self.nodes.get_mut(&id).unwrap().raft.as_mut() {
            // What cannot be taken now is refused, and that is all.
            let _refused = raft.handle(input);
        }
        self.drain(id);
    }

    fn drain(&mut self, id: u64) {
        while let Some(output) = self.nodes.get_mut(&id).unwrap().raft.as_mut().and_then(Raft::poll) {
            let node = self.nodes.get_mut(&id).unwrap();
            match output {
                Output::Persist(persist) => node.unwritten.push_back(persist),
                Output::Send { to, message, snapshot } => self.wire.push((Member(id), to, message, snapshot)),
                Output::Committed { index, data, .. } => {
                    node.history.insert(index, data.clone());
                    let known = self.committed.entry(index).or_insert_with(|| data.clone());
                    assert_eq!(*known, data, "member {id} disagrees at {index}");
                }
                Output::Restore(snapshot) => node.history.retain(|index, _| *index > snapshot.index),
                Output::Role(Role::Leader { term }) => {
                    let first = *self.leaders.entry(term).or_insert(id);
                    assert_eq!(first, id, "two leaders in term {term}");
                }
                Output::Readable(ticket) => {
                    let (asked, seen) = self.reads.remove(&ticket).unwrap();
                    let newest = node.raft.as_ref().map_or(0, Raft::applied);
                    assert!(asked == id && newest >= seen, "member {id} read at {newest}, {seen} was committed");
                    self.answered += 1;
                }
                Output::Unreadable(ticket) => {
                    self.reads.remove(&ticket).unwrap();
                }
                Output::SnapshotWanted => self.cut_log(id),
                _ => {}
            }
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        let id = ids[usize::try_from(self.below(ids.len() as u64)).unwrap()];
        match self.below(20) {
            0 | 1 => self.input(id, Input::Tick),
            2 => {
                self.ticket += 1;
                let data = Bytes::from(self.ticket.to_string());
                self.input(id, Input::Propose { ticket: self.ticket, data });
            }
            3 => {
                self.ticket += 1;
                let seen = self.committed.keys().last().copied().unwrap_or(0);
                self.reads.insert(self.ticket, (id, seen));
                self.input(id, Input::Read(self.ticket));
            }
            4..=9 => self.sync(id),
            _ if self.wire.is_empty() => {}
            _ => {
                let at = usize::try_from(self.below(self.wire.len() as u64)).unwrap();
                let (from, to, message, snapshot) = self.wire.swap_remove(at);
                let lost = self.below(1000) < self.loss || [from.0, to.0].iter().any(|it| self.cut_off == Some(*it));
                let arrived = !lost && self.nodes.contains_key(&to.0);
                if arrived {
                    if self.loss > 0 && self.below(20) == 0 {
                        self.wire.push((from, to, message.clone(), false));
                    }
                    self.input(to.0, Input::Step(message));
                }
                if snapshot {
                    self.input(from.0, Input::SnapshotSent { to, arrived });
                }
            }
        }
    }

    fn sync(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(persist) = node.unwritten.pop_front() else { return };
        node.disk.write(&persist);
        self.input(id, Input::Persisted(persist.seq));
    }

    fn leader(&self) -> Option<u64> {
        let leads = |node: &Node| node.raft.as_ref().is_some_and(|raft| matches!(raft.role(), Role::Leader { .. }));
        let newest = self.leaders.values().last()?;
        self.nodes.get(newest).filter(|node| leads(node)).map(|_| *newest)
    }

    /// Lets things happen until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        for _ in 0..400_000 {
            self.step();
            if done(self) {
                return;
            }
        }
        panic!("never: {what}");
    }

    fn cut_log(&mut self, id: u64) {
        let raft = self.nodes.get_mut(&id).unwrap().raft.as_mut().unwrap();
        let index = raft.applied();
        // One as new may be there already.
        let _refused = raft.handle(Input::Snapshot { index, data: Bytes::from_static(b"state") });
    }
}

#[test]
fn one_history_whatever_is_lost() {
    for seed in 0..40 {
        let mut world = World::new(seed, &[1, 2, 3]);
        world.loss = world.draw.next_u64() % 300;
        for round in 0..20 {
            world.cut_off = (round % 3 == 1).then(|| 1 + world.draw.next_u64() % 3);
            for _ in 0..1500 {
                world.step();
            }
            let id = 1 + world.below(3);
            if round % 4 == 3 {
                world.cut_log(id);
            }
            world.crash(id);
            world.start(id);
            world.reads.retain(|_, (asked, _)| *asked != id);
        }
        (world.loss, world.cut_off) = (0, None);
        let before = world.committed.len();
        let answered = world.answered;
        world.until("commits and reads after healing", |world| {
            world.committed.len() > before + 5 && world.answered > answered + 5
        });
    }
}

#[test]
fn a_group_grows_is_exchanged_and_shrinks_while_it_works() {
    for seed in 0..12 {
        let mut world = World::new(seed, &[1]);
        for id in [2, 3, 4, 5, 6] {
            world.add(id, Stable::joining());
        }
        world.until("something to catch up with", |world| world.committed.len() > 30);
        world.cut_log(1);
        for wanted in [vec![1], vec![1, 2, 3], vec![1, 2, 3, 4, 5], vec![4, 5, 6], vec![6]] {
            let target: BTreeSet<Member> = wanted.iter().copied().map(Member).collect();
            world.loss = 20;
            let before = world.committed.len();
            world.until(&format!("seed {seed}: members {wanted:?}"), |world| {
                let Some(leader) = world.leader() else { return false };
                let raft = world.nodes[&leader].raft.as_ref().unwrap();
                let members = raft.members().clone();
                let done = members.voters_outgoing.is_empty()
                    && members.learners.is_empty()
                    && members.voters.iter().copied().map(Member).collect::<BTreeSet<_>>() == target;
                let step = next_step(Member(leader), &target, &members, |member| raft.progress(member));
                if world.draw.next_u64().is_multiple_of(64) {
                    match step {
                        Some(Step::Change { voters, learners }) => {
                            world.input(leader, Input::ChangeMembers { voters, learners });
                        }
                        Some(Step::HandOver(to)) => world.input(leader, Input::HandOver(to)),
                        None => {}
                    }
                }
                done && world.committed.len() > before + 3
            });
        }
    }
}

#[test]
fn a_leader_that_is_taken_out_while_it_writes_leads_no_more() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3]);
        world.until("a history", |world| world.committed.len() > 20 && world.leader().is_some());
        let taken_out = world.leader().unwrap();
        let voters: BTreeSet<Member> = (1..=3).filter(|id| *id != taken_out).map(Member).collect();
        world.input(taken_out, Input::ChangeMembers { voters: voters.clone(), learners: BTreeSet::new() });
        let before = world.committed.len();
        world.until("the others go on", |world| {
            let leader = world.leader().filter(|leader| *leader != taken_out);
            let members = leader.map(|leader| world.nodes[&leader].raft.as_ref().unwrap().members());
            members.is_some_and(|members| *members == Members::of(voters.iter().copied()))
                && world.committed.len() > before + 5
        });
        let role = world.nodes[&taken_out].raft.as_ref().unwrap().role();
        assert!(!matches!(role, Role::Leader { .. }), "seed {seed}: {role:?}");
    }
}

/// What a store has once it was told to make this durable.
fn make_durable(disk: &mut Stable, stable: &Stable) {
    let Stable { hard_state, snapshot, entries } = stable.clone();
    let snapshot = Some(snapshot);
    disk.write(&Persist { seq: 0, snapshot, entries, hard_state: Some(hard_state), must_sync: true });
}

#[test]
fn the_last_one_goes_on_alone_with_all_that_it_has() {
    for seed in 0..20 {
        let mut world = World::new(seed, &[1, 2, 3]);
        world.until("a history", |world| world.committed.len() > 20 && world.leader().is_some());
        let last = world.leader().unwrap();
        // The others are lost while somebody is about to join.
        for id in (1..=3).filter(|id| *id != last) {
            world.nodes.remove(&id);
        }
        let voters: BTreeSet<Member> = [1, 2, 3, 4].map(Member).into();
        world.input(last, Input::ChangeMembers { voters, learners: BTreeSet::new() });
        while !world.nodes[&last].unwritten.is_empty() {
            world.sync(last);
        }
        let node = world.nodes.get_mut(&last).unwrap();
        let raft = node.raft.take().unwrap();
        assert!(matches!(raft.role(), Role::Leader { .. }));
        let applied = raft.applied();
        let survivor = raft.survivor(Bytes::from_static(b"state")).unwrap();
        make_durable(&mut node.disk, &survivor);
        assert_eq!(node.disk, survivor, "nothing is left of what others may have in mind");
        for _crash in 0..2 {
            world.start(last);
            let before = world.committed.len();
            world.until("commits of one", |world| world.committed.len() > before + 5);
            assert_eq!(world.leader(), Some(last));
            let node = &world.nodes[&last];
            assert_eq!(node.raft.as_ref().unwrap().members(), &Members::of([Member(last)]));
            assert!(node.history.keys().all(|index| *index > applied));
            world.crash(last);
        }
    }
}

#[test]
fn who_cannot_be_missed_is_not_left_out() {
    let members = Members::of([1, 2, 3].map(Member));
    let progress = |alive: &[u64]| {
        let alive = alive.to_vec();
        move |member: Member| {
            let alive = alive.contains(&member.0);
            Some(consensus::Progress { alive, caught_up: alive, matched: member.0 })
        }
    };
    let wanted: BTreeSet<Member> = [1, 2].map(Member).into();
    let two = Step::Change { voters: wanted.clone(), learners: BTreeSet::new() };
    assert_eq!(next_step(Member(1), &wanted, &members, progress(&[1, 2, 3])), Some(two));
    assert_eq!(
        next_step(Member(1), &wanted, &members, progress(&[1, 3])),
        None,
        "1 alone would be no majority of 1 and 2"
    );
    let others: BTreeSet<Member> = [2, 3].map(Member).into();
    assert_eq!(next_step(Member(1), &others, &members, progress(&[1, 2, 3])), Some(Step::HandOver(Member(3))));
    let elected_too_late = next_step(Member(4), &wanted, &members, progress(&[1, 2, 3, 4]));
    assert_eq!(elected_too_late, Some(Step::HandOver(Member(2))), "who was taken out leads nobody");
    let joint = Members { voters_outgoing: vec![1], ..members.clone() };
    assert_eq!(next_step(Member(1), &wanted, &joint, progress(&[1, 2, 3])), None);
}
