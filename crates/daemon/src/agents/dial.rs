//! The agent's side of a session: with the manager in this process when that leads, else with whoever does.

use super::frames::{self, Reader, ToAgent, ToManager};
use super::link::{Said, SessionEnd};
use super::place::Places;
use super::search::{self, Answer, Target, Turns};
use super::{ALIVE, SILENCE};
use crate::cluster::{Leader, Message};
use crate::identity::Peer;
use crate::peers::listen::REMOVED;
use crate::reach;
use crate::shared::Daemon;
use anyhow::Context as _;
use model::{Node, NodeId, RequestId, Response, Role};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

/// Before the first manager is dialled again; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The same for a node that the cluster does not know.
const REMOVED_PAUSE: Duration = Duration::from_secs(10);
/// How long a manager may take to answer before the next is called as well.
const HEAD_START: Duration = Duration::from_millis(500);

/// Keeps a session until the daemon stops, or the agent's driver is gone.
pub(crate) async fn run(daemon: Arc<Daemon>, mut end: SessionEnd) {
    let node = loop {
        match end.said.recv().await {
            Some(Said::Describe(node)) => break node,
            Some(Said::Report(_) | Said::Ask(..)) => {}
            None => return,
        }
    };
    let stop = daemon.stop.clone();
    let mut carrier = Carrier::new(daemon, end, node);
    tokio::select! {
        () = carrier.run() => {}
        () = stop.cancelled() => {}
    }
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody tells any more.
    Gone,
    /// That one leads, if anybody.
    Redirect(Option<String>),
    /// The cluster does not know this node.
    Removed,
}

/// Where to have the next session.
enum Way {
    Here,
    There { preferred: Option<Target>, managers: Vec<Target> },
    Nowhere,
}

pub(super) struct Carrier {
    daemon: Arc<Daemon>,
    end: SessionEnd,
    node: Box<Node>,
    pause: Duration,
    redirect: Option<String>,
    turns: Turns,
}

impl Carrier {
    pub(super) fn new(daemon: Arc<Daemon>, end: SessionEnd, node: Box<Node>) -> Carrier {
        let turns = Turns::default();
        Carrier { daemon, end, node, pause: FIRST_PAUSE, redirect: None, turns }
    }

    async fn run(&mut self) {
        loop {
            let before = tokio::time::Instant::now();
            match self.way() {
                Way::Here => {
                    if self.here().await {
                        return;
                    }
                }
                Way::There { preferred, managers } => match self.there(preferred, managers).await {
                    Ok(Ended::Gone) => return,
                    Ok(Ended::Redirect(to)) => self.redirect = to,
                    Ok(Ended::Removed) => {
                        self.note_removal();
                        tracing::warn!(
                            "the cluster does not know this node (any more): `rswarm leave --force` makes it a machine of its own"
                        );
                        self.pause = REMOVED_PAUSE;
                    }
                    Err(error) => {
                        let text = format!("{error:#}");
                        if text.contains(REMOVED) {
                            self.note_removal();
                        }
                        tracing::info!("no session: {text}");
                    }
                },
                Way::Nowhere => {}
            }
            self.end.session.send_if_modified(|session| session.take().is_some());
            if before.elapsed() > SILENCE {
                self.pause = FIRST_PAUSE;
            }
            if self.rest().await {
                return;
            }
        }
    }

    /// A manager has said that the cluster does not know this node (any more).
    fn note_removal(&self) {
        if let Some(membership) = &self.daemon.membership {
            membership.set_forgotten(true);
        }
    }

    fn way(&mut self) -> Way {
        let Some(membership) = &self.daemon.membership else {
            return match self.daemon.cluster.group().borrow().leader {
                Leader::Me => Way::Here,
                Leader::Member(_) | Leader::Unknown => Way::Nowhere,
            };
        };
        let identity = membership.identity();
        let target = |peer: &Peer| Target { address: peer.address.clone(), node: Some(peer.node) };
        let mut preferred = None;
        if identity.role == Role::Manager {
            let leader = self.daemon.cluster.group().borrow().leader;
            match leader {
                Leader::Me => return Way::Here,
                Leader::Member(member) => preferred = self.daemon.agents.places.borrow().manager(member).map(target),
                Leader::Unknown => {}
            }
        }
        let mut managers: Vec<Target> =
            identity.managers.iter().filter(|peer| peer.node != self.daemon.node).map(target).collect();
        // Not the same one first for all that have lost their leader in the same moment.
        managers.sort_by_cached_key(|manager| {
            let mut hasher = DefaultHasher::new();
            (self.daemon.node, &manager.address).hash(&mut hasher);
            hasher.finish()
        });
        let redirect = self.redirect.take().map(|address| {
            let node = managers.iter().find(|known| known.address == address).and_then(|known| known.node);
            Target { address, node }
        });
        let preferred = preferred.or(redirect);
        match preferred.is_none() && managers.is_empty() {
            true => Way::Nowhere,
            false => Way::There { preferred, managers },
        }
    }

