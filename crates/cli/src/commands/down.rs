//! `down`.

use crate::args::stack::Down;
use crate::context::{Context, means_not_found, now};
use crate::follow::Board;
use crate::render::status::Screen;
use crate::{parse, project};
use anyhow::{Context as _, Result, bail};
use api::StreamItem;
use api::client::ClientError;
use model::{Request, Response, Time};
use std::time::{Duration, Instant};

pub(super) async fn run(context: &Context, args: Down) -> Result<u8> {
    let timeout = args.wait_timeout.as_deref().map(parse::patience).transpose().context("--wait-timeout")?;
    let name = project::name(context, &args.project)?;
    let grace = super::power::grace(args.timeout);
    let request = Request::RemoveStack { name: name.clone(), volumes: args.volumes, timeout: grace };
    match context.request(request).await {
        Ok(Response::Done { changes, warnings, .. }) => {
            project::show(context, &warnings);
            // Services are told as they go.
            let others: Vec<_> = changes.into_iter().filter(|change| change.kind != "service").collect();
            if !args.quiet {
                super::up::tell(context, &others);
            }
        }
        Ok(_) => bail!("the daemon answered something else than was asked"),
        // As in Compose: what is not there need not be removed.
        Err(error) if means_not_found(&error) => {
            context.printer.warn(&format!("there is no stack `{name}`: nothing to remove"));
            return Ok(0);
        }
        Err(error) => return Err(error),
    }
    if args.no_wait {
        return Ok(0);
    }
    follow(context, &name, timeout, args.quiet).await
}

/// Shows how a stack goes, until it is gone or time is up.
///
/// # Errors
/// The daemon went away and does not come back.
pub(super) async fn follow(context: &Context, stack: &str, timeout: Option<Duration>, quiet: bool) -> Result<u8> {
    let mut board = Board::all();
    let mut screen = Screen::new(context.printer, quiet);
    let began = Instant::now();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut items = super::up::watch(context, stack).await?;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            item = items.next() => match item {
                Ok(Some(StreamItem::Watch(state))) => board.observe(*state, Time(now())),
                Ok(Some(_)) => continue,
                Ok(None) => {
                    // Either all is gone, or the daemon is: the next one knows.
                    if is_gone(context, stack).await? {
                        screen.show(stack, &[], began.elapsed());
                        return Ok(0);
                    }
                    items = super::up::watch(context, stack).await?;
                    continue;
                }
                Err(ClientError::Protocol(_) | ClientError::Connect { .. }) => {
                    if !context.returns().await {
                        bail!("the daemon went away; the removal goes on when it is back");
                    }
                    items = super::up::watch(context, stack).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
            _ = ticks.tick() => {}
            _ = &mut interrupted => {
                context.printer.say(&format!("detached: {stack} goes on being removed"));
                return Ok(130);
            }
        }
        screen.show(stack, &board.lines(Time(now())), began.elapsed());
        if let Some(timeout) = timeout
            && began.elapsed() >= timeout
        {
            let lines = board.lines(Time(now()));
            let left: Vec<&str> = lines.iter().map(|line| line.key.as_str()).collect();
            bail!("{stack} was not removed within {} s: {} still there", timeout.as_secs_f64(), left.join(", "));
        }
    }
}

async fn is_gone(context: &Context, stack: &str) -> Result<bool> {
    if context.client.call(&api::Call::Ping).await.is_err() && !context.returns().await {
        bail!("the daemon went away; the removal goes on when it is back");
    }
    let state = context.state().await?;
    Ok(!state.services.iter().any(|service| service.spec.stack.as_deref() == Some(stack)))
}
