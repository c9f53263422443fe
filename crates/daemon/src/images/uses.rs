//! Which images containers use.

use crate::shared::Daemon;
use crate::views;
use api::ApiError;
use image::{Use, Uses};
use std::collections::BTreeSet;

/// What every container of this node uses; a service without tasks counts as a stopped one, so that
/// it can be scaled up again.
///
/// # Errors
/// The daemon is on its way out.
pub(super) async fn all(daemon: &Daemon) -> Result<Uses, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut uses = Uses::new();
    let mut add = |container: &model::ContainerSpec, name: String, running: bool| {
        if let Ok(image) = daemon.images.store().pinned(&container.image, container.image_digest.as_deref()) {
            uses.entry(image.id).or_default().push(Use { container: name, running });
        }
    };
    let mut served = BTreeSet::new();
    for task in state.tasks.iter().filter(|task| task.node.is_none_or(|node| node == daemon.node)) {
        served.insert(task.service);
        add(&task.spec.container, task.name(), views::container::is_up(task));
    }
    for service in state.services.iter().filter(|service| !served.contains(&service.id)) {
        add(&service.spec.container, format!("of the service {}", service.spec.name), false);
    }
    Ok(uses)
}
