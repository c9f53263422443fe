//! What is in the log: facts, decided once, the same for every member.

use crate::change::Change;
use model::{RequestId, Response, Time};
use serde::{Deserialize, Serialize};

/// One entry of the log: everything that a leader decided at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided; never before the entry before it.
    pub at: Time,
    /// The revision that it was decided upon. If the cluster is past it the entry changes nothing.
    pub base: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// That leader's mark, to know its own entries again.
    pub ticket: u64,
    /// The facts, in an order in which they can be applied.
    pub changes: Vec<Change>,
    /// What clients are answered, so that a repeated request gets the same answer.
    pub answers: Vec<(RequestId, Response)>,
}
