//! What everybody leaves unsaid: default networks, full names, dependencies that links imply,
//! variables and labels from files.

use crate::context::Context;
use crate::dotenv;
use crate::input::{FileErrorKind, Files};
use crate::loader::Env;
use crate::tree::{At, Map, Node, Tag, Value, Via};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Says what was left unsaid in the services.
pub(crate) fn services(services: &mut Map) {
    for service in services.values_mut() {
        let Some(service) = service.as_map_mut() else { continue };
        default_network(service);
        imply_dependencies(service);
        if let Some(policy) = service.get_mut("pull_policy")
            && policy.as_text() == Some("if_not_present")
        {
            policy.value = Value::Text("missing".to_owned());
        }
        inherit_image(service);
        // arguments that the environment does not have are not given to a build
        if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut)
            && let Some(args) = build.get_mut("args").and_then(Node::as_map_mut)
        {
            args.retain(|_, node| node.value != Value::Null);
            if args.is_empty() {
                build.remove("args");
            }
        }
    }
}

fn default_network(service: &mut Map) {
    if service.contains_key("provider") || service.contains_key("network_mode") {
        return;
    }
    let empty = service.get("networks").and_then(Node::as_map).is_none_or(Map::is_empty);
    if empty {
        let networks = Map::from([("default".to_owned(), Node::default())]);
        service.insert("networks".to_owned(), Node::new(Value::Map(networks), At::default()));
    }
}

/// `links`, shared namespaces and `volumes_from` need the other service.
fn imply_dependencies(service: &mut Map) {
    let mut implied: Vec<(String, bool, Node)> = Vec::new();
    let texts = |name: &str| service.get(name).and_then(Node::as_list).into_iter().flatten();
    for link in texts("links") {
        let name = link.as_text().unwrap_or_default().split(':').next().unwrap_or_default();
        implied.push((name.to_owned(), true, link.clone_places()));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(name) = node.as_text().and_then(|text| text.strip_prefix("service:"))
        {
            // the value names the service, not the key
            implied.push((name.to_owned(), true, Node { key: At::default(), ..node.clone_places() }));
        }
    }
    for source in texts("volumes_from") {
        let text = source.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            let name = text.split(':').next().unwrap_or_default();
            implied.push((name.to_owned(), false, source.clone_places()));
        }
    }
    if implied.is_empty() {
        return;
    }
    let empty = || Node::new(Value::Map(Map::new()), At::default());
    let Some(map) = service.or_insert_with("depends_on", empty).as_map_mut() else { return };
    for (name, restart, place) in implied {
        let entry = || {
            let mut entry = Map::from([
                ("condition".to_owned(), place.with_text("service_started")),
                ("required".to_owned(), place.with(Value::Bool(true))),
            ]);
            if restart {
                entry.insert("restart".to_owned(), place.with(Value::Bool(true)));
            }
            place.with(Value::Map(entry))
        };
        map.or_insert_with(name, entry);
    }
}

fn inherit_image(service: &mut Map) {
    let Some(image) = service.get("image").cloned() else { return };
    let Some(Value::List(hooks)) = service.get_mut("pre_start").map(|hooks| &mut hooks.value) else { return };
    for hook in hooks.iter_mut().filter_map(Node::as_map_mut) {
        hook.or_insert_with("image", || image.clone());
    }
}

/// The default network where it is used, and full names.
pub(crate) fn resources(top: &mut Map, project: &str, uses_default: bool) {
    if uses_default {
        let empty = || Node::new(Value::Map(Map::new()), At::default());
        if let Some(networks) = top.or_insert_with("networks", empty).as_map_mut() {
            networks.or_insert_with("default", || {
                let ipam = Map::from([("ipam".to_owned(), Node { tag: Tag::Json, ..empty() })]);
                Node::new(Value::Map(ipam), At::default())
            });
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, resource) in top.get_mut(section).and_then(Node::as_map_mut).into_iter().flatten() {
            let external = resource.flag("external");
            let place = resource.clone_places();
            let Some(map) = resource.as_map_mut() else { continue };
            let name = if external { key.clone() } else { format!("{project}_{key}") };
            map.or_insert_with("name", || place.with_text(name));
            // an empty one, such as that of a variable that is not set, is as good as none
            map.retain(|key, node| key != "name" || !node.is_empty());
        }
    }
}

fn sources(items: &[Node]) -> impl Iterator<Item = &str> {
    items.iter().filter_map(|item| item.get_text("source"))
}

