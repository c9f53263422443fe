//! A small HTTP server beside the API: few callers at once, one question each, and nobody may take long.

use crate::shared::Daemon;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a caller may take to say what it wants, and half of what it may take in all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the address. `what` it is for, for people.
///
/// # Errors
/// It is in use, or not ours.
pub(crate) async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen for {what} at {address}"))
}

/// Serves until the daemon stops. `most`: callers at once.
pub(crate) async fn serve<F>(
    daemon: Arc<Daemon>,
    listener: TcpListener,
    most: usize,
    answer: impl Fn(Arc<Daemon>, Request<Incoming>) -> F + Copy + Send + Sync + 'static,
) where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
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
                let answering = answer(daemon.clone(), request);
                async move { Ok::<_, Infallible>(answering.await) }
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
