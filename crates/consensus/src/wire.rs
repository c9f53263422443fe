//! Between our plain values and the protobuf types of the `raft` crate.

use crate::stable::{Entry, EntryKind, HardState, Member, Members, Snapshot};
use raft::eraftpb;

/// Who a message says it is from; whoever delivers it has to see whether that is true. `None`: it is no message.
pub fn sender(message: &[u8]) -> Option<Member> {
    use protobuf::Message as _;
    let message = eraftpb::Message::parse_from_bytes(message).ok()?;
    (message.from != 0).then_some(Member(message.from))
}

pub(crate) fn entry_out(entry: &eraftpb::Entry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        kind: match entry.entry_type {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            eraftpb::EntryType::EntryConfChange => EntryKind::Change,
            eraftpb::EntryType::EntryConfChangeV2 => EntryKind::ChangeV2,
        },
        data: entry.data.clone(),
    }
}

pub(crate) fn entry_in(entry: &Entry) -> eraftpb::Entry {
    eraftpb::Entry {
        index: entry.index,
        term: entry.term,
        entry_type: match entry.kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::Change => eraftpb::EntryType::EntryConfChange,
            EntryKind::ChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
        },
        data: entry.data.clone(),
        ..eraftpb::Entry::default()
    }
}

pub(crate) fn hard_state_out(hard_state: &eraftpb::HardState) -> HardState {
    HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}

pub(crate) fn hard_state_in(hard_state: HardState) -> eraftpb::HardState {
    eraftpb::HardState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
        ..eraftpb::HardState::default()
    }
}

pub(crate) fn members_out(members: &eraftpb::ConfState) -> Members {
    Members {
        voters: members.voters.clone(),
        learners: members.learners.clone(),
        voters_outgoing: members.voters_outgoing.clone(),
        learners_next: members.learners_next.clone(),
        auto_leave: members.auto_leave,
    }
}

pub(crate) fn members_in(members: &Members) -> eraftpb::ConfState {
    let mut out = eraftpb::ConfState::default();
    out.voters.clone_from(&members.voters);
    out.learners.clone_from(&members.learners);
    out.voters_outgoing.clone_from(&members.voters_outgoing);
    out.learners_next.clone_from(&members.learners_next);
    out.auto_leave = members.auto_leave;
    out
}

pub(crate) fn snapshot_out(snapshot: &eraftpb::Snapshot) -> Snapshot {
    let metadata = snapshot.get_metadata();
    Snapshot {
        index: metadata.index,
        term: metadata.term,
        members: members_out(metadata.get_conf_state()),
        data: snapshot.data.clone(),
    }
}

pub(crate) fn snapshot_in(snapshot: &Snapshot) -> eraftpb::Snapshot {
    let mut out = eraftpb::Snapshot::default();
    out.mut_metadata().index = snapshot.index;
    out.mut_metadata().term = snapshot.term;
    out.mut_metadata().set_conf_state(members_in(&snapshot.members));
    out.data = snapshot.data.clone();
    out
}
