//! Who may do what on the cluster port: what the certificate says, held against the state.

use crate::shared::Daemon;
use model::{NodeId, Role, State};
use pki::{PeerIdentity, PeerRole};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Looks at the state at most so often.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is in, as of a revision of the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    revision: u64,
    nodes: BTreeMap<NodeId, Role>,
    clients: BTreeSet<NodeId>,
}

impl Members {
    pub(crate) fn of(state: &State) -> Members {
        let nodes = state.nodes.iter().filter(|node| !node.left);
        let clients = state.cluster.iter().flat_map(|cluster| cluster.clients.keys().copied());
        Members {
            revision: state.revision,
            nodes: nodes.map(|node| (node.id, node.role())).collect(),
            clients: clients.collect(),
        }
    }

    /// As what a peer is let in; `None`: not at all.
    ///
    /// A manager may lag behind: it has not heard of nodes whose certificate was signed upon a state to come, and
    /// takes them for what they say. One whose certificate is older than the state and who is not in it was
    /// removed. (A manager that has just joined knows nobody, and must listen to the leader all the same.) A client
    /// is nobody's need: one that is not heard of has to wait.
    pub(crate) fn admit(&self, peer: &PeerIdentity) -> Option<PeerRole> {
        let ahead = self.is_behind(peer) || self.nodes.is_empty();
        match (peer.role, self.nodes.get(&peer.node)) {
            (PeerRole::Client, _) => self.clients.contains(&peer.node).then_some(PeerRole::Client),
            // Promoted or demoted, and not renewed yet: the lesser of both.
            (PeerRole::Worker, Some(_)) => Some(PeerRole::Worker),
            (PeerRole::Manager, Some(Role::Worker)) if !ahead => Some(PeerRole::Worker),
            (PeerRole::Manager, Some(_)) => Some(PeerRole::Manager),
            (role, None) => ahead.then_some(role),
        }
    }

    /// Was its certificate signed upon a state that is still to come here?
    pub(super) fn is_behind(&self, peer: &PeerIdentity) -> bool {
        peer.since > self.revision
    }
}

/// Keeps up with the state, and cuts off whoever is not in it any more, until the daemon stops.
pub(super) async fn watch(daemon: Arc<Daemon>) {
    let Some(peers) = daemon.peers.clone() else { return };
    let mut changes = daemon.cluster.changes();
    loop {
        changes.borrow_and_update();
        let Ok(state) = daemon.cluster.state().await else { return };
        let members = Arc::new(Members::of(&state));
        peers.members.send_replace(members.clone());
        peers.connections.cut(|peer| members.admit(peer).is_none());
        tokio::time::sleep(PAUSE).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClusterId, Node};

    fn members() -> Members {
        let node = |id, manager, left| Node { manager, left, ..Node::new(NodeId(id), "") };
        let nodes = vec![node(1, true, false), node(2, false, false), node(3, true, true)];
        let members = Members::of(&State { revision: 10, nodes, ..State::default() });
        Members { clients: BTreeSet::from([NodeId(8)]), ..members }
    }

    #[test]
    fn who_knows_nobody_yet_listens_to_the_first_manager() {
        let first = PeerIdentity { cluster: ClusterId(1), node: NodeId(1), role: PeerRole::Manager, since: 0 };
        assert_eq!(Members::default().admit(&first), Some(PeerRole::Manager));
    }

    fn admit(node: u128, role: PeerRole, since: u64) -> Option<PeerRole> {
        members().admit(&PeerIdentity { cluster: ClusterId(1), node: NodeId(node), role, since })
    }

    #[test]
    fn the_lesser_of_what_certificate_and_state_say_counts() {
        assert_eq!(admit(1, PeerRole::Manager, 5), Some(PeerRole::Manager));
        assert_eq!(admit(1, PeerRole::Worker, 5), Some(PeerRole::Worker), "promoted, not renewed yet");
        assert_eq!(admit(2, PeerRole::Worker, 5), Some(PeerRole::Worker));
        assert_eq!(admit(2, PeerRole::Manager, 5), Some(PeerRole::Worker), "demoted, not renewed yet");
        assert_eq!(admit(2, PeerRole::Manager, 11), Some(PeerRole::Manager), "promoted, not heard of yet");
    }

    #[test]
    fn whoever_was_removed_or_has_left_is_out_and_whoever_is_not_heard_of_yet_is_in() {
        assert_eq!(admit(9, PeerRole::Manager, 10), None);
        assert_eq!(admit(3, PeerRole::Manager, 10), None);
        assert_eq!(admit(9, PeerRole::Manager, 11), Some(PeerRole::Manager));
        assert_eq!(admit(8, PeerRole::Client, 0), Some(PeerRole::Client));
        for since in [0, 11] {
            assert_eq!(admit(9, PeerRole::Client, since), None, "a client that was removed, or is not heard of yet");
        }
        let peer = PeerIdentity { cluster: ClusterId(1), node: NodeId(1), role: PeerRole::Manager, since: 1 };
        assert_eq!(Members::default().admit(&peer), Some(PeerRole::Manager), "one who has just joined knows nobody");
    }
}
