//! Layer: pure.
//!
//! The mind of a node: from an assignment and what the host shows to the next effect of each task. No
//! clock, no randomness of its own, no I/O: the driver hands in time and results.

#![forbid(unsafe_code)]

mod agent;
mod backoff;
mod drain;
mod effect;
mod elsewhere;
mod health;
mod hosts;
mod land;
mod launch;
mod ledger;
mod memory;
mod net;
mod recover;
mod report;
mod restart;
mod settle;
mod task;
mod template;
mod volumes;

pub use agent::{Agent, AgentInput, AgentOutput};
pub use effect::{
    Effect, EffectError, EffectErrorKind, EffectId, Hosts, Launch, LaunchFile, Net, NetFault, Outcome, Prepare,
    WriteHosts,
};
pub use health::is_checked;
pub use ledger::Ledger;
pub use template::Machine;
