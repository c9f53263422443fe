//! The logins that a call is given along: those that whoever types it has for the registries of its images.

use crate::context::Context;
use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use image::credentials;
use model::image::Reference;
use model::{Logins, Request, StackSpec};
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

/// The same for what is kept (`with_registry_auth`): there one that can't be had is an error, as it would be missed
/// later, on other nodes.
///
/// # Errors
/// See there.
pub(crate) async fn kept_of<'a>(
    context: &Context,
    images: impl IntoIterator<Item = &'a str>,
    with_registry_auth: bool,
) -> Result<Logins> {
    if !with_registry_auth {
        return Ok(of(context, images).await);
    }
    let found = found(images).await;
    let hosts: Vec<String> = found.iter().map(|(host, _)| host.clone()).collect();
    let mut logins = Vec::new();
    for (host, login) in found {
        logins.extend(login?.map(|login| (host, login)));
    }
    if logins.is_empty() {
        let where_it_is = credentials::folder().map(|folder| folder.join("config.json").display().to_string());
        let Some(where_it_is) = where_it_is else {
            bail!("--with-registry-auth: there are no logins without a home: set HOME or DOCKER_CONFIG")
        };
        let hosts = hosts.join(", ");
        context.printer.warn(&format!("--with-registry-auth: {where_it_is} has no login for {hosts}"));
        context.printer.hint("`rswarm login` makes one");
    }
    Ok(logins.into_iter().collect())
}

/// Those for all images of a stack.
///
/// # Errors
/// As [`kept_of`].
pub(crate) async fn of_stack(context: &Context, stack: &StackSpec, with_registry_auth: bool) -> Result<Logins> {
    let images = stack.services.values().map(|service| service.container.image.as_str());
    kept_of(context, images, with_registry_auth).await
}

/// A request with its logins: for this call, or kept for the nodes as well.
pub(crate) fn along(request: Request, logins: Logins, with_registry_auth: bool) -> (Request, Logins) {
    match with_registry_auth {
        true => (Request::WithLogins { request: Box::new(request), logins }, Logins::default()),
        false => (request, logins),
    }
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
