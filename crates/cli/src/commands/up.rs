//! `up`: load, deploy, follow until settled.

use crate::args::stack::{Changes, Resolve, Up};
use crate::commands::plan::Before;
use crate::commands::{build, plan, pull, watch};
use crate::context::{Context, now, refused};
use crate::failure::{Silent, advised};
use crate::follow::{Board, Outcome, Trouble};
use crate::printer::{Colour, paint};
use crate::render::status::Screen;
use crate::{logins, parse, project, spec, start};
use anyhow::{Context as _, Result, bail};
use api::client::{ClientError, Items};
use api::{StreamCall, StreamItem};
use model::{Logins, NetworkMode, ObjectChange, PullPolicy, Request, Response, SavedPlan, StackSpec, Time, Wanted};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often judgements that depend on time are made again, and the wheel turns.
const TICK: Duration = Duration::from_millis(100);
/// Lines of its log that a replica that failed is shown with.
const LOG_LINES: u64 = 10;

pub(super) async fn run(context: &Context, args: Up) -> Result<u8> {
    let timeout = args.timeout.as_deref().map(parse::patience).transpose().context("--timeout")?;
    if let Some(file) = &args.plan {
        return saved(context, file, &args, timeout).await;
    }
    if args.watch {
        return watch::run(context, &args).await;
    }
    let loaded = project::load(&args.project, project::naming(&args.services))?;
    project::tell(context, &loaded)?;
    let Some(mut stack) = loaded.stack else { return Err(Silent(1).into()) };
    let builds = loaded.project.as_ref().map(|project| project.builds()).unwrap_or_default();
    as_typed(&mut stack, &args, &builds)?;
    if args.dry_run {
        return plan::show(context, wanted(stack, &args.changes), args.quiet).await;
    }
    start::ensure(context).await?;
    build::missing(context, &builds, &stack, &args).await?;
    let logins = logins::of_stack(context, &stack, args.with_registry_auth).await?;
    fetch_images(context, &stack, &logins, args.quiet).await?;
    pull::refresh(context, &looked_up(context, &stack, args.resolve).await?, &logins).await;
    let Before { basis, shown } = plan::before(context, &stack, &args, args.yes).await?;
    let name = stack.name.clone();
    let request = match basis {
        // What was agreed to is what is done.
        Some(basis) => Request::Apply { wanted: Box::new(wanted(stack, &args.changes)), basis: Some(basis) },
        None => Request::Deploy {
            stack: Box::new(stack),
            remove_orphans: args.changes.remove_orphans,
            force_recreate: args.changes.force_recreate,
        },
    };
    settle(context, &name, (request, logins), &args, (shown, timeout)).await
}

/// What the options say over the files.
pub(super) fn as_typed(stack: &mut StackSpec, args: &Up, builds: &[compose::Build]) -> Result<()> {
    scale(stack, &args.changes.scale)?;
    only(stack, &args.services)?;
    if let Some(policy) = args.pull {
        // What is built is at no registry, or not yet.
        let is_pulled = |service: &&mut model::ServiceSpec| builds.iter().all(|build| build.service != service.key);
        for service in stack.services.values_mut().filter(is_pulled) {
            service.container.pull_policy = spec::pull_policy(Some(policy));
        }
    }
    Ok(())
}

/// Leaves the services that are named, and those that these depend on; none is named: all.
fn only(stack: &mut StackSpec, names: &[String]) -> Result<()> {
    let find = |name: &String| stack.services.values().find(|service| service.key == *name);
    if let Some(unknown) = names.iter().find(|name| find(name).is_none()) {
        bail!("there is no service `{unknown}` in the project");
    }
    let mut kept = BTreeSet::new();
    let mut open = names.to_vec();
    while let Some(name) = open.pop() {
        // A dependency that need not be there may be missing.
        if let Some(service) = find(&name).filter(|_| kept.insert(name.clone())) {
            open.extend(service.depends_on.keys().cloned());
            if let NetworkMode::Service(other) = &service.network_mode {
                open.push(other.clone());
            }
        }
    }
    stack.services.retain(|_, service| kept.is_empty() || kept.contains(&service.key));
    Ok(())
}

