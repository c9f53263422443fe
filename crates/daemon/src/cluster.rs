//! The handle on the manager's thread: requests in, answers and the state out.

use crate::failure;
use crate::raft_net::{Forward, Forwards};
use api::ApiError;
use bytes::Bytes;
use consensus::Input;
use model::{
    AgentReport, Assignment, ClusterInfo, Logins, Node, NodeId, Request, RequestId, Response, Source, State, TaskId,
};
use orchestrator::Snapshot;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a request may wait for a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon one that does not lead any more is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// How long what was done elsewhere may take to come here.
const CATCH_UP: Duration = Duration::from_secs(5);

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
    /// The logins of registries that are kept with the services of a stack.
    Logins(String, oneshot::Sender<Logins>),
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
    /// Something for consensus.
    Raft(Input),
    /// A message of another manager.
    Step(NodeId, Bytes),
    /// Go on as the only manager, with what it has.
    Survive(oneshot::Sender<Result<(), String>>),
    /// Let another manager lead, if there is one.
    Retire(oneshot::Sender<()>),
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
    /// Those of them that vote.
    pub(crate) voters: BTreeSet<u64>,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    inbox: std_mpsc::Sender<Message>,
    changed: watch::Receiver<u64>,
    group: watch::Receiver<Group>,
    /// Passes requests on to the member that leads; `None` where there are no others.
    forward: Option<mpsc::UnboundedSender<Forward>>,
    /// What the log on disk has done; `None` on a worker.
    log: Option<Arc<store::Timings>>,
    /// How long requests that change something took until they were committed.
    commits: Arc<store::Histogram>,
}

impl Cluster {
    pub(crate) fn new(
        inbox: std_mpsc::Sender<Message>,
        changed: watch::Receiver<u64>,
        group: watch::Receiver<Group>,
    ) -> Self {
        Cluster { inbox, changed, group, forward: None, log: None, commits: Arc::default() }
    }

    /// From now on requests are passed on where another member leads; they come out of what is returned.
    pub(crate) fn forwards(&mut self) -> Forwards {
        let (sender, forwards) = mpsc::unbounded_channel();
        self.forward = Some(sender);
        forwards
    }

    /// The numbers of the log on disk are these.
    pub(crate) fn has_log(&mut self, log: Arc<store::Timings>) {
        self.log = Some(log);
    }

    /// The numbers of the log on disk, on a manager.
    pub(crate) fn log(&self) -> Option<&store::Timings> {
        self.log.as_deref()
    }

    /// How long requests that change something took, wherever they were decided.
    pub(crate) fn commits(&self) -> &store::Histogram {
        &self.commits
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
        self.look(Message::Info).await
    }

    /// Tells the manager something that has no answer.
    pub(crate) fn tell(&self, message: Message) {
        let _told = self.try_tell(message);
    }

