//! Which nodes are there. Last-seen times live in the leader's memory; that a node is down is a fact.

use crate::cluster::TaskExt;
use crate::draft::Draft;
use model::{Availability, NodeId, TaskState, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a node may be away after its session broke. Agents dial again within a second.
const SILENCE: Duration = Duration::from_secs(3);

/// How long a leader that has just begun waits for agents that have not found it yet. Those of a leader that
/// was cut off notice that after four seconds of silence, and have found the new one a second later; that one
/// was elected at least a second before.
const WELCOME: Duration = Duration::from_secs(5);

/// What the leader knows of its agents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liveness {
    /// Nodes with a session.
    pub(crate) present: BTreeMap<NodeId, ()>,
    /// When those without one are taken for lost.
    pub(crate) lost_at: BTreeMap<NodeId, Time>,
}

impl Liveness {
    /// A leader begins: it has heard of nobody but those who are here.
    pub(crate) fn begin(&mut self, nodes: impl Iterator<Item = NodeId>, now: Time) {
        self.lost_at =
            nodes.filter(|node| !self.present.contains_key(node)).map(|node| (node, now.after(WELCOME))).collect();
    }

    /// An agent is connected.
    pub(crate) fn up(&mut self, node: NodeId) {
        self.present.insert(node, ());
        self.lost_at.remove(&node);
    }

    /// Its connection broke.
    pub(crate) fn down(&mut self, node: NodeId, now: Time) {
        if self.present.remove(&node).is_some() {
            self.lost_at.insert(node, now.after(SILENCE));
        }
    }

    /// It said nothing for longer than it may.
    pub(crate) fn silent(&mut self, node: NodeId, now: Time) {
        if self.present.remove(&node).is_some() {
            self.lost_at.insert(node, now);
        }
    }
}

pub(crate) fn step(draft: &mut Draft<'_>, seen: &Liveness) {
    for (id, at) in &seen.lost_at {
        if *at > draft.now {
            draft.wake_at(*at);
        } else if draft.cluster().nodes.get(id).is_some_and(|node| node.ready)
            && let Some(node) = draft.edit().nodes.get_mut(id)
        {
            Arc::make_mut(node).ready = false;
        }
    }
    for id in seen.present.keys() {
        if draft.cluster().nodes.get(id).is_some_and(|node| !node.ready && !node.left)
            && let Some(node) = draft.edit().nodes.get_mut(id)
        {
            Arc::make_mut(node).ready = true;
        }
    }
    orphan(draft);
}

/// Tasks of nodes that are down are given up, if there is another node that could take them: where there
/// is none nothing is won, and a node that comes back finds its tasks as they were.
fn orphan(draft: &mut Draft<'_>) {
    let nodes = &draft.cluster().nodes;
    if nodes.values().all(|node| node.ready)
        || !nodes.values().any(|node| node.ready && node.availability == Availability::Active)
    {
        return;
    }
    let cluster = draft.cluster();
    let down = nodes.values().filter(|node| !node.ready);
    let lost: Vec<_> = down
        .flat_map(|node| cluster.tasks_on(node.id))
        .filter(|task| !task.status.state.is_terminal() && task.is_live() && !task.spec.standalone)
        .map(|task| task.id)
        .collect();
    let now = draft.now;
    for id in lost {
        draft.edit().edit_task(id, |task| {
            task.status.state = TaskState::Orphaned;
            task.status.attempt = task.attempt;
            task.status.since = now;
            task.status.message = "its node is down".to_owned();
            task.status.container = None;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_session_is_waited_for_and_a_silent_one_is_not() {
        let mut seen = Liveness::default();
        seen.up(NodeId(1));
        seen.up(NodeId(2));
        seen.down(NodeId(1), Time(1_000));
        seen.silent(NodeId(2), Time(1_000));
        assert_eq!(seen.lost_at, [(NodeId(1), Time(1_000).after(SILENCE)), (NodeId(2), Time(1_000))].into());
        seen.silent(NodeId(1), Time(2_000));
        assert_eq!(seen.lost_at.get(&NodeId(1)), Some(&Time(1_000).after(SILENCE)), "it has no session");
        seen.up(NodeId(1));
        assert!(!seen.lost_at.contains_key(&NodeId(1)));
    }
}
