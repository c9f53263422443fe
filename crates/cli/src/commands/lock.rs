//! `unlock`, `unlock-key`, `cluster update --autolock`: managers that ask for a key after a restart.

use crate::args::cluster::{UnlockKey, UpdateCluster};
use crate::context::{Context, unexpected};
use crate::failure::advised;
use crate::terminal;
use anyhow::Result;
use api::{Call, Reply};

pub(super) async fn unlock(context: &Context) -> Result<u8> {
    let before = super::cluster::life(context).await?;
    let text = terminal::secret("Unlock key: ").await?;
    let key = model::UnlockKey::parse(&text).ok_or_else(|| {
        advised("that is no unlock key", "it begins with RWMUNLOCK-1-; `rswarm unlock-key` on another manager shows it")
    })?;
    context.order(Call::Unlock(key)).await?;
    super::cluster::back(context, before).await?;
    Ok(0)
}

pub(super) async fn key(context: &Context, args: UnlockKey) -> Result<u8> {
    let call = Call::UnlockKey { rotate: args.rotate };
    if args.quiet {
        let key = ask(context, call).await?.ok_or_else(none)?;
        context.line(key.as_str())?;
        return Ok(0);
    }
    if !tell(context, call).await? {
        return Err(none());
    }
    if args.rotate {
        context.line("\nKeep the old key as well until all managers that were down have been back for a moment.")?;
    }
    Ok(0)
}

fn none() -> anyhow::Error {
    advised("managers of this cluster ask for no unlock key", "`rswarm cluster update --autolock=true` makes one")
}

pub(super) async fn update(context: &Context, args: UpdateCluster) -> Result<u8> {
    let told = tell(context, Call::Autolock(args.autolock)).await?;
    if !told {
        context.line("Cluster updated: managers ask for no key after a restart.")?;
    }
    Ok(0)
}

/// Shows the key, if there is one.
pub(super) async fn tell(context: &Context, call: Call) -> Result<bool> {
    let Some(key) = ask(context, call).await? else { return Ok(false) };
    context.line("To unlock a manager after it restarts, run `rswarm unlock` there and give it this key:\n")?;
    context.line(&format!("    {}\n", key.as_str()))?;
    context.line("Keep it in a safe place: without it a manager that has restarted is lost.")?;
    Ok(true)
}

async fn ask(context: &Context, call: Call) -> Result<Option<model::UnlockKey>> {
    match context.call(call).await? {
        Reply::UnlockKey(key) => Ok(key),
        other => Err(unexpected(&other)),
    }
}
