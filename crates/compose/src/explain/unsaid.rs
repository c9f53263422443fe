//! Values of services that nobody wrote and that the normalised project does not show: what holds all the same.

use super::{Explanation, Step};
use crate::project::Loaded;
use crate::tree::Node;
use crate::units::show_duration;
use model::mode::Mode;
use model::spec::{FailureAction, PullPolicy, RestartCondition, ServiceSpec, UpdateConfig, UpdateOrder};
use std::time::Duration;

const SWARM: &str = "as in Swarm";
const OFF: &str = "off where nobody says so";
const IMAGE: &str = "what the image says";

/// What holds for the key of a service that has no value of its own.
pub(super) fn explain(loaded: &Loaded, path: &str) -> Option<Explanation> {
    let rest = path.strip_prefix("services.")?;
    let stack = loaded.stack.as_ref()?;
    // names of services may hold dots
    let of_service = |spec: &&ServiceSpec| rest.strip_prefix(&spec.key).is_some_and(|keys| keys.starts_with('.'));
    let spec = stack.services.values().filter(of_service).max_by_key(|spec| spec.key.len())?;
    let node = loaded.project.as_ref()?.model.get("services")?.get(&spec.key)?;
    let keys: Vec<&str> = rest[spec.key.len() + 1..].split('.').collect();
    let (value, rule) = of_keys(&keys, spec, node)?;
    let step = Step { text: format!("default: {rule}"), span: None };
    Some(Explanation { path: path.to_owned(), value, steps: vec![step] })
}

fn of_keys(keys: &[&str], spec: &ServiceSpec, node: &Node) -> Option<(String, &'static str)> {
    Some(match keys {
        ["restart"] | ["deploy", "restart_policy", "condition"] => (condition(spec), who_restarts(spec, node)),
        ["deploy", "restart_policy", key] => policy(key, spec)?,
        ["deploy", "update_config", key] => (update(key, &spec.update)?, SWARM),
        ["deploy", "rollback_config", key] => (update(key, &spec.rollback)?, SWARM),
        ["deploy", "mode"] => (text(mode(spec.mode)), "so many replicas, wherever there is room"),
        ["scale"] | ["deploy", "replicas"] => replicas(spec.mode)?,
        ["deploy", "endpoint_mode"] => (text("vip"), "the name of the service leads to one address, which is spread"),
        ["deploy", "placement", "max_replicas_per_node"] => ("0".to_owned(), "without a limit"),
        ["healthcheck", key] => health(key, spec)?,
        ["stop_grace_period"] => (seconds(10), "so long may a container take to end before it is killed"),
        ["stop_signal"] => (text("SIGTERM"), "unless the image names another"),
        ["pull_policy"] => (text(pull(spec)), "an image is fetched when it is not here"),
        ["shm_size"] => (text("67108864"), "64 MiB, as in Docker"),
        ["logging", "driver"] => (text("json-file"), "the one that `logs` reads"),
        ["init" | "tty" | "stdin_open" | "read_only" | "privileged" | "oom_kill_disable"] => ("false".to_owned(), OFF),
        ["user" | "working_dir"] => ("null".to_owned(), IMAGE),
        ["hostname"] => ("null".to_owned(), "the first twelve characters of the container's id"),
        _ => return None,
    })
}

fn text(word: &str) -> String {
    format!("\"{word}\"")
}

fn seconds(count: u64) -> String {
    duration(Duration::from_secs(count))
}

fn duration(value: Duration) -> String {
    text(&show_duration(value))
}

fn condition(spec: &ServiceSpec) -> String {
    text(match spec.restart.condition {
        RestartCondition::None => "none",
        RestartCondition::OnFailure => "on-failure",
        RestartCondition::Any => "any",
        RestartCondition::UnlessStopped => "unless-stopped",
    })
}

fn who_restarts(spec: &ServiceSpec, node: &Node) -> &'static str {
    let deploy = node.get("deploy");
    if deploy.is_some_and(|deploy| deploy.get("restart_policy").is_some()) {
        "`deploy.restart_policy` of the service decides"
    } else if node.get("restart").is_some() {
        "`restart` of the service decides"
    } else if matches!(spec.mode, Mode::ReplicatedJob { .. } | Mode::GlobalJob) {
        "a job that ended with 0 is done, else it is tried again"
    } else if deploy.is_some() {
        "a service with a `deploy` section starts again however it ended, as in Swarm"
    } else {
        "without `restart` and `deploy`, what ended with 0 is done, and what crashed starts again"
    }
}

fn policy(key: &str, spec: &ServiceSpec) -> Option<(String, &'static str)> {
    Some(match key {
        "delay" => (duration(spec.restart.delay), SWARM),
        "window" => (duration(spec.restart.window), "all restarts count"),
        "max_attempts" => ("null".to_owned(), "without end"),
        _ => return None,
    })
}

fn update(key: &str, config: &UpdateConfig) -> Option<String> {
    Some(match key {
        "parallelism" => config.parallelism.to_string(),
        "delay" => duration(config.delay),
        "monitor" => duration(config.monitor),
        "max_failure_ratio" => config.max_failure_ratio.to_string(),
        "failure_action" => text(match config.failure_action {
            FailureAction::Pause => "pause",
            FailureAction::Continue => "continue",
            FailureAction::Rollback => "rollback",
        }),
        "order" => text(match config.order {
            UpdateOrder::StopFirst => "stop-first",
            UpdateOrder::StartFirst => "start-first",
        }),
        _ => return None,
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Replicated { .. } => "replicated",
        Mode::Global => "global",
        Mode::ReplicatedJob { .. } => "replicated-job",
        Mode::GlobalJob => "global-job",
    }
}

fn replicas(mode: Mode) -> Option<(String, &'static str)> {
    let count = match mode {
        Mode::Replicated { replicas } => replicas,
        Mode::ReplicatedJob { total, .. } => total,
        Mode::Global | Mode::GlobalJob => return None,
    };
    Some((count.to_string(), "one, unless `scale` or `deploy.replicas` says otherwise"))
}

fn health(key: &str, spec: &ServiceSpec) -> Option<(String, &'static str)> {
    const USUAL: &str = "as in Docker, unless the image says otherwise";
    if key == "test" && spec.container.healthcheck.as_ref().is_none_or(|check| check.test.is_none()) {
        return Some(("null".to_owned(), "the check of the image, if it has one"));
    }
    Some(match key {
        "interval" | "timeout" => (seconds(30), USUAL),
        "start_period" => (seconds(0), USUAL),
        "start_interval" => (seconds(5), USUAL),
        "retries" => ("3".to_owned(), USUAL),
        _ => return None,
    })
}

fn pull(spec: &ServiceSpec) -> &'static str {
    match spec.container.pull_policy {
        PullPolicy::Missing => "missing",
        PullPolicy::Always => "always",
        PullPolicy::Never => "never",
    }
}
