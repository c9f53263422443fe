//! What only a group of several needs: reads, changes of its members, and what the leader knows of them.

use crate::machine::{Error, Output, Raft, Role};
use crate::stable::{Entry, EntryKind, HardState, Member, Members, Snapshot, Stable};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use raft::{ReadState, StateRole};
use std::collections::BTreeSet;

/// What a leader knows of another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// It was heard of within the last election time.
    pub alive: bool,
    /// It has all that is committed, but for what came just now.
    pub caught_up: bool,
    /// Highest index that is known to be on its disk.
    pub matched: u64,
}

/// By so much the term of one that goes on alone leaps: the others may have had leaders that it never heard of,
/// and what it decides has to count as newer than anything that they did.
const LEAP: u64 = 1 << 20;

/// A learner that lacks no more than this many entries has caught up: the rest is a message away.
const CLOSE: u64 = 64;

impl Raft {
    /// What this member knows of another; `None` unless it leads, or where there is no such member.
    pub fn progress(&self, of: Member) -> Option<Progress> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return None;
        }
        let progress = raft.prs().get(of.0)?;
        let own = of == self.config.member;
        Some(Progress {
            alive: own || progress.recent_active,
            caught_up: own || progress.matched > 0 && progress.matched + CLOSE >= raft.raft_log.committed,
            matched: progress.matched,
        })
    }

    /// Who is best prepared to lead in this leader's place; `None` when it does not lead, or nobody is alive.
    pub fn heir(&self) -> Option<Member> {
        let own = self.config.member;
        let voters = self.members.voters.iter().copied().map(Member).filter(|voter| *voter != own);
        let known = voters.filter_map(|voter| Some((self.progress(voter)?, voter)));
        let best = known.filter(|(progress, _)| progress.alive).max_by_key(|(progress, _)| progress.matched);
        best.map(|(_, heir)| heir)
    }

    /// All that this member has, as the only one of its group: for when the others are lost for good. What the
    /// others acknowledged and this one never got is lost with them; what it got and nobody knows to be
    /// committed is kept. `data`: the state machine as of [`Raft::applied`]. To be made durable before a
    /// machine is made from it.
    ///
    /// # Errors
    /// It has no state yet, or waits for a leader's to be on disk: there is nothing to go on with.
    pub fn survivor(&self, data: bytes::Bytes) -> Result<Stable, Error> {
        let raft = &self.node.raft;
        let index = self.applied;
        let term = self.node.store().entry_term(index).filter(|_| index > 0);
        let snapshot = Snapshot {
            index,
            term: term.ok_or(Error::Members("this member has nothing of the group's state yet"))?,
            members: Members::of([self.config.member]),
            data,
        };
        let log = self.node.store().after(index).into_iter();
        // Changes of the group would bring the others back.
        let mut entries: Vec<Entry> = log.take_while(|entry| entry.kind == EntryKind::Normal).collect();
        // An entry of a new term takes the place of what stood behind these in the log on disk.
        let (term, last) = (raft.term.saturating_add(LEAP), index + entries.len() as u64);
        entries.push(Entry { index: last + 1, term, kind: EntryKind::Normal, data: bytes::Bytes::new() });
        Ok(Stable { hard_state: HardState { term, vote: 0, commit: index }, snapshot, entries })
    }

    /// Asks the leader, which asks a majority whether it still leads (`ReadIndex`).
    pub(crate) fn read(&mut self, ticket: u64) {
        let raft = &self.node.raft;
        let knows = match raft.state {
            // It drops reads before it has committed something of its own.
            StateRole::Leader => matches!(self.role, Role::Leader { .. }),
            _ => raft.leader_id != 0,
        };
        if knows {
            self.reads.insert(ticket, None);
            self.node.read_index(self.read_mark(ticket));
        } else {
            self.outputs.push_back(Output::Unreadable(ticket));
        }
    }

    /// Tickets of other members, and of earlier lives of this one, must not be taken for it: an answer
    /// that comes late would show a past.
    fn read_mark(&self, ticket: u64) -> Vec<u8> {
        [self.config.member.0, self.config.seed, ticket].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    pub(crate) fn learn_reads(&mut self, states: Vec<ReadState>) {
        for state in states {
            let ticket = state.request_ctx.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
            if let Some(ticket) = ticket.filter(|ticket| self.read_mark(*ticket) == state.request_ctx)
                && let Some(index) = self.reads.get_mut(&ticket)
            {
                *index = Some(state.index);
            }
        }
    }

    /// Those whose index has been handed out.
    pub(crate) fn answer_reads(&mut self) {
        let applied = self.applied;
        let outputs = &mut self.outputs;
        self.reads.retain(|ticket, index| {
            let ready = index.is_some_and(|index| index <= applied);
            if ready {
                outputs.push_back(Output::Readable(*ticket));
            }
            !ready
        });
    }

    /// The leader has changed: what was asked of the one before may be lost.
    pub(crate) fn drop_reads(&mut self) {
        let lost = std::mem::take(&mut self.reads);
        self.outputs.extend(lost.into_keys().map(Output::Unreadable));
    }

    /// A leader that was taken out leads no more (Ongaro's thesis, section 4.2.2). The library leaves that to others,
    /// and counts on a leader's being part of the group when what it wrote is on disk.
    pub(crate) fn step_down(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && raft.prs().get(raft.id).is_none() {
            // Who has most of the log need not wait until it misses a leader.
            let matched = |voter: &u64| raft.prs().get(*voter).map(|progress| progress.matched);
            let heir = self.members.voters.iter().copied().max_by_key(matched);
            heir.into_iter().for_each(|heir| raft.send_timeout_now(heir));
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    pub(crate) fn propose_members(
        &mut self,
        voters: &BTreeSet<Member>,
        learners: &BTreeSet<Member>,
    ) -> Result<(), Error> {
        if !matches!(self.role, Role::Leader { .. }) {
            return Err(Error::Members("this member does not lead"));
        }
        if !self.members.voters_outgoing.is_empty() || self.node.raft.has_pending_conf() {
            return Err(Error::Members("another change is under way"));
        }
        if voters.is_empty() || !voters.is_disjoint(learners) {
            return Err(Error::Members("somebody has to vote, and nobody both votes and only follows"));
        }
        let mut changes = Vec::new();
        let mut change = |kind: ConfChangeType, member: u64| {
            let mut single = ConfChangeSingle::default();
            single.set_change_type(kind);
            single.node_id = member;
            changes.push(single);
        };
        let is = |list: &[u64], member: &Member| list.contains(&member.0);
        voters.iter().filter(|it| !is(&self.members.voters, it)).for_each(|it| change(ConfChangeType::AddNode, it.0));
        learners
            .iter()
            .filter(|it| !is(&self.members.learners, it))
            .for_each(|it| change(ConfChangeType::AddLearnerNode, it.0));
        let now = self.members.voters.iter().chain(&self.members.learners);
        now.filter(|it| !voters.contains(&Member(**it)) && !learners.contains(&Member(**it)))
            .for_each(|it| change(ConfChangeType::RemoveNode, *it));
        if changes.is_empty() {
            return Ok(());
        }
        let mut proposal = ConfChangeV2::default();
        proposal.set_changes(changes.into());
        let taken = self.node.propose_conf_change(Vec::new(), proposal);
        taken.map_err(|_| Error::Members("too much is under way"))
    }
}
