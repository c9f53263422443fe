//! `run`'s flags → a [`ServiceSpec`] of one standalone container. Nothing here asks a daemon; what
//! comes from files and the environment is handed in.

pub(crate) mod env;
pub(crate) mod files;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod security;

use crate::args::run::{Health, Limits, Run};
use crate::args::stack::Pull;
use crate::parse;
use anyhow::{Context as _, Result, bail};
use model::{
    ContainerSpec, EndpointMode, HealthCheck, HealthTest, Logging, Mode, NetworkMode, Placement, PullPolicy, Resources,
    RestartCondition, RestartPolicy, RestartScope, ServiceSpec, UpdateConfig,
};
use std::time::Duration;

/// What flags may refer to outside of the command line.
pub(crate) struct Surroundings<'a> {
    /// A variable of the environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub(crate) read: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// The working folder, absolute.
    pub(crate) cwd: String,
}

/// The spec that the flags ask for. `exposed`: the image's ports, for `-P`.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(crate) fn service(run: &Run, name: &str, exposed: &[String], around: &Surroundings<'_>) -> Result<ServiceSpec> {
    let (image, command) = run.words.split_first().context("there is no image")?;
    let (networks, network_mode) = networks::of(&run.network)?;
    if network_mode != NetworkMode::Networks && !(run.network.publish.is_empty()) {
        bail!(
            "-p cannot be used with --network {}: the container has no network of its own",
            run.network.networks.join(" ")
        );
    }
    let mut ports = ports::publish(&run.network.publish).context("-p")?;
    if run.network.publish_all {
        ports::publish_exposed(&mut ports, exposed, &run.network.expose).context("--expose")?;
    }
    let restart = restart(&run.process.restart).context("--restart")?;
    if run.rm && restart.condition != RestartCondition::None {
        bail!("--rm and --restart {} contradict each other", run.process.restart);
    }
    Ok(ServiceSpec {
        name: name.to_owned(),
        key: name.to_owned(),
        stack: None,
        standalone: true,
        labels: Default::default(),
        mode: Mode::Replicated { replicas: 1 },
        container: container(run, image, command, around)?,
        restart,
        resources: resources(&run.limits)?,
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks,
        network_mode,
        ports,
        exposed: Default::default(),
        endpoint_mode: EndpointMode::default(),
        depends_on: Default::default(),
    })
}

/// `--pull`.
pub(crate) fn pull_policy(pull: Option<Pull>) -> PullPolicy {
    match pull {
        Some(Pull::Always) => PullPolicy::Always,
        Some(Pull::Never) => PullPolicy::Never,
        Some(Pull::Missing) | None => PullPolicy::Missing,
    }
}

fn container(run: &Run, image: &str, command: &[String], around: &Surroundings<'_>) -> Result<ContainerSpec> {
    let (process, network, storage) = (&run.process, &run.network, &run.storage);
    let mut spec = ContainerSpec {
        image: image.to_owned(),
        pull_policy: pull_policy(run.pull),
        entrypoint: process.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        command: if command.is_empty() { None } else { Some(command.to_vec()) },
        env: env::container(&process.env, &process.env_file, around)?,
        working_dir: process.workdir.clone(),
        user: process.user.clone(),
        group_add: process.group_add.clone(),
        hostname: network.hostname.clone(),
        domainname: network.domainname.clone(),
        labels: env::labels(&process.label, &process.label_file, around)?,
        extra_hosts: network
            .add_host
            .iter()
            .map(|text| extra_host(text))
            .collect::<Result<_>>()
            .context("--add-host")?,
        dns: network.dns.clone(),
        dns_search: network.dns_search.clone(),
        dns_opt: network.dns_option.clone(),
        mounts: mounts::all(storage, &around.cwd)?,
        healthcheck: health(&run.health)?,
        stop_signal: process.stop_signal.clone(),
        stop_grace_period: process.stop_timeout.map(Duration::from_secs),
        init: process.init,
        tty: run.tty,
        stdin_open: run.interactive,
        read_only: storage.read_only,
        shm_size: storage.shm_size.as_deref().map(parse::bytes).transpose().context("--shm-size")?,
        logging: Logging {
            driver: process.log_driver.clone(),
            options: parse::strict_pairs(&process.log_opt).context("--log-opt")?,
        },
        oom_score_adj: run.limits.oom_score_adj,
        oom_kill_disable: run.limits.oom_kill_disable,
        ulimits: run
            .limits
            .ulimit
            .iter()
            .map(|text| security::ulimit(text))
            .collect::<Result<_>>()
            .context("--ulimit")?,
        sysctls: parse::strict_pairs(&run.limits.sysctl).context("--sysctl")?,
        devices: storage.device.iter().map(|text| security::device(text)).collect::<Result<_>>().context("--device")?,
        device_cgroup_rules: storage.device_cgroup_rule.clone(),
        auto_remove: run.rm,
        ..ContainerSpec::default()
    };
    if let Some(signal) = &spec.stop_signal {
        signal.parse::<runtime::signal::Signal>().context("--stop-signal")?;
    }
    security::apply(&run.security, around, &mut spec)?;
    Ok(spec)
}

