//! What happened, for `events`: a bounded memory and whoever listens.

use crate::clock;
use api::Event;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events kept for `events --since`: as many as dockerd keeps.
const KEPT: usize = 256;
/// How far a listener may fall behind before it loses events (and is told).
const BEHIND: usize = 1024;

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
