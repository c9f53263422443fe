//! Networks, volumes, configs and secrets beside the services.

use super::{Lower, Used, texts};
use crate::loader::{VALUE_KEY, explain};
use crate::tree::Node;
use model::stack::{ContentSpec, IpamConfig, NetworkSpec, StackSpec, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of a config or secret; the cluster's log carries them.
const MAX_CONTENT: usize = 1 << 20;

impl<'a> Lower<'a> {
    fn section(&self, name: &str, used: &BTreeSet<String>) -> Vec<(String, String, &'a Node)> {
        let entries = self.top.entries(name).filter(|(key, _)| used.contains(*key));
        entries.map(|(key, node)| (key.clone(), self.full_name(name, key), node)).collect()
    }

    fn labels(&self, node: &Node, kind: &str, key: &str) -> BTreeMap<String, String> {
        let mut labels = texts(node, "labels");
        labels.insert("com.docker.compose.project".to_owned(), self.project.to_owned());
        labels.insert(format!("com.docker.compose.{kind}"), key.to_owned());
        labels.insert("com.docker.stack.namespace".to_owned(), self.project.to_owned());
        labels
    }

    /// Networks that services join.
    pub(super) fn networks(&mut self, used: &Used, stack: &mut StackSpec) {
        for (key, name, node) in self.section("networks", &used.networks) {
            // these two are no networks but namespaces
            if matches!(name.as_str(), "host" | "none") {
                continue;
            }
            if node.flag("external") {
                stack.external_networks.push(name);
                continue;
            }
            self.name("networks", &key, node, &name);
            self.driver("networks", &key, node, &["bridge", "overlay", "default"]);
            self.network_options(&key, node);
            let spec = NetworkSpec {
                name: name.clone(),
                stack: Some(self.project.to_owned()),
                driver: node.get_text("driver").map(str::to_owned),
                driver_opts: texts(node, "driver_opts"),
                internal: node.flag("internal"),
                attachable: node.flag("attachable"),
                ipv6: node.flag("enable_ipv6"),
                ipam: self.ipam(&key, node),
                labels: self.labels(node, "network", &key),
            };
            stack.networks.insert(name, spec);
        }
    }

    /// Another driver means another thing than we would make, so it is an error.
    fn driver(&mut self, section: &str, key: &str, node: &Node, known: &[&str]) {
        let Some(driver) = node.get("driver") else { return };
        let text = driver.as_text().unwrap_or_default();
        if !known.contains(&text) {
            let message = format!("{section}.{key}: the driver `{text}` is not done yet");
            self.context.error_on("RS0605", driver, message, Some(format!("use {}, or leave it out", known[0])));
        }
    }

    /// Names become those of folders, links and files, so they are no paths.
    fn name(&mut self, section: &str, key: &str, node: &Node, name: &str) {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inside) {
            return;
        }
        let message = format!("{section}.{key}.name: `{}` is no name", crate::tree::shorten(name));
        let hint = "letters, digits, `_`, `.` and `-`, a letter or digit first".to_owned();
        self.context.error_on("RS0610", node.get("name").unwrap_or(node), message, Some(hint));
    }

    /// All options but one mean drivers that are not ours.
    fn network_options(&mut self, key: &str, node: &Node) {
        for (name, option) in node.entries("driver_opts").filter(|(name, _)| *name != "encrypted") {
            let message = format!("networks.{key}.driver_opts.{name} is not done yet: the option is ignored");
            let place = Node { at: option.key, ..option.clone_places() };
            self.context.warn_on("RS0701", &place, message, None);
        }
    }

    fn ipam(&mut self, key: &str, node: &Node) -> Vec<IpamConfig> {
        let mut pools: Vec<IpamConfig> = Vec::new();
        for (index, item) in node.get("ipam").map(|ipam| ipam.items("config")).unwrap_or_default().iter().enumerate() {
            let text = |name: &str| item.get_text(name).map(str::to_owned);
            let pool = IpamConfig {
                subnet: text("subnet"),
                ip_range: text("ip_range"),
                gateway: text("gateway"),
                aux_addresses: texts(item, "aux_addresses"),
            };
            let wide = |pool: &IpamConfig| pool.subnet.as_deref().is_some_and(|subnet| subnet.contains(':'));
            if pools.iter().any(|other| wide(other) == wide(&pool)) {
                let message = format!(
                    "networks.{key}.ipam.config[{index}] is not done yet: a network has one subnet of each family"
                );
                self.context.warn_on("RS0701", item, message, None);
                continue;
            }
            pools.push(pool);
        }
        pools
    }

    /// Volumes that services mount.
    pub(super) fn volumes(&mut self, used: &Used, stack: &mut StackSpec) {
        for (key, name, node) in self.section("volumes", &used.volumes) {
            if node.flag("external") {
                stack.external_volumes.push(name);
                continue;
            }
            self.driver("volumes", &key, node, &["local", "default"]);
            if name.contains("{{") {
                self.made_by_tasks(&key, node);
                continue;
            }
            self.name("volumes", &key, node, &name);
            let spec = VolumeSpec {
                name: name.clone(),
                stack: Some(self.project.to_owned()),
                driver: node.get_text("driver").map(str::to_owned),
                driver_opts: texts(node, "driver_opts"),
                labels: self.labels(node, "volume", &key),
            };
            stack.volumes.insert(name, spec);
        }
    }

    /// A volume with a placeholder in its name is one for each task, made where the task runs.
    fn made_by_tasks(&mut self, key: &str, node: &Node) {
        let Some(options) = node.get("driver_opts").filter(|options| !options.is_empty()) else { return };
        let message =
            format!("volumes.{key}.driver_opts: a volume with a placeholder in its name can't have options yet");
        let hint = "remove the options, or write a volume for each task".to_owned();
        self.context.error_on("RS0605", options, message, Some(hint));
    }

    /// Configs and secrets that services use, with their bytes.
    pub(super) fn contents(&mut self, used: &Used, stack: &mut StackSpec) {
        for (kind, section, keys) in [("config", "configs", &used.configs), ("secret", "secrets", &used.secrets)] {
            for (key, name, node) in self.section(section, keys) {
                if node.flag("external") {
                    let external =
                        if kind == "config" { &mut stack.external_configs } else { &mut stack.external_secrets };
                    external.push(name);
                    continue;
                }
                self.name(section, &key, node, &name);
                let Some(data) = self.content(section, &key, node) else { continue };
                let spec = ContentSpec {
                    name: name.clone(),
                    stack: Some(self.project.to_owned()),
                    labels: self.labels(node, kind, &key),
                    data,
                    template: node.get_text("template_driver") == Some("golang"),
                    ..ContentSpec::default()
                };
                let contents = if kind == "config" { &mut stack.configs } else { &mut stack.secrets };
                contents.insert(name, spec);
            }
        }
    }

    fn content(&mut self, section: &str, key: &str, node: &Node) -> Option<Vec<u8>> {
        let data = if let Some(file) = node.get("file") {
            let path = file.as_text().unwrap_or_default();
            match self.source.read(path) {
                Ok(data) => data,
                Err(error) => {
                    let message = format!("{section}.{key}: the file `{path}`: {}", explain(&error));
                    self.context.error_on("RS0606", file, message, None);
                    return None;
                }
            }
        } else if let Some(variable) = node.get("environment") {
            let Some(value) = node.as_map().and_then(|map| map.get(VALUE_KEY)).and_then(Node::as_text) else {
                let name = variable.as_text().unwrap_or_default();
                let message = format!("{section}.{key}: the variable `{name}` is not set");
                let hint = format!("set it in the environment or in an env file: `{name}=...`");
                self.context.error_on("RS0607", variable, message, Some(hint));
                return None;
            };
            value.as_bytes().to_vec()
        } else {
            node.get_text("content").unwrap_or_default().as_bytes().to_vec()
        };
        if data.len() > MAX_CONTENT {
            let message =
                format!("{section}.{key} has {} bytes, more than the {MAX_CONTENT} that are allowed", data.len());
            self.context.error_on("RS0608", node, message, Some("mount large files as a volume or bind".to_owned()));
            return None;
        }
        Some(data)
    }
}
