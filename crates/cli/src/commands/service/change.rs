//! `service scale`, `service update`: the spec is read, changed, and put back.

use super::find;
use crate::args::swarm::{Patience, Policies, Rollback, Scale, Update};
use crate::commands::{pull, up};
use crate::context::Context;
use crate::failure::advised;
use crate::follow::Board;
use crate::spec::{self, Surroundings};
use crate::{logins, parse, project};
use anyhow::{Context as _, Result, anyhow, bail};
use model::{
    FailureAction, Logins, Mode, ObjectChange, PortSpec, Request, Response, RestartCondition, RestartScope, Service,
    ServiceSpec, UpdateOrder,
};
use std::collections::BTreeMap;
use std::time::Duration;

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
        return rollback(context, Rollback { service: args.service, patience: args.patience }).await;
    }
    let state = context.state().await?;
    let service = find(&state, &args.service)?;
    let spec = changed_spec(service, &args)?;
    let image = args.image.as_deref().or(args.with_registry_auth.then_some(&service.spec.container.image));
    let logins = logins::kept_of(context, image, args.with_registry_auth).await?;
    if let Some(image) = &args.image
        && !pull::is_here(context, image).await?
    {
        pull::one(context, image, &logins, args.patience.quiet).await?;
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
    let board = up::board(&changes).about(&service.spec.name);
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

/// The spec that the flags ask for.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
fn changed_spec(service: &Service, args: &Update) -> Result<ServiceSpec> {
    let mut spec = (*service.spec).clone();
    if let Some(replicas) = args.replicas {
        match &mut spec.mode {
            Mode::Replicated { replicas: count } => *count = replicas,
            Mode::ReplicatedJob { total, concurrent } => {
                (*total, *concurrent) = (replicas, (*concurrent).min(replicas.max(1)));
            }
            Mode::Global | Mode::GlobalJob => bail!("--replicas: service {} runs once on every node", spec.name),
        }
    }
    container(&mut spec, args)?;
    labels(&mut spec.labels, &args.label_add, &args.label_rm).context("--label-add")?;
    ports(&mut spec, args)?;
    placement(&mut spec.placement.constraints, args);
    policies(&mut spec, &args.policies)?;
    Ok(spec)
}

fn container(spec: &mut ServiceSpec, args: &Update) -> Result<()> {
    let container = &mut spec.container;
    if let Some(image) = &args.image {
        container.image = image.clone();
        // What the tag means now is looked up by the daemon.
        container.image_digest = None;
    }
    if let Some(words) = &args.args {
        let split = compose::short::words(words).map_err(|why| anyhow!("--args: {why}"))?;
        if let Some(rest) = split.dropped {
            return Err(advised(
                format!("--args: no shell runs `{rest}`"),
                "quote it, or make the command `sh -c '...'`",
            ));
        }
        container.command = (!split.words.is_empty()).then_some(split.words);
    }
    let variable = |name: &str| std::env::var(name).ok();
    let read = |path: &str| std::fs::read_to_string(path);
    let around = Surroundings { variable: &variable, read: &read, cwd: project::cwd()? };
    for name in &args.env_rm {
        container.env.remove(name);
    }
    container.env.extend(spec::env::container(&args.env_add, &[], &around).context("--env-add")?);
    labels(&mut container.labels, &args.container_label_add, &args.container_label_rm)
        .context("--container-label-add")?;
    let set = |place: &mut Option<String>, value: &Option<String>| {
        if let Some(value) = value {
            *place = Some(value.clone()).filter(|value| !value.is_empty());
        }
    };
    set(&mut container.user, &args.user);
    set(&mut container.working_dir, &args.workdir);
    set(&mut container.hostname, &args.hostname);
    set(&mut container.stop_signal, &args.stop_signal);
    if let Some(signal) = &container.stop_signal {
        signal.parse::<runtime::signal::Signal>().context("--stop-signal")?;
    }
    if let Some(grace) = duration(&args.stop_grace_period, "--stop-grace-period")? {
        container.stop_grace_period = Some(grace);
    }
    Ok(())
}

fn labels(labels: &mut BTreeMap<String, String>, add: &[String], remove: &[String]) -> Result<()> {
    for key in remove {
        labels.remove(key);
    }
    labels.extend(parse::pairs(add)?);
    Ok(())
}

/// What is to go is named by the port of the container, alone or as it was published. A port of the host that is
/// published again takes the place of what was there.
fn ports(spec: &mut ServiceSpec, args: &Update) -> Result<()> {
    for text in &args.publish_rm {
        let gone = spec::ports::publish(std::slice::from_ref(text)).context("--publish-rm")?;
        let goes = |port: &PortSpec| {
            let is_it = |gone: &PortSpec| {
                let published = gone.published.is_none_or(|published| port.published == Some(published));
                (gone.target, gone.protocol) == (port.target, port.protocol) && published
            };
            gone.iter().any(is_it)
        };
        spec.ports.retain(|port| !goes(port));
    }
    let added = spec::ports::publish(&args.publish_add).context("--publish-add")?;
    let replaces = |new: &PortSpec, old: &PortSpec| {
        let same = |port: &PortSpec| (port.protocol, port.published, port.host_ip.clone());
        let unnamed = new.published.is_none() && new.target != old.target;
        same(new) == same(old) && !unnamed
    };
    spec.ports.retain(|port| !added.iter().any(|new| replaces(new, port)));
    spec.ports.extend(added);
    Ok(())
}

fn placement(constraints: &mut Vec<String>, args: &Update) {
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    constraints.retain(|text| !args.constraint_rm.iter().any(|gone| plain(gone) == plain(text)));
    for text in &args.constraint_add {
        if !constraints.iter().any(|known| plain(known) == plain(text)) {
            constraints.push(text.clone());
        }
    }
}

fn resources(spec: &mut ServiceSpec, args: &Policies) -> Result<()> {
    let none = |text: &str| matches!(text, "0" | "0.0" | "");
    let cpus = |text: &Option<String>, flag: &'static str, place: &mut Option<u64>| -> Result<()> {
        match text.as_deref() {
            None => {}
            Some(text) if none(text) => *place = None,
            Some(text) => *place = Some(parse::cpus(text).context(flag)?),
        }
        Ok(())
    };
    let bytes = |text: &Option<String>, flag: &'static str, place: &mut Option<u64>| -> Result<()> {
        if let Some(text) = text {
            *place = Some(parse::bytes(text).context(flag)?).filter(|bytes| *bytes > 0);
        }
        Ok(())
    };
    let it = &mut spec.resources;
    cpus(&args.limit_cpu, "--limit-cpu", &mut it.limit_nano_cpus)?;
    cpus(&args.reserve_cpu, "--reserve-cpu", &mut it.reserve_nano_cpus)?;
    bytes(&args.limit_memory, "--limit-memory", &mut it.limit_memory)?;
    bytes(&args.reserve_memory, "--reserve-memory", &mut it.reserve_memory)?;
    it.reserve_generic.extend(parse::counts(&args.generic_resource).context("--generic-resource")?);
    it.reserve_generic.retain(|_, count| *count > 0);
    Ok(())
}

