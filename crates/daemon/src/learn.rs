//! A node is told its place in the cluster, and acts upon it: whom to dial, whom to trust, what it is.

use crate::agents::place::Place;
use crate::failure;
use crate::shared::Daemon;
use api::ApiError;
use model::Role;
use std::sync::Arc;
use std::time::Duration;

/// Before what could not be done is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Acts upon each place that this node is told, until the daemon stops.
pub(crate) async fn run(daemon: Arc<Daemon>) {
    let mut places = daemon.agents.place.subscribe();
    let learning = async {
        loop {
            let newest = places.borrow_and_update().clone();
            let learnt = match &newest {
                Some(place) => learn(&daemon, place).await,
                None => Ok(()),
            };
            match learnt {
                Ok(()) => {
                    if places.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!("take up this node's place in the cluster: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = learning => {}
        () = daemon.stop.cancelled() => {}
    }
}

/// Takes what the cluster says of this node. Where that makes another daemon of it, the certificate is renewed
/// first, and then it begins anew; cut short anywhere, the next place that it is told finishes it.
///
/// # Errors
/// The disk fails, or no manager signs a new certificate: to be tried again.
async fn learn(daemon: &Arc<Daemon>, place: &Place) -> Result<(), ApiError> {
    let (Some(membership), Some(peers)) = (&daemon.membership, &daemon.peers) else { return Ok(()) };
    let failed = |error: anyhow::Error| failure::internal(&error);
    if !place.managers.is_empty() {
        membership.change(|identity| identity.managers.clone_from(&place.managers)).map_err(failed)?;
    }
    peers.trust(&place.roots).map_err(failed)?;
    let identity = membership.identity();
    let changed = identity.role != place.role || identity.member != place.member;
    let signs = place.roots.first().map(|root| root.digest.as_str());
    if peers.needs_renewal(place.role, signs) {
        peers.renew(daemon, place.role).await?;
    }
    if changed {
        tracing::info!(role = %place.role, "this node is a {} from now on", place.role);
        if place.role == Role::Worker {
            // Workers are never locked.
            daemon.key.release().map_err(|error| failed(error.into()))?;
        }
        membership.change(|identity| (identity.role, identity.member) = (place.role, place.member)).map_err(failed)?;
        daemon.again.cancel();
    }
    Ok(())
}
