//! A cluster whose managers ask for a key after a restart (`--autolock`): what is on their disks opens for nobody
//! who has only the disks.
//!
//! All that a node keeps to itself (log, ledger, the key of its certificate) is sealed with the node's key. On a
//! manager of such a cluster the file of that key is itself sealed with the unlock key, which is in the replicated
//! state and with people. So only that one small file changes, whatever changes.

use crate::shared::Daemon;
use crate::{config, failure};
use api::{ApiError, Reply};
use model::{ClusterRequest, Request, Role, UnlockKey};
use std::sync::Arc;
use std::time::Duration;

/// Before a disk that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sees to it that the file of this manager's key is sealed as the cluster wants it, until the daemon stops.
pub(crate) async fn keep(daemon: Arc<Daemon>) {
    let is_manager = daemon.membership.as_ref().is_some_and(|it| it.identity().role == Role::Manager);
    if !is_manager {
        return;
    }
    let mut changes = daemon.cluster.changes();
    let look = async {
        loop {
            changes.borrow_and_update();
            match align(&daemon).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!("seal the key of this manager: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = look => {}
        () = daemon.stop.cancelled() => {}
    }
}

/// False: the daemon is on its way out.
async fn align(daemon: &Arc<Daemon>) -> Result<bool, ApiError> {
    let Ok(info) = daemon.cluster.info().await else { return Ok(false) };
    // A manager that has just joined knows nothing yet.
    let Some(info) = info else { return Ok(true) };
    let wanted = info.unlock_key.as_ref().and_then(UnlockKey::bytes);
    if daemon.key.lock() == wanted {
        return Ok(true);
    }
    let daemon = daemon.clone();
    let set = tokio::task::spawn_blocking(move || daemon.key.set_lock(wanted)).await.map_err(failure::joined)?;
    if set.map_err(|error| failure::failed(failure::chain(&error)))? {
        match wanted {
            Some(_) => tracing::info!("this manager asks for the unlock key of the cluster after a restart"),
            None => tracing::info!("this manager asks for no key any more"),
        }
    }
    Ok(true)
}

/// A new key to ask for.
///
/// # Errors
/// The kernel has no random bytes.
pub(crate) fn new_key() -> Result<UnlockKey, ApiError> {
    config::random().map(UnlockKey::of).map_err(|error| failure::internal(&error))
}

/// `cluster update --autolock`: answers with the key, if there is to be one.
///
/// # Errors
/// This node is no manager of a cluster.
pub(crate) async fn set(daemon: &Arc<Daemon>, on: bool) -> Result<Reply, ApiError> {
    let key = if on { Some(new_key()?) } else { None };
    ask(daemon, ClusterRequest::Autolock(key)).await
}

/// `unlock-key`.
///
/// # Errors
/// This node is no manager of a cluster, or a key is to be replaced where there is none.
pub(crate) async fn show(daemon: &Arc<Daemon>, rotate: bool) -> Result<Reply, ApiError> {
    if rotate {
        return ask(daemon, ClusterRequest::RotateUnlockKey(new_key()?)).await;
    }
    // So that what was rotated elsewhere is seen.
    daemon.cluster.ask(Request::Read).await?;
    key(daemon).await
}

async fn ask(daemon: &Arc<Daemon>, request: ClusterRequest) -> Result<Reply, ApiError> {
    daemon.cluster.ask(Request::Group(Box::new(request))).await?;
    // What was answered for is on this disk: with the next power cut the key is asked for.
    align(daemon).await?;
    key(daemon).await
}

async fn key(daemon: &Arc<Daemon>) -> Result<Reply, ApiError> {
    let info = daemon.cluster.info().await?.ok_or_else(crate::calls::cluster::no_cluster)?;
    Ok(Reply::UnlockKey(info.unlock_key.clone()))
}
