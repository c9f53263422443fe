//! When to write the ledger: one at a time, very soon where an order has changed, else soon.

use crate::ledger::Ledger;
use crate::task::Local;
use model::{AssignedTask, Assignment, TaskId, Time, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long what is only convenient to know may lie before it is written.
const LAZY: Duration = Duration::from_secs(1);

/// How long a changed order may lie. The managers' log has it already, so that only a node that loses
/// its power within this time and then finds no manager acts upon an older one; and what follows within
/// it (a short `run` is over) costs no write of its own.
const ORDERS: Duration = Duration::from_millis(100);

/// What was written, and what is still to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    number: u64,
    in_flight: Option<u64>,
    due: Option<Time>,
}

impl Memory {
    /// An order has changed.
    pub(crate) fn order(&mut self, now: Time) {
        let due = now.after(ORDERS);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Something is worth knowing.
    pub(crate) fn soon(&mut self, now: Time) {
        self.due = self.due.or(Some(now.after(LAZY)));
    }

    pub(crate) fn remembered(&mut self, number: u64) {
        if self.in_flight == Some(number) {
            self.in_flight = None;
        }
    }

    /// When there is something to write.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due.filter(|_| self.in_flight.is_none())
    }

    /// The number to write under, once it is time.
    pub(crate) fn take(&mut self, now: Time) -> Option<u64> {
        if self.due()? > now {
            return None;
        }
        self.due = None;
        self.number += 1;
        self.in_flight = Some(self.number);
        Some(self.number)
    }
}

/// What is remembered.
pub(crate) fn ledger(assignment: Option<&Assignment>, tasks: &BTreeMap<TaskId, Local>) -> Ledger {
    let known = tasks.values().filter(|local| local.wanted && is_worth(local));
    Ledger { assignment: assignment.cloned(), statuses: known.map(|local| (local.id, local.status())).collect() }
}

/// Would the host not tell?
fn is_worth(local: &Local) -> bool {
    local.ended() || local.health.as_ref().is_some_and(|health| health.shown().verdict != Verdict::Starting)
}

/// Do two assignments ask the same of the agent, whatever else they say?
pub(crate) fn same_orders(a: &Assignment, b: &Assignment) -> bool {
    let same = |a: &AssignedTask, b: &AssignedTask| {
        a.task.desired == b.task.desired
            && a.task.attempt == b.task.attempt
            && a.task.stopped_by_user == b.task.stopped_by_user
            && a.task.endpoints == b.task.endpoints
            && a.joins == b.joins
            && a.ports == b.ports
    };
    a.removed_volumes == b.removed_volumes
        && a.tasks.len() == b.tasks.len()
        && a.tasks.iter().zip(&b.tasks).all(|((a_id, a), (b_id, b))| a_id == b_id && same(a, b))
}
