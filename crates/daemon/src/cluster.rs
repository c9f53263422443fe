//! The handle on the manager's thread: requests in, answers and the state out.

use crate::failure;
use api::ApiError;
use model::{AgentReport, Node, Request, RequestId, Response, Source, State, TaskId};
use orchestrator::Snapshot;
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
    /// This node's agent is there.
    SessionUp(Box<Node>),
    /// It tells.
    Report(AgentReport),
    /// End.
    Stop(oneshot::Sender<()>),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    inbox: std_mpsc::Sender<Message>,
    changed: watch::Receiver<u64>,
}

impl Cluster {
    pub(crate) fn new(inbox: std_mpsc::Sender<Message>, changed: watch::Receiver<u64>) -> Self {
        Cluster { inbox, changed }
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
