//! Looking at containers: `ps`, `inspect`, `stats`.

use crate::api_server::Scope;
use crate::shared::Daemon;
use crate::{clock, failure, node, relay, views};
use api::{ApiError, Call, ContainerRow, MeshPeerRow, Reply, Stats};
use model::{NodeId, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// The container that a user means.
///
/// # Errors
/// None, or several.
pub(crate) async fn task(daemon: &Daemon, name: &str) -> Result<Arc<Task>, ApiError> {
    api::names::container(&*daemon.cluster.state().await?, name).cloned()
}

/// `ps`, newest first.
///
/// # Errors
/// The daemon is on its way out.
pub(crate) async fn rows(daemon: &Daemon, all: bool, stack: Option<&str>) -> Result<Vec<ContainerRow>, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut rows = Vec::new();
    for task in &state.tasks {
        let fits = stack.is_none_or(|stack| task.spec.stack.as_deref() == Some(stack));
        if fits && views::container::is_listed(task, all) {
            let inspect = daemon.engine.inspect(task.id).await.ok();
            rows.push(views::container::row(task, &state, inspect.as_ref()));
        }
    }
    rows.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    Ok(rows)
}

/// `inspect`.
///
/// # Errors
/// No such container.
pub(crate) async fn inspect(daemon: &Arc<Daemon>, name: &str, scope: Scope) -> Result<serde_json::Value, ApiError> {
    let state = daemon.cluster.state().await?;
    let task = api::names::container(&state, name)?;
    // Of a node that cannot be asked the state has to do.
    if let Some(node) = scope.other(daemon, task)
        && let Some(Reply::Inspect(seen)) =
            relay::ask_soon(daemon, node, &Call::InspectContainer(task.id.to_string())).await
    {
        return Ok(seen);
    }
    let inspect = daemon.engine.inspect(task.id).await.ok();
    Ok(views::inspect::container(task, &state, inspect.as_ref()))
}

/// The named containers, or all that run.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn chosen(daemon: &Daemon, containers: &[String]) -> Result<Vec<Arc<Task>>, ApiError> {
    let state = daemon.cluster.state().await?;
    if containers.is_empty() {
        return Ok(state.tasks.iter().filter(|task| views::container::is_up(task)).cloned().collect());
    }
    containers.iter().map(|name| api::names::container(&state, name).cloned()).collect()
}

/// Readings; of one that does not run, zeros.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn stats(daemon: &Arc<Daemon>, containers: &[String], scope: Scope) -> Result<Vec<Stats>, ApiError> {
    let (own, others) = by_node(daemon, chosen(daemon, containers).await?, scope);
    let asked =
        others.into_iter().map(async |(node, ids)| match relay::ask_soon(daemon, node, &Call::Stats(ids)).await {
            Some(Reply::Stats(stats)) => stats,
            _ => Vec::new(),
        });
    let asked = futures_util::future::join_all(asked);
    let (mut all, others) = tokio::join!(own_stats(daemon, &own), asked);
    all.extend(others.into_iter().flatten());
    Ok(all)
}

async fn own_stats(daemon: &Daemon, tasks: &[Arc<Task>]) -> Vec<Stats> {
    let mut all = Vec::new();
    for task in tasks {
        let read = daemon.engine.stats(task.id).await.unwrap_or_default();
        all.push(Stats {
            id: task.id.to_string(),
            name: task.name(),
            read_at: clock::now().0,
            cpu_ns: read.cpu_ns,
            cpus: u32::try_from(node::cpus()).unwrap_or(u32::MAX),
            memory: read.memory,
            memory_limit: read.memory_limit.unwrap_or_else(node::memory),
            net_rx: read.net_rx,
            net_tx: read.net_tx,
            block_read: read.block_read,
            block_write: read.block_write,
            pids: read.pids,
        });
    }
    all
}

/// Those of this node, and the ids of those of others.
fn by_node(daemon: &Daemon, tasks: Vec<Arc<Task>>, scope: Scope) -> (Vec<Arc<Task>>, BTreeMap<NodeId, Vec<String>>) {
    let (mut own, mut others) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
    for task in tasks {
        match scope.other(daemon, &task) {
            Some(node) => others.entry(node).or_default().push(task.id.to_string()),
            None => own.push(task),
        }
    }
    (own, others)
}

/// Bytes in the writable layers of the named containers, or of all, by id.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn usage(
    daemon: &Arc<Daemon>,
    containers: Vec<String>,
    scope: Scope,
) -> Result<Vec<(String, u64)>, ApiError> {
    let state = daemon.cluster.state().await?;
    let tasks = match containers.is_empty() {
        true => state.tasks.clone(),
        false => {
            containers.iter().map(|name| api::names::container(&state, name).cloned()).collect::<Result<_, _>>()?
        }
    };
    let (own, others) = by_node(daemon, tasks, scope);
    let asked = others.into_iter().map(async |(node, ids)| {
        match relay::ask_soon(daemon, node, &Call::ContainerUsage(ids)).await {
            Some(Reply::Usage(usage)) => usage,
            _ => Vec::new(),
        }
    });
    let asked = futures_util::future::join_all(asked);
    let (all, others) = tokio::join!(own_usage(daemon, &own), asked);
    let mut all = all?;
    all.extend(others.into_iter().flatten());
    Ok(all)
}

async fn own_usage(daemon: &Daemon, tasks: &[Arc<Task>]) -> Result<Vec<(String, u64)>, ApiError> {
    let mut layers = Vec::new();
    for task in tasks {
        if let Ok(inspect) = daemon.engine.inspect(task.id).await {
            layers.push((task.id.to_string(), inspect.upper));
        }
    }
    let measure = move || layers.into_iter().map(|(id, upper)| (id, bytes_below(&upper))).collect();
    tokio::task::spawn_blocking(measure).await.map_err(failure::joined)
}

/// Bytes of all files below a folder; what is linked twice counts once, what goes meanwhile not at all.
fn bytes_below(folder: &Path) -> u64 {
    let (mut folders, mut linked, mut bytes) = (vec![folder.to_owned()], BTreeSet::new(), 0u64);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || linked.insert(metadata.ino())) {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    bytes
}

/// How the other nodes of the mesh look from a node.
///
/// # Errors
/// It cannot be reached, or its `netd` cannot be asked.
pub(crate) async fn mesh_peers(daemon: &Arc<Daemon>, node: NodeId) -> Result<Vec<MeshPeerRow>, ApiError> {
    if node != daemon.node {
        return match relay::ask_soon(daemon, node, &Call::MeshPeers(node)).await {
            Some(Reply::MeshPeers(peers)) => Ok(peers),
            _ => Err(failure::failed(format!("node {} does not answer", node.short()))),
        };
    }
    let peers = daemon.network.peers().await.map_err(|error| failure::internal(&anyhow::Error::from(error)))?;
    let row = |(node, peer): (NodeId, overlay_net::mesh::PeerStatus)| MeshPeerRow {
        node,
        endpoint: peer.endpoint,
        handshake_age: peer.handshake_age,
        sent: peer.sent,
        received: peer.received,
        path_mtu: peer.path_mtu,
    };
    Ok(peers.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    #[test]
    fn links_count_once_and_what_is_linked_to_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/a"), [0; 1000]).unwrap();
        std::fs::hard_link(at("sub/a"), at("b")).unwrap();
        std::os::unix::fs::symlink("sub/a", at("c")).unwrap();
        std::fs::write(at("d"), [0; 24]).unwrap();
        assert_eq!(super::bytes_below(root.path()), 1024);
        assert_eq!(super::bytes_below(&at("none")), 0);
    }
}
