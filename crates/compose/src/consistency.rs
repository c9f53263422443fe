//! What only shows when everything is together: names that are not there, circles, conflicts.

mod placement;
mod ports;
mod service;

use crate::context::Context;
use crate::names::did_you_mean;
use crate::tree::{At, Map, Node};
use model::network::Subnet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A project as the checks see it.
pub(crate) struct Checked<'a> {
    /// Active services.
    pub(crate) services: &'a Map,
    /// Names of services that no active profile has.
    pub(crate) inactive: &'a BTreeSet<String>,
    /// The rest of the file.
    pub(crate) top: &'a Map,
}

impl Checked<'_> {
    fn section(&self, name: &str) -> Option<&Map> {
        self.top.get(name).and_then(Node::as_map)
    }
}

/// Reports everything that does not fit together.
pub(crate) fn check(context: &mut Context, project: &Checked<'_>) {
    for (name, node) in project.services {
        service::check(context, project, name, node);
        placement::check(context, name, node);
    }
    ports::check(context, project.services);
    resources(context, project);
    cycles(context, project.services);
    subnets(context, project);
    container_names(context, project.services);
}

/// A reference to something that is not in a section.
fn undefined(context: &mut Context, code: &str, what: &str, name: &str, user: &str, place: &Node, known: Option<&Map>) {
    let message = format!("service `{user}` uses the {what} `{name}`, which is not defined");
    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let guess = did_you_mean(name, names.iter().copied()).filter(|guess| guess.starts_with("did"));
    let hint = guess.unwrap_or_else(|| format!("add it under the top-level `{what}s:`"));
    context.error_on(code, place, message, Some(hint));
}

fn resources(context: &mut Context, project: &Checked<'_>) {
    for section in ["volumes", "networks", "configs", "secrets"] {
        for (key, resource) in project.section(section).into_iter().flatten() {
            if resource.flag("external") {
                external(context, section, key, resource);
                continue;
            }
            let sources: &[&str] = match section {
                "configs" => &["file", "environment", "content"],
                "secrets" => &["file", "environment"],
                _ => continue,
            };
            content(context, section, key, resource, sources);
        }
    }
}

fn external(context: &mut Context, section: &str, key: &str, resource: &Node) {
    for (name, entry) in resource.as_map().into_iter().flatten() {
        let allowed = matches!(name.as_str(), "name" | "external") || name.starts_with("x-");
        // an empty `ipam` is printed for every network, nobody wrote it
        if allowed || name == "ipam" && entry.is_empty() {
            continue;
        }
        let message = format!("{section}.{key} is `external`, so `{name}` can't be said about it");
        let place = Node { at: entry.key, ..entry.clone_places() };
        let hint = Some(format!("remove `external` or `{name}`"));
        // the reference refuses this for volumes only, and real files rely on that
        match section {
            "volumes" => context.error_on("RS0515", &place, message, hint),
            _ => context.warn_on("RS0515", &place, message, hint),
        }
    }
}

fn content(context: &mut Context, section: &str, key: &str, resource: &Node, sources: &[&str]) {
    let given: Vec<&&str> = sources.iter().filter(|source| resource.get(source).is_some()).collect();
    let place = Node { at: resource.key, ..resource.clone_places() };
    let list = sources.iter().map(|source| format!("`{source}`")).collect::<Vec<_>>().join(" or ");
    if given.is_empty() {
        let message = format!("{section}.{key} says nowhere what is in it");
        context.error_on("RS0516", &place, message, Some(format!("add {list}, or `external: true`")));
    } else if given.len() > 1 {
        let message = format!("{section}.{key} has both `{}` and `{}`", given[0], given[1]);
        context.error_on("RS0508", &place, message, Some(format!("keep one of {list}")));
    }
}

/// Finds one circle of `depends_on` for each group of services that has one.
fn cycles(context: &mut Context, services: &Map) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for name in services.keys() {
        let mut path: Vec<&str> = Vec::new();
        visit(context, services, name, &mut path, &mut done);
    }
}

