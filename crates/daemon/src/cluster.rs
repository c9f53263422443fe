//! The handle on the manager's thread: requests in, answers and the state out.

use crate::failure;
use api::ApiError;
use model::{AgentReport, Assignment, ClusterInfo, Node, NodeId, Request, RequestId, Response, Source, State, TaskId};
use orchestrator::Snapshot;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// What the manager's thread is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client asks.
    Request(RequestId, Box<Request>, oneshot::Sender<Response>),
    /// The state as it is.
    State(oneshot::Sender<Arc<State>>),
    /// The whole of it, for those who look at a copy.
    Snapshot(oneshot::Sender<Box<Snapshot>>),
    /// Sources with their credentials, and whether this member leads.
    Sources(oneshot::Sender<(bool, Vec<Arc<Source>>)>),
    /// What the cluster is, with its secrets.
    Info(oneshot::Sender<Option<Arc<ClusterInfo>>>),
    /// The agent of a node is connected.
    SessionUp {
        /// As it describes its machine.
        node: Box<Node>,
        /// Tells the sessions of a node apart; rises.
        session: u64,
        /// Where its assignments go; the newest is all that counts.
        assign: watch::Sender<Option<Arc<Assignment>>>,
    },
    /// What it tells of its machine has changed.
    Described(Box<Node>),
    /// The session is over; `silent`: because nothing was heard for longer than a node may say nothing.
    SessionLost {
        /// Whose.
        node: NodeId,
        /// Which.
        session: u64,
        /// It may be gone: nobody waits for it any longer.
        silent: bool,
    },
    /// A node tells.
    Report(NodeId, AgentReport),
    /// End.
    Stop(oneshot::Sender<()>),
}

/// Who leads the managers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Leader {
    /// Nobody known.
    #[default]
    Unknown,
    /// This member, which has seen all that was committed before.
    Me,
    /// The member of this number.
    Member(u64),
}

/// The managers' group as this member sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Who leads it.
    pub(crate) leader: Leader,
    /// All members: voters, old and new, and learners.
    pub(crate) members: BTreeSet<u64>,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    inbox: std_mpsc::Sender<Message>,
    changed: watch::Receiver<u64>,
    group: watch::Receiver<Group>,
}

impl Cluster {
    pub(crate) fn new(
        inbox: std_mpsc::Sender<Message>,
        changed: watch::Receiver<u64>,
        group: watch::Receiver<Group>,
    ) -> Self {
        Cluster { inbox, changed, group }
    }

    /// Who leads, and who belongs to it; turns when that changes.
    pub(crate) fn group(&self) -> watch::Receiver<Group> {
        self.group.clone()
    }

    /// What the cluster is, with its secrets; `None` on a machine of its own, and on workers.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn info(&self) -> Result<Option<Arc<ClusterInfo>>, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Info(sender));
        receiver.await.map_err(|_| gone())
    }

    /// Tells the manager something that has no answer.
    pub(crate) fn tell(&self, message: Message) {
        if self.inbox.send(message).is_err() {
            tracing::debug!("the manager has ended");
        }
    }

    /// Asks, and waits until the answer is committed.
    ///
    /// # Errors
    /// Refusals and a daemon that is on its way out.
    pub(crate) async fn request(&self, id: RequestId, request: Request) -> Result<Response, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Request(id, Box::new(request), sender));
        receiver.await.map_err(|_| gone())
    }

    /// The same with an id of its own, for what the daemon itself asks; a refusal is an error.
    pub(crate) async fn ask(&self, request: Request) -> Result<Option<String>, ApiError> {
        let bytes = crate::config::random().map_err(|error| failure::failed(format!("{error:#}")))?;
        match self.request(RequestId(u128::from_be_bytes(bytes)), request).await? {
            Response::Done { id, .. } => Ok(id),
            Response::Refused { kind, diagnostics } => Err(failure::refused(kind, &diagnostics)),
            Response::State(_) => Ok(None),
        }
    }

    /// The state as it is now.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn state(&self) -> Result<Arc<State>, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::State(sender));
        receiver.await.map_err(|_| gone())
    }

    /// The replicated state, complete: contents of secrets are in it, so it stays in this process.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn snapshot(&self) -> Result<Box<Snapshot>, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Snapshot(sender));
        receiver.await.map_err(|_| gone())
    }

    /// Sources with their credentials, and whether this member leads.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn sources(&self) -> Result<(bool, Vec<Arc<Source>>), ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Sources(sender));
        receiver.await.map_err(|_| gone())
    }

    /// Turns when the state does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Looks at the state, now and after each change, until `look` has seen enough.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> Result<T, ApiError> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(seen) = look(&*self.state().await?) {
                return Ok(seen);
            }
            changes.changed().await.map_err(|_| gone())?;
        }
    }

    /// The same for one task; `None` to `look` when it is gone.
    pub(crate) async fn until_task<T>(
        &self,
        task: TaskId,
        mut look: impl FnMut(Option<&Arc<model::Task>>) -> Option<T>,
    ) -> Result<T, ApiError> {
        self.until(|state| look(state.tasks.iter().find(|candidate| candidate.id == task))).await
    }

    /// Ends the manager after what it has begun is on disk; waits at most `limit`.
    pub(crate) async fn stop(&self, limit: Duration) {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Stop(sender));
        if tokio::time::timeout(limit, receiver).await.is_err() {
            tracing::warn!("the manager did not end within {limit:?}");
        }
    }
}

fn gone() -> ApiError {
    failure::failed("the daemon is shutting down")
}
