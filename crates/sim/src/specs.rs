//! Stacks and containers as an operator might ask for them.

use crate::chance::Chance;
use crate::host::FOREIGN;
use model::{
    ContainerSpec, Dependency, DependencyCondition, EndpointMode, FailureAction, HealthCheck, HealthTest, Mode, Mount,
    MountSource, NetworkAttachment, NetworkMode, NetworkSpec, Placement, PortMode, PortSpec, Protocol, Resources,
    RestartCondition, RestartPolicy, RestartScope, ServiceSpec, StackSpec, UpdateConfig, UpdateOrder, VolumeSpec,
};
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS: [&str; 4] = ["api", "db", "job", "web"];

/// A stack of some of the four services.
pub(crate) fn stack(name: &str, chance: &mut Chance) -> StackSpec {
    let mut stack = StackSpec { name: name.to_owned(), ..StackSpec::default() };
    let network = format!("{name}_default");
    let spec = NetworkSpec { name: network.clone(), stack: Some(name.to_owned()), ..NetworkSpec::default() };
    stack.networks.insert(network.clone(), spec);
    let mut present: Vec<&str> = Vec::new();
    for key in KEYS {
        if chance.below(3) == 0 {
            continue;
        }
        let mut spec = service(name, key, chance);
        spec.networks = vec![NetworkAttachment { network: network.clone(), ..NetworkAttachment::default() }];
        if key == "job" && present.contains(&"db") && chance.below(3) == 0 {
            spec.networks.clear();
            spec.network_mode = NetworkMode::Service("db".to_owned());
        } else if key == "api" && chance.below(8) == 0 {
            spec.networks.clear();
            spec.network_mode = if chance.coin() { NetworkMode::Host } else { NetworkMode::None };
        }
        if let Some(on) = chance.pick(&present)
            && chance.coin()
        {
            spec.depends_on.insert((*on).to_owned(), dependency(&stack, name, on, chance));
        }
        if key == "db" {
            let volume = format!("{name}_data");
            spec.container.mounts = vec![Mount {
                target: "/data".to_owned(),
                source: MountSource::Volume { name: volume.clone(), nocopy: false, subpath: None },
                read_only: false,
            }];
            let known = VolumeSpec { name: volume.clone(), stack: Some(name.to_owned()), ..VolumeSpec::default() };
            stack.volumes.insert(volume, known);
        }
        present.push(key);
        stack.services.insert(spec.name.clone(), spec);
    }
    stack
}

/// The same, of services that ask something of nodes.
pub(crate) fn demanding(name: &str, chance: &mut Chance) -> StackSpec {
    let mut stack = stack(name, chance);
    for spec in stack.services.values_mut() {
        if chance.below(3) == 0 {
            spec.resources.reserve_memory = Some(chance.between(1, 5) << 30);
        }
        match chance.below(10) {
            0 => spec.placement.constraints.push("node.labels.zone == a".to_owned()),
            1 => spec.placement.constraints.push("node.labels.zone != b".to_owned()),
            2 => spec.placement.max_replicas_per_node = 1,
            3 => spec.placement.spread.push("node.labels.zone".to_owned()),
            _ => {}
        }
        if spec.key == "job" {
            let total = u32::try_from(chance.below(5)).unwrap_or(0);
            match chance.below(4) {
                0 => spec.mode = Mode::ReplicatedJob { total, concurrent: total.div_ceil(2) },
                1 => spec.mode = Mode::GlobalJob,
                _ => {}
            }
        }
    }
    stack
}

fn dependency(stack: &StackSpec, name: &str, on: &str, chance: &mut Chance) -> Dependency {
    let other = stack.services.get(&format!("{name}_{on}"));
    let checked = other.is_some_and(|other| other.container.healthcheck.is_some());
    let condition = match chance.below(3) {
        0 if checked => DependencyCondition::ServiceHealthy,
        1 if on == "job" => DependencyCondition::ServiceCompletedSuccessfully,
        _ => DependencyCondition::ServiceStarted,
    };
    Dependency { condition, restart: chance.coin(), required: true }
}

