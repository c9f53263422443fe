//! New certificates for nodes: long before the old ones end, when their role changes, and when the authority does.

use super::Peers;
use super::credentials::Credentials;
use super::join::{MAX_ANSWER, decode, encode, small};
use crate::api_server::{self, Body};
use crate::shared::Daemon;
use crate::{clock, failure};
use anyhow::{Context as _, Result};
use api::ApiError;
use hyper::body::Incoming;
use hyper::{Request, Response};
use model::{NodeId, Role, Root};
use pki::{LIFETIME, PeerIdentity};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a manager may take to sign.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks at the clock at least so often: it may jump.
const LOOK: Duration = Duration::from_mins(10);
/// After a renewal that failed.
const PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// PKCS#10, DER in base64.
    request: String,
    /// As what: a manager that has not heard of a new role yet must not sign the old one.
    role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
struct Given {
    certificate: String,
    roots: Vec<Root>,
}

/// Signs for a peer whose certificate was checked.
pub(super) async fn answer(
    daemon: &Arc<Daemon>,
    peer: &PeerIdentity,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let asked: Asked = small(request).await?;
    let given = sign(daemon, peer.node, &decode(&asked.request)?, asked.role).await?;
    let bytes = serde_json::to_vec(&given).map_err(|error| failure::failed(format!("write the answer: {error}")))?;
    Ok(api_server::json(hyper::StatusCode::OK, bytes))
}

async fn sign(daemon: &Arc<Daemon>, node: NodeId, request: &[u8], role: Role) -> Result<Given, ApiError> {
    let info = daemon.cluster.info().await?;
    let info = info.ok_or_else(|| failure::failed("this manager does not know its cluster yet: try again"))?;
    let state = daemon.cluster.state().await?;
    let known = state.nodes.iter().find(|known| known.id == node && !known.left);
    let known = known.ok_or_else(|| failure::not_found(format!("no such node: {}", node.short())))?;
    if known.role() != role {
        return Err(failure::conflict(format!("node {} is a {}, as far as is known here", node.short(), known.role())));
    }
    let identity = PeerIdentity { cluster: info.id, node, role: role.into(), since: state.revision };
    let certificate = pki::sign(&info.authority, request, &identity, clock::now(), LIFETIME)
        .map_err(|error| failure::invalid(failure::chain(&error)))?;
    Ok(Given { certificate: certificate.pem, roots: info.view().roots })
}

impl Peers {
    /// Gets a new certificate for a new key: from this process if it manages, else from whichever manager answers.
    ///
    /// # Errors
    /// Nobody signs, or the disk fails. What was held is held still.
    pub(crate) async fn renew(&self, daemon: &Arc<Daemon>, role: Role) -> Result<(), ApiError> {
        let _one_at_a_time = self.renewing.lock().await;
        let internal = |error: anyhow::Error| failure::failed(format!("renew the certificate of this node: {error:#}"));
        let key = pki::Key::generate().map_err(|error| internal(error.into()))?;
        let request = key.request().map_err(|error| internal(error.into()))?;
        let given = self.given(daemon, request, role).await.map_err(internal)?;
        let roots = given.roots.iter().map(|root| pki::root(&root.certificate)).collect::<Result<_, _>>();
        let roots = roots.map_err(|error| internal(error.into()))?;
        let renewed = pki::Credentials::new(key, &given.certificate, roots).map_err(|error| internal(error.into()))?;
        let (old, new) = (self.keyring.identity(), renewed.certificate.identity);
        if (old.cluster, old.node) != (new.cluster, new.node) || new.role != role.into() {
            return Err(internal(anyhow::anyhow!("the new one is for somebody else")));
        }
        self.hold(Credentials(renewed)).map_err(internal)?;
        tracing::info!(%role, "the certificate of this node was renewed");
        Ok(())
    }

    async fn given(&self, daemon: &Arc<Daemon>, request: Vec<u8>, role: Role) -> Result<Given> {
        let identity = daemon.membership.as_ref().map(|membership| membership.identity());
        let mut failures = Vec::new();
        if identity.as_ref().is_some_and(|identity| identity.role == Role::Manager) {
            match sign(daemon, daemon.node, &request, role).await {
                Ok(given) => return Ok(given),
                Err(error) => failures.push(format!("here: {error}")),
            }
        }
        let asked = Asked { request: encode(&request), role };
        let managers = identity.map(|identity| identity.managers.clone()).unwrap_or_default();
        for manager in managers.iter().filter(|manager| manager.node != daemon.node) {
            match tokio::time::timeout(PATIENCE, self.ask(&manager.address, manager.node, &asked)).await {
                Ok(Ok(given)) => return Ok(given),
                Ok(Err(error)) => failures.push(format!("{}: {error:#}", manager.address)),
                Err(_) => failures.push(format!("{}: it does not answer", manager.address)),
            }
        }
        anyhow::bail!("no manager signs: {}", failures.join("; "))
    }

    async fn ask(&self, address: &str, node: NodeId, asked: &Asked) -> Result<Given> {
        let body = serde_json::to_vec(asked)?;
        let given = self.post(address, node, "/cluster/v1/renew", body, MAX_ANSWER).await??;
        serde_json::from_slice(&given).context("read the answer")
    }
}

/// Renews the certificate whenever that is due, until the daemon stops.
pub(crate) async fn run(daemon: Arc<Daemon>) {
    let Some(peers) = daemon.peers.clone() else { return };
    let mut changes = peers.changes();
    loop {
        let wait = Duration::from_millis(peers.renewal_at().0.saturating_sub(clock::now().0));
        let mut pause = wait.min(LOOK);
        if wait.is_zero() {
            let role = daemon.membership.as_ref().map(|membership| membership.identity().role);
            if let Some(role) = role
                && let Err(error) = peers.renew(&daemon, role).await
            {
                tracing::warn!("{error}");
                pause = PAUSE;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = changes.changed() => {}
            () = daemon.stop.cancelled() => return,
        }
    }
}