fn visit<'a>(
    context: &mut Context,
    services: &'a Map,
    start: &'a str,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) {
    // a stack of our own: chains may be as long as there are services
    let mut stack: Vec<(&str, Vec<(&'a String, &'a Node)>)> = Vec::new();
    let edges = |name: &str| -> Vec<(&'a String, &'a Node)> {
        services.get(name).map(|service| service.entries("depends_on").collect()).unwrap_or_default()
    };
    if !done.insert(start) {
        return;
    }
    let mut waiting: BTreeSet<&str> = BTreeSet::from([start]);
    path.push(start);
    stack.push((start, edges(start)));
    while let Some((_, rest)) = stack.last_mut() {
        let Some((next, entry)) = rest.pop() else {
            stack.pop();
            path.pop().map(|name| waiting.remove(name));
            continue;
        };
        if waiting.contains(next.as_str()) {
            let at = path.iter().position(|name| *name == next.as_str()).unwrap_or(0);
            let mut chain: Vec<&str> = path[at..].to_vec();
            chain.push(next);
            let place = Node { at: if entry.key.is_known() { entry.key } else { entry.at }, ..entry.clone_places() };
            let message = format!("services wait for each other in a circle: {}", crate::names::chain(&chain));
            context.error_on("RS0507", &place, message, Some("take one `depends_on` out".to_owned()));
        } else if services.contains_key(next.as_str()) && done.insert(next) {
            path.push(next);
            waiting.insert(next);
            stack.push((next, edges(next)));
        }
    }
}

fn subnets(context: &mut Context, project: &Checked<'_>) {
    let mut seen = Seen::default();
    for (key, network) in project.section("networks").into_iter().flatten() {
        let Some(ipam) = network.get("ipam") else { continue };
        for (index, pool) in ipam.items("config").iter().enumerate() {
            let Some(node) = pool.get("subnet") else { continue };
            let path = format!("networks.{key}.ipam.config[{index}].subnet");
            let Some(subnet) = node.as_text().and_then(Subnet::parse) else {
                let message = format!("{path}: `{}` is no subnet", node.as_text().unwrap_or_default());
                context.error_on("RS0319", node, message, Some("write it as `10.5.0.0/16`".to_owned()));
                continue;
            };
            if let Some((other, whose, place)) = seen.add(subnet, key, node) {
                let message = format!("the subnet `{subnet}` of network `{key}` overlaps `{other}` of `{whose}`");
                context.error_pair("RS0514", (node.place(), place), message, "the other subnet");
            }
            inside(context, pool, &subnet, &path);
        }
    }
}

/// Subnets by their first address, none in another: where two overlap only the wider one is kept.
#[derive(Default)]
struct Seen<'a>(BTreeMap<IpAddr, (Subnet, &'a str, At)>);

impl<'a> Seen<'a> {
    /// Adds one; gives the one that it overlaps.
    fn add(&mut self, subnet: Subnet, network: &'a str, node: &Node) -> Option<(Subnet, &'a str, At)> {
        let before = self.0.range(..=subnet.address).next_back().filter(|(_, (other, ..))| other.overlaps(&subnet));
        if let Some((_, wider)) = before.filter(|(_, (other, ..))| other.prefix <= subnet.prefix) {
            return Some(*wider);
        }
        let mut within = None;
        while let Some((first, narrower)) =
            self.0.range(subnet.address..).next().filter(|(_, (other, ..))| other.overlaps(&subnet))
        {
            let (first, narrower) = (*first, *narrower);
            within.get_or_insert(narrower);
            self.0.remove(&first);
        }
        self.0.insert(subnet.address, (subnet, network, node.place()));
        within
    }
}

fn inside(context: &mut Context, pool: &Node, subnet: &Subnet, path: &str) {
    let path = path.trim_end_matches("subnet");
    for key in ["gateway", "ip_range"] {
        let Some(node) = pool.get(key) else { continue };
        let text = node.as_text().unwrap_or_default();
        let inside = match key {
            "gateway" => text.parse().is_ok_and(|address| subnet.contains(address)),
            _ => {
                Subnet::parse(text).is_some_and(|range| range.prefix >= subnet.prefix && subnet.contains(range.address))
            }
        };
        if !inside {
            let message = format!("{path}{key}: `{text}` is not in the subnet `{subnet}`");
            context.error_on("RS0319", node, message, None);
        }
    }
}

fn container_names(context: &mut Context, services: &Map) {
    let mut seen: BTreeMap<&str, (&String, &Node)> = BTreeMap::new();
    for (name, service) in services {
        let Some(node) = service.get("container_name") else { continue };
        let Some(text) = node.as_text() else { continue };
        if let Some((other, first)) = seen.insert(text, (name, node)) {
            let message = format!("services `{other}` and `{name}` both want the container name `{text}`");
            context.error_pair("RS0520", (node.place(), first.place()), message, "first used");
        }
    }
}
