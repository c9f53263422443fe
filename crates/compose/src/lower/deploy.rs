//! `deploy`, `restart` and limits.

use super::Lower;
use crate::tree::{Node, Value};
use crate::units;
use model::mode::Mode;
use model::spec::{
    EndpointMode, FailureAction, Placement, Resources, RestartCondition, RestartPolicy, RestartScope, UpdateConfig,
    UpdateOrder,
};
use std::time::Duration;

/// What is the default in the absence of `restart` and `deploy`: what crashed starts again, what
/// ended well is done.
const UNSAID: RestartPolicy =
    RestartPolicy { condition: RestartCondition::OnFailure, scope: RestartScope::InPlace, ..RestartPolicy::SWARM };

fn small(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    node.get_text(key).and_then(units::duration)
}

/// `deploy.placement`, and the machines that `platform` allows: images are those of the machine, and
/// nothing is emulated.
pub(super) fn placement(node: &Node) -> Placement {
    let arch = node.get_text("platform").and_then(architecture).map(|arch| format!("node.platform.arch == {arch}"));
    let Some(placement) = node.get("deploy").and_then(|deploy| deploy.get("placement")) else {
        return Placement { constraints: arch.into_iter().collect(), ..Placement::default() };
    };
    let spread = placement.items("preferences").iter().filter_map(|item| item.get_text("spread").map(str::to_owned));
    Placement {
        constraints: super::list(placement, "constraints").into_iter().chain(arch).collect(),
        spread: spread.collect(),
        max_replicas_per_node: small(placement.get_int("max_replicas_per_node").unwrap_or(0)),
    }
}

/// That of `linux/arm64/v8`, by the name that images and nodes have for it.
fn architecture(platform: &str) -> Option<&str> {
    Some(match platform.split('/').nth(1)? {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" | "armel" => "arm",
        "i386" => "386",
        arch => arch,
    })
}