pub(super) fn wanted(stack: StackSpec, changes: &Changes) -> Wanted {
    Wanted {
        stack,
        remove_orphans: changes.remove_orphans,
        force_recreate: changes.force_recreate,
        ..Wanted::default()
    }
}

/// `up --plan`.
async fn saved(context: &Context, file: &str, args: &Up, timeout: Option<Duration>) -> Result<u8> {
    let SavedPlan { wanted, plan, .. } = plan::read(file)?;
    start::ensure(context).await?;
    let name = wanted.stack.name.clone();
    let logins = logins::of_stack(context, &wanted.stack, args.with_registry_auth).await?;
    let request = Request::Apply { wanted: Box::new(wanted), basis: Some(plan.basis) };
    settle(context, &name, (request, logins), args, (false, timeout)).await
}

/// Proposes, and follows the stack until it has settled. `shown`: its plan was.
async fn settle(
    context: &Context,
    name: &str,
    (request, logins): (Request, Logins),
    args: &Up,
    (shown, timeout): (bool, Option<Duration>),
) -> Result<u8> {
    let asked = logins::along(request, logins, args.with_registry_auth);
    let changes = deploy(context, asked, args, shown).await?;
    if args.no_wait {
        return Ok(0);
    }
    follow(context, name, &changes, board(&changes), timeout, args.quiet).await
}

/// `--scale SERVICE=N`.
pub(super) fn scale(stack: &mut StackSpec, texts: &[String]) -> Result<()> {
    for text in texts {
        let parts = text.split_once('=').map(|(key, count)| (key, count.parse::<u32>()));
        let Some((key, Ok(count))) = parts else {
            bail!("--scale: `{text}` is not of the form SERVICE=N");
        };
        let Some(service) = stack.services.values_mut().find(|service| service.key == key) else {
            let known: Vec<&str> = stack.services.values().map(|service| service.key.as_str()).collect();
            return Err(advised(
                format!("--scale: there is no service `{key}`"),
                format!("there are: {}", known.join(", ")),
            ));
        };
        let Some(mode) = service.mode.scaled(count) else {
            bail!("--scale: service `{key}` runs once on every node");
        };
        service.mode = mode;
        if count > 1
            && let Some(name) = &service.container.container_name
        {
            return Err(advised(
                format!("--scale: service `{key}` has the container name `{name}`, so there can be only one"),
                "remove `container_name` from the file",
            ));
        }
    }
    Ok(())
}

/// Pulls what is missing, with progress. Images that can't be had are told by the deployment.
pub(super) async fn fetch_images(context: &Context, stack: &StackSpec, logins: &Logins, quiet: bool) -> Result<()> {
    let wanted: BTreeSet<&str> = stack
        .services
        .values()
        .map(|service| &service.container)
        .filter(|container| container.pull_policy == PullPolicy::Missing && container.image_digest.is_none())
        .map(|container| container.image.as_str())
        .collect();
    let mut missing = Vec::new();
    for image in wanted {
        if !pull::is_here(context, image).await? {
            missing.push(image.to_owned());
        }
    }
    pull::several(context, &missing, logins, quiet).await;
    Ok(())
}

/// The images whose names are looked up again.
async fn looked_up(context: &Context, stack: &StackSpec, resolve: Resolve) -> Result<BTreeSet<String>> {
    let known = match resolve {
        Resolve::Never => return Ok(BTreeSet::new()),
        Resolve::Always => Vec::new(),
        Resolve::Changed => context.state().await?.services,
    };
    let has = |name: &str, image: &str| known.iter().any(|it| it.spec.name == name && it.spec.container.image == image);
    let images = stack.services.values().map(|service| (&service.name, &service.container));
    let images = images.filter(|(name, it)| it.pull_policy == PullPolicy::Missing && !has(name, &it.image));
    Ok(images.map(|(_, container)| container.image.clone()).collect())
}

