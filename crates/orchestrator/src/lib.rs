//! Layer: pure.
//!
//! The brain: the cluster as state ([`Manager`] holds it), facts that change it, and the planner that
//! decides the next facts.
//!
//! The road of a decision: a request or a report goes into a draft of the state, the planner adds what
//! follows from it, the difference to the state is proposed as one [`Entry`], and when that is committed
//! it becomes the state of every member, from which each node gets its assignment.

#![forbid(unsafe_code)]

mod address;
mod apply;
mod assign;
mod change;
mod cluster;
mod draft;
mod entry;
mod explain;
mod manager;
mod observe;
mod plan;
mod preview;
mod request;
mod snapshot;
mod usage;

pub use change::{Change, NewTask, ServiceEdit, TaskEdit};
pub use cluster::{Failures, Followed, RemovingStack};
pub use entry::Entry;
pub use manager::{Manager, ManagerInput, ManagerOutput};
pub use plan::dirty::is_dirty;
pub use preview::preview;
pub use snapshot::Snapshot;
