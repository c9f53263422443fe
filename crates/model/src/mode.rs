//! How many tasks a service has, and whether they end by themselves.

use serde::{Deserialize, Serialize};

/// `deploy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// So many replicas anywhere.
    Replicated {
        /// How many.
        replicas: u32,
    },
    /// One on every eligible node.
    Global,
    /// Runs to completion `total` times, `concurrent` at once.
    ReplicatedJob {
        /// Completions wanted.
        total: u32,
        /// At most so many at once.
        concurrent: u32,
    },
    /// Runs to completion once on every eligible node.
    GlobalJob,
}

impl Mode {
    /// Does it run to completion?
    pub fn is_job(self) -> bool {
        matches!(self, Mode::ReplicatedJob { .. } | Mode::GlobalJob)
    }

    /// The same with so many; `None`: it runs once on every node.
    pub fn scaled(self, count: u32) -> Option<Mode> {
        match self {
            Mode::Replicated { .. } => Some(Mode::Replicated { replicas: count }),
            Mode::ReplicatedJob { concurrent, .. } => {
                Some(Mode::ReplicatedJob { total: count, concurrent: concurrent.min(count.max(1)) })
            }
            Mode::Global | Mode::GlobalJob => None,
        }
    }
}