fn service(stack: &str, key: &str, chance: &mut Chance) -> ServiceSpec {
    let mut spec = plain(&format!("{stack}_{key}"), key);
    spec.stack = Some(stack.to_owned());
    spec.mode = match chance.below(8) {
        0 => Mode::Global,
        _ => Mode::Replicated { replicas: replicas(chance) },
    };
    spec.restart = policy(chance);
    spec.update = update(chance);
    if key == "job" {
        spec.container.image = "job".to_owned();
        spec.restart.condition = RestartCondition::OnFailure;
    } else {
        spec.container.image = image(chance);
        if chance.below(3) == 0 {
            spec.container.healthcheck = Some(check(chance));
        }
    }
    if key == "web" && chance.coin() {
        spec.ports = vec![port(chance)];
    }
    spec
}

/// How many replicas.
pub(crate) fn replicas(chance: &mut Chance) -> u32 {
    u32::try_from(chance.below(5)).unwrap_or(0)
}

/// An image: `v1` to `v3` run on, `crash` ends now and then, `missing` is in no registry.
fn image(chance: &mut Chance) -> String {
    let image = match chance.below(12) {
        0 => "crash",
        1 => "missing",
        2..5 => "v1",
        5..9 => "v2",
        _ => "v3",
    };
    image.to_owned()
}

fn policy(chance: &mut Chance) -> RestartPolicy {
    let condition = match chance.below(6) {
        0 => RestartCondition::None,
        1 | 2 => RestartCondition::OnFailure,
        3 => RestartCondition::UnlessStopped,
        _ => RestartCondition::Any,
    };
    let max_attempts = (chance.below(5) == 0).then_some(3);
    match chance.coin() {
        true => RestartPolicy { condition, max_attempts, ..RestartPolicy::SWARM },
        false => RestartPolicy {
            condition,
            scope: RestartScope::InPlace,
            delay: Duration::ZERO,
            max_attempts,
            window: Duration::ZERO,
        },
    }
}

fn update(chance: &mut Chance) -> UpdateConfig {
    let failure_action = match chance.below(3) {
        0 => FailureAction::Pause,
        1 => FailureAction::Continue,
        _ => FailureAction::Rollback,
    };
    UpdateConfig {
        parallelism: u32::try_from(chance.below(3)).unwrap_or(1),
        delay: Duration::from_millis(chance.below(3) * 500),
        failure_action,
        monitor: Duration::from_secs(chance.below(4)),
        order: if chance.coin() { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst },
        ..UpdateConfig::default()
    }
}

fn check(chance: &mut Chance) -> HealthCheck {
    HealthCheck {
        test: Some(HealthTest::CmdShell("true".to_owned())),
        interval: Some(Duration::from_secs(1 + chance.below(3))),
        timeout: Some(Duration::from_secs(1)),
        retries: Some(2),
        start_period: Some(Duration::from_secs(chance.below(4))),
        start_interval: Some(Duration::from_millis(500)),
    }
}

fn port(chance: &mut Chance) -> PortSpec {
    let published = match chance.below(3) {
        0 => None,
        1 => Some(FOREIGN),
        _ => Some(8081),
    };
    let mode = if chance.coin() { PortMode::Ingress } else { PortMode::Host };
    PortSpec { target: 80, published, published_range: None, host_ip: None, protocol: Protocol::Tcp, mode }
}

/// A container as `run -d` asks for it.
pub(crate) fn standalone(name: &str, chance: &mut Chance) -> ServiceSpec {
    let mut spec = plain(name, name);
    spec.standalone = true;
    spec.restart = RestartPolicy {
        condition: match chance.below(4) {
            0 => RestartCondition::None,
            1 => RestartCondition::OnFailure,
            2 => RestartCondition::Any,
            _ => RestartCondition::UnlessStopped,
        },
        scope: RestartScope::InPlace,
        delay: Duration::ZERO,
        max_attempts: None,
        window: Duration::ZERO,
    };
    spec.container.image = image(chance);
    spec.container.auto_remove = chance.below(4) == 0;
    if spec.container.auto_remove {
        spec.restart.condition = RestartCondition::None;
        spec.container.image = "job".to_owned();
    }
    spec.networks = vec![NetworkAttachment { network: "bridge".to_owned(), ..NetworkAttachment::default() }];
    spec
}

fn plain(name: &str, key: &str) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        key: key.to_owned(),
        stack: None,
        standalone: false,
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        container: ContainerSpec::default(),
        restart: RestartPolicy::SWARM,
        resources: Resources::default(),
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    }
}
