//! `service inspect`, in the Engine API's shape or in lines for people.

use super::{find, ls};
use crate::args::swarm::Inspect;
use crate::commands::inspect::{print, print_lines};
use crate::commands::node::inspect::generic;
use crate::context::Context;
use crate::render::human::created_at;
use anyhow::Result;
use model::{
    FailureAction, FileRef, HealthTest, Mode, MountSource, NetworkId, PortMode, Protocol, RestartCondition, Service,
    ServiceSpec, State, Time, UpdateConfig, UpdateOrder, UpdateStatus,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(in crate::commands) async fn run(context: &Context, args: Inspect) -> Result<u8> {
    let state = context.state().await?;
    let found = args.which.names.iter().map(|name| find(&state, name));
    if args.pretty {
        return print_lines(context, found.map(|service| service.map(|service| lines(service, &state))));
    }
    // In a template an empty part is empty; shown as a whole it is left out, as the Engine API does.
    let parts = if args.which.format.is_some() { Parts::Every } else { Parts::Filled };
    let found = found.map(|service| service.map(|service| view(service, &state, parts))).collect();
    print(context, args.which.format.as_deref(), found)
}

/// Which parts of a view are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    Every,
    Filled,
}

impl Parts {
    /// These pairs, or those of them that are not empty.
    fn of(self, pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
        let kept = pairs.into_iter().filter(|(_, value)| self == Parts::Every || !is_empty(value));
        kept.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Engine API, ServiceInspect.
fn view(service: &Service, state: &State, parts: Parts) -> Value {
    let mut value = json!({
        "ID": service.id.to_string(),
        "Version": { "Index": service.version },
        "CreatedAt": time(service.created),
        "UpdatedAt": time(service.updated),
        "Spec": spec(&service.spec, parts),
        "Endpoint": {
            "Spec": { "Mode": service.spec.endpoint_mode },
            "Ports": ports(service),
            "VirtualIPs": virtual_ips(service, state),
        },
        "ServiceStatus": {
            "RunningTasks": state.tasks.iter().filter(|task| task.service == service.id && task.is_serving()).count(),
            "DesiredTasks": service.replicas(),
        },
    });
    let optional = [
        ("PreviousSpec", service.previous.as_ref().map(|previous| spec(previous, parts)).unwrap_or_default()),
        ("UpdateStatus", service.update_status.as_ref().map(update_status).unwrap_or_default()),
    ];
    if let Value::Object(map) = &mut value {
        map.extend(parts.of(optional));
    }
    value
}

fn update_status(update: &UpdateStatus) -> Value {
    let finished = update.finished.map(time);
    let finished = finished.map(|finished| ("CompletedAt".to_owned(), Value::from(finished)));
    let pairs = [
        ("State", json!(update.state)),
        ("StartedAt", json!(time(update.started))),
        ("Message", json!(update.message)),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(finished).collect()
}

pub(in crate::commands) fn time(time: Time) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map(|stamp| stamp.to_string()).unwrap_or_default()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn spec(spec: &ServiceSpec, parts: Parts) -> Value {
    json!({
        "Name": spec.name,
        "Labels": spec.labels,
        "TaskTemplate": {
            "ContainerSpec": container(spec, parts),
            "Resources": resources(spec, parts),
            "RestartPolicy": {
                "Condition": match spec.restart.condition {
                    RestartCondition::None => "none",
                    RestartCondition::OnFailure => "on-failure",
                    RestartCondition::Any | RestartCondition::UnlessStopped => "any",
                },
                "Delay": nanos(spec.restart.delay),
                "MaxAttempts": spec.restart.max_attempts.unwrap_or(0),
                "Window": nanos(spec.restart.window),
            },
            "Placement": {
                "Constraints": spec.placement.constraints,
                "Preferences": spec.placement.spread.iter()
                    .map(|by| json!({ "Spread": { "SpreadDescriptor": by } })).collect::<Vec<_>>(),
                "MaxReplicas": spec.placement.max_replicas_per_node,
            },
            "Networks": spec.networks.iter()
                .map(|net| json!({ "Target": net.network, "Aliases": net.aliases })).collect::<Vec<_>>(),
        },
        "Mode": match spec.mode {
            Mode::Replicated { replicas } => json!({ "Replicated": { "Replicas": replicas } }),
            Mode::Global => json!({ "Global": {} }),
            Mode::ReplicatedJob { total, concurrent } => {
                json!({ "ReplicatedJob": { "MaxConcurrent": concurrent, "TotalCompletions": total } })
            }
            Mode::GlobalJob => json!({ "GlobalJob": {} }),
        },
        "UpdateConfig": update(&spec.update),
        "RollbackConfig": update(&spec.rollback),
        "EndpointSpec": {
            "Mode": spec.endpoint_mode,
            "Ports": spec.ports.iter().map(|port| self::port(port, port.published)).collect::<Vec<_>>(),
        },
    })
}

/// Engine API, EndpointVirtualIP.
fn virtual_ips(service: &Service, state: &State) -> Vec<Value> {
    let one = |(id, address): (&NetworkId, &std::net::Ipv4Addr)| {
        let network = state.networks.iter().find(|network| network.id == *id)?;
        Some(json!({ "NetworkID": id.to_string(), "Addr": format!("{address}/{}", network.subnet.prefix) }))
    };
    service.vips.iter().filter_map(one).collect()
}

/// Engine API, the file that a secret or config becomes; a path below the usual folder is told from there.
fn given<Id>(file: &FileRef<Id>, folder: &str) -> Value {
    let name = file.target.strip_prefix(folder).filter(|rest| !rest.is_empty()).unwrap_or(&file.target);
    json!({ "Name": name, "UID": file.uid.to_string(), "GID": file.gid.to_string(), "Mode": file.mode })
}

fn container(spec: &ServiceSpec, parts: Parts) -> Value {
    let it = &spec.container;
    let env: Vec<String> = it
        .env
        .iter()
        .map(|(name, value)| value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")))
        .collect();
    let image = match &it.image_digest {
        Some(digest) if !it.image.contains('@') => format!("{}@{digest}", it.image),
        _ => it.image.clone(),
    };
    let pairs = [
        ("Labels", json!(it.labels)),
        ("Command", json!(it.entrypoint.as_deref().unwrap_or_default())),
        ("Args", json!(it.command.as_deref().unwrap_or_default())),
        ("Env", json!(env)),
        ("Dir", json!(it.working_dir.as_deref().unwrap_or_default())),
        ("User", json!(it.user.as_deref().unwrap_or_default())),
        ("Groups", json!(it.group_add)),
        ("Hostname", json!(it.hostname.as_deref().unwrap_or_default())),
        ("StopSignal", json!(it.stop_signal.as_deref().unwrap_or_default())),
        ("StopGracePeriod", json!(it.stop_grace_period.map(nanos))),
        ("Healthcheck", json!(it.healthcheck.as_ref().map(health))),
        ("Mounts", json!(it.mounts.iter().map(mount).collect::<Vec<_>>())),
        (
            "Configs",
            json!(
                it.configs
                    .iter()
                    .map(|file| json!({ "ConfigName": file.name, "File": given(file, "/") }))
                    .collect::<Vec<_>>()
            ),
        ),
        (
            "Secrets",
            json!(
                it.secrets
                    .iter()
                    .map(|file| json!({ "SecretName": file.name, "File": given(file, "/run/secrets/") }))
                    .collect::<Vec<_>>()
            ),
        ),
        ("Hosts", json!(it.extra_hosts.iter().map(|(name, address)| format!("{address} {name}")).collect::<Vec<_>>())),
        ("Sysctls", json!(it.sysctls)),
        ("CapabilityAdd", json!(it.cap_add)),
        ("CapabilityDrop", json!(it.cap_drop)),
    ];
    let switches = [("Init", it.init), ("TTY", it.tty), ("OpenStdin", it.stdin_open), ("ReadOnly", it.read_only)];
    let mut map = Map::new();
    map.insert("Image".to_owned(), Value::from(image));
    map.extend(parts.of(pairs));
    map.extend(parts.of(switches.map(|(key, on)| (key, Value::from(on)))));
    Value::Object(map)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn health(check: &model::HealthCheck) -> Value {
    let test = check.test.as_ref().map(|test| match test {
        HealthTest::None => vec!["NONE".to_owned()],
        HealthTest::Cmd(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
        HealthTest::CmdShell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    });
    let pairs = [
        ("Test", json!(test)),
        ("Interval", json!(check.interval.map(nanos))),
        ("Timeout", json!(check.timeout.map(nanos))),
        ("Retries", json!(check.retries)),
        ("StartPeriod", json!(check.start_period.map(nanos))),
        ("StartInterval", json!(check.start_interval.map(nanos))),
    ];
    pairs.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn mount(mount: &model::Mount) -> Value {
    let (kind, source) = match &mount.source {
        MountSource::Volume { name, .. } => ("volume", name.as_str()),
        MountSource::Anonymous => ("volume", ""),
        MountSource::Bind { path, .. } => ("bind", path.as_str()),
        MountSource::Tmpfs { .. } => ("tmpfs", ""),
    };
    json!({ "Type": kind, "Source": source, "Target": mount.target, "ReadOnly": mount.read_only })
}

fn resources(spec: &ServiceSpec, parts: Parts) -> Value {
    let it = &spec.resources;
    let amount = |value: Value| match (value, parts) {
        (Value::Null, Parts::Every) => Value::from(0),
        (value, _) => value,
    };
    json!({
        "Limits": parts.of([
            ("NanoCPUs", amount(json!(it.limit_nano_cpus))),
            ("MemoryBytes", amount(json!(it.limit_memory))),
            ("Pids", amount(json!(it.limit_pids))),
        ]),
        "Reservations": parts.of([
            ("NanoCPUs", amount(json!(it.reserve_nano_cpus))),
            ("MemoryBytes", amount(json!(it.reserve_memory))),
            ("GenericResources", json!(generic(&it.reserve_generic))),
        ]),
    })
}

fn update(config: &UpdateConfig) -> Value {
    json!({
        "Parallelism": config.parallelism,
        "Delay": nanos(config.delay),
        "FailureAction": action(config.failure_action),
        "Monitor": nanos(config.monitor),
        "MaxFailureRatio": config.max_failure_ratio,
        "Order": order(config.order),
    })
}

fn action(action: FailureAction) -> &'static str {
    match action {
        FailureAction::Pause => "pause",
        FailureAction::Continue => "continue",
        FailureAction::Rollback => "rollback",
    }
}

fn order(order: UpdateOrder) -> &'static str {
    match order {
        UpdateOrder::StopFirst => "stop-first",
        UpdateOrder::StartFirst => "start-first",
    }
}

/// With the host ports that were chosen.
fn ports(service: &Service) -> Vec<Value> {
    let chosen = |index: usize| service.chosen_port(index);
    let ports = service.spec.ports.iter().enumerate();
    ports.map(|(index, port)| self::port(port, port.published.or(chosen(index)))).collect()
}

fn port(port: &model::PortSpec, published: Option<u16>) -> Value {
    let mut value = json!({
        "Protocol": match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
        "TargetPort": port.target,
        "PublishMode": match port.mode {
            PortMode::Ingress => "ingress",
            PortMode::Host => "host",
        },
    });
    if let (Some(published), Value::Object(map)) = (published, &mut value) {
        map.insert("PublishedPort".to_owned(), json!(published));
    }
    value
}

/// `--pretty`.
fn lines(service: &Service, state: &State) -> String {
    let spec = &service.spec;
    let mut out = Vec::new();
    let mut say = |key: &str, value: String| {
        if !value.is_empty() {
            out.push(format!("{:16}{value}", format!("{key}:")));
        }
    };
    say("ID", service.id.to_string());
    say("Name", spec.name.clone());
    let labels: Vec<String> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    say("Labels", labels.join(", "));
    say("Service Mode", ls::mode(spec.mode).to_owned());
    say("Replicas", ls::replicas(state, service));
    if let Some(update) = &service.update_status {
        let word = json!(update.state).as_str().unwrap_or_default().to_owned();
        say("Update Status", format!("{word}: {} (began {})", update.message, created_at(update.started.0)));
    }
    say("Image", spec.container.image.clone());
    say("Digest", spec.container.image_digest.clone().unwrap_or_default());
    say("Args", spec.container.command.as_ref().map(|words| words.join(" ")).unwrap_or_default());
    let names: Vec<&str> = spec.container.env.keys().map(String::as_str).collect();
    say("Env", names.join(" "));
    for mount in &spec.container.mounts {
        let value = self::mount(mount);
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        say("Mount", format!("{} {} → {}", text("Type"), text("Source"), text("Target")));
    }
    let networks: Vec<&str> = spec.networks.iter().map(|network| network.network.as_str()).collect();
    say("Networks", networks.join(", "));
    say("Constraints", spec.placement.constraints.join(", "));
    for (index, port) in spec.ports.iter().enumerate() {
        let published = port.published.or(service.chosen_port(index));
        say("Port", published.map_or_else(|| port.target.to_string(), |published| ls::port(port, published)));
    }
    let update = &spec.update;
    say(
        "UpdateConfig",
        format!(
            "parallelism {}, delay {:?}, on failure {}, monitoring period {:?}, max failure ratio {}, {}",
            update.parallelism,
            update.delay,
            action(update.failure_action),
            update.monitor,
            update.max_failure_ratio,
            order(update.order)
        ),
    );
    out.push(String::new());
    out.into_iter().map(|line| line + "\n").collect()
}
