//! What the flags of `service update` make of a spec.

use super::policies::{self, duration};
use crate::args::swarm::Update;
use crate::failure::advised;
use crate::spec::{self, Surroundings};
use crate::{parse, project};
use anyhow::{Context as _, Result, anyhow, bail};
use model::{
    ContainerSpec, ContentKind, DEFAULT_NETWORK, FileRef, HealthCheck, HealthTest, Logging, NetworkMode, Placement,
    PortSpec, Service, ServiceSpec,
};
use std::collections::BTreeMap;

/// The spec that the flags ask for.
///
/// # Errors
/// The first flag whose value makes no sense, by name.
pub(super) fn changed(service: &Service, args: &Update, named: &dyn Fn(&str) -> Result<String>) -> Result<ServiceSpec> {
    let mut spec = (*service.spec).clone();
    if let Some(replicas) = args.replicas {
        let Some(mode) = spec.mode.scaled(replicas) else {
            bail!("--replicas: service {} runs once on every node", spec.name)
        };
        spec.mode = mode;
    }
    container(&mut spec, args)?;
    labels(&mut spec.labels, &args.label_add, &args.label_rm).context("--label-add")?;
    ports(&mut spec, args)?;
    networks(&mut spec, args, named)?;
    placement(&mut spec.placement, args)?;
    spec.resources.reserve_generic.retain(|kind, _| !args.generic_resource_rm.contains(kind));
    policies::apply(&mut spec, &args.policies)?;
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
        container.command = words_of(words, "--args")?;
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
    lists(container, args, &around)?;
    if let Some(words) = &args.entrypoint {
        container.entrypoint = words_of(words, "--entrypoint")?;
    }
    if let Some(check) = spec::health(&args.basics.health)? {
        container.healthcheck = Some(merged(container.healthcheck.take(), check));
    }
    if args.basics.health.health_cmd.as_deref() == Some("")
        && let Some(check) = &mut container.healthcheck
    {
        check.test = None;
    }
    if args.basics.log_driver.is_some() || !args.basics.log_opt.is_empty() {
        let driver = args.basics.log_driver.clone().or_else(|| container.logging.driver.take());
        container.logging =
            Logging { driver, options: parse::strict_pairs(&args.basics.log_opt).context("--log-opt")? };
    }
    container.init = args.init.unwrap_or(container.init);
    container.tty = args.tty.unwrap_or(container.tty);
    container.read_only = args.read_only.unwrap_or(container.read_only);
    set(&mut container.user, &args.basics.user);
    set(&mut container.working_dir, &args.basics.workdir);
    set(&mut container.hostname, &args.basics.hostname);
    set(&mut container.stop_signal, &args.basics.stop_signal);
    if let Some(signal) = &container.stop_signal {
        signal.parse::<runtime::signal::Signal>().context("--stop-signal")?;
    }
    if let Some(grace) = duration(&args.basics.stop_grace_period, "--stop-grace-period")? {
        container.stop_grace_period = Some(grace);
    }
    Ok(())
}

/// Words of a command in place of the image's; none: the image's.
///
/// # Errors
/// What no shell runs.
pub(super) fn words_of(text: &str, flag: &str) -> Result<Option<Vec<String>>> {
    let split = compose::short::words(text).map_err(|why| anyhow!("{flag}: {why}"))?;
    match split.dropped {
        Some(rest) => {
            Err(advised(format!("{flag}: no shell runs `{rest}`"), "quote it, or make the command `sh -c '...'`"))
        }
        None => Ok(Some(split.words).filter(|words| !words.is_empty())),
    }
}

/// What is given takes the place of what was there; no check at all takes the place of all of it, and gives way to any.
fn merged(known: Option<HealthCheck>, given: HealthCheck) -> HealthCheck {
    let is_off = |check: &HealthCheck| check.test == Some(HealthTest::None);
    let known = known.filter(|known| !is_off(&given) && !is_off(known)).unwrap_or_default();
    HealthCheck {
        test: given.test.or(known.test),
        interval: given.interval.or(known.interval),
        timeout: given.timeout.or(known.timeout),
        retries: given.retries.or(known.retries),
        start_period: given.start_period.or(known.start_period),
        start_interval: given.start_interval.or(known.start_interval),
    }
}

