//! The agent's driver: inputs in, outputs out. Effects run at the same time as each other; the agent
//! itself sees to it that one task has one in flight.

use crate::cluster::Message;
use crate::effects::Hands;
use crate::shared::Daemon;
use crate::{clock, config};
use model::{Assignment, PowerAction, Request};
use node_agent::{Agent, AgentInput, AgentOutput, EffectError, EffectId, Outcome};
use runtime::engine::RuntimeEvent;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Landed = (EffectId, Result<Outcome, EffectError>);

/// Where an agent gets its inputs from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The newest is all that counts.
    pub(crate) assignments: mpsc::UnboundedReceiver<Box<Assignment>>,
    pub(crate) runtime: mpsc::UnboundedReceiver<RuntimeEvent>,
}