    /// Waits a moment, shorter when the leader changes. `true`: nobody tells any more.
    async fn rest(&mut self) -> bool {
        let jitter = crate::config::random::<1>().map_or(0, |[byte]| u32::from(byte));
        let pause = if self.redirect.is_some() { Duration::ZERO } else { self.pause + self.pause * jitter / 255 };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut group = self.daemon.cluster.group();
        let leader = group.borrow_and_update().leader;
        tokio::select! {
            biased;
            () = unheard(&mut self.end.said, &mut self.node) => true,
            () = tokio::time::sleep(pause) => false,
            Ok(_) = group.wait_for(|group| group.leader != leader), if leader != Leader::Me => {
                self.pause = FIRST_PAUSE;
                false
            }
        }
    }

    /// A session with the manager in this process; over when that does not lead any more. `true`: nobody
    /// tells any more.
    async fn here(&mut self) -> bool {
        let (daemon, id) = (self.daemon.clone(), self.daemon.node);
        let number = daemon.agents.number();
        let (assign, mut assigned) = watch::channel(None);
        let mut group = daemon.cluster.group();
        let mut places = daemon.agents.places.subscribe();
        daemon.cluster.tell(Message::SessionUp { node: self.node.clone(), session: number, assign });
        self.end.session.send_replace(Some(number));
        let member = self.member();
        let gone = loop {
            place(&daemon, &places.borrow_and_update(), member);
            tokio::select! {
                biased;
                said = self.end.said.recv() => match said {
                    Some(Said::Report(report)) => daemon.cluster.tell(Message::Report(id, report)),
                    Some(Said::Describe(node)) => {
                        self.node = node;
                        daemon.cluster.tell(Message::Described(self.node.clone()));
                    }
                    Some(Said::Ask(request, asked, answer)) => {
                        let cluster = daemon.cluster.clone();
                        tokio::spawn(async move {
                            if let Ok(response) = cluster.request(request, *asked).await {
                                let _left = answer.send(response);
                            }
                        });
                    }
                    None => break true,
                },
                Ok(()) = assigned.changed() => {
                    let newest = assigned.borrow_and_update().clone();
                    self.end.assignment.send_replace(newest);
                }
                Ok(()) = places.changed() => {}
                over = group.wait_for(|group| group.leader != Leader::Me) => {
                    drop(over);
                    break false;
                }
            }
        };
        daemon.cluster.tell(Message::SessionLost { node: id, session: number, silent: false });
        gone
    }

    /// A session with whichever manager leads.
    async fn there(&mut self, preferred: Option<Target>, managers: Vec<Target>) -> anyhow::Result<Ended> {
        let daemon = self.daemon.clone();
        let (node, member) = (self.node.clone(), self.member());
        let call = |to: Target| {
            let (daemon, node) = (daemon.clone(), node.clone());
            async move {
                let stream = reach::upgrade(&daemon, &to.address, to.node, "/cluster/v1/agent").await?;
                let opened = open(stream, node, member).await.with_context(|| format!("ask {}", to.address))?;
                Ok(match opened.first {
                    ToAgent::Redirect(leader) => Answer::Redirect(leader),
                    _ => Answer::Session(opened),
                })
            }
        };
        let mut group = daemon.cluster.group();
        let leader = group.borrow_and_update().leader;
        let (to, opened) = tokio::select! {
            found = search::first(&mut self.turns, preferred, managers, HEAD_START, call) => found?,
            () = unheard(&mut self.end.said, &mut self.node) => return Ok(Ended::Gone),
            Ok(_) = group.wait_for(|group| group.leader != leader) => {
                self.pause = FIRST_PAUSE;
                return Ok(Ended::Redirect(None));
            }
        };
        Ok(match self.talk(opened, &to.address, to.node).await? {
            Ended::Redirect(leader) => Ended::Redirect(leader.filter(|leader| *leader != to.address)),
            ended => ended,
        })
    }

    fn member(&self) -> Option<u64> {
        self.daemon.membership.as_ref().and_then(|membership| membership.identity().member)
    }

    /// The session itself.
    ///
    /// # Errors
    /// The connection broke, or the manager says nothing any more.
    pub(super) async fn talk(
        &mut self,
        opened: Opened<impl AsyncRead + AsyncWrite>,
        address: &str,
        manager: Option<NodeId>,
    ) -> io::Result<Ended> {
        let Opened { mut reader, mut to, told, first } = opened;
        if told != self.node {
            frames::write(&mut to, &ToManager::Describe(self.node.clone())).await?;
        }
        let asked = Asked::default();
        let heard = Heard { daemon: &self.daemon, session: &self.end.session, address, manager, asked: &asked };
        tokio::select! {
            ended = heard.listen(first, &mut reader, &self.end.assignment) => ended,
            ended = tell(&mut to, &mut self.end.said, &mut self.node, &asked) => ended,
        }
    }
}

