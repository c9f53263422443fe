//! What `service create` and `service update` say of resources, restarts, updates and endpoints.

use crate::args::swarm::{Policies, Rolling};
use crate::parse;
use anyhow::{Context as _, Result, bail};
use model::{
    EndpointMode, FailureAction, Mode, RestartCondition, RestartScope, ServiceSpec, UpdateConfig, UpdateOrder,
};
use std::time::Duration;

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
    if let Some(limit) = args.limit_pids {
        it.limit_pids = Some(limit).filter(|limit| *limit > 0);
    }
    it.reserve_generic.extend(parse::counts(&args.generic_resource).context("--generic-resource")?);
    it.reserve_generic.retain(|_, count| *count > 0);
    Ok(())
}

/// What the flags say of resources, restarts and updates.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(super) fn apply(spec: &mut ServiceSpec, args: &Policies) -> Result<()> {
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
    rolling(&mut spec.update, &args.update())?;
    rolling(&mut spec.rollback, &args.rollback())?;
    if let Some(word) = &args.endpoint_mode {
        spec.endpoint_mode = if word == "dnsrr" { EndpointMode::Dnsrr } else { EndpointMode::Vip };
    }
    let everywhere = matches!(spec.mode, Mode::Global | Mode::GlobalJob);
    if let Some(most) = args.replicas_max_per_node {
        if everywhere && most > 0 {
            bail!("--replicas-max-per-node: a service of this mode runs once on every node");
        }
        spec.placement.max_replicas_per_node = most;
    }
    match (&mut spec.mode, args.max_concurrent) {
        (_, None) => {}
        // Docker: 0 is as many as are to complete.
        (Mode::ReplicatedJob { total, concurrent }, Some(0)) => *concurrent = *total,
        (Mode::ReplicatedJob { concurrent, .. }, Some(most)) => *concurrent = most,
        _ => bail!("--max-concurrent is for --mode replicated-job"),
    }
    Ok(())
}

fn rolling(config: &mut UpdateConfig, args: &Rolling<'_>) -> Result<()> {
    let named = |text: Option<&str>, flag: &str| -> Result<Option<Duration>> {
        text.map(parse::duration).transpose().with_context(|| format!("--{}-{flag}", args.of))
    };
    config.parallelism = args.parallelism.unwrap_or(config.parallelism);
    config.delay = named(args.delay, "delay")?.unwrap_or(config.delay);
    config.monitor = named(args.monitor, "monitor")?.unwrap_or(config.monitor);
    config.order = match args.order {
        Some("start-first") => UpdateOrder::StartFirst,
        Some(_) => UpdateOrder::StopFirst,
        None => config.order,
    };
    config.failure_action = match args.failure_action {
        Some("continue") => FailureAction::Continue,
        Some("rollback") => FailureAction::Rollback,
        Some(_) => FailureAction::Pause,
        None => config.failure_action,
    };
    if let Some(ratio) = args.max_failure_ratio {
        if !(0.0..=1.0).contains(&ratio) {
            bail!("--{}-max-failure-ratio: {ratio} is not between 0 and 1", args.of);
        }
        config.max_failure_ratio = ratio;
    }
    Ok(())
}

/// # Errors
/// It is no duration; the flag is named.
pub(super) fn duration(text: &Option<String>, flag: &'static str) -> Result<Option<Duration>> {
    text.as_deref().map(parse::duration).transpose().context(flag)
}
