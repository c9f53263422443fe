//! `service create`: the spec of `run`, in so many tasks, with Swarm's policies.

use super::{change, edit, policies};
use crate::args::run::{Limits, Network, Process, Run, Security, Storage};
use crate::args::swarm::{Create, ServiceMode};
use crate::commands::{pull, up};
use crate::context::Context;
use crate::spec::{self, Surroundings};
use crate::{logins, names, parse, project, start};
use anyhow::{Context as _, Result, bail};
use model::{ContentKind, Mode, Request, RestartCondition, RestartPolicy, RestartScope, ServiceSpec};
use std::time::Duration;

pub(in crate::commands) async fn run(context: &Context, args: Create) -> Result<u8> {
    let variable = |name: &str| std::env::var(name).ok();
    let read = |path: &str| std::fs::read_to_string(path);
    let spec = spec(&args, &Surroundings { variable: &variable, read: &read, cwd: project::cwd()? })?;
    start::ensure(context).await?;
    let image = &spec.container.image;
    let logins = logins::kept_of(context, [image.as_str()], args.with_registry_auth).await?;
    pull::of_service(context, image, &logins, !args.no_resolve_image, args.patience.quiet).await?;
    let name = spec.name.clone();
    let request = Request::PutService { spec: Box::new(spec), create: true };
    let (request, logins) = logins::along(request, logins, args.with_registry_auth);
    let changes = change::changed(context.request_as(request, logins).await?);
    context.line(&name)?;
    change::wait(context, None, &changes, up::board(&changes).about(&name), &args.patience).await
}

/// The spec that the flags ask for.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(super) fn spec(args: &Create, around: &Surroundings<'_>) -> Result<ServiceSpec> {
    let name = match &args.name {
        Some(name) => checked(name)?,
        None => names::random(false)?,
    };
    let mut spec = spec::service(&as_run(args), &name, &[], around)?;
    spec.standalone = false;
    if let Some(words) = &args.entrypoint {
        spec.container.entrypoint = edit::words_of(words, "--entrypoint")?;
    }
    spec.labels = parse::pairs(&args.label).context("--label")?;
    spec.mode = mode(args)?;
    // Swarm's (swarmkit's defaults).
    spec.restart = RestartPolicy {
        condition: RestartCondition::Any,
        scope: RestartScope::Replace,
        delay: Duration::from_secs(5),
        max_attempts: None,
        window: Duration::ZERO,
    };
    spec.placement.constraints.clone_from(&args.constraint);
    let spread = args.placement_pref.iter().map(|text| edit::preference(text));
    spec.placement.spread = spread.collect::<Result<_>>().context("--placement-pref")?;
    let secrets = args.secret.iter().map(|text| spec::files::file(text, ContentKind::Secret));
    spec.container.secrets = secrets.collect::<Result<_>>()?;
    let configs = args.config.iter().map(|text| spec::files::file(text, ContentKind::Config));
    spec.container.configs = configs.collect::<Result<_>>()?;
    if let Some(grace) = &args.basics.stop_grace_period {
        spec.container.stop_grace_period = Some(parse::duration(grace).context("--stop-grace-period")?);
    }
    policies::apply(&mut spec, &args.policies)?;
    Ok(spec)
}

/// Swarm's rule for names, which are names in DNS as well.
fn checked(name: &str) -> Result<String> {
    let inner = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let ends = [name.chars().next(), name.chars().last()].into_iter().all(|c| c.is_some_and(char::is_alphanumeric));
    if !inner || !ends || name.len() > 63 {
        bail!(
            "--name: `{name}` is no name: at most 63 letters, digits, `_`, `.` or `-`, a letter or digit at both ends"
        );
    }
    Ok(name.to_owned())
}

fn mode(args: &Create) -> Result<Mode> {
    let replicas = args.replicas.unwrap_or(1);
    match (args.mode, args.replicas) {
        (ServiceMode::Global | ServiceMode::GlobalJob, Some(_)) => {
            bail!("--replicas: a service of this mode runs once on every node")
        }
        (ServiceMode::Global, None) => Ok(Mode::Global),
        (ServiceMode::GlobalJob, None) => Ok(Mode::GlobalJob),
        (ServiceMode::Replicated, _) => Ok(Mode::Replicated { replicas }),
        (ServiceMode::ReplicatedJob, _) => Ok(Mode::ReplicatedJob { total: replicas, concurrent: replicas }),
    }
}

/// What both commands have, in `run`'s words.
fn as_run(args: &Create) -> Run {
    Run {
        tty: args.tty,
        process: Process {
            env: args.env.clone(),
            env_file: args.env_file.clone(),
            workdir: args.basics.workdir.clone(),
            user: args.basics.user.clone(),
            group_add: args.group.clone(),
            entrypoint: args.entrypoint.clone(),
            label: args.container_label.clone(),
            init: args.init,
            stop_signal: args.basics.stop_signal.clone(),
            log_driver: args.basics.log_driver.clone(),
            log_opt: args.basics.log_opt.clone(),
            ..Process::default()
        },
        network: Network {
            publish: args.publish.clone(),
            networks: args.network.clone(),
            hostname: args.basics.hostname.clone(),
            add_host: args.add_host.clone(),
            dns: args.dns.clone(),
            dns_option: args.dns_option.clone(),
            dns_search: args.dns_search.clone(),
            ..Network::default()
        },
        storage: Storage { mount: args.mount.clone(), read_only: args.read_only, ..Storage::default() },
        limits: Limits { ulimit: args.ulimit.clone(), sysctl: args.sysctl.clone(), ..Limits::default() },
        security: Security { cap_add: args.cap_add.clone(), cap_drop: args.cap_drop.clone(), ..Security::default() },
        health: args.basics.health.clone(),
        words: args.words.clone(),
        ..Run::default()
    }
}
