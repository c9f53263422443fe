//! `prune` of containers, networks and volumes. What is in use is refused by the manager, so a race
//! with an `up` costs nothing.

use super::objects;
use crate::shared::Daemon;
use crate::{failure, views};
use api::{ApiError, PruneReport};
use model::{MountSource, Request};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Containers of `run` that have ended.
pub(crate) async fn containers(daemon: &Arc<Daemon>) -> Result<PruneReport, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut report = PruneReport::default();
    let ended = state
        .tasks
        .iter()
        .filter(|task| task.spec.standalone && task.status.container.is_some() && !views::container::is_up(task));
    for task in ended {
        let request = Request::RemoveService { id: task.service, force: false, volumes: false };
        match daemon.cluster.ask(request).await {
            Ok(_) => {
                daemon.cluster.until_task(task.id, |task| task.is_none().then_some(())).await?;
                report.removed.push(task.id.to_string());
            }
            Err(error) => tracing::debug!(task = %task.id, "prune: {error}"),
        }
    }
    Ok(report)
}

/// Networks that no task is on.
pub(crate) async fn networks(daemon: &Arc<Daemon>) -> Result<PruneReport, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut report = PruneReport::default();
    for network in &state.networks {
        let wanted = state
            .services
            .iter()
            .any(|service| service.spec.networks.iter().any(|attachment| attachment.network == network.spec.name));
        let used = state.tasks.iter().any(|task| task.endpoints.iter().any(|endpoint| endpoint.network == network.id));
        if wanted || used {
            continue;
        }
        match daemon.cluster.ask(Request::RemoveNetwork(network.id)).await {
            Ok(_) => {
                daemon.events.emit("network", "destroy", network.id.to_string(), &[("name", &network.spec.name)]);
                report.removed.push(network.spec.name.clone());
            }
            Err(error) => tracing::debug!(network = %network.id, "prune: {error}"),
        }
    }
    Ok(report)
}

/// Volumes that nothing mounts: anonymous ones, with `all` also named ones.
pub(crate) async fn volumes(daemon: &Arc<Daemon>, all: bool) -> Result<PruneReport, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut report = PruneReport::default();
    let mounted: BTreeSet<&str> = state
        .services
        .iter()
        .map(|service| &service.spec)
        .chain(state.tasks.iter().map(|task| &task.spec))
        .flat_map(|spec| &spec.container.mounts)
        .filter_map(|mount| match &mount.source {
            MountSource::Volume { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    for info in objects::volume_list(daemon).await? {
        let name = info.spec.name.clone();
        if !(all || info.anonymous) || mounted.contains(name.as_str()) {
            continue;
        }
        if !daemon.engine.volume_users(&name).await.is_empty() {
            continue;
        }
        let wanted = name.clone();
        let bytes = objects::volumes(daemon, move |store| store.usage(&wanted)).await.map_or(0, |usage| usage.bytes);
        let known = state.volumes.iter().any(|volume| volume.name == name);
        let result = if known {
            daemon.cluster.ask(Request::RemoveVolume(name.clone())).await.map(|_| ())
        } else {
            daemon.engine.remove_volume(&name).await.map_err(|error| failure::engine(&error))
        };
        match result {
            Ok(()) => {
                daemon.events.emit("volume", "destroy", name.clone(), &[("driver", "local")]);
                report.removed.push(name);
                report.reclaimed = report.reclaimed.saturating_add(bytes);
            }
            Err(error) => tracing::debug!(volume = %name, "prune: {error}"),
        }
    }
    Ok(report)
}
