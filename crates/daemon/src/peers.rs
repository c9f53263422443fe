//! The machines of a cluster to each other: one port, TLS on it, HTTP/1.1 in that.
//!
//! Managers listen, and everybody dials. What a connection may reach follows from its certificate and from the
//! state as it is now ([`admit`]), asked anew with each request; a node that is removed is cut off at once.
//!
//! | path | for | what |
//! |---|---|---|
//! | `POST /cluster/v1/join` | anybody with a join token, without certificate | [`join`] |
//! | `POST /cluster/v1/renew` | nodes | [`renew`] |
//! | `POST /cluster/v1/image` | nodes | an image of a task of theirs that no registry has |
//! | `POST /cluster/v1/request` | managers | a request that another manager passes on to the leader |
//! | `POST /cluster/v1/raft`, upgraded | managers | messages of the group, one way |
//! | `POST /cluster/v1/agent`, upgraded | nodes | the session of the node's agent |
//! | `POST /cluster/v1/back/WORD`, upgraded | nodes | the API of the node, which it was asked for over its session |
//! | `/v1/…` | managers, clients | the API, as on the socket |
//!
//! Whoever has no certificate gets 401 for all else, whoever may not 403.

pub(crate) mod admit;
mod connections;
pub(crate) mod credentials;
pub(crate) mod join;
pub(crate) mod listen;
pub(crate) mod renew;

#[cfg(test)]
mod tests;

pub(crate) use listen::{bind, serve};

use crate::agents::Io;
use crate::clock;
use admit::Members;
use anyhow::{Context as _, Result};
use connections::Connections;
use credentials::Credentials;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::{NodeId, NodeTrust, Role, Root};
use pki::{Keyring, PeerRole};
use rustls::{ClientConfig, ServerConfig};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::NodeKey;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

/// How long a machine may take to answer a call for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// The same for the handshake after it.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection on which nothing gets through for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest refusal that is read.
const MAX_REFUSAL: usize = 64 << 10;

/// This daemon among the machines of its cluster.
#[derive(Debug)]
pub(crate) struct Peers {
    folder: PathBuf,
    /// What is on disk is sealed with it.
    key: NodeKey,
    held: Mutex<Arc<Credentials>>,
    keyring: Arc<Keyring>,
    dialing: Arc<ClientConfig>,
    serving: Arc<ServerConfig>,
    /// Spreads the moments of renewal.
    seed: u64,
    /// Who is in, by the state of this manager.
    members: watch::Sender<Arc<Members>>,
    connections: Connections,
    /// What this node trusts and presents has changed.
    changed: watch::Sender<u64>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

impl Peers {
    /// Reads the credentials of this node.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub(crate) fn open(folder: PathBuf, key: &NodeKey, node: NodeId) -> Result<Arc<Peers>> {
        let held = Credentials::load(&folder, key)?;
        let keyring = Keyring::new(&held.0).context("use the certificate of this node")?;
        let seed = u64::try_from(node.0 >> 64).unwrap_or_default();
        Ok(Arc::new(Peers {
            dialing: pki::client_config(&keyring)?,
            serving: pki::server_config(&keyring)?,
            held: Mutex::new(Arc::new(held)),
            keyring,
            folder,
            key: key.clone(),
            seed,
            members: watch::channel(Arc::default()).0,
            connections: Connections::default(),
            changed: watch::channel(0).0,
            renewing: tokio::sync::Mutex::default(),
        }))
    }

    fn held(&self) -> Arc<Credentials> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses these from now on; on disk first.
    fn hold(&self, credentials: Credentials) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        credentials.save(&self.folder, &self.key)?;
        self.keyring.replace(&credentials.0).context("use the new certificate")?;
        *held = Arc::new(credentials);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Turns when what this node tells of its certificate does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What this node tells of its certificate.
    pub(crate) fn told(&self) -> NodeTrust {
        let held = self.held();
        NodeTrust {
            roots: held.0.roots.iter().map(|root| root.digest.clone()).collect(),
            issuer: held.0.issuer().map(|root| root.digest.clone()).unwrap_or_default(),
            expires: held.0.certificate.expires,
        }
    }

    /// Trusts these and no others, but for the one that has signed its own certificate: that goes with the
    /// renewal.
    ///
    /// # Errors
    /// The disk fails, or one of them is no certificate.
    pub(crate) fn trust(&self, roots: &[Root]) -> Result<()> {
        let held = self.held();
        let mut wanted = roots.to_vec();
        let issuer = held.0.issuer()?;
        if !wanted.iter().any(|root| root.digest == issuer.digest) {
            wanted.push(issuer.clone());
        }
        if roots.is_empty() || wanted == held.0.roots {
            return Ok(());
        }
        for root in roots {
            pki::root(&root.certificate).context("trust a new root")?;
        }
        tracing::info!(roots = wanted.len(), "this node trusts other roots from now on");
        self.hold(Credentials(held.0.trusting(wanted)?))
    }

