//! Images, for the rest of the daemon; comes with the image store, until then every call says so.

use crate::shared::Daemon;
use crate::streams::Sender;
use api::{ApiError, HistoryRow, ImageRow, PruneReport};
use model::PullPolicy;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Images;
pub(crate) fn absent<T>() -> Result<T, ApiError> {
    Err(crate::failure::failed("this build has no image store yet"))
}
impl Images {
    pub(crate) async fn open(_: &std::path::Path, _: &[String]) -> anyhow::Result<Images> {
        Ok(Images)
    }
}
pub(crate) async fn ensure(_: &Arc<Daemon>, _: &str, _: PullPolicy) -> Result<String, ApiError> {
    absent()
}
pub(crate) async fn pull(_: &Daemon, _: &str, _: Option<&Sender>) -> Result<String, ApiError> {
    absent()
}
pub(crate) async fn inspect(_: &Daemon, _: &str) -> Result<serde_json::Value, ApiError> {
    absent()
}
pub(crate) async fn history(_: &Daemon, _: &str) -> Result<Vec<HistoryRow>, ApiError> {
    absent()
}
pub(crate) async fn list(_: &Daemon, _: bool) -> Result<Vec<ImageRow>, ApiError> {
    absent()
}
pub(crate) async fn tag(_: &Daemon, _: &str, _: &str) -> Result<(), ApiError> {
    absent()
}
pub(crate) async fn remove(_: &Daemon, _: &str, _: bool) -> Result<Vec<String>, ApiError> {
    absent()
}
pub(crate) async fn prune(_: &Daemon, _: bool) -> Result<PruneReport, ApiError> {
    absent()
}
/// The local image that a container is pinned to.
pub(crate) async fn pinned(_: &Daemon, _: &model::ContainerSpec) -> Result<runtime::engine::ImageInfo, ApiError> {
    absent()
}
/// Fetches the image that a container is pinned to.
pub(crate) async fn pull_pinned(_: &Daemon, _: &model::ContainerSpec) -> Result<(), ApiError> {
    absent()
}
