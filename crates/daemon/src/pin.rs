//! Before a spec is proposed its images are pinned: what the tag means now is what every task of
//! this version will run, today and after a restart.

use crate::failure;
use crate::images::{self, Lease, Pinned};
use crate::shared::Daemon;
use api::ApiError;
use model::{DependencyCondition, Logins, Mode, PullPolicy, ServiceSpec, StackSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Pins every service of a stack; each distinct image is asked for once, all at the same time. What
/// is missing is pulled. The leases are to be kept until the commit.
///
/// # Errors
/// All images that are not to be had, each with its services and the reason.
pub(crate) async fn stack(
    daemon: &Arc<Daemon>,
    stack: &mut StackSpec,
    logins: &Logins,
) -> Result<Vec<Lease>, ApiError> {
    let (leases, kept) = new_or_as_it_runs(daemon, stack, false, logins).await?;
    kept.iter().for_each(|kept| tracing::warn!("what runs is kept: {kept}"));
    Ok(leases)
}

/// The same for what nobody waits for: names of images are looked up at their registries anew, and an image that is not
/// to be had now stays what a service runs under its name already. The registry may be away, or the only machine that
/// the image was loaded on. Says which these are. Registries are shown the logins that are kept with services of the
/// stack.
///
/// # Errors
/// All images that are not to be had, and that do not run.
pub(crate) async fn stack_or_as_it_runs(
    daemon: &Arc<Daemon>,
    stack: &mut StackSpec,
) -> Result<(Vec<Lease>, Vec<String>), ApiError> {
    let logins = daemon.cluster.logins(&stack.name).await?;
    new_or_as_it_runs(daemon, stack, true, &logins).await
}

async fn new_or_as_it_runs(
    daemon: &Arc<Daemon>,
    stack: &mut StackSpec,
    fresh: bool,
    logins: &Logins,
) -> Result<(Vec<Lease>, Vec<String>), ApiError> {
    let (leases, mut problems) = try_stack(daemon, stack, fresh, logins).await?;
    let kept = as_it_runs(daemon, stack, &mut problems).await?;
    if problems.is_empty() {
        unchecked(daemon, stack).await?;
        return Ok((leases, kept));
    }
    Err(tell(problems))
}

/// An image that is not to be had now stays what a service runs under its name already: nodes have it, be it that no
/// registry does, or that this manager has lost what it knew of it. Says which these are; the other problems stay.
async fn as_it_runs(
    daemon: &Arc<Daemon>,
    stack: &mut StackSpec,
    problems: &mut Vec<Problem>,
) -> Result<Vec<String>, ApiError> {
    if problems.is_empty() {
        return Ok(Vec::new());
    }
    let state = daemon.cluster.state().await?;
    for service in stack.services.values_mut().filter(|service| service.container.image_digest.is_none()) {
        let container = &mut service.container;
        let runs = state.services.iter().find(|known| known.spec.name == service.name);
        let runs = runs.map(|known| &known.spec.container).filter(|known| known.image == container.image);
        if let Some(runs) = runs.filter(|_| container.pull_policy != PullPolicy::Always) {
            container.image_digest.clone_from(&runs.image_digest);
        }
    }
    let lacks = |problem: &Problem| {
        let mut of_it = stack.services.values().filter(|service| problem.services.contains(&service.key));
        of_it.any(|service| service.container.image_digest.is_none())
    };
    Ok(problems.extract_if(.., |problem| !lacks(problem)).map(|problem| problem.line()).collect())
}

/// Pins what is to be had.
async fn try_stack(
    daemon: &Arc<Daemon>,
    stack: &mut StackSpec,
    fresh: bool,
    logins: &Logins,
) -> Result<(Vec<Lease>, Vec<Problem>), ApiError> {
    sound(stack.services.values())?;
    let mut wanted: BTreeMap<(String, PullPolicy), Vec<String>> = BTreeMap::new();
    for service in stack.services.values() {
        if service.container.image_digest.is_none() {
            let key = (service.container.image.clone(), service.container.pull_policy);
            wanted.entry(key).or_default().push(service.key.clone());
        }
    }
    let (found, problems) = resolve(daemon, wanted, fresh, logins).await?;
    for service in stack.services.values_mut() {
        let container = &mut service.container;
        if container.image_digest.is_none() {
            container.image_digest =
                found.get(&(container.image.clone(), container.pull_policy)).map(|it| it.digest.clone());
        }
    }
    Ok((found.into_values().map(|it| it.lease).collect(), problems))
}

/// Nobody waits for the health of what has no health check, neither its own nor its image's (Compose). Of an image that
/// is not here nothing is known.
///
/// # Errors
/// All services that would wait so.
pub(crate) async fn unchecked(daemon: &Daemon, stack: &StackSpec) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    for service in stack.services.values() {
        for (key, dependency) in &service.depends_on {
            let waits = dependency.required && dependency.condition == DependencyCondition::ServiceHealthy;
            let Some(other) = stack.services.values().find(|other| waits && other.key == *key) else { continue };
            if other.mode == (Mode::Replicated { replicas: 0 }) {
                continue;
            }
            let Ok(image) = images::pinned(daemon, &other.container).await else { continue };
            if !node_agent::is_checked(&other.container, image.config.healthcheck.as_ref()) {
                wrong.push(format!("service {}: waits until {key} is healthy, which has no health check", service.key));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let advice = "give it a `healthcheck` (or build its image anew, `up --build`, if its Dockerfile has one), or wait \
                  with `condition: service_started`";
    Err(failure::hint(failure::invalid(wrong.join("\n")), advice))
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
pub(crate) async fn service(
    daemon: &Arc<Daemon>,
    service: &mut ServiceSpec,
    logins: &Logins,
) -> Result<Option<Lease>, ApiError> {
    sound([&*service])?;
    let container = &mut service.container;
    if container.image_digest.is_some() {
        return Ok(None);
    }
    let Pinned { digest, lease } =
        images::ensure(daemon, &container.image, container.pull_policy, false, logins).await?;
    container.image_digest = Some(digest);
    Ok(Some(lease))
}

/// What no host could ever do is refused before anybody has agreed to it, and before what runs is stopped for it.
fn sound<'s>(services: impl IntoIterator<Item = &'s ServiceSpec>) -> Result<(), ApiError> {
    let wrong = services.into_iter().filter_map(|service| {
        let who = if service.standalone { "container" } else { "service" };
        let key = if service.stack.is_some() { &service.key } else { &service.name };
        runtime::check(&service.container)
            .err()
            .map(|wrong| wrong.into_iter().map(move |it| format!("{who} {key}: {it}")))
    });
    let wrong: Vec<String> = wrong.flatten().collect();
    if wrong.is_empty() { Ok(()) } else { Err(failure::invalid(wrong.join("\n"))) }
}

/// An image that is not to be had.
struct Problem {
    services: Vec<String>,
    image: String,
    error: ApiError,
}

impl Problem {
    fn line(&self) -> String {
        let word = if self.services.len() == 1 { "service" } else { "services" };
        format!("{word} {}: image {}: {}", self.services.join(", "), self.image, self.error.message)
    }
}

type Found = BTreeMap<(String, PullPolicy), Pinned>;

async fn resolve(
    daemon: &Arc<Daemon>,
    wanted: BTreeMap<(String, PullPolicy), Vec<String>>,
    fresh: bool,
    logins: &Logins,
) -> Result<(Found, Vec<Problem>), ApiError> {
    let mut asked = JoinSet::new();
    for ((image, policy), services) in wanted {
        let (daemon, logins) = (daemon.clone(), logins.for_image(&image));
        asked.spawn(async move {
            let result = images::ensure(&daemon, &image, policy, fresh, &logins).await;
            (image, policy, services, result)
        });
    }
    let mut found = Found::new();
    let mut problems = Vec::new();
    while let Some(joined) = asked.join_next().await {
        let (image, policy, services, result) = joined.map_err(failure::joined)?;
        match result {
            Ok(pinned) => drop(found.insert((image, policy), pinned)),
            Err(error) => problems.push(Problem { services, image, error }),
        }
    }
    Ok((found, problems))
}

/// One error for all images that are not to be had.
fn tell(mut problems: Vec<Problem>) -> ApiError {
    problems.sort_by(|a, b| a.services.cmp(&b.services));
    let kind = problems.first().map_or(api::ErrorKind::Failed, |problem| problem.error.kind);
    let hint = problems.iter().find_map(|problem| problem.error.hint.clone());
    let lines: Vec<String> = problems.iter().map(Problem::line).collect();
    ApiError { kind, message: lines.join("\n"), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(services: &[&str], image: &str, error: ApiError) -> Problem {
        Problem { services: services.iter().map(|name| (*name).to_owned()).collect(), image: image.to_owned(), error }
    }

    #[test]
    fn every_missing_image_is_told_with_its_services() {
        let problems = vec![
            problem(&["web"], "b:1", failure::failed("no route")),
            problem(&["api", "db"], "a:1", failure::hint(failure::not_found("gone"), "look")),
        ];
        let error = tell(problems);
        assert_eq!(error.message, "services api, db: image a:1: gone\nservice web: image b:1: no route");
        assert_eq!((error.kind, error.hint.as_deref()), (api::ErrorKind::NotFound, Some("look")));
    }
}
