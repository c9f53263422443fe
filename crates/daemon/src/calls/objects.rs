//! Networks and volumes, looked at.

use super::looks;
use crate::shared::Daemon;
use crate::{failure, views};
use api::ApiError;
use model::{Request, VolumeSpec};
use runtime::volume::VolumeInfo;
use std::sync::Arc;

pub(crate) async fn inspect_network(daemon: &Arc<Daemon>, name: &str) -> Result<serde_json::Value, ApiError> {
    let state = daemon.cluster.state().await?;
    let predefined = model::Network::predefined();
    let mut nobodys = predefined.iter();
    let nobodys = nobodys.find(|network| {
        network.spec.name == name || [network.id.to_string(), network.id.short()].contains(&name.to_owned())
    });
    match views::objects::find_network(&state, name).or(nobodys) {
        Some(network) => {
            let mut shown = views::objects::network(network, &state);
            if views::objects::spans(network, &state) {
                // Without its `netd` nothing is known of the ways.
                let peers = looks::mesh_peers(daemon, daemon.node).await.unwrap_or_default();
                shown["Peers"] = views::objects::peers(&peers, &state);
            }
            Ok(shown)
        }
        None => Err(failure::not_found(format!("no such network: {name}"))),
    }
}

pub(crate) async fn inspect_volume(daemon: &Daemon, name: &str) -> Result<serde_json::Value, ApiError> {
    let state = daemon.cluster.state().await?;
    let known: Option<VolumeSpec> = state.volumes.iter().find(|volume| volume.name == name).cloned();
    let wanted = name.to_owned();
    let info = volumes(daemon, move |store| store.inspect(&wanted)).await;
    match (known, info) {
        (Some(spec), info) => Ok(views::objects::volume(&spec, info.ok().as_ref())),
        (None, Ok(info)) => Ok(views::objects::volume(&info.spec, Some(&info))),
        (None, Err(_)) => Err(failure::not_found(format!("no such volume: {name}"))),
    }
}

/// Makes the folder of a volume that was asked for by name, so that it can be looked at and filled before a
/// container mounts it. Content of an image is copied into it all the same while it is empty.
///
/// # Errors
/// The disk. The volume is agreed upon all the same, and is made when it is asked for or mounted again.
pub(crate) async fn make_volume(daemon: &Daemon, spec: VolumeSpec) -> Result<(), ApiError> {
    volumes(daemon, move |store| store.create(&spec)).await.map(drop)
}

/// `volume rm`: also of volumes that nobody asked for by name, which the manager does not know.
///
/// # Errors
/// No such volume, or a container has it.
pub(crate) async fn remove_volume(daemon: &Daemon, name: &str) -> Result<(), ApiError> {
    let state = daemon.cluster.state().await?;
    let wanted = name.to_owned();
    if state.volumes.iter().any(|volume| volume.name == name) {
        daemon.cluster.ask(Request::RemoveVolume(wanted)).await?;
    } else if volumes(daemon, move |store| store.inspect(&wanted)).await.is_ok() {
        daemon.engine.remove_volume(name).await.map_err(|error| failure::engine(&error))?;
    } else {
        return Err(failure::not_found(format!("no such volume: {name}")));
    }
    daemon.events.emit("volume", "destroy", name.to_owned(), &[("driver", "local")]);
    Ok(())
}

/// Sizes of all that are on the disk.
pub(crate) async fn volume_usage(daemon: &Daemon) -> Result<Vec<(String, u64)>, ApiError> {
    volumes(daemon, |store| {
        let all = store.list()?;
        Ok(all
            .into_iter()
            .map(|info| {
                let bytes = store.usage(&info.spec.name).map_or(0, |usage| usage.bytes);
                (info.spec.name, bytes)
            })
            .collect())
    })
    .await
}

/// `volume ls`: what is on the disk, and what was asked for and is not there yet.
pub(crate) async fn volume_rows(daemon: &Daemon) -> Result<Vec<api::VolumeRow>, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut rows: std::collections::BTreeMap<String, api::VolumeRow> = state
        .volumes
        .iter()
        .map(|spec| {
            let row = api::VolumeRow { spec: spec.clone(), anonymous: false, mountpoint: String::new() };
            (spec.name.clone(), row)
        })
        .collect();
    for info in volume_list(daemon).await? {
        let mountpoint = info.mountpoint.display().to_string();
        let row = rows.entry(info.spec.name.clone()).or_insert_with(|| api::VolumeRow {
            spec: info.spec,
            anonymous: info.anonymous,
            mountpoint: String::new(),
        });
        row.mountpoint = mountpoint;
    }
    Ok(rows.into_values().collect())
}

/// All that are on the disk.
pub(crate) async fn volume_list(daemon: &Daemon) -> Result<Vec<VolumeInfo>, ApiError> {
    volumes(daemon, runtime::volume::VolumeStore::list).await
}

/// The store blocks on the disk.
pub(crate) async fn volumes<T: Send + 'static>(
    daemon: &Daemon,
    work: impl FnOnce(&runtime::volume::VolumeStore) -> Result<T, runtime::volume::VolumeError> + Send + 'static,
) -> Result<T, ApiError> {
    let engine = daemon.engine.clone();
    let result = tokio::task::spawn_blocking(move || work(engine.volumes())).await.map_err(failure::joined)?;
    result.map_err(|error| failure::engine(&error.into()))
}

/// What is in a config, as base64.
///
/// # Errors
/// There is none of that name.
pub(super) async fn config_data(daemon: &Daemon, name: &str) -> Result<String, ApiError> {
    use base64::Engine as _;
    let snapshot = daemon.cluster.snapshot().await?;
    let content = snapshot.config(name).ok_or_else(|| failure::not_found(format!("no such config: {name}")))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(&content.data))
}