/// A connection on which both sides have said their first word.
#[derive(Debug)]
pub(super) struct Opened<S> {
    reader: Reader<ReadHalf<S>>,
    to: WriteHalf<S>,
    /// What the manager was told of this machine.
    told: Box<Node>,
    /// What it has answered.
    first: ToAgent,
}

/// Says who we are, and hears what the manager has to say to that.
///
/// # Errors
/// The connection broke, or the manager says nothing.
pub(super) async fn open<S: AsyncRead + AsyncWrite>(
    stream: S,
    node: Box<Node>,
    member: Option<u64>,
) -> io::Result<Opened<S>> {
    let (from, mut to) = tokio::io::split(stream);
    frames::write(&mut to, &ToManager::Hello { node: node.clone(), member }).await?;
    let mut reader = Reader::new(from, frames::FROM_MANAGER);
    let first = reader.next(SILENCE).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Opened { reader, to, told: node, first })
}

/// Takes what is told while nobody is there to hear it, until nobody tells any more.
async fn unheard(said: &mut mpsc::UnboundedReceiver<Said>, node: &mut Box<Node>) {
    while let Some(said) = said.recv().await {
        match said {
            Said::Describe(changed) => *node = changed,
            Said::Report(_) | Said::Ask(..) => {}
        }
    }
}

/// What the node's place is, by the state of this process.
fn place(daemon: &Daemon, places: &Places, member: Option<u64>) {
    let in_group = member.is_some_and(|member| daemon.cluster.group().borrow().members.contains(&member));
    if let Some(place) = places.place(daemon.node, member, in_group) {
        daemon.agents.placed(place);
    }
}

/// Who waits for an answer.
type Asked = Mutex<BTreeMap<RequestId, oneshot::Sender<Response>>>;

struct Heard<'c> {
    daemon: &'c Arc<Daemon>,
    session: &'c watch::Sender<Option<u64>>,
    address: &'c str,
    manager: Option<NodeId>,
    asked: &'c Asked,
}

impl Heard<'_> {
    async fn listen(
        &self,
        first: ToAgent,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        assignment: &watch::Sender<Option<Arc<model::Assignment>>>,
    ) -> io::Result<Ended> {
        let mut up = false;
        let mut next = Some(first);
        while let Some(frame) = next {
            match frame {
                ToAgent::Redirect(to) => return Ok(Ended::Redirect(to)),
                ToAgent::Removed => return Ok(Ended::Removed),
                ToAgent::Alive => {}
                ToAgent::Place(place) => self.daemon.agents.placed(place),
                ToAgent::Assignment(newest) => {
                    if let Some(membership) = &self.daemon.membership {
                        membership.set_forgotten(false);
                    }
                    assignment.send_replace(Some(newest));
                }
                ToAgent::Dial(word) => self.dial(word),
                ToAgent::Answer { id, response } => {
                    if let Some(waiting) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
                        let _left = waiting.send(*response);
                    }
                }
            }
            if !up {
                up = true;
                tracing::info!(manager = self.address, "in session");
                self.session.send_replace(Some(self.daemon.agents.number()));
            }
            next = reader.next(SILENCE).await?;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Serves the API of this node on a connection that it makes.
    fn dial(&self, word: String) {
        let (daemon, address, manager) = (self.daemon.clone(), self.address.to_owned(), self.manager);
        tokio::spawn(async move {
            let path = format!("/cluster/v1/back/{word}");
            match reach::upgrade(&daemon, &address, manager, &path).await {
                Ok(stream) => crate::api_server::connection(daemon, stream).await,
                Err(error) => tracing::warn!(manager = address, "serve the API of this node: {error:#}"),
            }
        });
    }
}

/// Passes on what the agent says, and gives signs of life.
async fn tell(
    to: &mut (impl AsyncWrite + Unpin),
    said: &mut mpsc::UnboundedReceiver<Said>,
    node: &mut Box<Node>,
    asked: &Asked,
) -> io::Result<Ended> {
    let mut alive = tokio::time::interval(ALIVE);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            biased;
            _ = alive.tick() => ToManager::Alive,
            said = said.recv() => match said {
                Some(Said::Report(report)) => ToManager::Report(report),
                Some(Said::Describe(changed)) => {
                    node.clone_from(&changed);
                    ToManager::Describe(changed)
                }
                Some(Said::Ask(id, request, answer)) => {
                    asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
                    ToManager::Ask { id, request }
                }
                None => return Ok(Ended::Gone),
            },
        };
        frames::write(to, &frame).await?;
    }
}
