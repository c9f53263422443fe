//! Containers as clients see them.

use model::{ContainerState, TaskId, Time, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of `ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRow {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Image as the user wrote it.
    pub image: String,
    /// What it runs, with arguments.
    pub command: String,
    /// When it was made.
    pub created: Time,
    /// `None`: not made yet (its task waits).
    pub state: Option<ContainerState>,
    /// State of its task, lower-case (`preparing`, `running`, …).
    pub task_state: model::TaskState,
    /// Why it waits or failed.
    pub message: String,
    /// Of the last run.
    pub exit_code: Option<i32>,
    /// Began.
    pub started_at: Option<Time>,
    /// Ended.
    pub finished_at: Option<Time>,
    /// Health.
    pub health: Option<Verdict>,
    /// `0.0.0.0:8080->80/tcp`.
    pub ports: Vec<String>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Networks by name, with the address on each.
    pub networks: BTreeMap<String, String>,
    /// Mounted volumes and paths.
    pub mounts: Vec<String>,
    /// Stack, if any.
    pub stack: Option<String>,
    /// Key of its service in the stack.
    pub service: String,
    /// Slot.
    pub slot: u32,
    /// In-place restarts.
    pub restart_count: u32,
}

/// One reading of a container's use of resources; counters are totals since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Container id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was read, milliseconds since the epoch.
    pub read_at: u64,
    /// CPU time used, nanoseconds.
    pub cpu_ns: u64,
    /// CPUs that it may use, for percentages.
    pub cpus: u32,
    /// Memory in use without inactive page cache, bytes.
    pub memory: u64,
    /// Its limit, or the machine's memory, bytes.
    pub memory_limit: u64,
    /// Received, bytes, all interfaces but loopback.
    pub net_rx: u64,
    /// Sent, bytes.
    pub net_tx: u64,
    /// Read from block devices, bytes.
    pub block_read: u64,
    /// Written to block devices, bytes.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// `top`: the container's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopTable {
    /// `UID PID PPID C STIME TTY TIME CMD`, or those that options of `ps` choose.
    pub titles: Vec<String>,
    /// A row a process, PIDs as the host sees them.
    pub processes: Vec<Vec<String>>,
}
