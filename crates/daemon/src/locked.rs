//! The life of a locked manager: it waits for the key that everything of it opens with, and answers nothing else.
//! Its containers go on running.

use crate::api_server::{self, Body};
use crate::config::Roots;
use crate::failure;
use crate::identity::{Identity, Past};
use anyhow::{Context as _, Result};
use api::{ApiError, Call, DaemonInfo, Reply};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::UnlockKey;
use std::convert::Infallible;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{KeyBytes, KeyFile, Locked, StoreError};
use tokio::sync::mpsc;

/// Longest call that is read.
const MAX_CALL: usize = 64 << 10;
/// An answer is on its way before whoever gave it goes.
const ANSWERED: Duration = Duration::from_millis(100);
/// Says that the one before has handed over the key on standard input.
const HANDED: &str = "RSWARM_UNLOCK_ON_STDIN";

/// How the wait ends.
#[derive(Debug)]
pub(crate) enum Freed {
    /// The key was brought.
    Unlocked(KeyFile),
    /// This node is to leave its cluster: it begins anew.
    Left,
}

struct Waiting {
    locked: Locked,
    info: DaemonInfo,
    data_root: PathBuf,
    freed: mpsc::Sender<Freed>,
}

/// Answers on the socket until the key was brought.
///
/// # Errors
/// The socket cannot be opened.
pub(crate) async fn wait(roots: &Roots, locked: Locked, info: DaemonInfo) -> Result<Freed> {
    let listener = api_server::bind(&roots.socket())?;
    tracing::warn!("this manager is locked: `rswarm unlock` opens it; its containers go on running");
    let (freed, mut end) = mpsc::channel(1);
    let waiting = Arc::new(Waiting { locked, info, data_root: roots.data.clone(), freed });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            freed = end.recv() => {
                tokio::time::sleep(ANSWERED).await;
                let _replaced_anyway = std::fs::remove_file(roots.socket());
                return freed.context("wait for the unlock key");
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let waiting = waiting.clone();
                let service = service_fn(move |request| {
                    let waiting = waiting.clone();
                    async move { Ok::<_, Infallible>(respond(&waiting, request).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!("serve a client: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("accept a client: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn respond(waiting: &Arc<Waiting>, request: Request<Incoming>) -> Response<Body> {
    let answered = answer(waiting, request).await.and_then(|reply| {
        serde_json::to_vec(&reply).map_err(|error| failure::failed(format!("write the answer: {error}")))
    });
    let mut response = match answered {
        Ok(bytes) => api_server::json(StatusCode::OK, bytes),
        Err(error) => api_server::refusal(&error),
    };
    response.headers_mut().insert("x-rswarm-version", api::VERSION.into());
    response
}

async fn answer(waiting: &Arc<Waiting>, request: Request<Incoming>) -> Result<Reply, ApiError> {
    if request.uri().path() != "/v1/call" {
        return Err(refusal());
    }
    let body = Limited::new(request.into_body(), MAX_CALL).collect().await.map_err(|_| refusal())?.to_bytes();
    match serde_json::from_slice(&body).map_err(|_| refusal())? {
        Call::Ping => Ok(Reply::Pong(DaemonInfo { locked: true, ..waiting.info.clone() })),
        Call::Unlock(key) => unlock(waiting, &key),
        Call::Leave { force: true } => leave(waiting),
        _ => Err(refusal()),
    }
}

fn refusal() -> ApiError {
    failure::hint(
        failure::conflict("this manager is locked: all that it knows opens with the unlock key of its cluster"),
        "`rswarm unlock` asks for the key; `rswarm unlock-key` on another manager shows it",
    )
}

fn unlock(waiting: &Waiting, key: &UnlockKey) -> Result<Reply, ApiError> {
    let bytes = key.bytes().ok_or_else(|| failure::invalid("that is no unlock key"))?;
    let file = waiting.locked.unlock(&bytes).map_err(|error| match error {
        StoreError::WrongKey { .. } => failure::hint(
            failure::conflict("this manager does not open with that key"),
            "one that was down while the key was rotated opens with the one before",
        ),
        error => failure::failed(failure::chain(&error)),
    })?;
    free(waiting, Freed::Unlocked(file))
}

/// Whoever has lost the key has lost what this manager knew, but not the machine.
fn leave(waiting: &Waiting) -> Result<Reply, ApiError> {
    let left = Identity::load(&waiting.data_root).and_then(|identity| {
        let mut identity = identity.context("read who this node is")?;
        identity.past = Past::Left;
        identity.save(&waiting.data_root)
    });
    left.map_err(|error| failure::internal(&error))?;
    free(waiting, Freed::Left)
}

fn free(waiting: &Waiting, freed: Freed) -> Result<Reply, ApiError> {
    // Whoever comes second finds that it is done already.
    let _second = waiting.freed.try_send(freed);
    Ok(Reply::Done)
}

/// The key that was handed over by the daemon that this one was before.
pub(crate) fn handed_over() -> Option<KeyBytes> {
    std::env::var_os(HANDED)?;
    let stdin = rustix::stdio::stdin();
    let status = rustix::fs::fstat(stdin).ok()?;
    // The file without a name that `hand_over` makes, and not a file that somebody has redirected.
    if status.st_nlink != 0 || status.st_size != 32 {
        return None;
    }
    let mut key = KeyBytes::default();
    std::io::stdin().read_exact(&mut key).ok()?;
    let nothing = std::fs::File::open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(nothing).ok()?;
    Some(key)
}

/// Executes `command` in place of this process, which is open already and stays so; returns only if that fails.
pub(crate) fn hand_over(command: &mut std::process::Command, key: Option<KeyBytes>) -> std::io::Error {
    command.env_remove(HANDED);
    if let Some(key) = key {
        match in_memory(&key) {
            Ok(file) => drop(command.env(HANDED, "1").stdin(file)),
            Err(error) => tracing::warn!("hand over the unlock key: {error}; it will be asked for"),
        }
    }
    command.exec()
}

fn in_memory(key: &KeyBytes) -> std::io::Result<std::fs::File> {
    let file = rustix::fs::memfd_create("unlock", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(key)?;
    file.rewind()?;
    Ok(file)
}
