//! Servers of repositories tell of news: `POST /hook/SOURCE`, signed.

use super::Nudge;
use crate::api_server::Scope;
use crate::shared::Daemon;
use crate::small_server::{self, PATIENCE};
use ::gitops::webhook::is_genuine;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Longest message: what is in it is not used, only its signature.
const LONGEST: usize = 8 << 20;

/// Callers at once.
const MOST: usize = 64;

/// Serves until the daemon stops.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: TcpListener) {
    small_server::serve(daemon, listener, MOST, answer).await;
}

async fn answer(daemon: Arc<Daemon>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = take(&daemon, request).await;
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
