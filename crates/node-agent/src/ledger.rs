//! What an agent remembers over restarts of the daemon and of the machine.

use model::{Assignment, TaskId, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest assignment, and what is not found on the host itself. The driver seals it: contents of
/// secrets are in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The newest assignment.
    pub assignment: Option<Assignment>,
    /// What the host cannot tell: how tasks ended (told to, unhealthy, never started), and the health
    /// of those that run.
    pub statuses: BTreeMap<TaskId, TaskStatus>,
}
