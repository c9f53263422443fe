//! The container of a service.

use super::{Lower, list, texts};
use crate::tree::{Node, Value};
use crate::units;
use model::spec::{ContainerSpec, Device, HealthCheck, HealthTest, Logging, PullPolicy};
use std::collections::BTreeMap;

/// Limits of the kernel (getrlimit(2)).
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Lower<'_> {
    /// Everything about the container.
    pub(super) fn container(&mut self, key: &str, node: &Node) -> ContainerSpec {
        let text = |name: &str| node.get_text(name).map(str::to_owned);
        let (no_new_privileges, seccomp) = self.security_opt(key, node);
        ContainerSpec {
            image: text("image").unwrap_or_else(|| format!("{}-{key}", self.project)),
            image_digest: None,
            pull_policy: self.pull_policy(key, node),
            container_name: text("container_name"),
            entrypoint: words(node, "entrypoint"),
            command: words(node, "command"),
            env: environment(node),
            working_dir: text("working_dir"),
            user: text("user"),
            group_add: list(node, "group_add"),
            hostname: text("hostname"),
            domainname: text("domainname"),
            labels: self.container_labels(key, node),
            extra_hosts: extra_hosts(node),
            dns: list(node, "dns"),
            dns_search: list(node, "dns_search").into_iter().filter(|domain| !domain.is_empty()).collect(),
            dns_opt: list(node, "dns_opt"),
            mounts: self.mounts(key, node),
            configs: self.file_refs(key, node, "configs"),
            secrets: self.file_refs(key, node, "secrets"),
            healthcheck: node.get("healthcheck").map(healthcheck),
            stop_signal: text("stop_signal"),
            stop_grace_period: node.get_text("stop_grace_period").and_then(units::duration),
            init: node.flag("init"),
            tty: node.flag("tty"),
            stdin_open: node.flag("stdin_open"),
            read_only: node.flag("read_only"),
            privileged: node.flag("privileged"),
            cap_add: capabilities(node, "cap_add"),
            cap_drop: capabilities(node, "cap_drop"),
            no_new_privileges,
            seccomp,
            devices: self.devices(key, node),
            device_cgroup_rules: list(node, "device_cgroup_rules"),
            ulimits: self.ulimits(key, node),
            sysctls: texts(node, "sysctls"),
            shm_size: node.get_text("shm_size").and_then(|size| size.parse().ok()),
            pid_host: self.namespace(key, node, "pid"),
            ipc_host: self.namespace(key, node, "ipc"),
            uts_host: self.namespace(key, node, "uts"),
            cgroup_host: node.get_text("cgroup") == Some("host"),
            logging: self.logging(key, node),
            oom_score_adj: node.get_int("oom_score_adj").and_then(|value| i32::try_from(value).ok()),
            oom_kill_disable: node.flag("oom_kill_disable"),
            auto_remove: false,
        }
    }

    fn container_labels(&self, key: &str, node: &Node) -> BTreeMap<String, String> {
        let mut labels = texts(node, "labels");
        let mut put = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
        put("com.docker.compose.project", self.project);
        put("com.docker.compose.service", key);
        put("com.docker.compose.oneoff", "False");
        put("com.docker.compose.project.working_dir", self.folder);
        put("com.docker.stack.namespace", self.project);
        put("com.docker.swarm.service.name", &self.service_name(key));
        labels
    }

    fn pull_policy(&mut self, key: &str, node: &Node) -> PullPolicy {
        if node.get("image").is_none() {
            // what only a build would make is not asked of a registry
            return PullPolicy::Never;
        }
        let Some(policy) = node.get("pull_policy") else { return PullPolicy::Missing };
        match policy.as_text().unwrap_or_default() {
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            "missing" | "if_not_present" | "build" => PullPolicy::Missing,
            text if matches!(text, "daily" | "weekly" | "refresh") || text.starts_with("every_") => {
                let message = format!(
                    "services.{key}.pull_policy `{text}` is not done yet: the image is fetched when it is missing"
                );
                self.context.warn_on("RS0701", policy, message, None);
                PullPolicy::Missing
            }
            text => {
                let message = format!("services.{key}.pull_policy can't be `{text}`");
                let hint = "one of: always, missing, if_not_present, never, build, daily, weekly, every_<duration>";
                self.context.error_on("RS0303", policy, message, Some(hint.to_owned()));
                PullPolicy::Missing
            }
        }
    }

    fn devices(&mut self, key: &str, node: &Node) -> Vec<Device> {
        let mut devices = Vec::new();
        for (index, item) in node.items("devices").iter().enumerate() {
            let source = item.get_text("source").unwrap_or_default();
            if !source.starts_with('/') {
                let message = format!(
                    "services.{key}.devices[{index}] is not done yet: `{source}` is no path, so there is no such device"
                );
                self.context.warn_on("RS0701", item, message, None);
                continue;
            }
            let permissions = item.get_text("permissions").unwrap_or("rwm");
            if permissions.is_empty() || !permissions.chars().all(|c| "rwm".contains(c)) {
                let message = format!("services.{key}.devices[{index}]: `{permissions}` are no permissions");
                self.context.error_on("RS0603", item, message, Some("some of the letters r, w and m".to_owned()));
            }
            devices.push(Device {
                source: source.to_owned(),
                target: item.get_text("target").unwrap_or(source).to_owned(),
                permissions: permissions.to_owned(),
            });
        }
        devices
    }

    fn ulimits(&mut self, key: &str, node: &Node) -> BTreeMap<String, (i64, i64)> {
        let mut limits = BTreeMap::new();
        for (name, entry) in node.entries("ulimits") {
            if !LIMITS.contains(&name.as_str()) {
                let place = Node { at: entry.key, ..entry.clone_places() };
                let message = format!("services.{key}.ulimits: there is no limit `{name}`");
                self.context.error_on("RS0317", &place, message, Some(format!("one of: {}", LIMITS.join(", "))));
            }
            let pair = match &entry.value {
                Value::Int(number) => (*number, *number),
                _ => (entry.get_int("soft").unwrap_or(0), entry.get_int("hard").unwrap_or(0)),
            };
            if pair.1 >= 0 && (pair.0 > pair.1 || pair.0 < 0) {
                let message = format!("services.{key}.ulimits.{name}: the soft limit is above the hard one");
                self.context.error_on("RS0317", entry, message, None);
            }
            limits.insert(name.clone(), pair);
        }
        limits
    }

    /// `logging`; drivers that are not there leave the log where `logs` finds it.
    fn logging(&mut self, key: &str, node: &Node) -> Logging {
        let Some(logging) = node.get("logging") else { return Logging::default() };
        let mut options = texts(logging, "options");
        let driver = match logging.get("driver") {
            None => None,
            Some(driver) => match driver.as_text().unwrap_or_default() {
                known @ ("json-file" | "local" | "none") => Some(known.to_owned()),
                other => {
                    let message =
                        format!("services.{key}.logging.driver `{other}` is not done yet: logs are kept as json-file");
                    self.context.warn_on("RS0701", driver, message, None);
                    options.retain(|name, _| matches!(name.as_str(), "max-size" | "max-file"));
                    Some("json-file".to_owned())
                }
            },
        };
        for (_, mode) in logging.entries("options").filter(|(name, _)| *name == "mode") {
            if mode.as_text() == Some("non-blocking") && options.contains_key("mode") {
                let message = format!(
                    "services.{key}.logging.options.mode `non-blocking` is not done yet: no line is dropped, and a container waits for a disk that is too slow"
                );
                self.context.warn_on("RS0701", mode, message, None);
            }
        }
        Logging { driver, options }
    }

    /// `pid`, `ipc`, `uts`: the host's?
    fn namespace(&mut self, key: &str, node: &Node, name: &str) -> bool {
        let Some(value) = node.get(name) else { return false };
        match value.as_text().unwrap_or_default() {
            "host" => true,
            "" | "private" => false,
            "shareable" | "none" if name == "ipc" => false,
            text => {
                let message = format!(
                    "services.{key}.{name} `{text}` is not done yet: the container gets a namespace of its own"
                );
                self.context.warn_on("RS0701", value, message, None);
                false
            }
        }
    }
}

