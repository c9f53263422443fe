//! `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`, `rm`: each name is printed when it is done.

use super::each;
use crate::args::container::{Kill, Names, Restart, Rm, Stop};
use crate::containers;
use crate::context::{Context, is_not_found, unexpected};
use anyhow::Result;
use api::{Call, Reply};
use model::ContainerState::{Created, Exited, Paused, Running};
use model::PowerAction;

pub(super) async fn stop(context: &Context, args: Stop) -> Result<u8> {
    let action = PowerAction::Stop { timeout: grace(args.time), signal: args.signal };
    let mut steps = containers::in_steps(context, &args.names, &args.stack).await?;
    steps.reverse();
    power(context, &steps, &action).await
}

pub(super) async fn restart(context: &Context, args: Restart) -> Result<u8> {
    let steps = containers::in_steps(context, &args.names, &args.stack).await?;
    power(context, &steps, &PowerAction::Restart { timeout: grace(args.time) }).await
}

/// Docker: a negative time waits for ever.
pub(super) fn grace(seconds: Option<i64>) -> Option<u64> {
    const FOR_EVER: u64 = 100 * 365 * 24 * 3600;
    seconds.map(|seconds| u64::try_from(seconds).unwrap_or(FOR_EVER))
}

/// One step after the other.
pub(super) async fn power(context: &Context, steps: &[Vec<String>], action: &PowerAction) -> Result<u8> {
    let mut code = 0;
    for names in steps {
        let order = |container| Call::Power { container, action: action.clone() };
        code = code.max(ordered(context, names, order).await?);
    }
    Ok(code)
}

pub(super) async fn kill(context: &Context, args: Kill) -> Result<u8> {
    let names = containers::that_are(context, &args.names, &args.stack, |state| !matches!(state, Created | Exited));
    ordered(context, &names.await?, |container| Call::Kill { container, signal: args.signal.clone() }).await
}

pub(super) async fn pause(context: &Context, args: Names) -> Result<u8> {
    let names = containers::that_are(context, &args.names, &args.stack, |state| state == Running).await?;
    ordered(context, &names, Call::Pause).await
}

pub(super) async fn unpause(context: &Context, args: Names) -> Result<u8> {
    let names = containers::that_are(context, &args.names, &args.stack, |state| state == Paused).await?;
    ordered(context, &names, Call::Unpause).await
}

/// The same order for each.
async fn ordered(context: &Context, names: &[String], order: impl Fn(String) -> Call) -> Result<u8> {
    let order = &order;
    each(context, names, |container| async move {
        context.order(order(container.clone())).await?;
        Ok(Some(container))
    })
    .await
}

pub(super) async fn wait(context: &Context, args: Names) -> Result<u8> {
    each(context, &containers::of(context, &args.names, &args.stack).await?, |container| async move {
        match context.call(Call::Wait(container)).await? {
            Reply::Exited(code) => Ok(Some(code.to_string())),
            other => Err(unexpected(&other)),
        }
    })
    .await
}

pub(super) async fn rm(context: &Context, args: Rm) -> Result<u8> {
    let (force, volumes) = (args.force, args.volumes);
    each(context, &args.names, |container| async move {
        match context.order(Call::RemoveContainer { container: container.clone(), force, volumes }).await {
            Ok(()) => Ok(Some(container)),
            // Told, but as in Docker no failure.
            Err(error) if force && is_not_found(&error) => {
                context.printer.warn(&error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}
