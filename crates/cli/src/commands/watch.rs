//! `up --watch`: the files are what runs, as long as this command does.

use crate::args::stack::Up;
use crate::commands::{build, plan, up};
use crate::context::Context;
use crate::failure::{self, Silent};
use crate::{logins, project, start};
use anyhow::Result;
use compose::Build;
use gitops::files::{DISK, Touched};
use gitops::watch::Watch;
use model::{Request, StackSpec};
use std::time::Duration;

/// A file that makes no sense may be about to: what is wrong is told when it stays so.
const DOUBT: Duration = Duration::from_millis(500);

/// Follows the files until ctrl-c.
pub(super) async fn run(context: &Context, args: &Up) -> Result<u8> {
    if args.project.files.iter().any(|file| file == "-") {
        return Err(failure::advised("standard input can't be watched", "name files with -f"));
    }
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut watch = Watch::new();
    let mut first = true;
    loop {
        let (stack, touched) = read(context, args)?;
        watch.follow(touched);
        let round = async {
            match stack {
                Ok((stack, builds)) => apply(context, args, (stack, builds), first).await,
                Err(diagnostics) => {
                    if !first {
                        tokio::time::sleep(DOUBT).await;
                    }
                    project::show(context, &diagnostics);
                    context.printer.say("nothing was changed; save the file to try again");
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = round => {}
            () = watch.changed(&DISK) => {}
            _ = &mut interrupted => {
                context.printer.say("no longer watched; what runs goes on running");
                return Ok(130);
            }
        }
        first = false;
    }
}

/// The stack, and what is to be built for it.
type Read = (StackSpec, Vec<Build>);

/// The stack, or what is wrong with it; and the files that it is made of. Read again when one of them
/// changed meanwhile.
fn read(context: &Context, args: &Up) -> Result<(Result<Read, Vec<model::diagnostic::Diagnostic>>, Touched)> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        let (loaded, touched) = project::load_touching(&args.project, project::naming(&args.services), &DISK)?;
        tries += 1;
        if touched.is_stale(&DISK) && tries < TRIES {
            continue;
        }
        let failed = loaded.has_errors();
        return match loaded.stack {
            Some(mut stack) if !failed => {
                project::show(context, &loaded.diagnostics);
                let builds = loaded.project.map(|project| project.builds()).unwrap_or_default();
                up::as_typed(&mut stack, args, &builds)?;
                Ok((Ok((stack, builds)), touched))
            }
            _ => Ok((Err(loaded.diagnostics), touched)),
        };
    }
}

/// One round. What fails is told; the next save may put it right.
async fn apply(context: &Context, args: &Up, (stack, builds): Read, first: bool) {
    let done = async {
        start::ensure(context).await?;
        build::missing(context, &builds, &stack, args).await?;
        let logins = logins::of_stack(context, &stack, args.with_registry_auth).await?;
        up::fetch_images(context, &stack, &logins, args.quiet).await?;
        // Asked once at most; at a later save `--remove-orphans` means what it says.
        let shown = plan::before(context, &stack, args, args.yes || !first).await?.shown;
        let name = stack.name.clone();
        let wanted = Box::new(up::wanted(stack, &args.changes));
        let asked = logins::along(Request::Apply { wanted, basis: None }, logins, args.with_registry_auth);
        let changes = up::deploy(context, asked, args, shown).await?;
        up::follow(context, &name, &changes, up::board(&changes), None, args.quiet).await
    };
    match done.await {
        Ok(0) => context.printer.say("all is as the files say; watching them"),
        Ok(_) => {}
        Err(error) if error.downcast_ref::<Silent>().is_some() => {}
        Err(error) => {
            failure::tell(context.printer, &error);
        }
    }
}
