//! `inspect` of a container in Docker's shape (Engine API, ContainerInspect).

use super::container::{labels, network_name, published};
use crate::clock::rfc3339;
use model::{
    ContainerState, MountSource, NetworkMode, RestartCondition, RestartScope, Seccomp, State, Subnet, Task, Verdict,
};
use runtime::engine::Inspect;
use serde_json::{Map, Value, json};

/// The whole object. `inspect`: what the engine knows, once the container is made.
pub(crate) fn container(task: &Task, state: &State, inspect: Option<&Inspect>) -> Value {
    let argv: Vec<String> = inspect.map(|inspect| inspect.argv.clone()).unwrap_or_default();
    let (path, args) =
        argv.split_first().map_or((String::new(), &[] as &[String]), |(first, rest)| (first.clone(), rest));
    json!({
        "Id": task.id.to_string(),
        "Created": rfc3339(Some(inspect.map_or(task.created, |inspect| inspect.created))),
        "Path": path,
        "Args": args,
        "State": container_state(task),
        "Image": inspect.map(|inspect| inspect.create.image.id.clone()).unwrap_or_default(),
        "LogPath": inspect.and_then(|inspect| inspect.log.as_ref()).map(|path| path.display().to_string()).unwrap_or_default(),
        "Name": format!("/{}", task.name()),
        "RestartCount": task.status.container.as_ref().map_or(0, |container| container.restart_count),
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "GraphDriver": {
            "Name": "overlayfs",
            "Data": { "UpperDir": inspect.map(|inspect| inspect.upper.display().to_string()).unwrap_or_default() },
        },
        "HostConfig": host_config(task),
        "Mounts": mounts(inspect),
        "Config": config(task, inspect),
        "NetworkSettings": network_settings(task, state, inspect),
        "Rswarm": {
            "Service": task.service.to_string(),
            "ServiceName": task.spec.name,
            "Stack": task.spec.stack,
            "Slot": task.slot,
            "Node": task.node.map(|node| node.to_string()),
            "TaskState": task.status.state,
            "Desired": task.desired,
            "Message": task.status.message,
            "Waiting": state.waiting.get(&task.id),
        },
    })
}

fn container_state(task: &Task) -> Value {
    let Some(container) = &task.status.container else {
        return json!({
            "Status": "created", "Running": false, "Paused": false, "Restarting": false, "OOMKilled": false,
            "Dead": false, "Pid": 0, "ExitCode": 0, "Error": task.status.message,
            "StartedAt": rfc3339(None), "FinishedAt": rfc3339(None),
        });
    };
    let running =
        matches!(container.state, ContainerState::Running | ContainerState::Paused | ContainerState::Restarting);
    let rejected = task.status.state == model::TaskState::Rejected;
    let mut state = json!({
        "Status": container.state,
        "Running": running,
        "Paused": container.state == ContainerState::Paused,
        "Restarting": container.state == ContainerState::Restarting,
        "OOMKilled": container.oom_killed,
        "Dead": false,
        "Pid": if running { container.pid } else { 0 },
        "ExitCode": container.exit_code.unwrap_or(0),
        "Error": if rejected { task.status.message.as_str() } else { "" },
        "StartedAt": rfc3339(container.started_at),
        "FinishedAt": rfc3339(container.finished_at),
    });
    if let (Some(health), Some(object)) = (&container.health, state.as_object_mut()) {
        let log: Vec<Value> = health
            .log
            .iter()
            .map(|result| {
                json!({
                    "Start": rfc3339(Some(result.start)), "End": rfc3339(Some(result.end)),
                    "ExitCode": result.exit_code, "Output": result.output,
                })
            })
            .collect();
        let status = match health.verdict {
            Verdict::Starting => "starting",
            Verdict::Healthy => "healthy",
            Verdict::Unhealthy => "unhealthy",
        };
        object.insert(
            "Health".to_owned(),
            json!({ "Status": status, "FailingStreak": health.failing_streak, "Log": log }),
        );
    }
    state
}

