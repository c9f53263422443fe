//! The logins that a call is given along: those that whoever types it has for the registries of its images.

use crate::context::Context;
use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use image::credentials;
use model::image::Reference;
use model::{Logins, StackSpec};
use std::collections::BTreeSet;

/// Those that are needed for these images. A login that can't be had is told, and that is all: most images are for
/// everybody, and of the others the registry will say so.
pub(crate) async fn of<'a>(context: &Context, images: impl IntoIterator<Item = &'a str>) -> Logins {
    let mut logins = Vec::new();
    for (host, login) in found(images).await {
        match login {
            Ok(login) => logins.extend(login.map(|login| (host, login))),
            Err(error) => context.printer.warn(&crate::failure::words(&error).0),
        }
    }
    logins.into_iter().collect()
}

/// Those for all images of a stack.
pub(crate) async fn of_stack(context: &Context, stack: &StackSpec) -> Logins {
    of(context, stack.services.values().map(|service| service.container.image.as_str())).await
}

/// Each registry once, in the order of their names.
async fn found<'a>(
    images: impl IntoIterator<Item = &'a str>,
) -> Vec<(String, Result<Option<model::Login>, anyhow::Error>)> {
    let Some(folder) = credentials::folder() else { return Vec::new() };
    let references = images.into_iter().filter_map(|image| image.parse::<Reference>().ok());
    let hosts: BTreeSet<String> = references.map(|reference| reference.host().to_owned()).collect();
    // A helper may ask a keyring, or a cloud: all of them at once.
    join_all(hosts.into_iter().map(|host| async {
        let login = credentials::find(&folder, &host).await.with_context(|| format!("look for a login for {host}"));
        (host, login)
    }))
    .await
}
