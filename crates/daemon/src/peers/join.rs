//! How a machine gets in: it shows the secret of a join token and a public key, and is given a certificate.
//!
//! The one who joins has seen before that the other end is a manager below the authority in its token, so the
//! secret is shown to nobody else. Any manager answers: the request goes to the leader as any other does.

use super::credentials::{Credentials, joining_key};
use crate::api_server::{self, Body};
use crate::identity::Peer;
use crate::shared::Daemon;
use crate::{clock, config, failure};
use api::ApiError;
use base64::Engine as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use model::{Admission, Availability, ClusterId, ClusterRequest, Node, NodeId, RequestId, Role, Root};
use pki::{LIFETIME, PeerIdentity, Token};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest body that is read from a stranger.
const MAX_BODY: usize = 64 << 10;
/// Longest answer that is read: a certificate and some roots.
pub(super) const MAX_ANSWER: usize = 1 << 20;
/// Longest name, platform and address that are taken from one.
const MAX_TEXT: usize = 255;
/// How long a manager may take to let a machine in.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is shown.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    secret: String,
    /// PKCS#10, DER in base64.
    request: String,
    node: NodeId,
    hostname: String,
    platform: String,
    /// Where others will reach its cluster port.
    address: String,
    availability: Availability,
}

/// What is given.
#[derive(Debug, Serialize, Deserialize)]
struct Given {
    cluster: ClusterId,
    role: Role,
    member: Option<u64>,
    certificate: String,
    roots: Vec<Root>,
    managers: Vec<Peer>,
}

/// What a machine that was let in has.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) cluster: ClusterId,
    pub(crate) role: Role,
    pub(crate) member: Option<u64>,
    pub(crate) managers: Vec<Peer>,
    pub(crate) credentials: Credentials,
}

/// Reads a small JSON body.
pub(crate) async fn small<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiError> {
    let read = tokio::time::timeout(Duration::from_secs(10), Limited::new(request.into_body(), MAX_BODY).collect());
    let body = read.await.map_err(|_| failure::invalid("the request did not come in time"))?;
    let body = body.map_err(|error| failure::invalid(format!("read the request: {error}")))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| failure::invalid(format!("the request makes no sense: {error}")))
}

pub(super) fn decode(request: &str) -> Result<Vec<u8>, ApiError> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(request);
    decoded.map_err(|error| failure::invalid(format!("the certificate request is no base64: {error}")))
}

pub(super) fn encode(request: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(request)
}

fn bad(error: pki::Error) -> ApiError {
    failure::invalid(failure::chain(&error))
}

impl Asked {
    /// Is it of sane size and letters? It ends in the state, and on the screens of operators.
    fn check(&self) -> Result<(), ApiError> {
        for (what, text) in [("hostname", &self.hostname), ("platform", &self.platform), ("address", &self.address)] {
            if text.is_empty() || text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(failure::invalid(format!(
                    "the {what} of a node has 1 to {MAX_TEXT} visible ASCII characters"
                )));
            }
        }
        Ok(())
    }
}

/// Lets a machine in, or does not.
pub(super) async fn answer(daemon: &Arc<Daemon>, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    if request.method() != hyper::Method::POST {
        return Err(failure::invalid("joining is a POST"));
    }
    let given = admit(daemon, small(request).await?).await?;
    let bytes = serde_json::to_vec(&given).map_err(|error| failure::failed(format!("write the answer: {error}")))?;
    Ok(api_server::json(hyper::StatusCode::OK, bytes))
}

