//! Rows of `ps`.

use api::ContainerRow;
use model::{ContainerState, Desired, MountSource, Protocol, State, Task};
use runtime::engine::Inspect;
use std::collections::BTreeMap;

/// Is there a process, running or frozen, or soon again?
pub(crate) fn is_up(task: &Task) -> bool {
    matches!(
        task.status.container.as_ref().map(|container| container.state),
        Some(ContainerState::Running | ContainerState::Paused | ContainerState::Restarting)
    )
}

/// Does `ps` show it (`all`: `ps -a`)?
pub(crate) fn is_listed(task: &Task, all: bool) -> bool {
    if all { task.status.container.is_some() || task.desired <= Desired::Running } else { is_up(task) }
}

/// One row. `inspect`: what the engine knows of the container, once there is one.
pub(crate) fn row(task: &Task, state: &State, inspect: Option<&Inspect>) -> ContainerRow {
    let container = task.status.container.as_ref();
    ContainerRow {
        id: task.id,
        name: task.name(),
        image: task.spec.container.image.clone(),
        command: match inspect {
            Some(inspect) => inspect.argv.join(" "),
            None => wanted_command(task),
        },
        created: inspect.map_or(task.created, |inspect| inspect.created),
        state: container.map(|container| container.state),
        task_state: task.status.state,
        message: match state.waiting.get(&task.id) {
            Some(reason) => reason.clone(),
            None => task.status.message.clone(),
        },
        exit_code: container.and_then(|container| container.exit_code),
        started_at: container.and_then(|container| container.started_at),
        finished_at: container.and_then(|container| container.finished_at),
        health: container.and_then(|container| container.health.as_ref()).map(|health| health.verdict),
        ports: if is_up(task) { ports(task, inspect) } else { Vec::new() },
        labels: labels(task, inspect),
        networks: networks(task, state),
        mounts: mounts(task, inspect),
        stack: task.spec.stack.clone(),
        service: task.spec.key.clone(),
        slot: task.slot,
        restart_count: container.map_or(0, |container| container.restart_count),
    }
}

fn wanted_command(task: &Task) -> String {
    let spec = &task.spec.container;
    let parts: Vec<&str> =
        spec.entrypoint.iter().flatten().chain(spec.command.iter().flatten()).map(String::as_str).collect();
    parts.join(" ")
}

/// Labels of the container: the engine's (image, spec and ours), else the spec's.
pub(crate) fn labels(task: &Task, inspect: Option<&Inspect>) -> BTreeMap<String, String> {
    match inspect {
        Some(inspect) => inspect.create.labels.clone(),
        None => task.spec.container.labels.clone(),
    }
}

/// Name of a protocol as in `80/tcp`.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Published ports: (`80/tcp`, host address, host port).
pub(crate) fn published(task: &Task) -> Vec<(String, String, u16)> {
    let chosen = task.status.container.as_ref().map(|container| &container.ports);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for port in &task.spec.ports {
        let key = format!("{}/{}", port.target, protocol(port.protocol));
        let host_port = port.published.or_else(|| {
            let index = taken.entry(key.clone()).or_default();
            let fixed: Vec<u16> = task.spec.ports.iter().filter_map(|other| other.published).collect();
            let free = chosen?.get(&key)?.iter().filter(|chosen| !fixed.contains(chosen)).nth(*index).copied();
            *index += 1;
            free
        });
        if let Some(host_port) = host_port {
            all.push((key, port.host_ip.clone().unwrap_or_else(|| "0.0.0.0".to_owned()), host_port));
        }
    }
    all
}

fn ports(task: &Task, inspect: Option<&Inspect>) -> Vec<String> {
    let published = published(task);
    let mut list: Vec<String> =
        published.iter().map(|(key, address, port)| format!("{address}:{port}->{key}")).collect();
    if let Some(inspect) = inspect {
        let exposed = inspect.create.image.config.exposed_ports.iter();
        list.extend(exposed.filter(|key| !published.iter().any(|(known, _, _)| known == *key)).cloned());
    }
    list
}

/// Name of a network of the state.
pub(crate) fn network_name(state: &State, id: model::NetworkId) -> String {
    let known = state.networks.iter().find(|network| network.id == id);
    known.map_or_else(|| id.short(), |network| network.spec.name.clone())
}

fn networks(task: &Task, state: &State) -> BTreeMap<String, String> {
    match task.spec.network_mode {
        model::NetworkMode::Host => BTreeMap::from([("host".to_owned(), String::new())]),
        model::NetworkMode::None => BTreeMap::from([("none".to_owned(), String::new())]),
        _ => task
            .endpoints
            .iter()
            .map(|endpoint| (network_name(state, endpoint.network), endpoint.address.to_string()))
            .collect(),
    }
}

fn mounts(task: &Task, inspect: Option<&Inspect>) -> Vec<String> {
    if let Some(inspect) = inspect {
        let shown = inspect.mounts.iter().filter(|mount| mount.kind != "tmpfs");
        return shown.map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name }).cloned().collect();
    }
    let named = task.spec.container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.clone()),
        MountSource::Bind { path, .. } => Some(path.clone()),
        MountSource::Anonymous | MountSource::Tmpfs { .. } => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::testing;
    use model::{ContainerStatus, PortMode, PortSpec};

    fn running(ports: BTreeMap<String, Vec<u16>>) -> ContainerStatus {
        ContainerStatus {
            state: ContainerState::Running,
            pid: 7,
            exit_code: None,
            oom_killed: false,
            restart_count: 0,
            started_at: None,
            finished_at: None,
            health: None,
            ports,
        }
    }

    #[test]
    fn ports_that_were_chosen_are_shown_with_those_that_were_asked_for() {
        let mut spec = testing::service("web", "web", None);
        let port = |published| PortSpec {
            target: 80,
            published,
            published_range: None,
            host_ip: None,
            protocol: Protocol::Tcp,
            mode: PortMode::Ingress,
        };
        spec.ports = vec![port(Some(8080)), port(None)];
        let mut task = testing::task(1, &spec, 1);
        task.status.container = Some(running(BTreeMap::from([("80/tcp".to_owned(), vec![8080, 32768])])));
        let row = row(&task, &State::default(), None);
        assert_eq!(row.ports, ["0.0.0.0:8080->80/tcp", "0.0.0.0:32768->80/tcp"]);
    }

    #[test]
    fn ps_lists_what_runs_and_all_the_rest_on_request() {
        let mut task = testing::task(1, &testing::service("web", "web", None), 1);
        assert!(!is_listed(&task, false) && is_listed(&task, true), "it waits");
        task.status.container = Some(running(BTreeMap::new()));
        assert!(is_listed(&task, false));
        task.status.container.as_mut().unwrap().state = ContainerState::Exited;
        assert!(!is_listed(&task, false) && is_listed(&task, true));
    }
}
