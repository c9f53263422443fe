//! Servers of repositories tell of news: `POST /hook/SOURCE`, signed.

use super::Nudge;
use crate::api_server::Scope;
use crate::shared::Daemon;
use crate::small_server::{self, PATIENCE};
use ::gitops::webhook::Check;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Longest message (GitHub's are at most 25 MB): what is in it is not used or kept, only its signature.
const LONGEST: usize = 32 << 20;

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
    // Whether there is such a source is nobody's business who does not know its secret: all is done as if.
    let source = super::find(daemon, &name).await.ok().map(|(_, source)| source);
    let secret = source.as_ref().and_then(|source| source.spec.credentials.webhook.as_deref());
    let header = |name: &str| head.headers.get(name).map(hyper::header::HeaderValue::as_bytes);
    let Some(check) = Check::new(secret.unwrap_or_default(), header) else { return StatusCode::UNAUTHORIZED };
    let genuine = match tokio::time::timeout(PATIENCE, read(body, check)).await {
        Ok(Some(check)) => check.is_genuine(),
        Ok(None) => return StatusCode::PAYLOAD_TOO_LARGE,
        Err(_late) => return StatusCode::REQUEST_TIMEOUT,
    };
    let Some(source) = source.filter(|source| genuine && source.spec.credentials.webhook.is_some()) else {
        return StatusCode::UNAUTHORIZED;
    };
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

/// The whole body, as far as its signature is concerned; `None`: it is too long, or breaks off.
async fn read(mut body: Incoming, mut check: Check) -> Option<Check> {
    // One that says how long it is need not even be begun: who asks before sending hears of it.
    if body.size_hint().lower() > LONGEST as u64 {
        return None;
    }
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len();
        if length > LONGEST {
            return None;
        }
        check.take(&data);
    }
    Some(check)
}
