//! Tasks that traffic is led to no longer, until every node that did has said so: a stop that came earlier would
//! refuse what is on its way.

use crate::cluster::{Cluster, TaskExt};
use model::{Generation, NodeId, Task, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Drains {
    tasks: BTreeMap<TaskId, Drain>,
}

#[derive(Debug)]
struct Drain {
    /// The assignments in which nodes hear of it.
    since: Generation,
    /// Those that have not said that they follow them.
    nodes: BTreeSet<NodeId>,
}

impl Drains {
    /// The nodes are about to hear, in assignments of this generation, that the task gets nothing any more.
    pub(super) fn begin(&mut self, task: &Task, nodes: &[NodeId], since: Generation) {
        let others = nodes.iter().copied().filter(|node| Some(*node) != task.node);
        let drain = self.tasks.entry(task.id).or_insert_with(|| Drain { since, nodes: BTreeSet::new() });
        drain.since = since;
        drain.nodes.extend(others);
    }

    /// The network of a node is as assignments of this generation want it; returns the tasks that nobody leads to
    /// any more.
    pub(super) fn follows(&mut self, node: NodeId, generation: Generation) -> Vec<TaskId> {
        self.release(node, |drain| drain.since <= generation)
    }

    /// A node is out of reach: whoever waits for it would wait for long.
    pub(super) fn lost(&mut self, node: NodeId) -> Vec<TaskId> {
        self.release(node, |_| true)
    }

    fn release(&mut self, node: NodeId, from: impl Fn(&Drain) -> bool) -> Vec<TaskId> {
        let mut over = Vec::new();
        self.tasks.retain(|id, drain| {
            if from(drain) {
                drain.nodes.remove(&node);
            }
            let waits = !drain.nodes.is_empty();
            over.extend((!waits).then_some(*id));
            waits
        });
        over
    }

    /// What has ended is sent nothing, whatever nodes think.
    pub(super) fn keep(&mut self, cluster: &Cluster) {
        let runs = |id: &TaskId| cluster.tasks.get(id).is_some_and(|task| !task.has_ended());
        self.tasks.retain(|id, drain| !drain.nodes.is_empty() && runs(id));
    }

    /// Is this node waited for?
    pub(super) fn awaits(&self, node: NodeId) -> bool {
        self.tasks.values().any(|drain| drain.nodes.contains(&node))
    }

    /// Is it to end, and may still be sent to?
    pub(super) fn holds(&self, task: &Task) -> bool {
        leaves(task) && self.tasks.contains_key(&task.id)
    }
}

/// Is it told to end, for good or to begin again?
pub(super) fn leaves(task: &Task) -> bool {
    !task.is_live() || task.stopped_by_user || task.status.attempt < task.attempt
}
