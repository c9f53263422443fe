//! Tasks that traffic is led to no longer, until every node that did has said so: a stop that came earlier would
//! refuse what is on its way.

use crate::cluster::{Cluster, TaskExt};
use model::{Assignment, Generation, NodeId, Task, TaskId};
use std::collections::BTreeMap;

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// By task: the nodes that have not said that they follow, and from which assignment on they would.
    tasks: BTreeMap<TaskId, BTreeMap<NodeId, Generation>>,
    /// The newest assignment that a node has said to follow.
    heard: BTreeMap<NodeId, Generation>,
}

impl Drains {
    /// The nodes are about to hear, in assignments of this generation, that the task gets nothing any more.
    pub(super) fn begin(&mut self, task: &Task, nodes: &[NodeId], since: Generation) {
        let others = nodes.iter().copied().filter(|node| Some(*node) != task.node);
        self.tasks.entry(task.id).or_default().extend(others.map(|node| (node, since)));
    }

    /// A node is not told what it was to hear in an assignment of this generation, since `last`, what it was told
    /// before, says the same. It may still have to follow that.
    pub(super) fn heard_before(&mut self, node: NodeId, since: Generation, last: &Assignment) {
        let has_followed = self.heard.get(&node).is_some_and(|heard| *heard >= last.generation);
        // Who is waited for by nobody says nothing, and has nothing to follow.
        let owed = (last.awaited && !has_followed).then_some(last.generation);
        for nodes in self.tasks.values_mut().filter(|nodes| nodes.get(&node) == Some(&since)) {
            match owed {
                Some(generation) => drop(nodes.insert(node, generation)),
                None => drop(nodes.remove(&node)),
            }
        }
        self.tasks.retain(|_, nodes| !nodes.is_empty());
    }

    /// The network of a node is as assignments of this generation want it; returns the tasks that nobody leads to
    /// any more.
    pub(super) fn follows(&mut self, node: NodeId, generation: Generation) -> Vec<TaskId> {
        let heard = self.heard.entry(node).or_insert(generation);
        *heard = generation.max(*heard);
        self.release(node, |since| since <= generation)
    }

    /// A node is out of reach: whoever waits for it would wait for long.
    pub(super) fn lost(&mut self, node: NodeId) -> Vec<TaskId> {
        self.heard.remove(&node);
        self.release(node, |_| true)
    }

    fn release(&mut self, node: NodeId, from: impl Fn(Generation) -> bool) -> Vec<TaskId> {
        let mut over = Vec::new();
        self.tasks.retain(|id, nodes| {
            if nodes.get(&node).is_some_and(|since| from(*since)) {
                nodes.remove(&node);
            }
            let waits = !nodes.is_empty();
            over.extend((!waits).then_some(*id));
            waits
        });
        over
    }

    /// What has ended is sent nothing, whatever nodes think.
    pub(super) fn keep(&mut self, cluster: &Cluster) {
        let runs = |id: &TaskId| cluster.tasks.get(id).is_some_and(|task| !task.has_ended());
        self.tasks.retain(|id, nodes| !nodes.is_empty() && runs(id));
    }

    /// Writes down who waits for whom.
    pub(super) fn tell(&self, assignment: &mut Assignment) {
        let tasks = assignment.tasks.values().map(|assigned| &assigned.task);
        let sent_to = tasks.filter(|task| leaves(task) && self.tasks.contains_key(&task.id));
        assignment.sent_to = sent_to.map(|task| task.id).collect();
        assignment.awaited = self.tasks.values().any(|nodes| nodes.contains_key(&assignment.node));
    }
}

/// Is it told to end, for good or to begin again?
pub(super) fn leaves(task: &Task) -> bool {
    !task.is_live() || task.stopped_by_user || task.status.attempt < task.attempt
}