fn words(node: &Node, key: &str) -> Option<Vec<String>> {
    node.get(key)?;
    Some(list(node, key))
}

fn environment(node: &Node) -> BTreeMap<String, Option<String>> {
    node.entries("environment").map(|(name, entry)| (name.clone(), entry.as_text().map(str::to_owned))).collect()
}

fn extra_hosts(node: &Node) -> Vec<(String, String)> {
    let pair =
        |line: &Node| line.as_text()?.split_once('=').map(|(name, address)| (name.to_owned(), address.to_owned()));
    node.items("extra_hosts").iter().filter_map(pair).collect()
}

fn capabilities(node: &Node, key: &str) -> Vec<String> {
    let plain = |name: String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
    };
    list(node, key).into_iter().map(plain).collect()
}

fn healthcheck(node: &Node) -> HealthCheck {
    let duration = |key: &str| node.get_text(key).and_then(units::duration);
    HealthCheck {
        test: if node.flag("disable") { Some(HealthTest::None) } else { health_test(node) },
        interval: duration("interval"),
        timeout: duration("timeout"),
        retries: node.get_int("retries").and_then(|value| u32::try_from(value).ok()),
        start_period: duration("start_period"),
        start_interval: duration("start_interval"),
    }
}

fn health_test(node: &Node) -> Option<HealthTest> {
    let test = list(node, "test");
    let (first, rest) = test.split_first()?;
    match first.as_str() {
        "NONE" => Some(HealthTest::None),
        "CMD-SHELL" => Some(HealthTest::CmdShell(rest.join(" "))),
        "CMD" => Some(HealthTest::Cmd(rest.to_vec())),
        _ => None,
    }
}