/// `--restart`: `no`, `always`, `unless-stopped`, `on-failure[:N]`.
///
/// # Errors
/// Another word.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy> {
    let (word, limit) = match text.split_once(':') {
        Some((word, limit)) => (word, Some(limit)),
        None => (text, None),
    };
    let condition = match word {
        "no" | "" => RestartCondition::None,
        "always" => RestartCondition::Any,
        "unless-stopped" => RestartCondition::UnlessStopped,
        "on-failure" => RestartCondition::OnFailure,
        _ => bail!("`{text}` is no restart policy: write no, always, unless-stopped or on-failure[:N]"),
    };
    let max_attempts = match limit {
        None => None,
        Some(_) if condition != RestartCondition::OnFailure => {
            bail!("`{text}`: only on-failure has a number of attempts")
        }
        // Docker: 0 is no limit.
        Some(limit) => match limit.parse::<u32>() {
            Ok(0) => None,
            Ok(limit) => Some(limit),
            Err(_) => bail!("`{limit}` is no number of attempts"),
        },
    };
    Ok(RestartPolicy {
        condition,
        scope: RestartScope::InPlace,
        delay: Duration::ZERO,
        max_attempts,
        window: Duration::ZERO,
    })
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`.
///
/// # Errors
/// It is something else.
pub(crate) fn extra_host(text: &str) -> Result<(String, String)> {
    let Some((name, address)) = text.split_once('=').or_else(|| text.split_once(':')) else {
        bail!("`{text}` is not of the form NAME:ADDRESS");
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || (address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err()) {
        bail!("`{text}` is not of the form NAME:ADDRESS");
    }
    Ok((name.to_owned(), address.to_owned()))
}

fn resources(limits: &Limits) -> Result<Resources> {
    let swap = |text: &String| match text.as_str() {
        "-1" => Ok(-1),
        text => parse::bytes(text).and_then(|bytes| Ok(i64::try_from(bytes)?)),
    };
    let limit_memory = limits.memory.as_deref().map(parse::bytes).transpose().context("--memory")?;
    let limit_memory_swap = limits.memory_swap.as_ref().map(swap).transpose().context("--memory-swap")?;
    if let Some(swap) = limit_memory_swap
        && swap != -1
    {
        match limit_memory {
            None => bail!("--memory-swap needs --memory"),
            Some(memory) if swap != 0 && u64::try_from(swap).is_ok_and(|swap| swap < memory) => {
                bail!("--memory-swap is memory and swap together: it cannot be less than --memory")
            }
            Some(_) => {}
        }
    }
    Ok(Resources {
        limit_nano_cpus: limits.cpus.as_deref().map(parse::cpus).transpose().context("--cpus")?,
        limit_memory,
        // Docker: 0 is as if it were not given.
        limit_memory_swap: limit_memory_swap.filter(|swap| *swap != 0),
        memory_swappiness: limits.memory_swappiness,
        limit_pids: limits.pids_limit.filter(|limit| *limit != 0),
        reserve_memory: limits
            .memory_reservation
            .as_deref()
            .map(parse::bytes)
            .transpose()
            .context("--memory-reservation")?,
        cpu_shares: limits.cpu_shares.filter(|shares| *shares != 0),
        cpuset: limits.cpuset_cpus.clone(),
        ..Resources::default()
    })
}

/// What the flags say of health; nothing, if none was given.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(crate) fn health(health: &Health) -> Result<Option<HealthCheck>> {
    let duration =
        |text: &Option<String>, flag: &'static str| text.as_deref().map(parse::duration).transpose().context(flag);
    let check = HealthCheck {
        test: match (&health.health_cmd, health.no_healthcheck) {
            (Some(_), true) => bail!("--no-healthcheck and --health-cmd contradict each other"),
            (None, true) => Some(HealthTest::None),
            (Some(command), false) if command.is_empty() => None,
            (Some(command), false) if command == "none" => Some(HealthTest::None),
            (Some(command), false) => Some(HealthTest::CmdShell(command.clone())),
            (None, false) => None,
        },
        interval: duration(&health.health_interval, "--health-interval")?,
        timeout: duration(&health.health_timeout, "--health-timeout")?,
        retries: health.health_retries.filter(|retries| *retries > 0),
        start_period: duration(&health.health_start_period, "--health-start-period")?,
        start_interval: duration(&health.health_start_interval, "--health-start-interval")?,
    };
    let none = HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() };
    if health.no_healthcheck && check != none {
        bail!("--no-healthcheck and the other flags of health checks contradict each other");
    }
    Ok(if check == HealthCheck::default() { None } else { Some(check) })
}

#[cfg(test)]
mod tests;
