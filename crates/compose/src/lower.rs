//! The normalised project as a [`StackSpec`].

mod container;
mod deploy;
mod mounts;
mod network;
mod objects;
mod security;

use crate::context::Context;
use crate::input::Files;
use crate::tree::{Map, Node};
use model::spec::{Dependency, DependencyCondition, NetworkAttachment, NetworkMode, ServiceSpec};
use model::stack::{NetworkSpec, StackSpec};
use std::collections::{BTreeMap, BTreeSet};

/// What lowering needs to know.
pub(crate) struct Lower<'a> {
    /// Where findings go.
    pub(crate) context: &'a mut Context,
    /// Reads contents of configs, secrets and profiles.
    pub(crate) source: &'a dyn Files,
    /// The normalised tree, with hidden values.
    pub(crate) top: &'a Node,
    /// Project name.
    pub(crate) project: &'a str,
    /// Project folder.
    pub(crate) folder: &'a str,
}

impl<'a> Lower<'a> {
    /// The whole stack; what can't be said in a spec is told.
    pub(crate) fn stack(&mut self) -> StackSpec {
        let mut stack = StackSpec { name: self.project.to_owned(), ..StackSpec::default() };
        let services = self.services();
        for (key, node) in services.iter().filter(|(_, node)| node.get("provider").is_none()) {
            let spec = self.service(key, node);
            stack.services.insert(spec.name.clone(), spec);
        }
        self.links(&mut stack);
        self.volumes_from(&mut stack);
        let used = Used::by(services);
        self.networks(&used, &mut stack);
        self.bridged(&mut stack);
        self.volumes(&used, &mut stack);
        self.contents(&used, &mut stack);
        stack
    }

    /// The default network for services with `network_mode: bridge`, if nothing else made it.
    fn bridged(&self, stack: &mut StackSpec) {
        let name = format!("{}_default", self.project);
        let used = stack.services.values().any(|spec| spec.networks.iter().any(|network| network.network == name));
        if used && !stack.external_networks.contains(&name) {
            let spec =
                NetworkSpec { name: name.clone(), stack: Some(self.project.to_owned()), ..NetworkSpec::default() };
            stack.networks.entry(name).or_insert(spec);
        }
    }

