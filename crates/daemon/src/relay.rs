//! Calls about containers that are on other nodes: passed on, as they came, to the API of that node, over a
//! connection that the node itself makes ([`crate::reach`]). What is passed on names its node in a header, so
//! that it is answered there and nowhere else.

use crate::api_server::{Body, empty, full};
use crate::shared::Daemon;
use crate::{failure, reach};
use api::client::Items;
use api::{ApiError, CALL_HEADER, Call, DownloadCall, ErrorKind, Reply, SessionCall, StreamCall, UploadCall};
use base64::Engine as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::NodeId;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Names the node that is to answer.
pub(crate) const NODE_HEADER: HeaderName = HeaderName::from_static("x-rswarm-node");

/// How long one of several nodes that are asked the same may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The node that a request names; `None`: it is for whoever takes it.
///
/// # Errors
/// What it names is no node.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<NodeId>, ApiError> {
    let Some(value) = headers.get(NODE_HEADER) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| failure::invalid(format!("the header {NODE_HEADER} names no node")))
}

/// The node that has the container of a call, if that is another one; the call then names it by its id.
///
/// # Errors
/// No such container.
pub(crate) async fn elsewhere(daemon: &Daemon, container: Option<&mut String>) -> Result<Option<NodeId>, ApiError> {
    let (Some(container), Some(_)) = (container, &daemon.membership) else { return Ok(None) };
    let state = daemon.cluster.state().await?;
    let task = api::names::container(&state, container)?;
    let node = task.node.filter(|node| *node != daemon.node);
    if node.is_some() {
        *container = task.id.to_string();
    }
    Ok(node)
}

/// The container of a call that only its own node can answer.
pub(crate) fn of_call(call: &mut Call) -> Option<&mut String> {
    match call {
        Call::Kill { container, .. } | Call::Resize { container, .. } | Call::Top { container, .. } => Some(container),
        Call::Pause(container) | Call::Unpause(container) => Some(container),
        _ => None,
    }
}

/// The same of a session.
pub(crate) fn of_session(call: &mut SessionCall) -> Option<&mut String> {
    match call {
        SessionCall::Attach { container, .. } | SessionCall::Exec { container, .. } => Some(container),
        SessionCall::Run { .. } => None,
    }
}

/// The same of an archive that comes.
pub(crate) fn of_upload(call: &mut UploadCall) -> Option<&mut String> {
    match call {
        UploadCall::CopyTo { container, .. } => Some(container),
        UploadCall::Load | UploadCall::Import { .. } | UploadCall::Restore(_) => None,
    }
}

/// The same of an archive that goes.
pub(crate) fn of_download(call: &mut DownloadCall) -> Option<&mut String> {
    match call {
        DownloadCall::CopyFrom { container, .. } => Some(container),
        DownloadCall::Save(_) | DownloadCall::Image(_) | DownloadCall::Backup(_) => None,
    }
}

/// Passes a call on; its answer is the node's, whatever it is.
///
/// # Errors
/// The node cannot be reached.
pub(crate) async fn body(
    daemon: &Arc<Daemon>,
    node: NodeId,
    path: &str,
    call: &impl Serialize,
) -> Result<Response<Body>, ApiError> {
    let request = outgoing(node, path, &HeaderMap::new(), full(json(call)?))?;
    Ok(reach::send(daemon, node, request).await?.map(incoming))
}

/// Passes on a request whose call is in its header: an upload, or a session.
///
/// # Errors
/// The node cannot be reached.
pub(crate) async fn header(
    daemon: &Arc<Daemon>,
    node: NodeId,
    call: &impl Serialize,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let call = base64::engine::general_purpose::STANDARD.encode(json(call)?);
    let value = HeaderValue::try_from(call).map_err(|error| failure::invalid(format!("pass on the call: {error}")))?;
    request.headers_mut().insert(CALL_HEADER, value);
    whole(daemon, node, request).await
}

