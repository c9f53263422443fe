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
        self.release(|drain| drain.since <= generation && drain.nodes.remove(&node))
    }

    /// A node is out of reach: whoever waits for it would wait for long.
    pub(super) fn lost(&mut self, node: NodeId) -> Vec<TaskId> {
        self.release(|drain| drain.nodes.remove(&node))
    }

    fn release(&mut self, strike: impl Fn(&mut Drain) -> bool) -> Vec<TaskId> {
        let mut over = Vec::new();
        for (id, drain) in &mut self.tasks {
            if strike(drain) && drain.nodes.is_empty() {
                over.push(*id);
            }
        }
        self.forget(|drain| drain.nodes.is_empty());
        over
    }

    fn forget(&mut self, over: impl Fn(&Drain) -> bool) {
        self.tasks.retain(|_, drain| !over(drain));
    }

    /// What has ended is sent nothing, whatever nodes think.
    pub(super) fn keep(&mut self, cluster: &Cluster) {
        self.tasks.retain(|id, _| cluster.tasks.get(id).is_some_and(|task| !task.has_ended()));
        self.forget(|drain| drain.nodes.is_empty());
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