    /// Is the certificate of another role, of another authority than the one that signs now, or due?
    pub(crate) fn needs_renewal(&self, role: Role, signs: Option<&str>) -> bool {
        let held = self.held();
        held.0.certificate.identity.role != PeerRole::from(role)
            || signs.is_some_and(|signs| held.0.issuer().is_ok_and(|issuer| issuer.digest != signs))
            || clock::now() >= self.renewal_at()
    }

    fn renewal_at(&self) -> model::Time {
        let certificate = &self.held().0.certificate;
        pki::renew_at(certificate.begins, certificate.expires, self.seed)
    }

    /// A connection to the cluster port of a manager.
    ///
    /// # Errors
    /// It cannot be reached, is another node than expected, or this node is not trusted (which the first bytes
    /// that are read from it may tell as well).
    pub(crate) async fn connect(&self, address: &str, expect: Option<NodeId>) -> Result<TlsStream<TcpStream>> {
        connect(self.dialing.clone(), address, expect).await
    }

    /// One question to a manager, and its answer of at most `limit` bytes; `Err`: it refuses.
    ///
    /// # Errors
    /// It cannot be reached, or is another node than expected.
    pub(crate) async fn post(
        &self,
        address: &str,
        node: NodeId,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<std::result::Result<bytes::Bytes, api::ApiError>> {
        post(self.connect(address, Some(node)).await?, path, body, limit).await
    }

    /// One question to a manager, and its answer as it comes; `Err`: it refuses.
    ///
    /// # Errors
    /// It cannot be reached, or is another node than expected.
    pub(crate) async fn stream(
        &self,
        address: &str,
        node: NodeId,
        path: &str,
        body: Vec<u8>,
    ) -> Result<std::result::Result<Response<Incoming>, api::ApiError>> {
        let answer = send(self.connect(address, Some(node)).await?, path, body).await?;
        match answer.status().is_success() {
            true => Ok(Ok(answer)),
            false => Ok(Err(refusal(answer, MAX_REFUSAL).await?)),
        }
    }

    /// The same, upgraded at this path.
    ///
    /// # Errors
    /// And it refuses.
    pub(crate) async fn upgrade(&self, address: &str, expect: Option<NodeId>, path: &str) -> Result<Io> {
        let stream = self.connect(address, expect).await?;
        let asked = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection.with_upgrades());
            let request = Request::post(path).header("host", "rswarm");
            let request = request.header("connection", "Upgrade").header("upgrade", "rswarm");
            let request = request.body(Empty::<bytes::Bytes>::new()).context("write the request")?;
            let response = sender.send_request(request).await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(hyper::upgrade::on(response).await?);
            }
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
            let error = body.ok().and_then(|body| serde_json::from_slice::<api::ApiError>(&body.to_bytes()).ok());
            Err(error.map_or_else(|| anyhow::anyhow!("it answered {status}"), anyhow::Error::new))
        };
        let upgraded = tokio::time::timeout(HANDSHAKE, asked).await;
        let upgraded = upgraded.map_err(|_| anyhow::anyhow!("it did not answer within {HANDSHAKE:?}"));
        let upgraded = upgraded.and_then(|asked| asked).with_context(|| format!("ask {address} for {path}"))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// One question on a connection of its own; `Err`: it was refused. Answers longer than `limit` bytes are not read.
async fn post(
    stream: TlsStream<TcpStream>,
    path: &str,
    body: Vec<u8>,
    limit: usize,
) -> Result<std::result::Result<bytes::Bytes, api::ApiError>> {
    let response = send(stream, path, body).await?;
    if !response.status().is_success() {
        return Ok(Err(refusal(response, limit).await?));
    }
    let body = Limited::new(response.into_body(), limit).collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok(Ok(body.to_bytes()))
}

async fn send(stream: TlsStream<TcpStream>, path: &str, body: Vec<u8>) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post(path).header("host", "rswarm").body(Full::new(bytes::Bytes::from(body)))?;
    Ok(sender.send_request(request).await?)
}

async fn refusal(response: Response<Incoming>, limit: usize) -> Result<api::ApiError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), limit).collect().await.map_err(anyhow::Error::from_boxed)?;
    serde_json::from_slice(&body.to_bytes()).with_context(|| format!("it answered {status}, for whatever reason"))
}

/// A TLS connection to `address` (`host:port`).
async fn connect(config: Arc<ClientConfig>, address: &str, expect: Option<NodeId>) -> Result<TlsStream<TcpStream>> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|_| anyhow::anyhow!("nothing answers within {CONNECT:?}"));
    let stream = stream.and_then(|stream| Ok(stream?)).with_context(|| format!("connect to {address}"))?;
    listen::prepare(&stream);
    let handshake = tokio_rustls::TlsConnector::from(config).connect(pki::server_name(expect), stream);
    let shaken = tokio::time::timeout(HANDSHAKE, handshake).await;
    let shaken = shaken.map_err(|_| anyhow::anyhow!("it does not speak TLS within {HANDSHAKE:?}"));
    shaken.and_then(|shaken| Ok(shaken?)).with_context(|| format!("agree with {address} on who we are"))
}
