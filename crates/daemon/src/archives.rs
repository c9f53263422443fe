//! Archives of images in and out; comes with the image store.

use crate::api_server::Body;
use crate::images::absent;
use crate::shared::Daemon;
use api::{ApiError, DownloadCall, UploadCall};
use std::sync::Arc;

pub(crate) async fn upload(_: Arc<Daemon>, _: UploadCall, _: hyper::body::Incoming) -> Result<Body, ApiError> {
    absent()
}

pub(crate) async fn download(_: Arc<Daemon>, _: DownloadCall) -> Result<Body, ApiError> {
    absent()
}
