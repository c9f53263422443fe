//! A container as the engine knows it.

use crate::engine::NetMode;
use crate::record::Config;
use model::{Exit, Observed, ObservedState, TaskId, Time};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not made yet, or removed.
    Absent,
    /// Made, never ran.
    Created,
    /// Runs.
    Running { pid: u32, started_at: Time, paused: bool },
    /// Ran and ended.
    Exited(Exit),
}

/// All that changes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) phase: Phase,
    pub(super) attempt: u32,
    pub(super) restarts: u32,
}

/// One container.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: TaskId,
    /// Held while it is made, started or removed: one of these at a time.
    pub(super) operation: tokio::sync::Mutex<()>,
    pub(super) seen: watch::Sender<Seen>,
    config: Mutex<Option<Arc<Config>>>,
    /// Sessions that wait for its next start: the shim's ends.
    waiting: Mutex<Vec<UnixStream>>,
}

impl Entry {
    pub(super) fn new(task: TaskId, seen: Seen, config: Option<Config>) -> Self {
        Entry {
            task,
            operation: tokio::sync::Mutex::new(()),
            seen: watch::Sender::new(seen),
            config: Mutex::new(config.map(Arc::new)),
            waiting: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn absent(task: TaskId) -> Self {
        Entry::new(task, Seen { phase: Phase::Absent, attempt: 0, restarts: 0 }, None)
    }

    pub(super) fn phase(&self) -> Phase {
        self.seen.borrow().phase
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.seen.send_modify(|seen| seen.phase = phase);
    }

    /// What it was made from; `None` if its making was cut short.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_config(&self, config: Option<Arc<Config>>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Keeps a session for the next start; false if too many wait already.
    pub(super) fn wait_for_start(&self, session: UnixStream, most: usize) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(is_open);
        let room = waiting.len() < most;
        if room {
            waiting.push(session);
        }
        room
    }

    pub(super) fn take_waiting(&self) -> Vec<UnixStream> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As `list` says it.
    pub(super) fn observed(&self) -> Option<Observed> {
        let seen = *self.seen.borrow();
        let state = match seen.phase {
            Phase::Absent => return None,
            Phase::Created => ObservedState::Created,
            Phase::Running { pid, started_at, paused } => ObservedState::Running { pid, started_at, paused },
            Phase::Exited(exit) => ObservedState::Exited(exit),
        };
        let config = self.config();
        let space = config.as_ref().and_then(|config| match &config.create.net {
            NetMode::Host => None,
            NetMode::Path(path) => path.file_name()?.to_str()?.parse().ok(),
        });
        let hosts = config.as_ref().map(|config| config.create.hosts.clone()).unwrap_or_default();
        let volumes_of = config.as_ref().and_then(|config| config.create.volumes_of);
        Some(Observed {
            task: self.task,
            attempt: seen.attempt,
            state,
            restart_count: seen.restarts,
            space,
            hosts,
            volumes_of,
        })
    }
}

/// Has its other end not been closed?
fn is_open(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}
