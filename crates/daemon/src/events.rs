//! What happened, for `events`: a bounded memory and whoever listens.

use crate::shared::Daemon;
use crate::streams::Sender;
use crate::{clock, relay};
use api::{Event, StreamCall, StreamItem};
use model::{NodeId, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Events kept for `events --since`: as many as dockerd keeps.
const KEPT: usize = 256;
/// How far a listener may fall behind before it loses events (and is told).
const BEHIND: usize = 1024;

/// Before a node whose events broke off is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// The events of one daemon.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Events { kept: Mutex::new(VecDeque::new()), sender: broadcast::channel(BEHIND).0 }
    }

    /// Tells everybody.
    pub(crate) fn emit(
        &self,
        kind: &str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: &[(&str, &str)],
    ) {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.emit_map(kind, action, id, attributes);
    }

    /// The same with attributes that are a map already.
    pub(crate) fn emit_map(
        &self,
        kind: &str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event {
            time_nano: clock::now_ns(),
            kind: kind.to_owned(),
            action: action.into(),
            id: id.into(),
            attributes,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Sent under the lock, so that a new listener neither misses nor repeats one.
        let _nobody_listens = self.sender.send(event);
    }

    /// What is remembered from `since` (milliseconds) on, and what comes.
    pub(crate) fn listen(&self, since: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let past = match since {
            None => Vec::new(),
            Some(since) => kept.iter().filter(|event| millis(event) >= since).cloned().collect(),
        };
        (past, self.sender.subscribe())
    }
}

/// When it happened, in milliseconds.
pub(crate) fn millis(event: &Event) -> u64 {
    u64::try_from(event.time_nano / 1_000_000).unwrap_or(0)
}

/// Passes on the events of all other nodes, also of those that come later; on a manager only.
pub(crate) async fn of_others(daemon: Arc<Daemon>, since: Option<u64>, until: Option<u64>, sender: Sender) {
    let manages = daemon.membership.as_ref().is_some_and(|membership| membership.identity().role == Role::Manager);
    if !manages {
        return;
    }
    let mut changes = daemon.cluster.changes();
    let mut readings = JoinSet::new();
    let mut begun: BTreeMap<NodeId, Option<u64>> = BTreeMap::new();
    let mut reading = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        let Ok(state) = daemon.cluster.state().await else { return };
        for node in state.nodes.iter().filter(|node| node.ready && node.id != daemon.node) {
            if reading.insert(node.id) {
                let since = begun.get(&node.id).copied().unwrap_or(since);
                readings.spawn(of_node(daemon.clone(), node.id, since, until, sender.clone()));
            }
        }
        if readings.is_empty() && until.is_some_and(|until| until <= clock::now().0) {
            return;
        }
        tokio::select! {
            Some(ended) = readings.join_next() => {
                let Ok((node, last)) = ended else { continue };
                if until.is_none_or(|until| until > clock::now().0) {
                    begun.insert(node, Some(last));
                    reading.remove(&node);
                    // One that breaks off at once is not asked again at once.
                    tokio::time::sleep(PAUSE).await;
                }
            }
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// Those of one node, until it goes away; then the moment from which on it has to be asked again.
async fn of_node(
    daemon: Arc<Daemon>,
    node: NodeId,
    since: Option<u64>,
    until: Option<u64>,
    sender: Sender,
) -> (NodeId, u64) {
    let mut last = clock::now().0;
    let call = StreamCall::Events { since, until };
    match relay::stream(&daemon, node, &call).await {
        Ok(mut items) => {
            while let Ok(Some(item)) = items.next().await {
                if let StreamItem::Event(event) = &item {
                    last = millis(event).saturating_add(1);
                }
                if sender.send(item).await.is_err() {
                    break;
                }
            }
        }
        Err(error) => tracing::debug!(node = %node.short(), "listen to its events: {error}"),
    }
    (node, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_listeners_miss_nothing() {
        let events = Events::new();
        for number in 0..KEPT + 5 {
            events.emit("container", "start", number.to_string(), &[("name", "x")]);
        }
        let (past, mut receiver) = events.listen(Some(0));
        assert_eq!(past.len(), KEPT);
        assert_eq!(past.first().map(|event| event.id.as_str()), Some("5"));
        events.emit("image", "pull", "y", &[]);
        assert_eq!(receiver.try_recv().map(|event| event.id), Ok("y".to_owned()));
        assert!(events.listen(None).0.is_empty());
    }
}
