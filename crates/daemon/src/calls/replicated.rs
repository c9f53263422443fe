//! Requests to the replicated state: images are pinned first, then they are proposed; what changed
//! is told as events.

use crate::shared::Daemon;
use crate::{failure, pin};
use api::ApiError;
use model::{Logins, ObjectChange, Request, RequestId, Response, StackSpec, State, Task, TaskId};
use runtime::volume::VolumeStore;
use std::sync::Arc;
use std::time::Duration;

/// Pins, proposes, answers after the commit.
///
/// # Errors
/// An image that is not to be had; a daemon on its way out. Refusals are answers.
pub(crate) async fn request(
    daemon: &Arc<Daemon>,
    id: RequestId,
    mut request: Request,
    logins: &Logins,
) -> Result<Response, ApiError> {
    let kept = match &request {
        Request::WithLogins { logins, .. } => Some(logins.clone()),
        _ => None,
    };
    let logins = kept.as_ref().unwrap_or(logins);
    let _until_committed = match request.inner_mut() {
        Request::Deploy { stack, .. } => pin::stack(daemon, stack, logins).await?,
        Request::Apply { wanted, .. } => pin::stack(daemon, &mut wanted.stack, logins).await?,
        Request::PutService { spec, .. } | Request::UpdateService { spec, .. } => {
            pin::service(daemon, spec, logins).await?.into_iter().collect()
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
    let moved = match request {
        Request::Connect { task, .. } | Request::Disconnect { task, .. } => Some(task),
        _ => None,
    };
    until_free(daemon, &request).await;
    let response = propose(daemon, id, request).await?;
    if let (Some(task), Response::Done { .. }) = (moved, &response) {
        at_its_place(daemon, task).await;
    }
    if let (Some(spec), Response::Done { .. }) = (volume, &response) {
        super::objects::make_volume(daemon, spec).await?;
    }
    Ok(response)
}

/// What was removed keeps its name until its last task has ended. Who makes it anew, as one may at once with Docker, has
/// only to wait.
async fn until_free(daemon: &Daemon, request: &Request) {
    /// What takes longer is told.
    const PATIENCE: Duration = Duration::from_secs(60);
    const LOOK: Duration = Duration::from_millis(50);
    let (stack, services): (Option<&String>, Vec<&String>) = match request.inner() {
        Request::PutService { spec, create: true } => (None, vec![&spec.name]),
        Request::Deploy { stack, .. } => named(stack),
        Request::Apply { wanted, .. } => named(&wanted.stack),
        _ => return,
    };
    let is_leaving = |state: &State| {
        let mut leaving = state.services.iter().filter(|service| service.removing);
        stack.is_some_and(|stack| state.leaving.contains(stack))
            || leaving.any(|service| services.contains(&&service.spec.name))
    };
    let left = async {
        while daemon.cluster.state().await.is_ok_and(|state| is_leaving(&state)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _late = tokio::time::timeout(PATIENCE, left).await;
}

/// The names that a stack asks for.
fn named(stack: &StackSpec) -> (Option<&String>, Vec<&String>) {
    (Some(&stack.name), stack.services.values().map(|spec| &spec.name).collect())
}

/// Whoever has a container join a network may use it as soon as that is answered: waits until it is so, where the
/// container is this host's.
async fn at_its_place(daemon: &Daemon, task: TaskId) {
    /// What takes longer has trouble that `network connect` is not there to tell of.
    const PATIENCE: Duration = Duration::from_secs(5);
    const LOOK: Duration = Duration::from_millis(5);
    let looked = async {
        // Others may change it as well: what counts is how it is now.
        while let Ok(state) = daemon.cluster.state().await {
            let here = |it: &&Arc<Task>| it.id == task && it.node == Some(daemon.node);
            let Some(task) = state.tasks.iter().find(here) else { return };
            if daemon.network.has(task.id, &task.endpoints).await {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let _late = tokio::time::timeout(PATIENCE, looked).await;
}

/// The same for what is pinned already.
///
/// # Errors
/// A daemon on its way out.
pub(crate) async fn propose(daemon: &Daemon, id: RequestId, request: Request) -> Result<Response, ApiError> {
    // What is going to be gone is asked for its id while it is there.
    let removes = matches!(
        request.inner(),
        Request::Deploy { .. }
            | Request::Apply { .. }
            | Request::RemoveNetwork(_)
            | Request::RemoveService { .. }
            | Request::RemoveStack { .. }
    );
    let before = if removes { Some(daemon.cluster.state().await?) } else { None };
    let response = daemon.cluster.request(id, request).await?;
    if let Response::Done { changes, id, .. } = &response {
        // What was made alone is what the answer names.
        let alone = id.as_deref().filter(|_| changes.len() == 1);
        let told: Vec<(&ObjectChange, &str)> = changes.iter().filter_map(|it| Some((it, action(it)?))).collect();
        if !told.is_empty() {
            // The whole state is much to ask for where a thousand small things are made in a second.
            let needs = |change: &ObjectChange| matches!(change.kind.as_str(), "network" | "service");
            let after = match told.iter().any(|(change, _)| needs(change)) {
                true => Some(daemon.cluster.state().await?),
                false => None,
            };
            for (change, action) in told {
                tell(daemon, change, action, alone, before.as_deref(), after.as_deref());
            }
        }
    }
    Ok(response)
}

/// Docker's word for a change.
fn action(change: &ObjectChange) -> Option<&'static str> {
    match (change.kind.as_str(), change.action.as_str()) {
        (_, "created") => Some("create"),
        (_, "updated") => Some("update"),
        ("network", "connected") => Some("connect"),
        ("network", "disconnected") => Some("disconnect"),
        ("service" | "config" | "secret", "removed") => Some("remove"),
        (_, "removed") => Some("destroy"),
        _ => None,
    }
}

/// One event. Of a container that a person runs its own events tell: that it is kept as a service is ours
/// to know.
fn tell(
    daemon: &Daemon,
    change: &ObjectChange,
    action: &str,
    alone: Option<&str>,
    before: Option<&State>,
    after: Option<&State>,
) {
    let name = &change.name;
    // What was removed may be there again under its name.
    let states = match change.action.as_str() {
        "removed" => [before, after],
        _ => [after, before],
    };
    let states = || states.into_iter().flatten();
    let id = match change.kind.as_str() {
        "network" => {
            let mut networks = states().flat_map(|state| &state.networks);
            networks.find(|network| network.spec.name == *name).map(|network| network.id.to_string())
        }
        "service" => {
            let service = states().flat_map(|state| &state.services).find(|service| service.spec.name == *name);
            if service.is_some_and(|service| service.spec.standalone) {
                return;
            }
            service.map(|service| service.id.to_string())
        }
        _ => None,
    };
    let id = id.or_else(|| alone.map(str::to_owned)).unwrap_or_else(|| name.clone());
    let container = change.fields.first().filter(|_| matches!(action, "connect" | "disconnect"));
    let container = container.map(|container| ("container", container.as_str()));
    let attributes: Vec<(&str, &str)> = [("name", name.as_str())].into_iter().chain(container).collect();
    daemon.events.emit(&change.kind, action, id, &attributes);
}