/// Proposes, and says what changed; without the fields where those were `shown` before.
pub(super) async fn deploy(
    context: &Context,
    (request, logins): (Request, Logins),
    args: &Up,
    shown: bool,
) -> Result<Vec<ObjectChange>> {
    /// The stack has services that were not named.
    const OTHERS: &str = "RS8013";
    match context.propose(request, logins).await? {
        Response::Done { changes, mut warnings, .. } => {
            warnings.retain(|warning| args.services.is_empty() || warning.code != OTHERS);
            project::show(context, &warnings);
            let without = |change: &ObjectChange| ObjectChange { fields: Vec::new(), ..change.clone() };
            match (args.quiet, shown) {
                (true, _) => {}
                (false, true) => tell(context, &changes.iter().map(without).collect::<Vec<_>>()),
                (false, false) => tell(context, &changes),
            }
            Ok(changes)
        }
        Response::Refused { kind, diagnostics } => {
            // Those that have a place in a file are shown with it.
            if diagnostics.iter().any(|diagnostic| diagnostic.span.is_some()) {
                project::show(context, &diagnostics);
                return Err(Silent(1).into());
            }
            Err(refused(kind, &diagnostics).into())
        }
        Response::State(_) => bail!("the daemon answered a deployment with its state"),
    }
}

/// What changed besides services, and which fields of those.
pub(super) fn tell(context: &Context, changes: &[ObjectChange]) {
    for change in changes.iter().filter(|change| change.action != "unchanged") {
        let text = format!("{} {}: {}", change.kind, change.name, change.action);
        context.printer.say(&text);
        for field in &change.fields {
            context.printer.say(&format!("  {}", paint(context.printer.colour_err, Colour::Dim, field)));
        }
    }
    let unchanged: Vec<&str> = changes
        .iter()
        .filter(|change| change.kind == "service" && change.action == "unchanged")
        .map(|change| change.name.as_str())
        .collect();
    for name in unchanged {
        context.printer.say(&format!("service {name}: unchanged"));
    }
}

/// What is to be looked at after these changes.
pub(super) fn board(changes: &[ObjectChange]) -> Board {
    let services = || changes.iter().filter(|change| change.kind == "service");
    let unchanged = services().filter(|change| change.action == "unchanged").map(|change| change.name.clone());
    let removes = services().any(|change| change.action == "removed");
    Board::of(services().map(|change| change.name.clone()).collect(), unchanged.collect()).removing(removes)
}

