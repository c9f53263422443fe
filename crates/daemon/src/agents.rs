//! Sessions of agents: one between the agent of each node and the leader of the managers. The leader's own
//! agent has its session in this process, all others dial.
//!
//! A session is over when its connection breaks, when nothing at all was heard for [`SILENCE`], when its
//! manager does not lead any more, or when another session of the same node begins. Nothing is carried over
//! into the next one: the agent tells all again, and gets a whole assignment.

mod dial;
mod frames;
mod link;
pub(crate) mod place;
mod search;
mod serve;
mod switchboard;

#[cfg(test)]
mod tests;

pub(crate) use dial::run;
#[cfg(test)]
pub(crate) use frames::ToAgent as Order;
#[cfg(test)]
use link::SessionEnd;
pub(crate) use link::{AgentEnd, Said, pair};
pub(crate) use serve::serve;
pub(crate) use switchboard::{Io, Switchboard};

use std::time::Duration;

/// How often an agent gives a sign of life.
const ALIVE: Duration = Duration::from_millis(1500);
/// How long one side may be heard nothing of.
const SILENCE: Duration = Duration::from_secs(4);
