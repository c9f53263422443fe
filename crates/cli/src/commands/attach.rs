//! `attach`, and `start` with and without `-a`.

use super::power;
use crate::args::container::{Attach, Start};
use crate::containers;
use crate::context::Context;
use crate::session::{self, Wants};
use crate::terminal::DetachKeys;
use anyhow::{Result, bail};
use api::{Call, SessionCall};
use model::PowerAction;

pub(super) async fn run(context: &Context, args: Attach) -> Result<u8> {
    let detach = DetachKeys::parse(&args.detach_keys)?;
    let container = containers::one(context, &args.container, &args.stack, None).await?;
    let facts = facts(context, &container).await?;
    if !facts.running {
        bail!("container {} is not running", args.container);
    }
    let stdin = !args.no_stdin && facts.stdin;
    let stream = context.client.session(&SessionCall::Attach { container, stdin, start: false }).await?;
    let wants = Wants { stdin, tty: facts.tty, detach, sig_proxy: args.sig_proxy };
    Ok(session::converse(stream, wants).await?.code())
}

pub(super) async fn start(context: &Context, args: Start) -> Result<u8> {
    if !args.attach && !args.interactive {
        let steps = containers::in_steps(context, &args.names, &args.stack).await?;
        return power::power(context, &steps, &PowerAction::Start).await;
    }
    let names = containers::of(context, &args.names, &args.stack).await?;
    let [container] = names.as_slice() else { bail!("-a and -i start one container at a time") };
    let detach = DetachKeys::parse(&args.detach_keys)?;
    let facts = facts(context, container).await?;
    let stdin = args.interactive && facts.stdin;
    let call = SessionCall::Attach { container: container.clone(), stdin, start: true };
    let stream = context.client.session(&call).await?;
    let wants = Wants { stdin, tty: facts.tty, detach, sig_proxy: true };
    Ok(session::converse(stream, wants).await?.code())
}

/// What has to be known of a container before one attaches.
struct Facts {
    tty: bool,
    stdin: bool,
    running: bool,
}

async fn facts(context: &Context, container: &str) -> Result<Facts> {
    let value = context.inspect(Call::InspectContainer(container.to_owned())).await?;
    let flag = |path: &str| value.pointer(path).and_then(|flag| flag.as_bool()).unwrap_or(false);
    Ok(Facts { tty: flag("/Config/Tty"), stdin: flag("/Config/OpenStdin"), running: flag("/State/Running") })
}
