//! The API on the socket: HTTP/1.1 with JSON, as the `api` crate describes it.

use crate::shared::Daemon;
use crate::{archives, calls, failure, relay, sessions, streams};
use anyhow::{Context as _, Result};
use api::{ApiError, CALL_HEADER, ErrorKind};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::{NodeId, Task};
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio_util::task::TaskTracker;

/// The body of every answer.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// Longest body of a call: a stack with all its configs and secrets (1 MiB each, as JSON numbers).
pub(crate) const MAX_CALL: usize = 256 << 20;

/// For whom a daemon answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// For the whole cluster: what concerns other nodes is asked of them.
    Cluster,
    /// For its own node: another one asks.
    Node,
}

impl Scope {
    /// The node that has a task, if it is to be asked instead.
    pub(crate) fn other(self, daemon: &Daemon, task: &Task) -> Option<NodeId> {
        let asks = self == Scope::Cluster && daemon.membership.is_some();
        task.node.filter(|node| asks && *node != daemon.node)
    }

    /// The node that has the container of a call, if it is to be asked instead.
    async fn elsewhere(self, daemon: &Daemon, container: Option<&mut String>) -> Result<Option<NodeId>, ApiError> {
        match self {
            Scope::Cluster => relay::elsewhere(daemon, container).await,
            Scope::Node => Ok(None),
        }
    }
}

/// Opens the socket. It appears under its name complete with its permissions, in place of a stale
/// one; the lock on the run root has shown that nobody serves that.
///
/// # Errors
/// The path is too long, or the disk fails.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = std::path::PathBuf::from(temporary);
    let _not_there = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).with_context(|| {
        format!("open the socket {} (a unix socket's path has at most 107 bytes)", temporary.display())
    })?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o660))
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("make the socket {}", path.display()))?;
    Ok(listener)
}

/// Serves until the daemon stops; then calls that are being answered get a moment to end.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: UnixListener) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = daemon.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(daemon.clone(), stream));
            }
            Err(error) => {
                tracing::warn!("accept a client: {error}");
                // Out of descriptors, mostly: trying at once would spin.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(std::time::Duration::from_secs(2), connections.wait()).await.is_err() {
        tracing::info!(clients = connections.len(), "clients that still listen are cut off");
    }
}

/// Serves one client, on whatever it is connected by.
pub(crate) async fn connection(
    daemon: Arc<Daemon>,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
) {
    let stop = daemon.stop.clone();
    let service = service_fn(move |request| {
        let daemon = daemon.clone();
        async move { Ok::<_, Infallible>(answer(daemon, request).await) }
    });
    let mut serving = std::pin::pin!(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades()
    );
    let result = tokio::select! {
        result = &mut serving => result,
        () = stop.cancelled() => {
            // Answers under way are finished, streams end by themselves.
            tokio::time::timeout(std::time::Duration::from_secs(1), serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!("serve a client: {error}");
    }
}

/// Answers one request, of whoever may ask.
pub(crate) async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> Response<Body> {
    let result = match relay::named(request.headers()) {
        Err(error) => Err(error),
        Ok(Some(node)) if node != daemon.node => relay::whole(&daemon, node, request).await,
        Ok(Some(_)) => dispatch(daemon, request, Scope::Node).await,
        Ok(None) => dispatch(daemon, request, Scope::Cluster).await,
    };
    let mut response = result.unwrap_or_else(|error| refusal(&error));
    response.headers_mut().insert("x-rswarm-version", api::VERSION.into());
    response
}

async fn dispatch(daemon: Arc<Daemon>, request: Request<Incoming>, scope: Scope) -> Result<Response<Body>, ApiError> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/call") => call(daemon, request, scope).await,
        (&Method::POST, "/v1/stream") => streams::open(daemon, body(request).await?, scope).await.map(lines),
        (&Method::POST, "/v1/session") => {
            let mut call = header(&request)?;
            match scope.elsewhere(&daemon, relay::of_session(&mut call)).await? {
                Some(node) => relay::header(&daemon, node, &call, request).await,
                None => sessions::open(daemon, call, request).await,
            }
        }
        (&Method::POST, "/v1/upload") => {
            let mut call = header(&request)?;
            match scope.elsewhere(&daemon, relay::of_upload(&mut call)).await? {
                Some(node) => relay::header(&daemon, node, &call, request).await,
                None => archives::upload(daemon, call, request.into_body()).await.map(lines),
            }
        }
        (&Method::POST, "/v1/download") => {
            let mut call = body(request).await?;
            match scope.elsewhere(&daemon, relay::of_download(&mut call)).await? {
                Some(node) => relay::body(&daemon, node, "/v1/download", &call).await,
                None => archives::download(daemon, call).await.map(Response::new),
            }
        }
        (method, path) => {
            Err(failure::not_found(format!("{method} {path} is not in version {} of this API", api::VERSION)))
        }
    }
}

async fn call(daemon: Arc<Daemon>, request: Request<Incoming>, scope: Scope) -> Result<Response<Body>, ApiError> {
    let mut call = body(request).await?;
    if let Some(node) = scope.elsewhere(&daemon, relay::of_call(&mut call)).await? {
        return relay::body(&daemon, node, "/v1/call", &call).await;
    }
    // A client that goes away must not leave half of a change behind.
    let reply =
        tokio::spawn(async move { calls::answer(&daemon, call, scope).await }).await.map_err(failure::joined)??;
    let bytes = serde_json::to_vec(&reply).map_err(|error| failure::failed(format!("write the answer: {error}")))?;
    Ok(json(StatusCode::OK, bytes))
}

/// A refusal with its status.
pub(crate) fn refusal(error: &ApiError) -> Response<Body> {
    let status = match error.kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, serde_json::to_vec(error).unwrap_or_default())
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// These bytes.
pub(crate) fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

/// No bytes.
pub(crate) fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

fn lines(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/x-ndjson"));
    response
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiError> {
    let limited = Limited::new(request.into_body(), MAX_CALL);
    let bytes =
        limited.collect().await.map_err(|error| failure::invalid(format!("read the request: {error}")))?.to_bytes();
    parse(&bytes)
}

fn header<T: DeserializeOwned>(request: &Request<Incoming>) -> Result<T, ApiError> {
    let value = request.headers().get(CALL_HEADER);
    let value = value.ok_or_else(|| failure::invalid(format!("the header {CALL_HEADER} is missing")))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value.as_bytes())
        .map_err(|error| failure::invalid(format!("the header {CALL_HEADER} is no base64: {error}")))?;
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        failure::hint(
            failure::invalid(format!(
                "the request makes no sense to this daemon (API version {}): {error}",
                api::VERSION
            )),
            "client and daemon are of different versions, perhaps: restart the daemon with the newer binary",
        )
    })
}

#[cfg(test)]
mod tests;
