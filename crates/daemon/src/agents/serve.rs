//! The manager's side of a session.

use super::SILENCE;
use super::frames::{self, Reader, ToAgent, ToManager};
use super::place::{Place, Places};
use crate::cluster::{Group, Leader, Message};
use crate::shared::Daemon;
use model::{ClusterRequest, NodeId, Request, RequestId, Response};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

/// Answers that may wait for an agent that reads slowly.
const WAITING: usize = 16;

/// Serves the agent of a node, whose certificate was checked, until its session is over.
pub(crate) async fn serve(daemon: Arc<Daemon>, peer: NodeId, stream: impl AsyncRead + AsyncWrite) {
    match session(&daemon, peer, stream).await {
        Ok(()) => tracing::debug!(node = %peer.short(), "the session has ended"),
        Err(error) => tracing::info!(node = %peer.short(), "the session has broken: {error}"),
    }
}

async fn session(daemon: &Arc<Daemon>, peer: NodeId, stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (from, mut to) = tokio::io::split(stream);
    let mut reader = Reader::new(from, frames::FROM_AGENT);
    let (node, member) = match reader.next(SILENCE).await? {
        Some(ToManager::Hello { node, member }) if node.id == peer => (node, member),
        Some(ToManager::Hello { node, .. }) => {
            let text = format!("it says that it is {}, its certificate says otherwise", node.id);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Some(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it did not begin with who it is")),
        None => return Ok(()),
    };
    if daemon.cluster.group().borrow().leader != Leader::Me {
        return frames::write(&mut to, &redirect(daemon)).await;
    }
    let number = daemon.agents.number();
    let orders = daemon.agents.connect(peer, number);
    let (assign, assigned) = watch::channel(None);
    daemon.cluster.tell(Message::SessionUp { node, session: number, assign });
    let (answer, answers) = mpsc::channel(WAITING);
    let desk = Desk { daemon, peer, member };
    let result = tokio::select! {
        heard = desk.listen(&mut reader, answer) => heard,
        told = desk.tell(&mut to, assigned, orders, answers) => told,
    };
    daemon.agents.disconnect(peer, number);
    let silent = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
    daemon.cluster.tell(Message::SessionLost { node: peer, session: number, silent });
    result
}

/// Who leads, if another does.
fn redirect(daemon: &Daemon) -> ToAgent {
    let leader = daemon.cluster.group().borrow().leader;
    ToAgent::Redirect(match leader {
        Leader::Member(member) => daemon.agents.places.borrow().address(member),
        Leader::Me | Leader::Unknown => None,
    })
}

/// One session.
struct Desk<'d> {
    daemon: &'d Arc<Daemon>,
    peer: NodeId,
    /// Its number in the managers' group, as it says itself.
    member: Option<u64>,
}

impl Desk<'_> {
    async fn listen(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        answer: mpsc::Sender<ToAgent>,
    ) -> io::Result<()> {
        while let Some(frame) = reader.next(SILENCE).await? {
            match frame {
                ToManager::Report(report) => self.daemon.cluster.tell(Message::Report(self.peer, report)),
                ToManager::Describe(node) if node.id == self.peer => self.daemon.cluster.tell(Message::Described(node)),
                ToManager::Ask { id, request } => self.ask(id, request, answer.clone()).await,
                ToManager::Alive => {
                    // One that does not read what it is told has one waiting already.
                    let _full = answer.try_send(ToAgent::Alive);
                }
                ToManager::Hello { .. } | ToManager::Describe(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it says again who it is"));
                }
            }
        }
        Ok(())
    }

    /// A node may ask for little: what becomes of its own containers, and of itself.
    async fn ask(&self, id: RequestId, request: Box<Request>, answer: mpsc::Sender<ToAgent>) {
        let own = match &*request {
            Request::Power { task, .. } => self.daemon.cluster.state().await.is_ok_and(|state| {
                state.tasks.iter().any(|candidate| candidate.id == *task && candidate.node == Some(self.peer))
            }),
            Request::Group(request) => matches!(**request, ClusterRequest::Leave { id, .. } if id == self.peer),
            _ => false,
        };
        let daemon = self.daemon.clone();
        tokio::spawn(async move {
            let response = if own {
                let Ok(response) = daemon.cluster.request(id, *request).await else { return };
                response
            } else {
                refused()
            };
            let _left = answer.send(ToAgent::Answer { id, response: Box::new(response) }).await;
        });
    }

    async fn tell(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        mut assigned: watch::Receiver<Option<Arc<model::Assignment>>>,
        mut orders: mpsc::Receiver<ToAgent>,
        mut answers: mpsc::Receiver<ToAgent>,
    ) -> io::Result<()> {
        let mut group = self.daemon.cluster.group();
        let mut places = self.daemon.agents.places.subscribe();
        let mut told = None;
        loop {
            if group.borrow_and_update().leader != Leader::Me {
                return frames::write(to, &redirect(self.daemon)).await;
            }
            let known = places.borrow_and_update().clone();
            if self.is_removed(&known).await {
                return frames::write(to, &ToAgent::Removed).await;
            }
            let place = self.place(&known, &group.borrow());
            if let Some(place) = place.filter(|place| told.as_ref() != Some(place)) {
                frames::write(to, &ToAgent::Place(place.clone())).await?;
                told = Some(place);
            }
            let frame = tokio::select! {
                Ok(()) = assigned.changed() => {
                    let newest = assigned.borrow_and_update().clone();
                    newest.map(ToAgent::Assignment)
                }
                order = orders.recv() => match order {
                    Some(order) => Some(order),
                    // The node has another session.
                    None => return Ok(()),
                },
                Some(answer) = answers.recv() => Some(answer),
                Ok(()) = group.changed() => None,
                Ok(()) = places.changed() => None,
                () = self.daemon.stop.cancelled() => return frames::write(to, &ToAgent::Redirect(None)).await,
            };
            if let Some(frame) = frame {
                // One that reads nothing gives no sign of life either, for which [`Desk::listen`] looks.
                frames::write(to, &frame).await?;
            }
        }
    }

    fn place(&self, places: &Places, group: &Group) -> Option<Place> {
        let in_group = self.member.is_some_and(|member| group.members.contains(&member));
        places.place(self.peer, self.member, in_group)
    }

    /// Places are made a moment after the state: what they say against a node is looked up.
    async fn is_removed(&self, places: &Places) -> bool {
        places.is_removed(self.peer)
            && self.daemon.cluster.state().await.is_ok_and(|state| Places::of(&state).is_removed(self.peer))
    }
}

fn refused() -> Response {
    let text = "a node may only ask for what becomes of itself and of its own containers";
    let diagnostics = vec![model::diagnostic::Diagnostic::error("RS9002", text)];
    Response::Refused { kind: model::RefusalKind::Invalid, diagnostics }
}
