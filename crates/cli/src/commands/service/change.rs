//! `service scale`, `service update`: the spec is read, changed, and put back.

use super::{edit, find};
use crate::args::swarm::{Patience, Rollback, Scale, Update};
use crate::commands::{network, pull, up};
use crate::context::Context;
use crate::follow::Board;
use crate::logins;
use anyhow::{Result, bail};
use model::{Logins, ObjectChange, Request, Response, Service};
use std::collections::BTreeMap;

pub(in crate::commands) async fn scale(context: &Context, args: Scale) -> Result<u8> {
    let mut wanted = Vec::new();
    for text in &args.services {
        match text.split_once('=').map(|(name, count)| (name, count.parse::<u32>())) {
            Some((name, Ok(count))) if !name.is_empty() => wanted.push((name, count)),
            _ => bail!("`{text}` is not of the form SERVICE=N"),
        }
    }
    let state = context.state().await?;
    let mut changes: BTreeMap<Option<String>, Vec<ObjectChange>> = BTreeMap::new();
    let mut code = 0;
    for (name, replicas) in wanted {
        let result = match find(&state, name) {
            Ok(service) => {
                let request = Request::Scale { id: service.id, replicas };
                context.request(request).await.map(|response| (service.spec.stack.clone(), response))
            }
            Err(error) => Err(error),
        };
        match result {
            Ok((stack, response)) => {
                context.line(&format!("{name} scaled to {replicas}"))?;
                changes.entry(stack).or_default().extend(changed(response));
            }
            Err(error) => code = crate::failure::tell(context.printer, &error).max(1),
        }
    }
    for (stack, changes) in changes {
        code = code.max(wait(context, stack.as_deref(), &changes, up::board(&changes), &args.patience).await?);
    }
    Ok(code)
}

pub(in crate::commands) async fn update(context: &Context, args: Update) -> Result<u8> {
    if args.rollback {
        let alone = Update { rollback: true, ..Update::default() };
        let flags = Update { service: String::new(), patience: Patience::default(), ..args.clone() };
        if format!("{flags:?}") != format!("{alone:?}") {
            bail!("--rollback puts the earlier spec back as it was: other flags can't be given along");
        }
        return rollback(context, Rollback { service: args.service, patience: args.patience }).await;
    }
    let state = context.state().await?;
    let service = find(&state, &args.service)?;
    let spec = edit::changed(service, &args, &|name| network::named(&state, name))?;
    let image = args.image.as_deref().or(args.with_registry_auth.then_some(&service.spec.container.image));
    let logins = logins::kept_of(context, image, args.with_registry_auth).await?;
    if let Some(image) = &args.image {
        pull::of_service(context, image, &logins, !args.no_resolve_image, args.patience.quiet).await?;
    }
    // Somebody else's change in between is not undone: the daemon refuses a version that is gone.
    let version = Some(service.version);
    let request = Request::UpdateService { id: service.id, spec: Box::new(spec), version, force: args.force };
    let asked = logins::along(request, logins, args.with_registry_auth);
    put(context, service, asked, &args.service, &args.patience).await
}

pub(in crate::commands) async fn rollback(context: &Context, args: Rollback) -> Result<u8> {
    let state = context.state().await?;
    let service = find(&state, &args.service)?;
    let request = Request::RollbackService(service.id);
    put(context, service, (request, Logins::default()), &args.service, &args.patience).await
}

/// Asks for a change of a service, says what it is called, and waits.
async fn put(
    context: &Context,
    service: &Service,
    (request, logins): (Request, Logins),
    name: &str,
    patience: &Patience,
) -> Result<u8> {
    let rolls_back = matches!(request, Request::RollbackService(_));
    let changes = changed(context.request_as(request, logins).await?);
    context.line(name)?;
    if !patience.quiet {
        up::tell(context, &changes);
    }
    let board = up::board(&changes).about(&service.spec.name).verifying();
    let board = if rolls_back { board.rolling_back() } else { board };
    wait(context, service.spec.stack.as_deref(), &changes, board, patience).await
}

/// What changed.
pub(super) fn changed(response: Response) -> Vec<ObjectChange> {
    match response {
        Response::Done { changes, .. } => changes,
        _ => Vec::new(),
    }
}

/// Shows how the change goes until it is done.
pub(super) async fn wait(
    context: &Context,
    stack: Option<&str>,
    changes: &[ObjectChange],
    board: Board,
    patience: &Patience,
) -> Result<u8> {
    if patience.detach {
        return Ok(0);
    }
    up::follow(context, stack.unwrap_or_default(), changes, board, None, patience.quiet).await
}