/// Takes out what no active service uses.
pub(crate) fn prune(top: &mut Map, services: &Map) {
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for service in services.values() {
        for section in ["networks", "models"] {
            used.extend(service.entries(section).map(|(name, _)| (section, name.as_str())));
        }
        for section in ["configs", "secrets"] {
            used.extend(sources(service.items(section)).map(|name| (section, name)));
        }
        let build = service.get("build").map(|build| build.items("secrets")).unwrap_or_default();
        used.extend(sources(build).map(|name| ("secrets", name)));
        let volumes = service.items("volumes").iter().filter(|mount| mount.get_text("type") == Some("volume"));
        used.extend(volumes.filter_map(|mount| Some(("volumes", mount.get_text("source")?))));
    }
    for section in ["networks", "volumes", "configs", "secrets", "models"] {
        let Some(entries) = top.get_mut(section).and_then(Node::as_map_mut) else { continue };
        entries.retain(|name, _| used.contains(&(section, name)));
        if entries.is_empty() {
            top.remove(section);
        }
    }
    // the reference's JSON has no models
    if let Some(models) = top.get_mut("models") {
        models.tag = Tag::Extra;
    }
}

/// `env_file` and `label_file` of a service become part of its `environment` and `labels`.
pub(crate) fn files(context: &mut Context, service: &mut Node, env: &Env, source: &dyn Files) {
    if service.items("env_file").is_empty() && service.items("label_file").is_empty() {
        return;
    }
    let own: BTreeMap<String, Option<String>> =
        service.entries("environment").map(|(name, node)| (name.clone(), node.as_text().map(str::to_owned))).collect();
    let mut found: BTreeMap<String, String> =
        own.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    let lookup = |name: &str| env.get(name).cloned().or_else(|| own.get(name).cloned().flatten());
    let mut place = Node::default();
    let mut lines = BTreeMap::new();
    for file in service.items("env_file") {
        let Some(path) = file.get("path") else { continue };
        let required = file.get("required").and_then(Node::as_bool).unwrap_or(true);
        let raw = file.get_text("format") == Some("raw");
        if read_into(context, path, Style { required, raw }, &mut found, &mut lines, &lookup, source) {
            place = path.clone_places();
        }
    }
    let (mut labels, mut label_lines) = (BTreeMap::new(), BTreeMap::new());
    for file in service.items("label_file") {
        let before = labels.clone();
        let lookup = |name: &str| BTreeMap::get(&before, name).cloned();
        let style = Style { required: true, raw: false };
        read_into(context, file, style, &mut labels, &mut label_lines, &lookup, source);
    }
    add_texts(service, "environment", found, &place, &lines);
    add_texts(service, "labels", labels, &place, &label_lines);
}

/// Lines of files that variables come from, by name; only when everything is to be explained.
type Lines = BTreeMap<String, At>;

fn add_texts(service: &mut Node, section: &str, texts: BTreeMap<String, String>, place: &Node, lines: &Lines) {
    let Some(map) = service.as_map_mut().filter(|_| !texts.is_empty()) else { return };
    let empty = || Node::new(Value::Map(Map::new()), At::default());
    let Some(entries) = map.or_insert_with(section, empty).as_map_mut() else { return };
    for (name, text) in texts {
        let told = lines.get(&name).map(|at| {
            let note = "set by the file".to_owned();
            Arc::new(Via { note, at: *at, before: place.via.clone(), quiet: true })
        });
        entries.or_insert_with(name, || {
            let mut node = place.with_text(text);
            node.via = told.or(node.via);
            node
        });
    }
}

/// How to read a file of variables.
#[derive(Clone, Copy)]
struct Style {
    /// It must be there.
    required: bool,
    /// Values are taken as they are.
    raw: bool,
}

fn read_into(
    context: &mut Context,
    node: &Node,
    style: Style,
    found: &mut BTreeMap<String, String>,
    lines: &mut Lines,
    lookup: &dyn Fn(&str) -> Option<String>,
    source: &dyn Files,
) -> bool {
    let Some(path) = node.as_text() else { return false };
    let bytes = match source.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind == FileErrorKind::NotFound && !style.required => return false,
        Err(error) => {
            let message = format!("`{path}`: {}", crate::loader::explain(&error));
            let hint = "write `required: false` beside `path:` if it may be missing".to_owned();
            context.error_on("RS0205", node, message, Some(hint));
            return false;
        }
    };
    if !context.spend_lines(&bytes) {
        context.error_on("RS0205", node, format!("`{path}`: the files of this project are too large together"), None);
        return false;
    }
    let text = String::from_utf8_lossy(&bytes);
    if context.trace {
        let file = context.add_text(path, &text);
        let at = |line| At { file, line, column: 1, length: 1 };
        lines.extend(dotenv::places(&text).into_iter().map(|(name, line)| (name, at(line))));
    }
    if style.raw {
        found.extend(dotenv::raw(&text));
    } else if let Err(error) = dotenv::parse(&text, found, lookup) {
        let file = context.add_text(path, &text);
        context.error("RS0204", At { file, line: error.line, column: 1, length: 1 }, error.message);
        return false;
    }
    true
}