async fn admit(daemon: &Arc<Daemon>, asked: Asked) -> Result<Given, ApiError> {
    asked.check()?;
    let request = decode(&asked.request)?;
    let key = pki::requested_key(&request).map_err(bad)?;
    let info = daemon.cluster.info().await?;
    let info = info.ok_or_else(|| failure::failed("this manager does not know its cluster yet: try again"))?;
    let node = Node {
        platform: asked.platform,
        address: Some(asked.address),
        key,
        availability: asked.availability,
        ..Node::new(asked.node, asked.hostname)
    };
    // The secret is compared where it is decided, by the leader: here it might be one of before.
    let admission = ClusterRequest::Admit(Box::new(Admission { node, secret: asked.secret }));
    let id = RequestId(u128::from_be_bytes(config::random().map_err(|error| failure::failed(format!("{error:#}")))?));
    let revision = match daemon.cluster.request(id, model::Request::Group(Box::new(admission))).await? {
        model::Response::Done { revision, .. } => revision,
        model::Response::Refused { kind, diagnostics } => return Err(failure::refused(kind, &diagnostics)),
        model::Response::State(_) => return Err(failure::failed("the manager answered something else")),
    };
    let found = daemon.cluster.until(|state| {
        let node = state.nodes.iter().find(|node| node.id == asked.node)?;
        Some((
            node.role(),
            node.member,
            state.nodes.iter().filter_map(Peer::of).collect(),
            state.cluster.clone()?.roots,
        ))
    });
    let found = tokio::time::timeout(PATIENCE, found).await;
    let (role, member, managers, roots) =
        found.map_err(|_| failure::failed("this manager lags behind: try again"))??;
    let identity = PeerIdentity { cluster: info.id, node: asked.node, role: role.into(), since: revision };
    let certificate = pki::sign(&info.authority, &request, &identity, clock::now(), LIFETIME).map_err(bad)?;
    tracing::info!(node = %asked.node.short(), %role, "let in");
    Ok(Given { cluster: info.id, role, member, certificate: certificate.pem, roots, managers })
}

/// Asks the managers at `addresses`, one after the other, to let this machine in.
///
/// # Errors
/// All refuse, cannot be reached, or are not who the token says; or the disk fails.
pub(crate) async fn join(told: Node, token: &Token, addresses: &[String], folder: &Path) -> Result<Welcome, ApiError> {
    let key = joining_key(folder).map_err(|error| failure::internal(&error))?;
    let asked = Asked {
        secret: token.secret().to_owned(),
        request: encode(&key.request().map_err(bad)?),
        node: told.id,
        hostname: told.hostname,
        platform: told.platform,
        address: told.address.unwrap_or_default(),
        availability: told.availability,
    };
    let mut failures = Vec::new();
    for address in addresses {
        match tokio::time::timeout(PATIENCE, ask(&asked, token, address)).await {
            Ok(Ok(given)) => return welcome(given, key, token, asked.node),
            // It knows the cluster, and the answer of another would be the same.
            Ok(Err(Failure::Refused(error))) => return Err(error),
            Ok(Err(Failure::Away(error))) => failures.push(format!("{address}: {error:#}")),
            Err(_) => failures.push(format!("{address}: it does not answer")),
        }
    }
    let error = failure::failed(format!("no manager lets this machine in: {}", failures.join("; ")));
    Err(failure::hint(error, "is the address that of a manager, and the token that of its cluster?"))
}

enum Failure {
    Refused(ApiError),
    Away(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Away(error.into())
    }
}

async fn ask(asked: &Asked, token: &Token, address: &str) -> Result<Given, Failure> {
    let stream = super::connect(pki::pinned_client_config(&token.digest())?, address, None).await?;
    match super::post(stream, "/cluster/v1/join", serde_json::to_vec(asked)?, MAX_ANSWER).await? {
        Ok(given) => Ok(serde_json::from_slice(&given)?),
        Err(error) => Err(Failure::Refused(error)),
    }
}

/// Sees that what was given is what was asked for.
fn welcome(given: Given, key: pki::Key, token: &Token, node: NodeId) -> Result<Welcome, ApiError> {
    let odd = |what: &str| failure::failed(format!("the manager's answer is not to be trusted: {what}"));
    let roots = given.roots.iter().map(|root| pki::root(&root.certificate)).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| odd(&error.to_string()))?;
    if !roots.iter().any(|root| root.digest == token.digest()) {
        return Err(odd("the authority in the token is none of those that it names"));
    }
    let credentials = pki::Credentials::new(key, &given.certificate, roots).map_err(|error| odd(&error.to_string()))?;
    let identity = credentials.certificate.identity;
    if (identity.cluster, identity.node, identity.role) != (given.cluster, node, given.role.into()) {
        return Err(odd("the certificate is for somebody else"));
    }
    Ok(Welcome {
        cluster: given.cluster,
        role: given.role,
        member: given.member,
        managers: given.managers,
        credentials: Credentials(credentials),
    })
}