/// What the flags say of resources, restarts and updates.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(super) fn policies(spec: &mut ServiceSpec, args: &Policies) -> Result<()> {
    resources(spec, args)?;
    let restart = &mut spec.restart;
    if let Some(word) = &args.restart_condition {
        restart.condition = match word.as_str() {
            "none" => RestartCondition::None,
            "on-failure" => RestartCondition::OnFailure,
            _ => RestartCondition::Any,
        };
        restart.scope = RestartScope::Replace;
    }
    if let Some(delay) = duration(&args.restart_delay, "--restart-delay")? {
        restart.delay = delay;
    }
    if let Some(window) = duration(&args.restart_window, "--restart-window")? {
        restart.window = window;
    }
    if let Some(attempts) = args.restart_max_attempts {
        restart.max_attempts = Some(attempts).filter(|attempts| *attempts > 0);
    }
    let update = &mut spec.update;
    update.parallelism = args.update_parallelism.unwrap_or(update.parallelism);
    update.delay = duration(&args.update_delay, "--update-delay")?.unwrap_or(update.delay);
    update.monitor = duration(&args.update_monitor, "--update-monitor")?.unwrap_or(update.monitor);
    update.order = match args.update_order.as_deref() {
        Some("start-first") => UpdateOrder::StartFirst,
        Some(_) => UpdateOrder::StopFirst,
        None => update.order,
    };
    update.failure_action = match args.update_failure_action.as_deref() {
        Some("continue") => FailureAction::Continue,
        Some("rollback") => FailureAction::Rollback,
        Some(_) => FailureAction::Pause,
        None => update.failure_action,
    };
    if let Some(ratio) = args.update_max_failure_ratio {
        if !(0.0..=1.0).contains(&ratio) {
            bail!("--update-max-failure-ratio: {ratio} is not between 0 and 1");
        }
        update.max_failure_ratio = ratio;
    }
    Ok(())
}

fn duration(text: &Option<String>, flag: &'static str) -> Result<Option<Duration>> {
    text.as_deref().map(parse::duration).transpose().context(flag)
}
