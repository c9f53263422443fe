//! Requests to the replicated state: images are pinned first, then they are proposed; what changed
//! is told as events.

use crate::shared::Daemon;
use crate::{failure, pin};
use api::ApiError;
use model::{Request, RequestId, Response};
use runtime::volume::VolumeStore;
use std::sync::Arc;

/// Pins, proposes, answers after the commit.
///
/// # Errors
/// An image that is not to be had; a daemon on its way out. Refusals are answers.
pub(crate) async fn request(daemon: &Arc<Daemon>, id: RequestId, mut request: Request) -> Result<Response, ApiError> {
    let _until_committed = match &mut request {
        Request::Deploy { stack, .. } => pin::stack(daemon, stack).await?,
        Request::Apply { wanted, .. } => pin::stack(daemon, &mut wanted.stack).await?,
        Request::PutService { spec, .. } | Request::UpdateService { spec, .. } => {
            pin::service(daemon, spec).await?.into_iter().collect()
        }
        _ => Vec::new(),
    };
    let volume = match &request {
        Request::CreateVolume(spec) => {
            // What no host could ever make is refused before anybody has agreed to it.
            VolumeStore::check(spec).map_err(|error| failure::engine(&error.into()))?;
            Some((**spec).clone())
        }
        _ => None,
    };
    let response = propose(daemon, id, request).await?;
    if let (Some(spec), Response::Done { .. }) = (volume, &response) {
        super::objects::make_volume(daemon, spec).await?;
    }
    Ok(response)
}

/// The same for what is pinned already.
///
/// # Errors
/// A daemon on its way out.
pub(crate) async fn propose(daemon: &Daemon, id: RequestId, request: Request) -> Result<Response, ApiError> {
    let names: Vec<(String, String)> = match &request {
        Request::Read => Vec::new(),
        Request::RemoveNetwork(_) | Request::RemoveService { .. } | Request::RemoveStack { .. } => {
            let state = daemon.cluster.state().await?;
            let networks = state.networks.iter().map(|network| (network.spec.name.clone(), network.id.to_string()));
            let services = state.services.iter().map(|service| (service.spec.name.clone(), service.id.to_string()));
            networks.chain(services).collect()
        }
        _ => Vec::new(),
    };
    let response = daemon.cluster.request(id, request).await?;
    if let Response::Done { changes, id, .. } = &response {
        let single = changes.len() == 1;
        for change in changes {
            let action = match (change.kind.as_str(), change.action.as_str()) {
                (_, "created") => "create",
                (_, "updated") => "update",
                ("service" | "config" | "secret", "removed") => "remove",
                (_, "removed") => "destroy",
                _ => continue,
            };
            let known = names.iter().find(|(name, _)| *name == change.name).map(|(_, id)| id.clone());
            let id = known.or_else(|| id.clone().filter(|_| single)).unwrap_or_else(|| change.name.clone());
            daemon.events.emit(&change.kind, action, id, &[("name", &change.name)]);
        }
    }
    Ok(response)
}
