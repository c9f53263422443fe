//! What has come in and is not part of the state yet.

use model::{AgentReport, NodeId, Request, RequestId, TaskId, TaskReport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Requests and reports. Of several reports of a task the newest counts.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) requests: VecDeque<(RequestId, Box<Request>)>,
    pub(super) reports: BTreeMap<TaskId, (NodeId, TaskReport)>,
    pub(super) volumes_removed: BTreeSet<(NodeId, String)>,
}

impl Inbox {
    pub(super) fn report(&mut self, node: NodeId, report: AgentReport) {
        self.reports.extend(report.tasks.into_iter().map(|report| (report.task, (node, report))));
        self.volumes_removed.extend(report.volumes_removed.into_iter().map(|volume| (node, volume)));
    }

    /// Takes back what came before.
    pub(super) fn put_back(&mut self, earlier: Inbox) {
        for asked in earlier.requests.into_iter().rev() {
            self.requests.push_front(asked);
        }
        for (task, report) in earlier.reports {
            self.reports.entry(task).or_insert(report);
        }
        self.volumes_removed.extend(earlier.volumes_removed);
    }
}

/// The entry that is under way, and what it was made of.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: u64,
    pub(super) inbox: Inbox,
}
