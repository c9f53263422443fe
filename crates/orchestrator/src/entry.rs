//! What is in the log: facts, decided once, the same for every member.

use model::Time;
use serde::{Deserialize, Serialize};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided; never before the entry before it.
    pub at: Time,
}