/// Shows the stack until it has settled, one replica fails for good, or time is up.
///
/// # Errors
/// The daemon went away and does not come back.
pub(super) async fn follow(
    context: &Context,
    stack: &str,
    changes: &[ObjectChange],
    mut board: Board,
    timeout: Option<Duration>,
    quiet: bool,
) -> Result<u8> {
    let services = || changes.iter().filter(|change| change.kind == "service");
    let mut screen = Screen::new(context.printer, quiet);
    let began = Instant::now();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut items = watch(context, stack).await?;
    let mut ticks = tokio::time::interval(TICK);
    let outcome = loop {
        let at = Time(now());
        let wake = board.wake(at).map_or(TICK, |wake| wake.since(at));
        tokio::select! {
            item = items.next() => match item {
                Ok(Some(StreamItem::Watch(state))) => board.observe(*state, Time(now())),
                Ok(Some(_)) => continue,
                Ok(None) if board.lines(Time(now())).is_empty() => break Outcome::Settled,
                // The daemon went away: the stack lives on, and so may the next daemon.
                Ok(None) | Err(ClientError::Protocol(_) | ClientError::Connect { .. }) => {
                    if !context.returns().await {
                        bail!("the daemon went away; what it was told to do goes on when it is back");
                    }
                    // It ends as well when there is nothing left to be told of.
                    if let Ok(state) = context.state().await {
                        board.observe(state, Time(now()));
                    }
                    if board.is_gone() {
                        return Err(gone(&board, stack));
                    }
                    items = watch(context, stack).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
            _ = ticks.tick() => board.look(Time(now())),
            () = tokio::time::sleep(wake) => board.look(Time(now())),
            _ = &mut interrupted => {
                let (subject, [look, _]) = (board.subject(stack), onward(stack, changes));
                context.printer.say(&format!("detached: {subject} goes on coming up; `{look}` shows it"));
                return Ok(130);
            }
        }
        let lines = board.lines(Time(now()));
        screen.show(stack, &lines, began.elapsed());
        if board.is_gone() {
            return Err(gone(&board, stack));
        }
        match board.outcome(Time(now())) {
            // Before the first state there is nothing to judge.
            Outcome::Settled if !lines.is_empty() || services().next().is_none() => {
                break Outcome::Settled;
            }
            Outcome::Failed => break Outcome::Failed,
            _ if timeout.is_some_and(|timeout| began.elapsed() >= timeout) => break Outcome::Pending,
            _ => {}
        }
    };
    let troubles = board.troubles(Time(now()));
    let (subject, onward) = (board.subject(stack), onward(stack, changes));
    match outcome {
        Outcome::Settled => Ok(0),
        Outcome::Failed => report(context, onward, &format!("{subject} did not come up"), &troubles).await,
        Outcome::Pending => {
            let waited = timeout.unwrap_or_default().as_secs_f64();
            report(context, onward, &format!("{subject} did not come up within {waited} s"), &troubles).await
        }
    }
}

fn gone(board: &Board, stack: &str) -> anyhow::Error {
    let text = format!("{} was removed meanwhile, by another command", board.subject(stack));
    advised(text, "`rswarm events` shows what happens")
}

pub(super) async fn watch(context: &Context, stack: &str) -> Result<Items> {
    Ok(context.client.stream(&StreamCall::Watch { stack: stack.to_owned() }).await?)
}

/// The commands that show how it stands, and that give it up.
fn onward(stack: &str, changes: &[ObjectChange]) -> [String; 2] {
    match changes.iter().find(|change| change.kind == "service") {
        Some(change) if stack.is_empty() => ["ps", "rm"].map(|word| format!("rswarm service {word} {}", change.name)),
        _ => [format!("rswarm ps -p {stack} -a"), format!("rswarm down -p {stack}")],
    }
}

/// Says for each replica in trouble what happened, with its last log lines.
async fn report(context: &Context, onward: [String; 2], head: &str, troubles: &[Trouble]) -> Result<u8> {
    let printer = context.printer;
    printer.say(&format!("{}: {head}", paint(printer.colour_err, Colour::Red, "error")));
    for trouble in troubles {
        printer.say(&format!("  {}: {}", paint(printer.colour_err, Colour::Bold, &trouble.replica), trouble.what));
        for line in trouble.check.iter().flat_map(|said| said.lines()) {
            printer.say(&format!("    health check: {line}"));
        }
        if trouble.has_run {
            for line in last_lines(context, trouble).await {
                printer.say(&format!("    | {line}"));
            }
        }
    }
    let [look, give_up] = onward;
    let tries = if troubles.iter().any(|trouble| trouble.again) { "rswarm goes on trying; " } else { "" };
    printer.hint(&format!("{tries}`{look}` shows how it stands, `{give_up}` gives up"));
    Ok(1)
}

/// The end of a replica's log; empty when there is none.
async fn last_lines(context: &Context, trouble: &Trouble) -> Vec<String> {
    let call = StreamCall::Logs {
        containers: vec![trouble.task.to_string()],
        stack: None,
        services: Vec::new(),
        follow: false,
        tail: Some(LOG_LINES),
        since: None,
        until: None,
    };
    let mut lines = Vec::new();
    let Ok(mut items) = context.client.stream(&call).await else { return lines };
    while let Ok(Some(item)) = items.next().await {
        if let StreamItem::Log(line) = item {
            lines.push(line.line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn scaling_needs_a_service_and_a_number() {
        let mut stack = StackSpec::default();
        for text in ["web", "web=x", "web=-1", "web=2"] {
            assert!(scale(&mut stack, &[text.to_owned()]).is_err(), "{text}");
        }
        scale(&mut stack, &[]).unwrap();
    }
}
