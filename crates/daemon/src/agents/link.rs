//! Between the driver of this node's agent and whatever carries its session.

use model::{AgentReport, Assignment, Node, Request, RequestId, Response};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What a node tells.
#[derive(Debug)]
pub(crate) enum Said {
    /// How its tasks are.
    Report(AgentReport),
    /// What it is; the first thing that it says.
    Describe(Box<Node>),
    /// It has something to ask for. Without a session the sender is dropped.
    Ask(RequestId, Box<Request>, oneshot::Sender<Response>),
}

/// The agent's end.
#[derive(Debug)]
pub(crate) struct AgentEnd {
    /// The number of the session; `None`: there is none, what is told is lost.
    pub(crate) session: watch::Receiver<Option<u64>>,
    /// The newest assignment.
    pub(crate) assignment: watch::Receiver<Option<Arc<Assignment>>>,
    /// What is told.
    pub(crate) said: mpsc::UnboundedSender<Said>,
}

/// The other one.
#[derive(Debug)]
pub(crate) struct SessionEnd {
    pub(crate) session: watch::Sender<Option<u64>>,
    pub(crate) assignment: watch::Sender<Option<Arc<Assignment>>>,
    pub(crate) said: mpsc::UnboundedReceiver<Said>,
}

/// The two ends.
pub(crate) fn pair() -> (AgentEnd, SessionEnd) {
    let (session, heard) = watch::channel(None);
    let (assignment, assigned) = watch::channel(None);
    let (sender, said) = mpsc::unbounded_channel();
    let agent = AgentEnd { session: heard, assignment: assigned, said: sender };
    (agent, SessionEnd { session, assignment, said })
}