impl Lower<'_> {
    fn no_word(&mut self, path: &str, node: &Node, words: &str) {
        let message = format!("{path} can't be `{}`", node.as_text().unwrap_or_default());
        self.context.error_on("RS0601", node, message, Some(format!("one of: {words}")));
    }

    /// `deploy.mode` with its replicas.
    pub(super) fn mode(&mut self, key: &str, node: &Node) -> Mode {
        let deploy = node.get("deploy");
        let wanted = node.get_int("scale").or_else(|| deploy.and_then(|deploy| deploy.get_int("replicas")));
        let replicas = small(wanted.unwrap_or(1));
        let Some(mode) = deploy.and_then(|deploy| deploy.get("mode")) else { return Mode::Replicated { replicas } };
        match mode.as_text().unwrap_or_default() {
            "replicated" => Mode::Replicated { replicas },
            "global" => Mode::Global,
            "replicated-job" => Mode::ReplicatedJob { total: replicas, concurrent: replicas },
            "global-job" => Mode::GlobalJob,
            _ => {
                let path = format!("services.{key}.deploy.mode");
                self.no_word(&path, mode, "replicated, global, replicated-job, global-job");
                Mode::Replicated { replicas }
            }
        }
    }

    /// `deploy.restart_policy`, else `restart`, else what `deploy` means, else [`UNSAID`].
    pub(super) fn restart(&mut self, key: &str, node: &Node, mode: Mode) -> RestartPolicy {
        let job = matches!(mode, Mode::ReplicatedJob { .. } | Mode::GlobalJob);
        let deploy = node.get("deploy");
        let mut policy = if let Some(policy) = deploy.and_then(|deploy| deploy.get("restart_policy")) {
            self.deploy_restart(key, policy)
        } else if let Some(restart) = node.get("restart") {
            self.plain_restart(key, restart)
        } else if deploy.is_some() {
            RestartPolicy::SWARM
        } else {
            UNSAID
        };
        // a job that ended well is done, whatever the policy
        if job && policy.condition != RestartCondition::None {
            policy.condition = RestartCondition::OnFailure;
        }
        policy
    }

    fn deploy_restart(&mut self, key: &str, node: &Node) -> RestartPolicy {
        let condition = match node.get("condition") {
            None => RestartCondition::Any,
            Some(word) => match word.as_text().unwrap_or_default() {
                "any" | "always" => RestartCondition::Any,
                "none" | "no" => RestartCondition::None,
                "on-failure" => RestartCondition::OnFailure,
                "unless-stopped" => RestartCondition::UnlessStopped,
                _ => {
                    let path = format!("services.{key}.deploy.restart_policy.condition");
                    self.no_word(&path, word, "none, on-failure, any");
                    RestartCondition::Any
                }
            },
        };
        RestartPolicy {
            condition,
            scope: RestartScope::Replace,
            delay: duration(node, "delay").unwrap_or(RestartPolicy::SWARM.delay),
            max_attempts: node.get_int("max_attempts").filter(|most| *most > 0).map(small),
            window: duration(node, "window").unwrap_or_default(),
        }
    }

    fn plain_restart(&mut self, key: &str, node: &Node) -> RestartPolicy {
        let text = node.as_text().unwrap_or_default();
        let (word, count) = text.split_once(':').map_or((text, None), |(word, count)| (word, Some(count)));
        let count_ok = count.is_none_or(|count| word == "on-failure" && count.parse::<u32>().is_ok());
        let condition = match word {
            "no" | "" => RestartCondition::None,
            "always" => RestartCondition::Any,
            "on-failure" => RestartCondition::OnFailure,
            "unless-stopped" => RestartCondition::UnlessStopped,
            _ => {
                self.no_word(&format!("services.{key}.restart"), node, "no, always, on-failure[:N], unless-stopped");
                RestartCondition::None
            }
        };
        if !count_ok {
            self.no_word(&format!("services.{key}.restart"), node, "no, always, on-failure[:N], unless-stopped");
        }
        let max_attempts = count.and_then(|count| count.parse().ok()).filter(|most| *most > 0);
        RestartPolicy { condition, max_attempts, ..UNSAID }
    }

    /// `deploy.update_config` or `rollback_config`.
    pub(super) fn update(&mut self, key: &str, node: &Node, section: &str) -> UpdateConfig {
        let usual = UpdateConfig::default();
        let Some(config) = node.get("deploy").and_then(|deploy| deploy.get(section)) else { return usual };
        let failure_action = match config.get("failure_action") {
            None => usual.failure_action,
            Some(word) => match word.as_text().unwrap_or_default() {
                "pause" => FailureAction::Pause,
                "continue" => FailureAction::Continue,
                "rollback" if section == "update_config" => FailureAction::Rollback,
                _ => {
                    let path = format!("services.{key}.deploy.{section}.failure_action");
                    let words =
                        if section == "update_config" { "pause, continue, rollback" } else { "pause, continue" };
                    self.no_word(&path, word, words);
                    usual.failure_action
                }
            },
        };
        let ratio = config.get("max_failure_ratio");
        let max_failure_ratio = match ratio.map(|node| (&node.value, node)) {
            Some((Value::Float(ratio), _)) if (0.0..=1.0).contains(ratio) => *ratio,
            Some((_, node)) => {
                let path = format!("services.{key}.deploy.{section}.max_failure_ratio");
                self.context.error_on(
                    "RS0601",
                    node,
                    format!("{path} is no share"),
                    Some("it must be from 0 to 1".to_owned()),
                );
                0.0
            }
            None => 0.0,
        };
        UpdateConfig {
            parallelism: config.get_int("parallelism").map_or(usual.parallelism, small),
            delay: duration(config, "delay").unwrap_or(usual.delay),
            failure_action,
            monitor: duration(config, "monitor").unwrap_or(usual.monitor),
            max_failure_ratio,
            order: match config.get_text("order") {
                Some("start-first") => UpdateOrder::StartFirst,
                _ => UpdateOrder::StopFirst,
            },
        }
    }

    /// `deploy.endpoint_mode`.
    pub(super) fn endpoint_mode(&mut self, key: &str, node: &Node) -> EndpointMode {
        let Some(mode) = node.get("deploy").and_then(|deploy| deploy.get("endpoint_mode")) else {
            return EndpointMode::Vip;
        };
        match mode.as_text().unwrap_or_default() {
            "vip" => EndpointMode::Vip,
            "dnsrr" => EndpointMode::Dnsrr,
            _ => {
                self.no_word(&format!("services.{key}.deploy.endpoint_mode"), mode, "vip, dnsrr");
                EndpointMode::Vip
            }
        }
    }

    /// Limits and reservations, of `deploy.resources` or the older keys.
    pub(super) fn resources(&mut self, node: &Node) -> Resources {
        let section = |name: &str| node.get("deploy")?.get("resources")?.get(name).cloned();
        let (limits, reserved) = (section("limits").unwrap_or_default(), section("reservations").unwrap_or_default());
        let limit_nano_cpus = nano_cpus(limits.get("cpus").or_else(|| node.get("cpus"))).or_else(|| quota(node));
        Resources {
            limit_nano_cpus,
            limit_memory: positive(size(limits.get("memory").or_else(|| node.get("mem_limit")))),
            limit_memory_swap: size(node.get("memswap_limit")).filter(|swap| *swap != 0),
            memory_swappiness: size(node.get("mem_swappiness")).and_then(|value| u32::try_from(value).ok()),
            limit_pids: limits.get_int("pids").or_else(|| node.get_int("pids_limit")).filter(|pids| *pids > 0),
            reserve_nano_cpus: nano_cpus(reserved.get("cpus")),
            reserve_memory: positive(size(reserved.get("memory").or_else(|| node.get("mem_reservation")))),
            cpu_shares: positive(node.get_int("cpu_shares")),
            cpuset: node.get_text("cpuset").map(str::to_owned),
            reserve_generic: reserved
                .items("generic_resources")
                .iter()
                .filter_map(|item| item.get("discrete_resource_spec"))
                .filter_map(|spec| Some((spec.get_text("kind")?.to_owned(), positive(spec.get_int("value"))?)))
                .collect(),
        }
    }
}

fn size(node: Option<&Node>) -> Option<i64> {
    node?.as_text()?.parse().ok()
}

fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

fn nano_cpus(node: Option<&Node>) -> Option<u64> {
    let Value::Float(cpus) = node?.value else { return None };
    // a thousand million cores are enough, and keep the conversion exact
    (cpus > 0.0 && cpus < 1e9).then(|| (cpus * 1e9).round() as u64)
}

fn quota(node: &Node) -> Option<u64> {
    let quota = positive(node.get_int("cpu_quota"))?;
    let period = positive(node.get_int("cpu_period")).unwrap_or(100_000);
    u64::try_from(u128::from(quota) * 1_000_000_000 / u128::from(period)).ok()
}
