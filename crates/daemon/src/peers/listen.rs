//! The cluster port.

use super::connections::Noted;
use super::{HANDSHAKE, SILENCE, admit, join, renew};
use crate::api_server::{self, Body};
use crate::shared::Daemon;
use crate::{agents, failure, images, raft_net};
use anyhow::{Context as _, Result};
use api::{ApiError, ErrorKind};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pki::{PeerIdentity, PeerRole};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

/// How long a machine without a certificate may be connected, all in all: joining waits for a commit.
const STRANGER: Duration = Duration::from_secs(30);
/// How long a peer may take to say what it wants.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client waits for a manager that lags behind those who let it in.
const LAG: Duration = Duration::from_secs(3);
/// Strangers at a time: all, and of one address.
const STRANGERS: usize = 512;
const STRANGERS_OF_ONE: usize = 16;

/// Opens the port.
///
/// # Errors
/// It is taken, or the address is none of this machine.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen for the machines of the cluster at {address}"))
}

/// What every connection between machines is set to: no waiting for more to send, and an end when nothing gets
/// through. A socket that refuses that works without.
pub(super) fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _best_effort = stream.set_nodelay(true);
    let millis = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    let _best_effort = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, SILENCE / 2))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1)))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, 5))
        .and_then(|()| sockopt::set_tcp_user_timeout(stream, millis));
}

/// Serves until the daemon stops.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: TcpListener) {
    let watching = tokio::spawn(admit::watch(daemon.clone()));
    let (connections, strangers) = (TaskTracker::new(), Strangers::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = daemon.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => match strangers.enter(address.ip()) {
                Some(stranger) => {
                    connections.spawn(connection(daemon.clone(), stream, address, stranger));
                }
                None => tracing::debug!(%address, "turned away: too many who have not said who they are"),
            },
            Err(error) => {
                tracing::warn!("accept a machine of the cluster: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    watching.abort();
    connections.close();
    let _cut_off = tokio::time::timeout(Duration::from_secs(2), connections.wait()).await;
}

/// Those who have not shown a certificate (yet).
#[derive(Debug, Clone, Default)]
struct Strangers {
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One of them.
struct Stranger {
    all: Strangers,
    address: IpAddr,
}

impl Strangers {
    /// `None`: there are too many.
    fn enter(&self, address: IpAddr) -> Option<Stranger> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_address.get(&address).copied().unwrap_or(0);
        if own >= STRANGERS_OF_ONE || by_address.values().sum::<usize>() >= STRANGERS {
            return None;
        }
        by_address.insert(address, own + 1);
        Some(Stranger { all: self.clone(), address })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut by_address = self.all.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(by_address.remove(&self.address)),
        }
    }
}

async fn connection(daemon: Arc<Daemon>, stream: TcpStream, address: SocketAddr, stranger: Stranger) {
    let Some(peers) = daemon.peers.clone() else { return };
    prepare(&stream);
    let acceptor = tokio_rustls::TlsAcceptor::from(peers.serving.clone());
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, "no handshake: {error}"),
        Err(_) => return tracing::debug!(%address, "no handshake in time"),
    };
    let peer = pki::peer_identity(stream.get_ref().1.peer_certificates());
    match peer {
        Ok(Some(peer)) => {
            drop(stranger);
            match note(&peers.connections, peer, stream) {
                Ok(stream) => http(daemon, Some(peer), stream).await,
                Err(error) => tracing::warn!("take a connection of {}: {error}", peer.node.short()),
            }
        }
        Ok(None) => {
            let _too_slow = tokio::time::timeout(STRANGER, http(daemon, None, stream)).await;
            drop(stranger);
        }
        Err(error) => tracing::debug!(%address, "{error}"),
    }
}

fn note(
    connections: &super::Connections,
    peer: PeerIdentity,
    stream: TlsStream<TcpStream>,
) -> std::io::Result<Noted<TlsStream<TcpStream>>> {
    use std::os::fd::AsFd as _;
    let socket = stream.get_ref().0.as_fd().try_clone_to_owned()?;
    connections.note(peer, &socket, || stream)
}

