//! Images that no registry has (loaded, imported) go from node to node: who needs one asks a manager, which passes
//! on the archive of a node that has it.
//!
//! Only images that are pinned by their own id: whatever node it comes from, such an image is what it says, because
//! its id is the digest of its config, and that names the digests of its layers.

use super::blocking;
use crate::api_server::Body;
use crate::identity::Peer;
use crate::shared::Daemon;
use crate::{archives, failure, relay};
use api::{ApiError, Call, DownloadCall, Reply};
use hyper::body::Incoming;
use hyper::{Request, Response};
use model::{ContainerSpec, Desired, NodeId, Role, State, TaskState};
use pki::{PeerIdentity, PeerRole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Most nodes that are asked for one image.
const MOST: usize = 12;
/// How long one of them may take until its archive begins.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a manager that asks all of them.
const ALL: Duration = Duration::from_secs(60);
/// The manager's path for it.
pub(crate) const PATH: &str = "/cluster/v1/image";

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The image's id.
    id: String,
}

/// Gets the image that a container is pinned to from another node. False: none that answers has it.
///
/// # Errors
/// The transfer broke off, or what came is refused.
pub(crate) async fn fetch(daemon: &Arc<Daemon>, container: &ContainerSpec) -> Result<bool, ApiError> {
    let (Some(id), Some(membership)) = (&container.image_digest, &daemon.membership) else { return Ok(false) };
    // The same image is wanted by several tasks at a time, and disks and wires like one after the other.
    let _one_at_a_time = daemon.images.sharing.lock().await;
    if super::pinned(daemon, container).await.is_ok() {
        return Ok(true);
    }
    let identity = membership.identity();
    let answer = match identity.role {
        Role::Manager => elsewhere(daemon, daemon.node, id).await,
        Role::Worker => asked(daemon, &identity.managers, id).await,
    };
    let Some(answer) = answer else { return Ok(false) };
    tracing::info!(image = %container.image, %id, "taking an image from another node");
    let loaded = archives::load(daemon, answer.into_body(), id).await?;
    let is_it = loaded.iter().any(|image| image.id.as_str() == id);
    if !is_it {
        return Err(failure::failed(format!("another node sent something else than the image {id}")));
    }
    daemon.events.emit("image", "load", id.as_str(), &[("name", &container.image)]);
    Ok(true)
}

/// Gets the image that another manager has under a name: its id. For what was loaded on one of them only, so that it
/// does not matter which of them is asked to run it.
pub(super) async fn named(daemon: &Arc<Daemon>, reference: &str) -> Option<String> {
    daemon.membership.as_ref()?;
    let state = daemon.cluster.state().await.ok()?;
    let is_other = |node: &&model::Node| node.manager && node.ready && node.id != daemon.node;
    for node in state.nodes.iter().filter(is_other) {
        let asked = relay::ask_soon(daemon, node.id, &Call::InspectImage(reference.to_owned())).await;
        let Some(Reply::Inspect(seen)) = asked else { continue };
        let Some(id) = seen.get("Id").and_then(|id| id.as_str()) else { continue };
        let image_digest = Some(id.to_owned());
        let container = ContainerSpec { image: reference.to_owned(), image_digest, ..ContainerSpec::default() };
        match fetch(daemon, &container).await {
            Ok(true) => return Some(id.to_owned()),
            Ok(false) => {}
            Err(error) => tracing::warn!(%reference, "take an image from another manager: {error}"),
        }
    }
    None
}

/// A worker asks the managers that it knows.
async fn asked(daemon: &Arc<Daemon>, managers: &[Peer], id: &str) -> Option<Response<Body>> {
    let peers = daemon.peers.as_ref()?;
    let body = serde_json::to_vec(&Wanted { id: id.to_owned() }).ok()?;
    for manager in managers {
        let asked = peers.stream(&manager.address, manager.node, PATH, body.clone());
        match tokio::time::timeout(ALL, asked).await {
            Ok(Ok(Ok(answer))) => return Some(answer.map(relay::incoming)),
            // All managers ask the same nodes.
            Ok(Ok(Err(error))) if error.kind == api::ErrorKind::NotFound => return None,
            Ok(Ok(Err(error))) => tracing::debug!(manager = %manager.address, "ask for an image: {error}"),
            Ok(Err(error)) => tracing::debug!("ask for an image: {error:#}"),
            Err(_) => tracing::debug!(manager = %manager.address, "ask for an image: it takes too long"),
        }
    }
    None
}

