//! Clients elsewhere (`ca client create`): a certificate for a key that they made, under a name in the state, so
//! that they can be shown and removed.

use super::cluster::no_cluster;
use crate::identity::Peer;
use crate::shared::Daemon;
use crate::{clock, config, failure};
use api::{AdmitClient, ApiError, ClientGrant};
use base64::Engine as _;
use model::{Client, ClusterRequest, NodeId, Request, Time};
use pki::{PeerIdentity, PeerRole};
use std::sync::Arc;
use std::time::Duration;

/// Longest life of a client's certificate: whoever has it may do everything, and nobody renews it.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);
/// The shortest one that is of use.
const SHORTEST: Duration = Duration::from_mins(1);
/// Longest name.
const MAX_NAME: usize = 63;

/// Signs for a client, once the managers agree that it is one.
///
/// # Errors
/// The name or the request makes no sense, the name is taken, or this is no manager of a cluster.
pub(super) async fn admit(daemon: &Arc<Daemon>, asked: AdmitClient) -> Result<ClientGrant, ApiError> {
    check_name(&asked.name)?;
    let lifetime = Duration::from_secs(asked.lifetime);
    if !(SHORTEST..=LONGEST).contains(&lifetime) {
        return Err(failure::invalid("a client's certificate holds for a minute at least and ten years at most"));
    }
    let bad = |error: pki::Error| failure::invalid(failure::chain(&error));
    let request = base64::engine::general_purpose::STANDARD.decode(&asked.request);
    let request =
        request.map_err(|error| failure::invalid(format!("the certificate request is no base64: {error}")))?;
    let key = pki::requested_key(&request).map_err(bad)?;
    let info = daemon.cluster.info().await?.ok_or_else(no_cluster)?;
    let id = NodeId(u128::from_be_bytes(config::random().map_err(|error| failure::internal(&error))?));
    let now = clock::now();
    let client = Client {
        name: asked.name,
        key,
        issuer: info.authority.root.digest.clone(),
        created: now,
        expires: Time(now.0.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))),
    };
    let name = client.name.clone();
    daemon.cluster.ask(Request::Group(Box::new(ClusterRequest::AdmitClient { id, client }))).await?;
    // The revision in the certificate tells a manager that lags behind to wait until it has heard of the client.
    let (since, managers) = daemon
        .cluster
        .until(|state| {
            let known = state.cluster.as_ref().is_some_and(|cluster| cluster.clients.contains_key(&id));
            known.then(|| (state.revision, state.nodes.iter().filter_map(Peer::of).map(|peer| peer.address).collect()))
        })
        .await?;
    let identity = PeerIdentity { cluster: info.id, node: id, role: PeerRole::Client, since };
    let signed = pki::sign(&info.authority, &request, &identity, now, lifetime).map_err(bad)?;
    tracing::info!(client = name, expires = signed.expires.0, "a client was let in");
    let roots = info.view().roots.into_iter().map(|root| root.certificate).collect();
    Ok(ClientGrant { certificate: signed.pem, roots, managers })
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.bytes().all(fits) {
        return Err(failure::invalid(format!(
            "the name of a client is 1 to {MAX_NAME} letters, digits and `_.@-`, not `-` first"
        )));
    }
    Ok(())
}
