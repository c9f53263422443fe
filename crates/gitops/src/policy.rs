//! What files of a source may ask of the host. Whoever can commit is not thereby root of the cluster.

use model::diagnostic::Diagnostic;
use model::{Allowance, ContainerSpec, MountSource, NetworkMode, Seccomp, ServiceSpec, StackSpec};
use std::collections::BTreeSet;

/// What of a stack is not allowed.
pub fn check(stack: &StackSpec, allowed: &BTreeSet<Allowance>) -> Vec<Diagnostic> {
    let mut asks: Vec<(Allowance, String)> = stack.services.values().flat_map(of_service).collect();
    for volume in stack.volumes.values() {
        if volume.driver_opts.contains_key("device") || volume.driver_opts.contains_key("o") {
            asks.push((Allowance::Bind, format!("volume {}: a path or device of the host", volume.name)));
        }
    }
    let external = [
        ("network", &stack.external_networks),
        ("volume", &stack.external_volumes),
        ("config", &stack.external_configs),
        ("secret", &stack.external_secrets),
    ];
    for (kind, names) in external {
        asks.extend(names.iter().map(|name| (Allowance::External, format!("{kind} {name} of another stack"))));
    }
    asks.sort();
    let refused = asks.into_iter().filter(|(allowance, _)| !allowed.contains(allowance));
    refused.map(|(allowance, text)| refusal(allowance, &text)).collect()
}

fn refusal(allowance: Allowance, text: &str) -> Diagnostic {
    let word = word(allowance);
    Diagnostic::error("RS8016", format!("{text} is not allowed to this source"))
        .hint(format!("if it is meant: `gitops add … --allow {word}`"))
}

/// The word for it on the command line.
pub fn word(allowance: Allowance) -> &'static str {
    match allowance {
        Allowance::Bind => "bind",
        Allowance::Privileged => "privileged",
        Allowance::Host => "host",
        Allowance::Device => "device",
        Allowance::External => "external",
    }
}

fn of_service(spec: &ServiceSpec) -> Vec<(Allowance, String)> {
    let container = &spec.container;
    let mut asks = Vec::new();
    let mut ask = |allowance, what: String| asks.push((allowance, format!("service {}: {what}", spec.key)));
    for mount in &container.mounts {
        if let MountSource::Bind { path, .. } = &mount.source {
            ask(Allowance::Bind, format!("the host's {path}"));
        }
    }
    privileges(container).into_iter().for_each(|what| ask(Allowance::Privileged, what));
    match &spec.network_mode {
        NetworkMode::Host => ask(Allowance::Host, "network_mode: host".to_owned()),
        NetworkMode::Container(name) => ask(Allowance::Host, format!("the network of container {name}")),
        NetworkMode::Networks | NetworkMode::None | NetworkMode::Service(_) => {}
    }
    let namespaces = [
        ("pid", container.pid_host),
        ("ipc", container.ipc_host),
        ("uts", container.uts_host),
        ("cgroup", container.cgroup_host),
    ];
    for (name, _) in namespaces.into_iter().filter(|(_, host)| *host) {
        ask(Allowance::Host, format!("{name}: host"));
    }
    container.devices.iter().for_each(|device| ask(Allowance::Device, format!("the device {}", device.source)));
    if !container.device_cgroup_rules.is_empty() {
        ask(Allowance::Device, "device_cgroup_rules".to_owned());
    }
    asks
}

fn privileges(container: &ContainerSpec) -> Vec<String> {
    let mut asks = Vec::new();
    if container.privileged {
        asks.push("privileged".to_owned());
    }
    asks.extend(container.cap_add.iter().map(|capability| format!("the capability {capability}")));
    if container.seccomp != Seccomp::Default {
        asks.push("another seccomp profile than the default".to_owned());
    }
    if container.oom_kill_disable {
        asks.push("oom_kill_disable".to_owned());
    }
    if container.oom_score_adj.is_some_and(|score| score < 0) {
        asks.push("a negative oom_score_adj".to_owned());
    }
    asks
}
