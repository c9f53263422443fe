//! What a node has to know of the cluster around it, made from the state.

use crate::identity::Peer;
use crate::shared::Daemon;
use model::{NodeId, Role, Root, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A node's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What it is.
    pub(crate) role: Role,
    /// Its number in the managers' group, as a manager.
    pub(crate) member: Option<u64>,
    /// Whom to dial.
    pub(crate) managers: Vec<Peer>,
    /// What is trusted; the first one signs.
    pub(crate) roots: Vec<Root>,
}

/// The places of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    nodes: BTreeMap<NodeId, (Role, Option<u64>)>,
    managers: Vec<Peer>,
    roots: Vec<Root>,
    /// There is a state to go by: an empty one says nothing about who was removed.
    known: bool,
}

impl Places {
    pub(crate) fn of(state: &State) -> Places {
        let nodes = state.nodes.iter().filter(|node| !node.left);
        Places {
            nodes: nodes.map(|node| (node.id, (node.role(), node.member))).collect(),
            managers: state.nodes.iter().filter_map(Peer::of).collect(),
            roots: state.cluster.as_ref().map(|cluster| cluster.roots.clone()).unwrap_or_default(),
            known: state.cluster.is_some(),
        }
    }

    /// That of one node. `member`: the number that it has in the managers' group now. As long as it is `in_group`
    /// it remains a manager, whatever the state says: the others may need its vote to let it go.
    pub(crate) fn place(&self, node: NodeId, member: Option<u64>, in_group: bool) -> Option<Place> {
        let (role, number) = *self.nodes.get(&node)?;
        let (role, number) = match (role, member) {
            (Role::Worker, Some(member)) if in_group => (Role::Manager, Some(member)),
            _ => (role, number),
        };
        Some(Place { role, member: number, managers: self.managers.clone(), roots: self.roots.clone() })
    }

    /// Where the manager of this number is reached.
    pub(crate) fn address(&self, member: u64) -> Option<String> {
        self.manager(member).map(|peer| peer.address.clone())
    }

    /// The manager of this number.
    pub(crate) fn manager(&self, member: u64) -> Option<&Peer> {
        self.managers.iter().find(|peer| peer.member == member)
    }

    /// Is it known to be no part of the cluster?
    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        self.known && !self.nodes.contains_key(&node)
    }
}

/// Looks at the state at most so often: while much changes, places mostly do not.
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps the places up to date until the daemon stops.
pub(crate) async fn watch(daemon: Arc<Daemon>) {
    let mut changes = daemon.cluster.changes();
    let look = async {
        loop {
            changes.borrow_and_update();
            let Ok(state) = daemon.cluster.state().await else { return };
            let now = Arc::new(Places::of(&state));
            daemon.agents.places.send_if_modified(|places| std::mem::replace(places, now.clone()) != now);
            tokio::time::sleep(PAUSE).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = look => {}
        () = daemon.stop.cancelled() => {}
    }
}