/// Answers a node that asks for the image of one of its tasks.
///
/// # Errors
/// It has no such task, or nobody has the image.
pub(crate) async fn answer(
    daemon: &Arc<Daemon>,
    peer: &PeerIdentity,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let Wanted { id } = crate::peers::join::small(request).await?;
    let state = daemon.cluster.state().await?;
    let of_its_own = || state.tasks.iter().any(|task| task.node == Some(peer.node) && is_of(task, &id));
    let none = || failure::not_found(format!("no node has the image {id}"));
    if peer.role != PeerRole::Manager && !of_its_own() {
        return Err(none());
    }
    if has(daemon, &id).await {
        return archives::download(daemon.clone(), DownloadCall::Image(id)).await.map(Response::new);
    }
    elsewhere(daemon, peer.node, &id).await.ok_or_else(none)
}

/// Is it here, under this very id?
async fn has(daemon: &Daemon, id: &str) -> bool {
    let id = id.to_owned();
    blocking(daemon, move |store| store.pinned(&id, Some(&id)).map(|image| image.id.as_str() == id))
        .await
        .unwrap_or(false)
}

/// The archive of the image from the first of the other nodes that has it.
async fn elsewhere(daemon: &Arc<Daemon>, asker: NodeId, id: &str) -> Option<Response<Body>> {
    let state = daemon.cluster.state().await.ok()?;
    let call = DownloadCall::Image(id.to_owned());
    for node in candidates(&state, id).into_iter().filter(|node| *node != asker && *node != daemon.node).take(MOST) {
        match tokio::time::timeout(PATIENCE, relay::body(daemon, node, "/v1/download", &call)).await {
            Ok(Ok(answer)) if answer.status().is_success() => return Some(answer),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(node = %node.short(), "ask for an image: {error}"),
            Err(_) => tracing::debug!(node = %node.short(), "ask for an image: it takes too long"),
        }
    }
    None
}

/// Who may have an image, the likeliest first: nodes that run it, then managers, on which people work.
fn candidates(state: &State, id: &str) -> Vec<NodeId> {
    let ready: BTreeSet<NodeId> = state.nodes.iter().filter(|node| node.ready && !node.left).map(|it| it.id).collect();
    // Whether it is healthy does not matter: it was started from the image.
    let runs = |task: &&Arc<model::Task>| {
        task.desired <= Desired::Running && task.status.state == TaskState::Running && is_of(task, id)
    };
    let running: BTreeSet<NodeId> = state.tasks.iter().filter(runs).filter_map(|task| task.node).collect();
    let managers = state.nodes.iter().filter(|node| node.manager).map(|node| node.id);
    let rest: Vec<NodeId> = managers.filter(|node| !running.contains(node)).collect();
    running.into_iter().chain(rest).filter(|node| ready.contains(node)).collect()
}

fn is_of(task: &model::Task, id: &str) -> bool {
    task.spec.container.image_digest.as_deref() == Some(id)
}

/// Writes the archive of the image of this id.
///
/// # Errors
/// It is not here under this very id, the disk fails, or nobody reads.
pub(crate) fn write(store: &image::Store, id: &str, out: &mut dyn std::io::Write) -> image::Result<()> {
    let image = store.pinned(id, Some(id))?;
    match image.id.as_str() == id {
        true => store.save(&[id.to_owned()], out),
        false => Err(image::Error::NotFound(id.to_owned())),
    }
}

/// Why an image is nowhere to be had, for people.
pub(crate) fn nowhere(error: &ApiError) -> ApiError {
    let hint = "load it on a manager (`rswarm image load`), or push it to a registry; from one that wants a login it is \
                pulled with --with-registry-auth";
    let text = format!("{}; no other node that was asked has it either: {hint}", error.message);
    failure::hint(ApiError::new(error.kind, text), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use model::Node;

    #[test]
    fn who_runs_an_image_is_asked_before_managers_and_who_is_down_is_not() {
        let mut spec = testing::service("web", "web", None);
        spec.container.image_digest = Some("sha256:1".to_owned());
        let on = |id, node, state| {
            let mut task = testing::task(id, &spec, 1);
            (task.node, task.status.state) = (Some(NodeId(node)), state);
            Arc::new(task)
        };
        let node = |id, manager, ready| Node { manager, ready, ..Node::new(NodeId(id), "x") };
        let state = State {
            nodes: vec![node(1, true, true), node(2, true, true), node(3, false, true), node(4, false, false)],
            tasks: vec![on(1, 3, TaskState::Running), on(2, 4, TaskState::Running), on(3, 2, TaskState::Preparing)],
            ..State::default()
        };
        assert_eq!(candidates(&state, "sha256:1"), [NodeId(3), NodeId(1), NodeId(2)]);
        assert_eq!(candidates(&state, "sha256:2"), [NodeId(1), NodeId(2)]);
    }
}
