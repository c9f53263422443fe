//! Layer: pure.
//!
//! The brain: the cluster as state ([`Manager`] holds it), facts that change it, and the planner that
//! decides the next facts.

#![forbid(unsafe_code)]

mod entry;
mod manager;

pub use entry::Entry;
pub use manager::{Manager, ManagerInput, ManagerOutput};

/// The replicated state as a value that can be written down.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {}
