//! Messages between the managers: a connection for each direction of each pair, with a queue that forgets when
//! the other end is away (consensus says all again), and one of its own for each snapshot, so that heartbeats
//! do not wait behind it. Requests that came to a manager that does not lead go the same way.

use crate::agents::Io;
use crate::api_server::MAX_CALL;
use crate::cluster::{Cluster, Message};
use crate::identity::Peer;
use crate::reach;
use crate::shared::Daemon;
use bytes::Bytes;
use consensus::{Input, Member};
use model::{NodeId, Request, RequestId, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Where managers take messages.
const PATH: &str = "/cluster/v1/raft";

/// Messages that may wait for one member; what comes on top is forgotten.
const QUEUE: usize = 1024;

/// The longest message. Entries are below 300 MB, a snapshot holds all of the state.
const LONGEST: usize = 4 << 30;

/// Pauses between attempts to reach a member.
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(1);

/// How long a write may take nothing at all before the other end is taken for gone.
const STUCK: Duration = Duration::from_secs(10);

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// To whom.
    pub(crate) to: Member,
    /// The message.
    pub(crate) message: Bytes,
    /// Carries a whole snapshot.
    pub(crate) snapshot: bool,
}

/// Sends what comes out of `outgoing` until the daemon has ended.
pub(crate) async fn send(daemon: Arc<Daemon>, mut outgoing: mpsc::Receiver<Outgoing>) {
    let mut queues: BTreeMap<Member, mpsc::Sender<Bytes>> = BTreeMap::new();
    while let Some(Outgoing { to, message, snapshot }) = outgoing.recv().await {
        if snapshot {
            tokio::spawn(carry(daemon.clone(), to, message));
            continue;
        }
        let queue = queues.entry(to).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            tokio::spawn(connection(daemon.clone(), to, receiver));
            sender
        });
        let _forgotten = queue.try_send(message);
    }
}

/// Where a member is reached, by the state or by what this node was told when it joined.
fn peer(daemon: &Daemon, member: Member) -> Option<Peer> {
    if let Some(peer) = daemon.agents.places.borrow().manager(member.0) {
        return Some(peer.clone());
    }
    let identity = daemon.membership.as_ref()?.identity();
    identity.managers.iter().find(|peer| peer.member == member.0).cloned()
}

async fn open(daemon: &Arc<Daemon>, to: Member) -> anyhow::Result<Io> {
    let peer = peer(daemon, to).ok_or_else(|| anyhow::anyhow!("where {to} is reached is not known"))?;
    reach::upgrade(daemon, &peer.address, Some(peer.node), PATH).await
}

/// Keeps a connection to one member, and sends what is queued.
async fn connection(daemon: Arc<Daemon>, to: Member, mut queue: mpsc::Receiver<Bytes>) {
    let mut pause = SOONEST;
    let mut told = false;
    // Nothing is dialled before there is something to say.
    while let Some(first) = queue.recv().await {
        match open(&daemon, to).await {
            Ok(stream) => {
                (pause, told) = (SOONEST, false);
                tracing::debug!("connected to {to}");
                let error = talk(stream, first, &mut queue).await;
                tracing::debug!("the connection to {to} has broken: {error}");
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("{to} of the managers cannot be reached: {error:#}");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LATEST);
            }
        }
        // What waited is out of date, and consensus is told that it has to ask again.
        while queue.try_recv().is_ok() {}
        daemon.cluster.tell(Message::Raft(Input::Unreachable(to)));
    }
}

async fn talk(stream: Io, first: Bytes, queue: &mut mpsc::Receiver<Bytes>) -> io::Error {
    let mut next = Some(first);
    let (mut from, to) = tokio::io::split(stream);
    let mut to = tokio::io::BufWriter::with_capacity(64 << 10, to);
    let closed = async {
        // Nothing ever comes; the end does.
        let mut byte = [0];
        match from.read(&mut byte).await {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "it speaks where it should listen"),
            Err(error) => error,
        }
    };
    let mut closed = std::pin::pin!(closed);
    loop {
        let message = match next.take() {
            Some(message) => message,
            None => tokio::select! {
                error = &mut closed => return error,
                message = queue.recv() => match message {
                    Some(message) => message,
                    None => return io::ErrorKind::ConnectionAborted.into(),
                },
            },
        };
        if let Err(error) = write(&mut to, &message).await {
            return error;
        }
        next = queue.try_recv().ok();
        if next.is_none()
            && let Err(error) = patiently(to.flush()).await
        {
            return error;
        }
    }
}

