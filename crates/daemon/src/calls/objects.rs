//! Networks and volumes, looked at.

use crate::shared::Daemon;
use crate::{failure, views};
use api::ApiError;
use model::VolumeSpec;
use runtime::volume::VolumeInfo;

pub(crate) async fn inspect_network(daemon: &Daemon, name: &str) -> Result<serde_json::Value, ApiError> {
    let state = daemon.cluster.state().await?;
    match views::objects::find_network(&state, name) {
        Some(network) => Ok(views::objects::network(network, &state)),
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
