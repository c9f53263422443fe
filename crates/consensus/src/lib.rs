//! Layer: pure.
//!
//! One Raft group behind a seam without I/O: [`Raft::handle`] takes an [`Input`] (a tick, a
//! proposal, a message, the news that something is on disk), [`Raft::poll`] gives [`Output`]s
//! (persist this, send that, this is committed). The driver owns clock, disk and network, so a
//! simulator can drive the very same machine.
//!
//! The promise of the seam: whatever is sent, committed or announced leaves only after all that it
//! rests on was reported durable with [`Input::Persisted`]. Underneath is the `raft` crate; none of
//! its types show.

#![forbid(unsafe_code)]

mod group;
mod machine;
mod membership;
mod memory;
mod proposals;
mod stable;
mod wire;

pub use group::Progress;
pub use machine::{Config, Error, Input, Output, Persist, Raft, Role};
pub use membership::{Step, next_step, outlives};
pub use proposals::Proposals;
pub use stable::{Entry, EntryKind, HardState, Member, Members, Snapshot, Stable};
pub use wire::sender;