    /// Tells it something that it answers.
    async fn look<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.tell(message(sender));
        receiver.await.map_err(|_| gone())
    }

    fn try_tell(&self, message: Message) -> Result<(), ApiError> {
        self.inbox.send(message).map_err(|_| {
            tracing::debug!("the manager has ended");
            gone()
        })
    }

    /// Asks the member that leads, and waits until the answer is committed, and known here as well. Leaders may
    /// change meanwhile: the request has an id, and is done once.
    ///
    /// # Errors
    /// A daemon that is on its way out, and managers that find no leader. Refusals are answers.
    pub(crate) async fn request(&self, id: RequestId, request: Request) -> Result<Response, ApiError> {
        let (began, reads) = (Instant::now(), request == Request::Read);
        let answer = self.answer(id, request).await;
        if !reads && answer.is_ok() {
            self.commits.note(began.elapsed());
        }
        answer
    }

    async fn answer(&self, id: RequestId, request: Request) -> Result<Response, ApiError> {
        let Some(forward) = &self.forward else {
            let (sender, receiver) = oneshot::channel();
            self.try_tell(Message::Request(id, Box::new(request), sender))?;
            return receiver.await.map_err(|_| gone());
        };
        tokio::time::timeout(PATIENCE, self.find_leader(forward, id, request)).await.unwrap_or_else(|_| {
            let error = failure::failed(format!("no manager has answered within {} s", PATIENCE.as_secs()));
            Err(failure::hint(
                error,
                "a majority of the managers must be up and reach each other; `rswarm ps` shows what runs meanwhile; if it is lost for good, `rswarm init --force-new-cluster` on one that is left",
            ))
        })
    }

    async fn find_leader(
        &self,
        forward: &mpsc::UnboundedSender<Forward>,
        id: RequestId,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (mut group, mut moved) = (self.group(), self.group());
        loop {
            let leader = group.borrow_and_update().leader;
            let asked = self.ask_member(forward, leader, id, &request);
            let response = tokio::select! {
                response = asked => response?,
                // One that was cut off says nothing for seconds. Whoever leads next is asked under the same id, and
                // gives the same answer if that one got through.
                Ok(_) = moved.wait_for(|group| group.leader != leader), if leader != Leader::Me => continue,
            };
            if let Some(response) = response {
                self.caught_up(&response).await;
                return Ok(response);
            }
            // Whoever leads next, or the same one in a moment.
            let _either = tokio::time::timeout(RETRY, group.changed()).await;
        }
    }

    /// Asks whoever can answer while this is the leader; `None`: nobody did.
    async fn ask_member(
        &self,
        forward: &mpsc::UnboundedSender<Forward>,
        leader: Leader,
        id: RequestId,
        request: &Request,
    ) -> Result<Option<Response>, ApiError> {
        Ok(match leader {
            // Every member that keeps up can answer what is true now, and only a leader can change it.
            _ if *request == Request::Read => match (self.own(id, request).await?, leader) {
                (None, Leader::Member(leader)) => pass_on(forward, leader, id, request).await?,
                (answer, _) => answer,
            },
            Leader::Me => self.own(id, request).await?,
            Leader::Member(leader) => pass_on(forward, leader, id, request).await?,
            Leader::Unknown => None,
        })
    }

    async fn own(&self, id: RequestId, request: &Request) -> Result<Option<Response>, ApiError> {
        let (sender, receiver) = oneshot::channel();
        self.try_tell(Message::Request(id, Box::new(request.clone()), sender))?;
        Ok(receiver.await.ok())
    }

    /// What was done elsewhere is to be seen here before the client looks.
    async fn caught_up(&self, response: &Response) {
        if let Response::Done { revision, .. } = response {
            let mut changes = self.changes();
            let seen = changes.wait_for(|known| known >= revision);
            let _late = tokio::time::timeout(CATCH_UP, seen).await;
        }
    }

    /// Answers as the member that leads; `None` if it does not, or no longer when the answer would come.
    pub(crate) async fn lead(&self, id: RequestId, request: Box<Request>) -> Option<Response> {
        if self.group.borrow().leader != Leader::Me {
            return None;
        }
        tokio::time::timeout(PATIENCE, self.own(id, &request)).await.ok()?.ok()?
    }

    /// Goes on as the only manager, with what this one has.
    ///
    /// # Errors
    /// The disk fails, or the daemon is on its way out.
    pub(crate) async fn survive(&self) -> Result<(), ApiError> {
        self.look(Message::Survive).await?.map_err(failure::failed)
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
        self.look(Message::State).await
    }

    /// The replicated state, complete: contents of secrets are in it, so it stays in this process.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn snapshot(&self) -> Result<Box<Snapshot>, ApiError> {
        self.look(Message::Snapshot).await
    }

    /// Sources with their credentials, and whether this member leads.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn sources(&self) -> Result<(bool, Vec<Arc<Source>>), ApiError> {
        self.look(Message::Sources).await
    }

    /// The logins of registries that are kept with the services of a stack.
    ///
    /// # Errors
    /// The daemon is on its way out.
    pub(crate) async fn logins(&self, stack: &str) -> Result<Logins, ApiError> {
        self.look(|sender| Message::Logins(stack.to_owned(), sender)).await
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

    /// Lets another manager lead, if this one does and there is one; waits at most `limit`.
    pub(crate) async fn retire(&self, limit: Duration) {
        let (sender, receiver) = oneshot::channel();
        self.tell(Message::Retire(sender));
        let _in_vain = tokio::time::timeout(limit, receiver).await;
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

/// Asks the member that leads. `None`: it was not reached, or does not lead.
async fn pass_on(
    forward: &mpsc::UnboundedSender<Forward>,
    leader: u64,
    id: RequestId,
    request: &Request,
) -> Result<Option<Response>, ApiError> {
    let (answer, answered) = oneshot::channel();
    let passed_on = Forward { leader, id, request: Box::new(request.clone()), answer };
    forward.send(passed_on).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())
}

fn gone() -> ApiError {
    failure::failed("the daemon is shutting down")
}
