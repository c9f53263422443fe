//! Specs in words: `service web image=nginx:1.27 replicas=3 update.parallelism=2`.

use model::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// A service as the compose loader would make it, without anything.
pub(crate) fn service(stack: Option<&str>, key: &str) -> ServiceSpec {
    ServiceSpec {
        name: stack.map_or_else(|| key.to_owned(), |stack| format!("{stack}_{key}")),
        key: key.to_owned(),
        stack: stack.map(str::to_owned),
        standalone: stack.is_none(),
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        container: ContainerSpec { image: "app:1".to_owned(), ..ContainerSpec::default() },
        restart: RestartPolicy {
            scope: if stack.is_some() { RestartScope::Replace } else { RestartScope::InPlace },
            condition: if stack.is_some() { RestartCondition::OnFailure } else { RestartCondition::None },
            ..RestartPolicy::SWARM
        },
        resources: Resources::default(),
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks: stack
            .map(|stack| NetworkAttachment { network: format!("{stack}_default"), ..NetworkAttachment::default() })
            .into_iter()
            .collect(),
        network_mode: NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    }
}

fn seconds(text: &str) -> Duration {
    let number: f64 = text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("`{text}` is no time"));
    Duration::from_millis((number * 1000.0) as u64)
}

/// Sets one field.
pub(crate) fn set(spec: &mut ServiceSpec, word: &str) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse::<u32>().unwrap_or_else(|_| panic!("`{word}`: no number"));
    let container = &mut spec.container;
    match key {
        "image" => container.image = value.to_owned(),
        "replicas" => spec.mode = Mode::Replicated { replicas: number() },
        "global" => spec.mode = Mode::Global,
        "job" => {
            let (total, concurrent) = value.split_once('/').expect("job=TOTAL/CONCURRENT");
            spec.mode = Mode::ReplicatedJob {
                total: total.parse().expect("a number"),
                concurrent: concurrent.parse().expect("a number"),
            };
        }
        "label" => drop(spec.labels.insert(value.to_owned(), String::new())),
        "exit" | "healthy" | "reject" | "stop" => {
            drop(container.labels.insert(key.to_owned(), value.replace('_', " ")))
        }
        "env" => {
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            container.env.insert(name.to_owned(), Some(value.to_owned()));
        }
        "name" => container.container_name = Some(value.to_owned()),
        "rm" => container.auto_remove = true,
        "volume" => container.mounts.push(Mount {
            target: "/data".to_owned(),
            source: MountSource::Volume { name: value.to_owned(), nocopy: false, subpath: None },
            read_only: false,
        }),
        "config" => container.configs.push(FileRef {
            name: value.to_owned(),
            id: None,
            target: format!("/{value}"),
            uid: 0,
            gid: 0,
            mode: 0o444,
        }),
        "net" => spec.networks.push(NetworkAttachment { network: value.to_owned(), ..NetworkAttachment::default() }),
        "alias" => spec.networks.iter_mut().for_each(|net| net.aliases.push(value.to_owned())),
        "ip" => spec.networks.last_mut().expect("a network").ipv4_address = Some(value.to_owned()),
        "shares" => {
            spec.networks.clear();
            spec.network_mode = NetworkMode::Service(value.to_owned());
        }
        "port" => {
            let (published, target) = value.split_once(':').unwrap_or(("", value));
            spec.ports.push(PortSpec {
                target: target.parse().expect("a number"),
                published: published.parse().ok(),
                published_range: None,
                host_ip: None,
                protocol: Protocol::Tcp,
                mode: PortMode::Ingress,
            });
        }
        "expose" => {
            let (name, port) = value.split_once(':').map_or((None, value), |(name, port)| (Some(name), port));
            let port = port.parse().expect("a number");
            let name = name.map(str::to_owned);
            spec.exposed.insert(ExposedPort { first: port, last: port, protocol: Protocol::Tcp, name });
        }
        "dnsrr" => spec.endpoint_mode = EndpointMode::Dnsrr,
        "hostport" => spec.ports.push(PortSpec {
            target: 80,
            published: value.parse().ok(),
            published_range: None,
            host_ip: None,
            protocol: Protocol::Tcp,
            mode: PortMode::Host,
        }),
        "after" | "after?" => {
            let (key_of, condition) = value.split_once(':').unwrap_or((value, "started"));
            let (condition, restart) = match condition.strip_suffix("+restart") {
                Some(condition) => (condition, true),
                None => (condition, false),
            };
            let condition = match condition {
                "started" => DependencyCondition::ServiceStarted,
                "healthy" => DependencyCondition::ServiceHealthy,
                _ => DependencyCondition::ServiceCompletedSuccessfully,
            };
            spec.depends_on.insert(key_of.to_owned(), Dependency { condition, restart, required: key == "after" });
        }
        "restart" => {
            spec.restart.condition = match value {
                "none" => RestartCondition::None,
                "on-failure" => RestartCondition::OnFailure,
                "unless-stopped" => RestartCondition::UnlessStopped,
                _ => RestartCondition::Any,
            }
        }
        "restart.in-place" => spec.restart.scope = RestartScope::InPlace,
        "restart.delay" => spec.restart.delay = seconds(value),
        "restart.attempts" => spec.restart.max_attempts = Some(number()),
        "restart.window" => spec.restart.window = seconds(value),
        "update.parallelism" => spec.update.parallelism = number(),
        "update.delay" => spec.update.delay = seconds(value),
        "update.monitor" => spec.update.monitor = seconds(value),
        "update.ratio" => spec.update.max_failure_ratio = value.parse().expect("a number"),
        "update.start-first" => spec.update.order = UpdateOrder::StartFirst,
        "update.on-failure" => {
            spec.update.failure_action = match value {
                "continue" => FailureAction::Continue,
                "rollback" => FailureAction::Rollback,
                _ => FailureAction::Pause,
            }
        }
        "memory" => spec.resources.reserve_memory = Some(u64::from(number()) << 20),
        "cpus" => spec.resources.reserve_nano_cpus = Some((value.parse::<f64>().expect("a number") * 1e9) as u64),
        "where" => spec.placement.constraints.push(value.replace("==", " == ").replace("!=", " != ")),
        "spread" => spec.placement.spread.push(value.to_owned()),
        "per-node" => spec.placement.max_replicas_per_node = number(),
        _ => panic!("nothing is called `{key}`"),
    }
}