async fn patiently<T>(write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(STUCK, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A length of eight bytes, then the message.
async fn write(to: &mut (impl tokio::io::AsyncWrite + Unpin), message: &Bytes) -> io::Result<()> {
    patiently(to.write_all(&(message.len() as u64).to_le_bytes())).await?;
    for piece in message.chunks(64 << 10) {
        patiently(to.write_all(piece)).await?;
    }
    Ok(())
}

/// A message with a snapshot, on a connection of its own.
async fn carry(daemon: Arc<Daemon>, to: Member, message: Bytes) {
    let sent = async {
        let mut stream = open(&daemon, to).await?;
        tracing::info!(bytes = message.len(), "sending a snapshot to {to}");
        write(&mut stream, &message).await?;
        patiently(stream.flush()).await?;
        patiently(stream.shutdown()).await?;
        // The other end closes when it has read all.
        let mut rest = [0];
        anyhow::ensure!(patiently(stream.read(&mut rest)).await.is_ok_and(|read| read == 0), "it was not taken");
        Ok(())
    };
    let result: anyhow::Result<()> = sent.await;
    if let Err(error) = &result {
        tracing::warn!("send a snapshot to {to}: {error:#}");
    }
    daemon.cluster.tell(Message::Raft(Input::SnapshotSent { to, arrived: result.is_ok() }));
}

/// Takes messages of a manager, whose certificate was checked, until its connection ends.
pub(crate) async fn receive(daemon: Arc<Daemon>, from: NodeId, stream: Io) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = tokio::io::BufReader::with_capacity(64 << 10, reader);
    loop {
        match read(&mut reader).await {
            Ok(Some(message)) => daemon.cluster.tell(Message::Step(from, message)),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(node = %from.short(), "read a manager's messages: {error}");
                break;
            }
        }
    }
    let _gone = writer.shutdown().await;
}

/// The next message; `None` at the end.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u64::from_le_bytes(length);
    let longest = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
    let longest = longest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is too long"))?;
    // Memory is taken as it comes, not as it is promised.
    let mut message = Vec::with_capacity(longest.min(1 << 20));
    from.take(length).read_to_end(&mut message).await?;
    if message.len() < longest {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message.into()))
}

/// A request that a manager passes on to the one that leads.
#[derive(Debug, Serialize, Deserialize)]
struct Forwarded {
    id: RequestId,
    request: Box<Request>,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
enum Answered {
    /// The answer.
    Done(Box<Response>),
    /// This one does not lead either, or not any more.
    Elsewhere,
}

/// Answers a manager that has passed a request on.
///
/// # Errors
/// The bytes are no request; for people.
pub(crate) async fn answer(cluster: &Cluster, body: &[u8]) -> Result<Vec<u8>, String> {
    let Forwarded { id, request } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let answered = match cluster.lead(id, request).await {
        Some(response) => Answered::Done(Box::new(response)),
        None => Answered::Elsewhere,
    };
    serde_json::to_vec(&answered).map_err(|error| error.to_string())
}

/// Passes a request on to the member that leads. `None`: it could not be reached or does not lead; the same
/// request may be tried again, here or elsewhere, and is done once.
pub(crate) async fn forward(daemon: &Arc<Daemon>, leader: u64, id: RequestId, request: &Request) -> Option<Response> {
    let peer = peer(daemon, Member(leader))?;
    let body = serde_json::to_vec(&Forwarded { id, request: Box::new(request.clone()) }).ok()?;
    let peers = daemon.peers.as_ref()?;
    let asked = peers.post(&peer.address, peer.node, "/cluster/v1/request", body, MAX_CALL).await;
    match asked.and_then(|answer| Ok(answer?)) {
        Ok(answer) => match serde_json::from_slice(&answer) {
            Ok(Answered::Done(response)) => Some(*response),
            Ok(Answered::Elsewhere) => None,
            Err(error) => {
                tracing::warn!("the leader's answer makes no sense: {error}");
                None
            }
        },
        Err(error) => {
            tracing::debug!("pass a request on to {}: {error:#}", Member(leader));
            None
        }
    }
}

/// Requests that are to be passed on, and where their answers go.
pub(crate) type Forwards = mpsc::UnboundedReceiver<Forward>;

/// One of them.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) leader: u64,
    pub(crate) id: RequestId,
    pub(crate) request: Box<Request>,
    pub(crate) answer: tokio::sync::oneshot::Sender<Option<Response>>,
}

/// Passes on what comes out of `forwards` until the daemon has ended.
pub(crate) async fn pass_on(daemon: Arc<Daemon>, mut forwards: Forwards) {
    while let Some(Forward { leader, id, request, answer }) = forwards.recv().await {
        let daemon = daemon.clone();
        tokio::spawn(async move {
            let _left = answer.send(forward(&daemon, leader, id, &request).await);
        });
    }
}
