//! What a plan asks of every task of a service, side by side: a plan asks it of all of them several times, and most
//! of what that would cost is memory that is far away.

use super::TaskExt;
use model::{Desired, Endpoint, NodeId, Task, TaskState};
use std::cmp::Ordering;
use std::net::IpAddr;

/// The part of a task that decides whether a step of the plan has to look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Brief {
    pub(crate) node: Option<NodeId>,
    /// See [`Task::slot`].
    pub(crate) number: u32,
    pub(crate) spec_version: u64,
    pub(crate) desired: Desired,
    pub(crate) state: TaskState,
    /// The attempt that the state is of, beside the one that is wanted.
    attempt: Ordering,
    pub(crate) stopped_by_user: bool,
}

impl Brief {
    pub(super) fn of(task: &Task) -> Brief {
        Brief {
            node: task.node,
            number: task.slot,
            spec_version: task.spec_version,
            desired: task.desired,
            state: task.status.state,
            attempt: task.status.attempt.cmp(&task.attempt),
            stopped_by_user: task.stopped_by_user,
        }
    }
}

impl TaskExt for Brief {
    fn is_live(&self) -> bool {
        self.desired <= Desired::Running
    }

    fn has_ended(&self) -> bool {
        self.state.is_terminal() && self.attempt.is_ge()
    }

    fn is_running(&self) -> bool {
        self.state == TaskState::Running && self.attempt.is_eq()
    }
}

/// What a task holds of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) address: IpAddr,
    pub(crate) address6: Option<IpAddr>,
    /// It holds nothing any more.
    pub(crate) has_ended: bool,
    /// It holds more than this.
    pub(crate) has_more: bool,
}

impl Seat {
    pub(super) fn of(task: &Task, endpoint: &Endpoint) -> Seat {
        let there = task.endpoints.iter().filter(|other| other.network == endpoint.network).count();
        Seat {
            address: endpoint.address,
            address6: endpoint.address6,
            has_ended: task.has_ended(),
            has_more: there > 1,
        }
    }
}