/// What there are several of: what is named goes, what is added comes, and takes the place of what was in its place.
fn lists(container: &mut ContainerSpec, args: &Update, around: &Surroundings<'_>) -> Result<()> {
    let plain = |list: &mut Vec<String>, add: &[String], remove: &[String]| {
        list.retain(|known| !remove.contains(known) && !add.contains(known));
        list.extend_from_slice(add);
    };
    plain(&mut container.dns, &args.dns_add, &args.dns_rm);
    plain(&mut container.dns_opt, &args.dns_option_add, &args.dns_option_rm);
    plain(&mut container.dns_search, &args.dns_search_add, &args.dns_search_rm);
    plain(&mut container.group_add, &args.group_add, &args.group_rm);
    let [added, dropped] = [&args.cap_add, &args.cap_drop].map(|list| spec::security::capabilities(list));
    // Docker: what was dropped and is added is as it is by default, and the other way about.
    let (before_add, before_drop) = (container.cap_add.clone(), container.cap_drop.clone());
    let only_new = |list: &[String], other: &[String]| -> Vec<String> {
        list.iter().filter(|name| !other.contains(name)).cloned().collect()
    };
    plain(&mut container.cap_add, &only_new(&added, &before_drop), &dropped);
    plain(&mut container.cap_drop, &only_new(&dropped, &before_add), &added);
    for text in &args.host_rm {
        let (name, address) = text.split_once(['=', ':']).map_or((text.as_str(), None), |(n, a)| (n, Some(a)));
        let goes = |known: &(String, String)| known.0 == name && address.is_none_or(|address| address == known.1);
        container.extra_hosts.retain(|known| !goes(known));
    }
    let hosts = args.host_add.iter().map(|text| spec::extra_host(text));
    for host in hosts.collect::<Result<Vec<_>>>().context("--host-add")? {
        if !container.extra_hosts.contains(&host) {
            container.extra_hosts.push(host);
        }
    }
    for text in &args.ulimit_rm {
        container.ulimits.remove(text);
    }
    let ulimits = args.ulimit_add.iter().map(|text| spec::security::ulimit(text));
    container.ulimits.extend(ulimits.collect::<Result<Vec<_>>>().context("--ulimit-add")?);
    for name in &args.sysctl_rm {
        container.sysctls.remove(name);
    }
    container.sysctls.extend(parse::strict_pairs(&args.sysctl_add).context("--sysctl-add")?);
    container.mounts.retain(|mount| !args.mount_rm.contains(&mount.target));
    for text in &args.mount_add {
        let added = spec::mounts::mount(text, &around.cwd).with_context(|| format!("--mount-add {text}"))?;
        container.mounts.retain(|known| known.target != added.target);
        container.mounts.push(added);
    }
    files(&mut container.secrets, &args.secret_add, &args.secret_rm, ContentKind::Secret)?;
    files(&mut container.configs, &args.config_add, &args.config_rm, ContentKind::Config)
}

fn files<Id>(known: &mut Vec<FileRef<Id>>, add: &[String], remove: &[String], kind: ContentKind) -> Result<()> {
    known.retain(|file| !remove.contains(&file.name));
    for text in add {
        let added = spec::files::file(text, kind)?;
        known.retain(|file| file.target != added.target);
        known.push(added);
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

/// Networks are known by their names, which `named` tells; one that is joined again is as it is named now.
fn networks(spec: &mut ServiceSpec, args: &Update, named: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    if args.network_add.is_empty() && args.network_rm.is_empty() {
        return Ok(());
    }
    if spec.network_mode != NetworkMode::Networks {
        bail!("--network-add, --network-rm: service {} has no networks of its own", spec.name);
    }
    for text in &args.network_rm {
        let gone = named(&spec::networks::attachment(text).context("--network-rm")?.network)?;
        let before = spec.networks.len();
        spec.networks.retain(|attachment| attachment.network != gone);
        if spec.networks.len() == before {
            bail!("--network-rm: service {} is not on network {gone}", spec.name);
        }
        if spec.networks.is_empty() && args.network_add.is_empty() && gone == DEFAULT_NETWORK {
            bail!("--network-rm: a service that names no network is on {gone}");
        }
    }
    for text in &args.network_add {
        let mut added = spec::networks::attachment(text).context("--network-add")?;
        added.network = named(&added.network)?;
        match spec.networks.iter_mut().find(|attachment| attachment.network == added.network) {
            Some(known) => *known = added,
            None => spec.networks.push(added),
        }
    }
    Ok(())
}

fn placement(placement: &mut Placement, args: &Update) -> Result<()> {
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    placement.constraints.retain(|text| !args.constraint_rm.iter().any(|gone| plain(gone) == plain(text)));
    for text in &args.constraint_add {
        if !placement.constraints.iter().any(|known| plain(known) == plain(text)) {
            placement.constraints.push(text.clone());
        }
    }
    for text in &args.placement_pref_rm {
        let gone = preference(text).context("--placement-pref-rm")?;
        placement.spread.retain(|known| *known != gone);
    }
    for text in &args.placement_pref_add {
        placement.spread.push(preference(text).context("--placement-pref-add")?);
    }
    Ok(())
}

/// Of `spread=node.labels.zone`, what tasks are spread over.
///
/// # Errors
/// Another strategy, or nothing that nodes have.
pub(super) fn preference(text: &str) -> Result<String> {
    const KNOWN: [&str; 5] = ["node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch"];
    let Some(over) = text.strip_prefix("spread=") else {
        bail!("`{text}` is no preference: write spread=node.labels.KEY");
    };
    let label = |prefix: &str| over.strip_prefix(prefix).is_some_and(|key| !key.is_empty());
    if !(KNOWN.contains(&over) || label("node.labels.") || label("engine.labels.")) {
        bail!("`{over}` is nothing that nodes have: node.labels.KEY, engine.labels.KEY and {} are", KNOWN.join(", "));
    }
    Ok(over.to_owned())
}

#[cfg(test)]
mod tests;
