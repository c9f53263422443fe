//! Where a client that wants to see a container's first byte meets the effect that starts it: the
//! client says beforehand what it waits for, the effect attaches before it starts.

use model::TaskId;
use runtime::engine::Session;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{oneshot, watch};

/// What a client waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaited {
    /// The first start of the standalone container of this name.
    Name(String),
    /// The next start of this container.
    Task(TaskId),
}

/// What it gets.
#[derive(Debug)]
pub(crate) enum Meeting {
    /// The session, opened before the start; as long as the sender lives, the container is not
    /// removed.
    Session(Session, watch::Sender<()>),
    /// It could not be started.
    Failed {
        /// Exit code in Docker's habit.
        exit_code: i32,
        /// Why.
        message: String,
    },
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    sender: oneshot::Sender<Meeting>,
    size: Option<(u16, u16)>,
}

/// An effect's side of a meeting.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) sender: oneshot::Sender<Meeting>,
    /// First size of the terminal.
    pub(crate) size: Option<(u16, u16)>,
}

/// Those who wait, and the containers whose output is still on its way to somebody.
#[derive(Debug, Default)]
pub(crate) struct Rendezvous {
    waiting: Mutex<BTreeMap<Awaited, Waiter>>,
    draining: Mutex<BTreeMap<TaskId, watch::Receiver<()>>>,
}

impl Rendezvous {
    /// Says that a client waits; `None` when another waits for the same.
    pub(crate) fn wait_for(&self, what: Awaited, size: Option<(u16, u16)>) -> Option<oneshot::Receiver<Meeting>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&what).is_some_and(|waiter| !waiter.sender.is_closed()) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(what, Waiter { sender, size });
        Some(receiver)
    }

    /// The client gave up.
    pub(crate) fn forget(&self, what: &Awaited) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// Is a client waiting for this? It is taken off the list.
    pub(crate) fn take(&self, what: &Awaited) -> Option<Host> {
        let waiter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(what)?;
        if waiter.sender.is_closed() {
            return None;
        }
        Some(Host { sender: waiter.sender, size: waiter.size })
    }

    /// Holds back the removal of the container until the returned value is dropped.
    pub(crate) fn drain(&self, task: TaskId) -> watch::Sender<()> {
        let (sender, receiver) = watch::channel(());
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).insert(task, receiver);
        sender
    }

    /// Returns when nobody reads the container's output any more.
    pub(crate) async fn drained(&self, task: TaskId) {
        let receiver = self.draining.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        if let Some(mut receiver) = receiver {
            while receiver.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn one_waits_and_one_comes() {
        let meetings = Rendezvous::default();
        let what = Awaited::Name("box".to_owned());
        let receiver = meetings.wait_for(what.clone(), Some((1, 2))).unwrap();
        assert!(meetings.wait_for(what.clone(), None).is_none());
        assert!(meetings.take(&Awaited::Task(TaskId(1))).is_none());
        assert_eq!(meetings.take(&what).map(|host| host.size), Some(Some((1, 2))));
        assert!(meetings.take(&what).is_none());
        drop(receiver);
        let gone = meetings.wait_for(what.clone(), None);
        drop(gone);
        assert!(meetings.take(&what).is_none(), "the client has left");
    }
}