/// One request a connection; an upgraded one goes on by itself.
async fn http(
    daemon: Arc<Daemon>,
    peer: Option<PeerIdentity>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let stop = daemon.stop.clone();
    let service = service_fn(move |request| {
        let daemon = daemon.clone();
        async move { Ok::<_, Infallible>(answer(daemon, peer, request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(64 << 10);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let result = tokio::select! {
        result = &mut serving => result,
        () = stop.cancelled() => tokio::time::timeout(Duration::from_secs(1), serving).await.unwrap_or(Ok(())),
    };
    if let Err(error) = result {
        tracing::debug!("serve a machine: {error}");
    }
}

fn refuse(status: StatusCode, message: &str, hint: &str) -> Response<Body> {
    let mut error = ApiError::new(ErrorKind::Invalid, message);
    error.hint = Some(hint.to_owned());
    let mut response = api_server::refusal(&error);
    *response.status_mut() = status;
    response
}

fn stranger() -> Response<Body> {
    refuse(
        StatusCode::UNAUTHORIZED,
        "whoever shows no certificate may only join here",
        "`rswarm join` with a token makes a machine part of the cluster",
    )
}

fn forbidden(peer: &PeerIdentity, path: &str) -> Response<Body> {
    let text = format!("{path} is not for a {}", peer.role);
    refuse(StatusCode::FORBIDDEN, &text, "managers and clients with a certificate may use the API")
}

/// What a node is told that the cluster has removed.
pub(crate) const REMOVED: &str = "is not part of the cluster any more";

fn removed(peer: &PeerIdentity) -> Response<Body> {
    if peer.role == PeerRole::Client {
        let text = "this client is not let in (any more)";
        return refuse(StatusCode::FORBIDDEN, text, "`rswarm ca client create` on a manager makes a new certificate");
    }
    let text = format!("the node {} {REMOVED}", peer.node.short());
    let hint = "`rswarm leave --force` makes it a machine of its own, which may join again";
    refuse(StatusCode::FORBIDDEN, &text, hint)
}

async fn answer(daemon: Arc<Daemon>, peer: Option<PeerIdentity>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let Some(peer) = peer else {
        return match path.as_str() {
            "/cluster/v1/join" => {
                join::answer(&daemon, request).await.unwrap_or_else(|error| api_server::refusal(&error))
            }
            _ => stranger(),
        };
    };
    let Some(peers) = &daemon.peers else { return stranger() };
    let mut members = peers.members.borrow().clone();
    if peer.role == PeerRole::Client && members.is_behind(&peer) {
        members = caught_up(peers, &peer).await;
    }
    let Some(role) = members.admit(&peer) else { return removed(&peer) };
    match (path.as_str(), role) {
        ("/cluster/v1/renew", PeerRole::Manager | PeerRole::Worker) => {
            let answered = renew::answer(&daemon, &peer, request).await;
            answered.unwrap_or_else(|error| api_server::refusal(&error))
        }
        (images::share::PATH, PeerRole::Manager | PeerRole::Worker) => {
            let answered = images::share::answer(&daemon, &peer, request).await;
            answered.unwrap_or_else(|error| api_server::refusal(&error))
        }
        // One that was demoted may still be needed to let itself go: the group knows its members.
        ("/cluster/v1/raft", _) if peer.role == PeerRole::Manager => {
            upgrade(request, move |io| raft_net::receive(daemon, peer.node, io))
        }
        ("/cluster/v1/request", PeerRole::Manager) => {
            let answered = passed_on(&daemon, request).await;
            answered.unwrap_or_else(|error| api_server::refusal(&error))
        }
        ("/cluster/v1/agent", PeerRole::Manager | PeerRole::Worker) => {
            upgrade(request, move |io| agents::serve(daemon, peer.node, io))
        }
        (path, PeerRole::Manager | PeerRole::Worker) if path.starts_with("/cluster/v1/back/") => {
            let word = path.trim_start_matches("/cluster/v1/back/").to_owned();
            upgrade(request, move |io| async move {
                if !daemon.agents.dialled(peer.node, &word, io) {
                    tracing::debug!(node = %peer.node.short(), "dialled back, and nobody waits for it (any more)");
                }
            })
        }
        (path, PeerRole::Manager | PeerRole::Client) if path.starts_with("/v1/") => {
            api_server::answer(daemon, request).await
        }
        _ => forbidden(&peer, &path),
    }
}

/// A client that was let in by another manager a moment ago: what is known here follows soon.
async fn caught_up(peers: &super::Peers, peer: &PeerIdentity) -> Arc<admit::Members> {
    let mut changes = peers.members.subscribe();
    let waited = tokio::time::timeout(LAG, changes.wait_for(|members| !members.is_behind(peer))).await;
    match waited {
        Ok(Ok(members)) => members.clone(),
        _ => peers.members.borrow().clone(),
    }
}

/// A request that another manager passes on.
async fn passed_on(daemon: &Daemon, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let body = Limited::new(request.into_body(), api_server::MAX_CALL).collect().await;
    let body = body.map_err(|error| failure::invalid(format!("read the request: {error}")))?.to_bytes();
    let answer = raft_net::answer(&daemon.cluster, &body).await.map_err(failure::invalid)?;
    Ok(api_server::json(StatusCode::OK, answer))
}

/// Answers 101, and hands over what follows.
fn upgrade<F: Future<Output = ()> + Send + 'static>(
    mut request: Request<Incoming>,
    take: impl FnOnce(agents::Io) -> F + Send + 'static,
) -> Response<Body> {
    if request.headers().get("upgrade").is_none_or(|protocol| protocol != "rswarm") {
        return refuse(
            StatusCode::BAD_REQUEST,
            "this path wants an upgrade to rswarm",
            "is it another program that calls?",
        );
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => take(Box::new(TokioIo::new(upgraded))).await,
            Err(error) => tracing::debug!("upgrade a connection: {error}"),
        }
    });
    let mut response = Response::new(api_server::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", hyper::header::HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", hyper::header::HeaderValue::from_static("rswarm"));
    response
}
