//! Bugs that only whole clusters can show, to be planted.

use crate::group::Flaw;

/// A bug between managers and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slip {
    /// An agent takes the order of a leader that was deposed for a newer one.
    OlderObeyed,
    /// A session goes over to the next leader with its node unaware: nothing is told again.
    SessionCarriedOver,
    /// A manager that leads no more keeps its sessions.
    SessionsKept,
    /// A manager goes on waiting for a node that says nothing any more.
    SilenceUnnoticed,
    /// Who leads next takes nodes that were drained for active ones.
    DrainForgotten,
    /// An operator is told that a request is done when it has been proposed.
    AnsweredTooEarly,
    /// An agent dials one manager and no other, whoever leads.
    OneDialled,
    /// Nobody is told that others still send to a task that leaves.
    DrainsUntold,
}

impl Slip {
    /// All of them.
    pub const ALL: [Slip; 8] = [
        Slip::OlderObeyed,
        Slip::SessionCarriedOver,
        Slip::SessionsKept,
        Slip::SilenceUnnoticed,
        Slip::DrainForgotten,
        Slip::AnsweredTooEarly,
        Slip::OneDialled,
        Slip::DrainsUntold,
    ];

    /// The bug of a member's driver that shows it, if it is one.
    pub(super) fn flaw(self) -> Option<Flaw> {
        (self == Slip::AnsweredTooEarly).then_some(Flaw::AcknowledgedTooEarly)
    }
}
