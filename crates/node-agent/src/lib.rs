//! Layer: pure.
//!
//! The mind of a node: from an assignment and what the host shows to the next effect of each task. No
//! clock, no randomness of its own, no I/O: the driver hands in time and results.

#![forbid(unsafe_code)]

mod agent;
mod effect;
mod ledger;

pub use agent::{Agent, AgentInput, AgentOutput};
pub use effect::{Effect, EffectError, EffectErrorKind, EffectId, Launch, LaunchFile, Net, NetFault, Outcome, Prepare};
pub use ledger::Ledger;