fn config(task: &Task, inspect: Option<&Inspect>) -> Value {
    let spec = &task.spec.container;
    let image = inspect.map(|inspect| &inspect.create.image.config);
    let mut env: Vec<(String, String)> =
        image.map(|image| image.env.iter().map(|entry| split_env(entry)).collect()).unwrap_or_default();
    let wanted = inspect.map_or(spec, |inspect| &inspect.create.spec.container);
    for (name, value) in &wanted.env {
        env.retain(|(known, _)| known != name);
        if let Some(value) = value {
            env.push((name.clone(), value.clone()));
        }
    }
    let or_image = |own: &Option<Vec<String>>, image: Option<&Vec<String>>| {
        own.clone().or_else(|| image.filter(|list| !list.is_empty()).cloned())
    };
    // Docker's rule: an entrypoint of one's own drops the image's command.
    let image_cmd = if spec.entrypoint.is_some() { None } else { image.map(|image| &image.cmd) };
    let exposed = image
        .map(|image| image.exposed_ports.iter().cloned().collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .chain(
            task.spec.ports.iter().map(|port| format!("{}/{}", port.target, super::container::protocol(port.protocol))),
        )
        .map(|key| (key, json!({})))
        .collect::<Map<_, _>>();
    let volumes = image.map(|image| image.volumes.iter().map(|path| (path.clone(), json!({}))).collect::<Map<_, _>>());
    let healthcheck = spec.healthcheck.as_ref().or(image.and_then(|image| image.healthcheck.as_ref()));
    json!({
        "Hostname": inspect.map_or_else(|| spec.hostname.clone().unwrap_or_else(|| task.id.short()), |inspect| inspect.create.hostname.clone()),
        "Domainname": spec.domainname.clone().unwrap_or_default(),
        "User": spec.user.clone().or_else(|| image.map(|image| image.user.clone())).unwrap_or_default(),
        "AttachStdin": false, "AttachStdout": true, "AttachStderr": true,
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": false,
        "Env": env.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        "Cmd": or_image(&spec.command, image_cmd),
        "Entrypoint": or_image(&spec.entrypoint, image.map(|image| &image.entrypoint)),
        "Image": spec.image,
        "ExposedPorts": exposed,
        "Volumes": volumes,
        "WorkingDir": spec.working_dir.clone().or_else(|| image.map(|image| image.working_dir.clone())).unwrap_or_default(),
        "Labels": labels(task, inspect),
        "StopSignal": spec.stop_signal.clone().or_else(|| image.and_then(|image| image.stop_signal.clone())),
        "StopTimeout": spec.stop_grace_period.map(|grace| grace.as_secs()),
        "Healthcheck": healthcheck.map(health_check),
    })
}

fn split_env(entry: &str) -> (String, String) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    (name.to_owned(), value.to_owned())
}