    pub(crate) fn services(&self) -> &'a Map {
        const NONE: &Map = &Map::new();
        self.top.get("services").and_then(Node::as_map).unwrap_or(NONE)
    }

    /// The full name of a service.
    pub(crate) fn service_name(&self, key: &str) -> String {
        format!("{}_{key}", self.project)
    }

    /// The full name of a network, volume, config or secret.
    pub(crate) fn full_name(&self, section: &str, key: &str) -> String {
        let named = self.top.get(section).and_then(|section| section.get(key)).and_then(|node| node.get_text("name"));
        named.map_or_else(|| format!("{}_{key}", self.project), str::to_owned)
    }

    fn service(&mut self, key: &str, node: &Node) -> ServiceSpec {
        let mode = self.mode(key, node);
        let mut spec = ServiceSpec {
            name: self.service_name(key),
            key: key.to_owned(),
            stack: Some(self.project.to_owned()),
            standalone: false,
            labels: self.service_labels(node),
            mode,
            container: self.container(key, node),
            restart: self.restart(key, node, mode),
            resources: self.resources(node),
            placement: deploy::placement(node),
            update: self.update(key, node, "update_config"),
            rollback: self.update(key, node, "rollback_config"),
            networks: self.attachments(node),
            network_mode: self.network_mode(key, node),
            ports: self.ports(key, node),
            exposed: self.exposed(key, node),
            endpoint_mode: self.endpoint_mode(key, node),
            depends_on: self.depends_on(node),
        };
        if node.get("network_mode").is_some() && spec.network_mode == NetworkMode::Networks {
            let network = format!("{}_default", self.project);
            spec.networks = vec![NetworkAttachment { network, ..NetworkAttachment::default() }];
        }
        settle_network(&mut spec);
        spec
    }

    fn service_labels(&self, node: &Node) -> BTreeMap<String, String> {
        let mut labels = deploy_labels(node);
        labels.insert("com.docker.stack.namespace".to_owned(), self.project.to_owned());
        if let Some(image) = node.get_text("image") {
            labels.insert("com.docker.stack.image".to_owned(), image.to_owned());
        }
        labels
    }

    fn depends_on(&self, node: &Node) -> BTreeMap<String, Dependency> {
        let services = self.top.get("services");
        let one = |(name, entry): (&String, &Node)| {
            // one that is not required may not be there
            services.and_then(|services| services.get(name)).filter(|other| other.get("provider").is_none())?;
            let condition = match entry.get_text("condition") {
                Some("service_healthy") => DependencyCondition::ServiceHealthy,
                Some("service_completed_successfully") => DependencyCondition::ServiceCompletedSuccessfully,
                _ => DependencyCondition::ServiceStarted,
            };
            let required = entry.get("required").and_then(Node::as_bool).unwrap_or(true);
            Some((name.clone(), Dependency { condition, restart: entry.flag("restart"), required }))
        };
        node.entries("depends_on").filter_map(one).collect()
    }

    /// `links: [db:database]` lets the name `database` mean `db`.
    fn links(&self, stack: &mut StackSpec) {
        for (key, node) in self.services() {
            let own: BTreeSet<String> = match stack.services.get(&self.service_name(key)) {
                Some(spec) => spec.networks.iter().map(|network| network.network.clone()).collect(),
                None => continue,
            };
            for link in node.items("links").iter().filter_map(Node::as_text) {
                let Some((other, alias)) = link.split_once(':') else { continue };
                let Some(spec) = stack.services.get_mut(&self.service_name(other)) else { continue };
                for network in spec.networks.iter_mut().filter(|network| own.contains(&network.network)) {
                    if !network.aliases.iter().any(|known| known == alias) {
                        network.aliases.push(alias.to_owned());
                    }
                }
            }
        }
    }
}

/// Texts of a mapping.
pub(crate) fn texts(node: &Node, section: &str) -> BTreeMap<String, String> {
    node.entries(section).filter_map(|(name, entry)| Some((name.clone(), entry.as_text()?.to_owned()))).collect()
}

/// Texts of a list.
pub(crate) fn list(node: &Node, key: &str) -> Vec<String> {
    node.items(key).iter().filter_map(|item| item.as_text().map(str::to_owned)).collect()
}

fn deploy_labels(node: &Node) -> BTreeMap<String, String> {
    node.get("deploy").map(|deploy| texts(deploy, "labels")).unwrap_or_default()
}

/// Swarm files reach the host's network as an external network with the name `host`.
fn settle_network(spec: &mut ServiceSpec) {
    if spec.network_mode != NetworkMode::Networks {
        spec.networks.clear();
        return;
    }
    for (name, mode) in [("host", NetworkMode::Host), ("none", NetworkMode::None)] {
        if spec.networks.iter().any(|network| network.network == name) {
            spec.network_mode = mode;
            spec.networks.clear();
            return;
        }
    }
}

/// Keys of what active services use; the rest is not made.
pub(crate) struct Used {
    pub(crate) networks: BTreeSet<String>,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) configs: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

impl Used {
    fn by(services: &Map) -> Used {
        let sources = |key: &str| -> BTreeSet<String> {
            let items = services.values().flat_map(|service| service.items(key));
            items.filter_map(|item| item.get_text("source").map(str::to_owned)).collect()
        };
        let volumes = services
            .values()
            .flat_map(|service| service.items("volumes"))
            .filter(|mount| mount.get_text("type") == Some("volume"))
            .filter_map(|mount| mount.get_text("source").map(str::to_owned));
        Used {
            networks: services.values().flat_map(|s| s.entries("networks").map(|(name, _)| name.clone())).collect(),
            volumes: volumes.collect(),
            configs: sources("configs"),
            secrets: sources("secrets"),
        }
    }
}
