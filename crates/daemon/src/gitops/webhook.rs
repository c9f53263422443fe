//! Servers of repositories tell of news: `POST /hook/SOURCE`, signed.

use super::Nudge;
use crate::api_server::Scope;
use crate::shared::Daemon;
use ::gitops::webhook::is_genuine;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Longest message: what is in it is not used, only its signature.
const LONGEST: usize = 8 << 20;

/// Callers at once.
const MOST: usize = 64;

/// How long a caller may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the address.
///
/// # Errors
/// It is in use, or not ours.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen for webhooks at {address}"))
}

/// Serves until the daemon stops.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = daemon.stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, mostly: trying at once would spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let daemon = daemon.clone();
        tokio::spawn(async move {
            let stop = daemon.stop.clone();
            let service = service_fn(move |request| {
                let daemon = daemon.clone();
                async move { Ok::<_, Infallible>(answer(&daemon, request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let http = http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            let serving = http.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = tokio::time::timeout(2 * PATIENCE, serving) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn answer(daemon: &Arc<Daemon>, request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let status = take(daemon, request).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

async fn take(daemon: &Arc<Daemon>, request: Request<Incoming>) -> StatusCode {
    let (head, body) = request.into_parts();
    let Some(name) = head.uri.path().strip_prefix("/hook/").map(str::to_owned) else { return StatusCode::NOT_FOUND };
    if head.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await;
    let Ok(Ok(body)) = read else { return StatusCode::PAYLOAD_TOO_LARGE };
    let body = body.to_bytes();
    // Whether there is such a source is nobody's business who does not know its secret.
    let Ok((_, source)) = super::find(daemon, &name).await else { return StatusCode::UNAUTHORIZED };
    let header = |name: &str| head.headers.get(name).map(hyper::header::HeaderValue::as_bytes);
    let secret = source.spec.credentials.webhook.as_ref();
    if !secret.is_some_and(|secret| is_genuine(secret, &body, header)) {
        return StatusCode::UNAUTHORIZED;
    }
    if !daemon.gitops.nudge(&source, Nudge { asked: false, done: None }) {
        // Another node follows it. Whoever calls needs not wait for that.
        let daemon = daemon.clone();
        tokio::spawn(async move {
            if let Err(error) = super::sync(&daemon, &name, false, Scope::Cluster).await {
                tracing::warn!(source = %name, "pass on a webhook: {error}");
            }
        });
    }
    StatusCode::ACCEPTED
}
