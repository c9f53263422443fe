//! `service …`: looking at services, and taking them away.

pub(super) mod change;
pub(super) mod create;
mod edit;
pub(super) mod inspect;
pub(super) mod ls;
mod policies;

use super::each;
use crate::args::container;
use crate::args::stack::ProjectRest;
use crate::args::swarm::{Logs, RemoveServices, Tasks};
use crate::context::Context;
use anyhow::{Result, bail};
use api::client::ClientError;
use api::{ApiError, ErrorKind};
use model::{Request, Service, State};

/// The service that a user means: its name, its id or a prefix of that which means one only.
///
/// # Errors
/// None, or several.
pub(super) fn find<'a>(state: &'a State, wanted: &str) -> Result<&'a Service> {
    let mut services = state.services.iter().filter(|service| !service.spec.standalone);
    if let Some(service) = services.clone().find(|it| it.spec.name == wanted || it.id.to_string() == wanted) {
        return Ok(service);
    }
    let prefixed = |service: &&Service| !wanted.is_empty() && service.id.to_string().starts_with(wanted);
    match (services.find(prefixed), services.find(prefixed)) {
        (Some(service), None) => Ok(service),
        (Some(_), Some(_)) => bail!("`{wanted}` may mean several services: give more digits"),
        (None, _) => {
            let mut error = ApiError::new(ErrorKind::NotFound, format!("no such service: {wanted}"));
            error.hint = Some("`rswarm service ls` lists all".to_owned());
            Err(ClientError::Api(error).into())
        }
    }
}

/// `service ps`: what is known is listed; what is not is told, and makes the exit code 1.
pub(super) async fn ps(context: &Context, args: Tasks) -> Result<u8> {
    let state = context.state().await?;
    let mut ids = Vec::new();
    let mut code = 0;
    for name in &args.names {
        match find(&state, name) {
            Ok(service) => ids.push(service.id),
            Err(error) => code = crate::failure::tell(context.printer, &error).max(1),
        }
    }
    if ids.is_empty() {
        return Ok(code);
    }
    let tasks = state.tasks.iter().filter(|task| ids.contains(&task.service)).map(AsRef::as_ref).collect();
    super::tasks::print(context, &args.list, &state, tasks)?;
    Ok(code)
}

/// `service logs`: services of one stack are followed with the tasks that come later; else the tasks
/// that are there.
pub(super) async fn logs(context: &Context, args: Logs) -> Result<u8> {
    let state = context.state().await?;
    let services: Vec<&Service> = args.names.iter().filter_map(|name| find(&state, name).ok()).collect();
    let stack = services.first().and_then(|service| service.spec.stack.clone());
    let of_one = services.len() == args.names.len() && services.iter().all(|service| service.spec.stack == stack);
    let (names, stack) = match stack {
        Some(stack) if of_one => (services.iter().map(|service| service.spec.key.clone()).collect(), Some(stack)),
        _ => (tasks(&state, &args.names)?, None),
    };
    let logs = container::Logs {
        names,
        follow: args.follow,
        since: args.since,
        until: None,
        tail: args.tail,
        timestamps: args.timestamps,
        no_log_prefix: args.raw,
        no_color: false,
        files: Vec::new(),
        project: ProjectRest { name: stack, ..ProjectRest::default() },
    };
    super::logs::of_services(context, logs, args.who).await
}

/// Ids of the tasks that these services have; what names no service may name a task.
fn tasks(state: &State, names: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in names {
        match find(state, name) {
            Ok(service) => {
                let tasks = state.tasks.iter().filter(|task| task.service == service.id);
                all.extend(tasks.map(|task| task.id.to_string()));
            }
            Err(error) if !state.tasks.iter().any(|task| is_called(task, name)) => return Err(error),
            Err(_) => all.push(name.clone()),
        }
    }
    Ok(all)
}

fn is_called(task: &model::Task, name: &str) -> bool {
    task.name() == name || task.id.to_string().starts_with(name) || format!("{}.{}", task.spec.name, task.slot) == name
}

pub(super) async fn rm(context: &Context, args: RemoveServices) -> Result<u8> {
    let state = context.state().await?;
    let state = &state;
    each(context, &args.names, |name| async move {
        let id = find(state, &name)?.id;
        context.request(Request::RemoveService { id, force: true, volumes: false }).await?;
        Ok(Some(name))
    })
    .await
}