/// A health check in Docker's shape, durations in nanoseconds.
pub(crate) fn health_check(check: &model::HealthCheck) -> Value {
    let nanoseconds = |duration: Option<std::time::Duration>| {
        duration.map_or(0, |duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    };
    let test = match &check.test {
        None => Vec::new(),
        Some(model::HealthTest::None) => vec!["NONE".to_owned()],
        Some(model::HealthTest::Cmd(argv)) => std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect(),
        Some(model::HealthTest::CmdShell(command)) => vec!["CMD-SHELL".to_owned(), command.clone()],
    };
    json!({
        "Test": test,
        "Interval": nanoseconds(check.interval),
        "Timeout": nanoseconds(check.timeout),
        "StartPeriod": nanoseconds(check.start_period),
        "StartInterval": nanoseconds(check.start_interval),
        "Retries": check.retries.unwrap_or(0),
    })
}

fn host_config(task: &Task) -> Value {
    let (spec, resources, restart) = (&task.spec.container, &task.spec.resources, &task.spec.restart);
    let mut bindings: Map<String, Value> = Map::new();
    for (key, address, port) in published(task) {
        let entry =
            json!({ "HostIp": if address == "0.0.0.0" { "" } else { address.as_str() }, "HostPort": port.to_string() });
        if let Some(list) = bindings.entry(key).or_insert_with(|| json!([])).as_array_mut() {
            list.push(entry);
        }
    }
    let restart_name = match (restart.scope, restart.condition) {
        // The orchestrator restarts, which Docker shows as no policy of the container.
        (RestartScope::Replace, _) | (_, RestartCondition::None) => "no",
        (_, RestartCondition::OnFailure) => "on-failure",
        (_, RestartCondition::Any) => "always",
        (_, RestartCondition::UnlessStopped) => "unless-stopped",
    };
    let mut security: Vec<String> = Vec::new();
    if spec.no_new_privileges {
        security.push("no-new-privileges".to_owned());
    }
    match &spec.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => security.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(text) => security.push(format!("seccomp={text}")),
    }
    let binds: Vec<String> = spec
        .mounts
        .iter()
        .filter_map(|mount| {
            let mode = if mount.read_only { "ro" } else { "rw" };
            match &mount.source {
                MountSource::Volume { name, .. } => Some(format!("{name}:{}:{mode}", mount.target)),
                MountSource::Bind { path, .. } => Some(format!("{path}:{}:{mode}", mount.target)),
                MountSource::Anonymous | MountSource::Tmpfs { .. } => None,
            }
        })
        .collect();
    let tmpfs: Map<String, Value> = spec
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Tmpfs { options, .. } => Some((mount.target.clone(), json!(options.join(",")))),
            _ => None,
        })
        .collect();
    let ulimits: Vec<Value> =
        spec.ulimits.iter().map(|(name, (soft, hard))| json!({ "Name": name, "Soft": soft, "Hard": hard })).collect();
    let devices: Vec<Value> = spec
        .devices
        .iter()
        .map(|device| {
            json!({ "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.permissions })
        })
        .collect();
    let namespace = |host: bool| if host { "host" } else { "" };
    json!({
        "Binds": binds,
        "LogConfig": { "Type": spec.logging.driver.as_deref().unwrap_or("json-file"), "Config": spec.logging.options },
        "NetworkMode": network_mode(task),
        "PortBindings": bindings,
        "RestartPolicy": { "Name": restart_name, "MaximumRetryCount": if restart_name == "on-failure" { restart.max_attempts.unwrap_or(0) } else { 0 } },
        "AutoRemove": spec.auto_remove,
        "CapAdd": spec.cap_add,
        "CapDrop": spec.cap_drop,
        "CgroupnsMode": if spec.cgroup_host { "host" } else { "private" },
        "Dns": spec.dns,
        "DnsOptions": spec.dns_opt,
        "DnsSearch": spec.dns_search,
        "ExtraHosts": spec.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        "GroupAdd": spec.group_add,
        "IpcMode": if spec.ipc_host { "host" } else { "private" },
        "PidMode": namespace(spec.pid_host),
        "UTSMode": namespace(spec.uts_host),
        "OomScoreAdj": spec.oom_score_adj.unwrap_or(0),
        "OomKillDisable": spec.oom_kill_disable,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": security,
        "ShmSize": spec.shm_size.unwrap_or(64 << 20),
        "Sysctls": spec.sysctls,
        "Tmpfs": tmpfs,
        "Init": spec.init,
        "Ulimits": ulimits,
        "Devices": devices,
        "DeviceCgroupRules": spec.device_cgroup_rules,
        "NanoCpus": resources.limit_nano_cpus.unwrap_or(0),
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "CpusetCpus": resources.cpuset.clone().unwrap_or_default(),
        "Memory": resources.limit_memory.unwrap_or(0),
        "MemoryReservation": resources.reserve_memory.unwrap_or(0),
        "MemorySwap": resources.limit_memory_swap.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness,
        "PidsLimit": resources.limit_pids,
    })
}

fn network_mode(task: &Task) -> String {
    match &task.spec.network_mode {
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Service(key) => format!("service:{key}"),
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::Networks => {
            task.spec.networks.first().map_or_else(|| "default".to_owned(), |net| net.network.clone())
        }
    }
}

fn mounts(inspect: Option<&Inspect>) -> Vec<Value> {
    let mounts = inspect.map(|inspect| inspect.mounts.as_slice()).unwrap_or_default();
    mounts
        .iter()
        .map(|mount| {
            let mut value = json!({
                "Type": mount.kind, "Source": mount.source, "Destination": mount.target,
                "Mode": "", "RW": mount.writable, "Propagation": if mount.kind == "bind" { "rprivate" } else { "" },
            });
            if let Some(object) = value.as_object_mut()
                && mount.kind == "volume"
            {
                object.insert("Name".to_owned(), json!(mount.name));
                object.insert("Driver".to_owned(), json!("local"));
            }
            value
        })
        .collect()
}

fn network_settings(task: &Task, state: &State, inspect: Option<&Inspect>) -> Value {
    let mut networks = Map::new();
    for (index, endpoint) in task.endpoints.iter().enumerate() {
        let network = state.networks.iter().find(|network| network.id == endpoint.network);
        let prefix = |subnet: Option<Subnet>| subnet.map_or(0, |subnet| subnet.prefix);
        let aliases = task.spec.networks.get(index).map(|attachment| attachment.aliases.clone()).unwrap_or_default();
        networks.insert(
            network_name(state, endpoint.network),
            json!({
                "NetworkID": endpoint.network.to_string(),
                "EndpointID": task.id.to_string(),
                "IPAddress": endpoint.address.to_string(),
                "IPPrefixLen": prefix(network.map(|network| network.subnet)),
                "Gateway": network.map(|network| network.gateway.to_string()).unwrap_or_default(),
                "GlobalIPv6Address": endpoint.address6.map(|address| address.to_string()).unwrap_or_default(),
                "GlobalIPv6PrefixLen": prefix(network.and_then(|network| network.subnet6)),
                "IPv6Gateway": network.and_then(|network| network.gateway6).map(|address| address.to_string()).unwrap_or_default(),
                "MacAddress": super::mac(endpoint),
                "Aliases": aliases,
                "DNSNames": endpoint.aliases,
            }),
        );
    }
    let mut ports: Map<String, Value> = Map::new();
    let exposed = inspect.map(|inspect| &inspect.create.image.config.exposed_ports);
    for key in exposed.into_iter().flatten() {
        ports.insert(key.clone(), Value::Null);
    }
    if super::container::is_up(task) {
        for (key, address, port) in published(task) {
            let entry = json!({ "HostIp": address, "HostPort": port.to_string() });
            let list = ports.entry(key).or_insert_with(|| json!([]));
            match list.as_array_mut() {
                Some(list) => list.push(entry),
                None => *list = json!([entry]),
            }
        }
    }
    let first = networks.values().next();
    let of_first = |name: &str| first.and_then(|network| network.get(name)).cloned().unwrap_or(json!(""));
    json!({
        "IPAddress": of_first("IPAddress"),
        "Gateway": of_first("Gateway"),
        "MacAddress": of_first("MacAddress"),
        "SandboxID": task.id.to_string(),
        "Ports": ports,
        "Networks": networks,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::testing;
    use model::{ContainerStatus, Health, HealthResult, Time};
    use std::collections::BTreeMap;

    #[test]
    fn the_state_is_in_dockers_words() {
        let mut task = testing::task(5, &testing::service("web", "web", None), 1);
        let value = container(&task, &State::default(), None);
        assert_eq!(value["State"]["Status"], "created");
        assert_eq!(value["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
        task.status.container = Some(ContainerStatus {
            state: ContainerState::Paused,
            pid: 7,
            exit_code: Some(3),
            oom_killed: true,
            restart_count: 2,
            started_at: Some(Time(1000)),
            finished_at: None,
            health: Some(Health {
                verdict: Verdict::Healthy,
                failing_streak: 0,
                log: vec![HealthResult { start: Time(1), end: Time(2), exit_code: 0, output: "ok".to_owned() }],
            }),
            ports: BTreeMap::new(),
        });
        let value = container(&task, &State::default(), None);
        assert_eq!(value["Id"], task.id.to_string());
        assert_eq!(value["Name"], format!("/{}", task.name()));
        assert_eq!(value["RestartCount"], 2);
        let state = &value["State"];
        assert_eq!(
            (&state["Status"], &state["Running"], &state["Paused"]),
            (&json!("paused"), &json!(true), &json!(true))
        );
        assert_eq!((&state["Pid"], &state["ExitCode"], &state["OOMKilled"]), (&json!(7), &json!(3), &json!(true)));
        assert_eq!(state["Health"]["Status"], "healthy");
        assert_eq!(state["Health"]["Log"][0]["Output"], "ok");
        assert_eq!(value["HostConfig"]["RestartPolicy"]["Name"], "no");
    }

    #[test]
    fn an_own_entrypoint_drops_the_images_command() {
        let mut spec = testing::service("web", "web", None);
        spec.container.entrypoint = Some(vec!["/x".to_owned()]);
        let value = container(&testing::task(5, &spec, 1), &State::default(), None);
        assert_eq!(value["Config"]["Entrypoint"], json!(["/x"]));
        assert_eq!(value["Config"]["Cmd"], Value::Null);
    }
}