/// Passes a request on as it is, upgrade and all.
///
/// # Errors
/// The node cannot be reached.
pub(crate) async fn whole(
    daemon: &Arc<Daemon>,
    node: NodeId,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let near = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
    let (parts, rest) = request.into_parts();
    let rest = if near.is_some() { empty() } else { incoming(rest) };
    let mut answer = reach::send(daemon, node, outgoing(node, parts.uri.path(), &parts.headers, rest)?).await?;
    if let Some(near) = near.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) {
        let (far, stop) = (hyper::upgrade::on(&mut answer), daemon.stop.clone());
        tokio::spawn(async move {
            let joined = async {
                let (near, far) = tokio::try_join!(near, far).map_err(io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(near), &mut TokioIo::new(far)).await
            };
            tokio::select! {
                done = joined => if let Err(error) = done {
                    tracing::debug!("a session that is passed on: {error}");
                },
                () = stop.cancelled() => {}
            }
        });
    }
    Ok(answer.map(incoming))
}

/// Asks a node something.
///
/// # Errors
/// It cannot be reached, or says no.
pub(crate) async fn ask(daemon: &Arc<Daemon>, node: NodeId, call: &Call) -> Result<Reply, ApiError> {
    let request = outgoing(node, "/v1/call", &HeaderMap::new(), full(json(call)?))?;
    let answer = accepted(reach::send(daemon, node, request).await?).await?;
    let bytes = answer.into_body().collect().await.map_err(|error| broken(node, error))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| broken(node, error))
}

/// The same of one of several: one that does not answer in time is left out, and that is logged.
pub(crate) async fn ask_soon(daemon: &Arc<Daemon>, node: NodeId, call: &Call) -> Option<Reply> {
    let answer = tokio::time::timeout(PATIENCE, ask(daemon, node, call)).await;
    let late = || failure::failed(format!("node {} did not answer within {PATIENCE:?}", node.short()));
    answer.unwrap_or_else(|_| Err(late())).map_err(|error| tracing::warn!("{error}")).ok()
}

/// Begins a stream of a node.
///
/// # Errors
/// It cannot be reached, or says no.
pub(crate) async fn stream(daemon: &Arc<Daemon>, node: NodeId, call: &StreamCall) -> Result<Items, ApiError> {
    let request = outgoing(node, "/v1/stream", &HeaderMap::new(), full(json(call)?))?;
    let answer = tokio::time::timeout(PATIENCE, reach::send(daemon, node, request)).await;
    let late = |_| failure::failed(format!("node {} did not answer within {PATIENCE:?}", node.short()));
    Ok(Items::of(accepted(answer.map_err(late)??).await?.into_body()))
}

/// A refusal becomes an error.
async fn accepted(answer: Response<Incoming>) -> Result<Response<Incoming>, ApiError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let bytes = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let unclear = |_| ApiError::new(ErrorKind::Failed, format!("the node answered {status}"));
    Err(serde_json::from_slice(&bytes).unwrap_or_else(unclear))
}

fn outgoing(node: NodeId, path: &str, headers: &HeaderMap, body: Body) -> Result<Request<Body>, ApiError> {
    let mut request = Request::post(path).header("host", "rswarm").header(NODE_HEADER, node.to_string());
    request = request.header("x-rswarm-version", api::VERSION);
    let passed = ["connection", "upgrade", "content-type", CALL_HEADER];
    for (name, value) in passed.iter().filter_map(|name| Some((*name, headers.get(*name)?))) {
        request = request.header(name, value);
    }
    request.body(body).map_err(|error| failure::invalid(format!("pass on {path}: {error}")))
}

/// An answer's body, passed on.
pub(crate) fn incoming(body: Incoming) -> Body {
    body.map_err(io::Error::other).boxed()
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| failure::failed(format!("pass on a call: {error}")))
}

fn broken(node: NodeId, error: impl std::fmt::Display) -> ApiError {
    failure::failed(format!("read the answer of node {}: {error}", node.short()))
}

#[cfg(test)]
mod tests;
