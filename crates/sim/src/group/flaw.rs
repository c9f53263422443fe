//! Bugs of a group that can be planted, to see that they are noticed.

/// A bug in how a member is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Consensus is told that something is on disk before it is: votes and acknowledgements leave too early.
    PersistedTooEarly,
    /// The disk loses in a crash what it had said to be safe.
    DiskLies,
    /// A client is told that its write is done when it has been proposed.
    AcknowledgedTooEarly,
    /// A member answers reads from what it has, without asking whether that is still true.
    ReadWithoutAsking,
    /// The id of a request is lost on the way: a retry counts as another request.
    RetryAppliedTwice,
    /// A member that is handed the leader's snapshot keeps the state that it had.
    SnapshotIgnored,
    /// A snapshot is said to include more than it does.
    SnapshotTooOld,
    /// A member leaves out an entry now and then.
    EntrySkipped,
    /// A member is made the only one of a group whose others live.
    SurvivorAmongTheLiving,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 9] = [
        Flaw::PersistedTooEarly,
        Flaw::DiskLies,
        Flaw::AcknowledgedTooEarly,
        Flaw::ReadWithoutAsking,
        Flaw::RetryAppliedTwice,
        Flaw::SnapshotIgnored,
        Flaw::SnapshotTooOld,
        Flaw::EntrySkipped,
        Flaw::SurvivorAmongTheLiving,
    ];
}
