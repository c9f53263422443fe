//! Tasks: one attempt each to fill a slot of a service, on one node, in one container.

use crate::ids::{NodeId, ServiceId, TaskId};
use crate::network::Endpoint;
use crate::spec::ServiceSpec;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A task as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id, and its container's.
    pub id: TaskId,
    /// The service that it belongs to.
    pub service: ServiceId,
    /// Slot number from 1 (replicated), or 0 where the node is the slot (global).
    pub slot: u32,
    /// The spec that it was made from; never changes.
    pub spec: Arc<ServiceSpec>,
    /// Version of that spec.
    pub spec_version: u64,
    /// Where it runs, once scheduled.
    pub node: Option<NodeId>,
    /// What it should come to; only rises.
    pub desired: Desired,
    /// Which start of the container is wanted; `start` and `restart` raise it. (attempt, state)
    /// rises lexicographically.
    pub attempt: u32,
    /// A person stopped it: it holds its slot and is not replaced until started again.
    pub stopped_by_user: bool,
    /// Signal to stop with if not the spec's (`kill -s`).
    pub stop_signal: Option<String>,
    /// Grace to stop with if not the spec's (`stop -t`), in seconds.
    pub stop_timeout: Option<u64>,
    /// Addresses, one per network, in order of attachment.
    pub endpoints: Vec<Endpoint>,
    /// What was last seen of it.
    pub status: TaskStatus,
    /// When it was made.
    pub created: Time,
    /// Not to be started before (restart delay).
    pub not_before: Time,
    /// When earlier tasks of the slot were replaced for having ended: what `max_attempts` counts. Kept
    /// only where the policy has such a limit.
    #[serde(default)]
    pub restarts: Vec<Time>,
    /// Anonymous volumes go with the container.
    #[serde(default)]
    pub remove_volumes: bool,
    /// What the task that it replaces has left.
    #[serde(default)]
    pub inherits: Option<Heritage>,
}

/// Anonymous volumes that a task leaves to the one that replaces it (Compose).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heritage {
    /// Where they are; on another node there is nothing to go on with.
    pub node: NodeId,
    /// The first task that had them.
    pub from: TaskId,
}

impl Task {
    /// Its name, and its container's: `container_name`, a standalone's own name, else
    /// `PROJECT_SERVICE.SLOT.TASKID` (`.NODEID.` where the node is the slot).
    pub fn name(&self) -> String {
        if let Some(name) = &self.spec.container.container_name {
            return name.clone();
        }
        if self.spec.standalone {
            return self.spec.name.clone();
        }
        match self.node {
            Some(node) if self.slot == 0 => format!("{}.{node}.{}", self.spec.name, self.id),
            _ => format!("{}.{}.{}", self.spec.name, self.slot, self.id),
        }
    }

    /// Whose anonymous volumes it has: those of the first of the tasks that replaced each other on its node.
    pub fn volumes_of(&self) -> TaskId {
        self.inherits.filter(|it| Some(it.node) == self.node).map_or(self.id, |it| it.from)
    }

    /// Does it run, and pass its health check if it has one?
    pub fn is_serving(&self) -> bool {
        self.status.state == TaskState::Running
            && self.status.attempt == self.attempt
            && self.status.container.as_ref().is_some_and(|c| {
                c.state == ContainerState::Running && c.health.as_ref().is_none_or(|h| h.verdict == Verdict::Healthy)
            })
    }
}

/// What the agent reports of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Which start this speaks of.
    pub attempt: u32,
    /// How far it came.
    pub state: TaskState,
    /// When it came there.
    pub since: Time,
    /// Why, for people: `exit code 3`, `image not found: …`.
    pub message: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
}

/// Where a task stands. Only rises within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Made by the reconciler.
    New,
    /// Addresses and ports are allocated; waits for a node.
    Pending,
    /// Has a node.
    Assigned,
    /// The agent has it.
    Accepted,
    /// Image, network and volumes are being made ready.
    Preparing,
    /// Could start at once.
    Ready,
    /// Is being started.
    Starting,
    /// Runs (or waits for its next in-place restart).
    Running,
    /// Ended by itself with 0.
    Complete,
    /// Ended because it was told to.
    Shutdown,
    /// Ended otherwise, or turned unhealthy.
    Failed,
    /// Could not be started at all (no such image, port taken, bad mount).
    Rejected,
    /// Its node was lost.
    Orphaned,
}

impl TaskState {
    /// Nothing runs any more.
    pub fn is_terminal(self) -> bool {
        self >= TaskState::Complete
    }
}

/// What should become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Prepared but not started (waits for a dependency or its turn in an update).
    Ready,
    /// Running.
    Running,
    /// Stopped; its container is kept for `logs` and `inspect` until the history is cut.
    Shutdown,
    /// Gone, with all that it left on the host.
    Remove,
}

/// A container as its node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its state.
    pub state: ContainerState,
    /// PID of its init on the host while running, else 0.
    pub pid: u32,
    /// Of the last run.
    pub exit_code: Option<i32>,
    /// The last run was ended by the out-of-memory killer.
    pub oom_killed: bool,
    /// In-place restarts so far.
    pub restart_count: u32,
    /// When the present or last run began.
    pub started_at: Option<Time>,
    /// When the last run ended.
    pub finished_at: Option<Time>,
    /// Result of the health check, if it has one.
    pub health: Option<Health>,
    /// Host ports that were chosen: `80/tcp` → host ports.
    pub ports: BTreeMap<String, Vec<u16>>,
}

/// State of a container, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Waits for its in-place restart.
    Restarting,
    /// Ended.
    Exited,
}

/// Verdict of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub verdict: Verdict,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, newest last, at most 5.
    pub log: Vec<HealthResult>,
}

/// Health of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not known yet.
    Starting,
    /// Passes.
    Healthy,
    /// Failed too often in a row.
    Unhealthy,
}

/// One run of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// Exit code, -1 for a timeout or one that could not run.
    pub exit_code: i32,
    /// The first 4096 bytes that it wrote.
    pub output: String,
}
