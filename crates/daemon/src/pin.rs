//! Before a spec is proposed its images are pinned: what the tag means now is what every task of
//! this version will run, today and after a restart.

use crate::failure;
use crate::images::{self, Lease, Pinned};
use crate::shared::Daemon;
use api::ApiError;
use model::{PullPolicy, ServiceSpec, StackSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Pins every service of a stack; each distinct image is asked for once, all at the same time. What
/// is missing is pulled. The leases are to be kept until the commit.
///
/// # Errors
/// All images that are not to be had, each with its services and the reason.
pub(crate) async fn stack(daemon: &Arc<Daemon>, stack: &mut StackSpec) -> Result<Vec<Lease>, ApiError> {
    let mut wanted: BTreeMap<(String, PullPolicy), Vec<String>> = BTreeMap::new();
    for service in stack.services.values() {
        if service.container.image_digest.is_none() {
            let key = (service.container.image.clone(), service.container.pull_policy);
            wanted.entry(key).or_default().push(service.key.clone());
        }
    }
    let found = resolve(daemon, wanted).await?;
    for service in stack.services.values_mut() {
        let container = &mut service.container;
        if container.image_digest.is_none() {
            container.image_digest =
                found.get(&(container.image.clone(), container.pull_policy)).map(|it| it.digest.clone());
        }
    }
    Ok(found.into_values().map(|it| it.lease).collect())
}

/// Pins what is here already, and asks nobody: images of which it is not known before they are fetched
/// what they are.
///
/// # Errors
/// The store fails.
pub(crate) async fn as_known(daemon: &Daemon, stack: &mut StackSpec) -> Result<BTreeSet<String>, ApiError> {
    let mut unknown = BTreeSet::new();
    for service in stack.services.values_mut().filter(|service| service.container.image_digest.is_none()) {
        let container = &mut service.container;
        container.image_digest = match container.pull_policy {
            PullPolicy::Always => None,
            PullPolicy::Missing | PullPolicy::Never => images::known(daemon, &container.image).await?,
        };
        if container.image_digest.is_none() {
            unknown.insert(container.image.clone());
        }
    }
    Ok(unknown)
}

/// Pins one service. The lease, if there is something to pin, is to be kept until the commit.
///
/// # Errors
/// Its image is not to be had.
pub(crate) async fn service(daemon: &Arc<Daemon>, service: &mut ServiceSpec) -> Result<Option<Lease>, ApiError> {
    let container = &mut service.container;
    if container.image_digest.is_some() {
        return Ok(None);
    }
    let Pinned { digest, lease } = images::ensure(daemon, &container.image, container.pull_policy).await?;
    container.image_digest = Some(digest);
    Ok(Some(lease))
}

async fn resolve(
    daemon: &Arc<Daemon>,
    wanted: BTreeMap<(String, PullPolicy), Vec<String>>,
) -> Result<BTreeMap<(String, PullPolicy), Pinned>, ApiError> {
    let mut asked = JoinSet::new();
    for ((image, policy), services) in wanted {
        let daemon = daemon.clone();
        asked.spawn(async move {
            let result = images::ensure(&daemon, &image, policy).await;
            (image, policy, services, result)
        });
    }
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    while let Some(joined) = asked.join_next().await {
        let (image, policy, services, result) = joined.map_err(failure::joined)?;
        match result {
            Ok(pinned) => {
                found.insert((image, policy), pinned);
            }
            Err(error) => problems.push((services, image, error)),
        }
    }
    match problems.is_empty() {
        true => Ok(found),
        false => Err(tell(problems)),
    }
}

/// One error for all images that are not to be had.
fn tell(mut problems: Vec<(Vec<String>, String, ApiError)>) -> ApiError {
    problems.sort_by(|a, b| a.0.cmp(&b.0));
    let kind = problems.first().map_or(api::ErrorKind::Failed, |(_, _, error)| error.kind);
    let hint = problems.iter().find_map(|(_, _, error)| error.hint.clone());
    let lines: Vec<String> = problems
        .iter()
        .map(|(services, image, error)| {
            let word = if services.len() == 1 { "service" } else { "services" };
            format!("{word} {}: image {image}: {}", services.join(", "), error.message)
        })
        .collect();
    ApiError { kind, message: lines.join("\n"), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_image_is_told_with_its_services() {
        let problems = vec![
            (vec!["web".to_owned()], "b:1".to_owned(), failure::failed("no route")),
            (
                vec!["api".to_owned(), "db".to_owned()],
                "a:1".to_owned(),
                failure::hint(failure::not_found("gone"), "look"),
            ),
        ];
        let error = tell(problems);
        assert_eq!(error.message, "services api, db: image a:1: gone\nservice web: image b:1: no route");
        assert_eq!((error.kind, error.hint.as_deref()), (api::ErrorKind::NotFound, Some("look")));
    }
}
