//! From the request to the result, step by step.

use crate::check::Path;
use crate::codes;
use crate::consistency::{self, Checked};
use crate::context::Context;
use crate::finish;
use crate::input::Input;
use crate::loader::{Env, Loader, Scope, Setup, setup};
use crate::lower::Lower;
use crate::normalize;
use crate::project::{Loaded, Places, Project};
use crate::schema::{Kind, SERVICE, TOP};
use crate::tree::{Map, Node, Tag, Value};
use model::diagnostic::Severity;
use std::collections::BTreeSet;

/// Most active services of a project.
const MAX_SERVICES: usize = 20_000;

/// Loads a project.
pub(crate) fn run(input: &Input<'_>) -> Loaded {
    load(&mut Loader::new(input))
}

/// The same, with the places of its values.
pub(crate) fn run_with_places(input: &Input<'_>) -> (Loaded, Places) {
    let mut loader = Loader::new(input);
    let loaded = load(&mut loader);
    (loaded, Places::new(loader.context))
}

/// Loads with a loader that keeps what it has seen.
pub(crate) fn load(loader: &mut Loader<'_>) -> Loaded {
    let input = loader.input;
    let Some(setup) = setup(loader) else {
        return Loaded { diagnostics: loader.context.take_diagnostics(), ..Loaded::default() };
    };
    let scope =
        Scope { folder: setup.folder.clone(), env: setup.env.clone(), env_files: vec![setup.env_files.clone()] };
    let mut top = loader.model(&setup.files, &scope, &[]);
    let context = &mut loader.context;
    if top.is_empty() && !context.has_errors() {
        let hint = "start with `services:`".to_owned();
        context.error_hint("RS0109", Default::default(), "the Compose file is empty", hint);
    }
    top.insert("name".to_owned(), Node::text(setup.name.clone(), setup.name_at));
    let mut project = Project::empty(setup.name.clone(), setup.files.clone(), setup.folder.clone());
    project.filled = input.options.interpolate;
    project.profiles = all_profiles(&top);
    let (mut active, inactive) = match input.options.interpolate {
        true => choose(input, &setup, &mut top, context),
        // profiles may be variables, too
        false => (take_services(&mut top), BTreeSet::new()),
    };
    if active.len() > MAX_SERVICES {
        let message =
            format!("the project has {} services, more than the {MAX_SERVICES} that are allowed", active.len());
        context.error("RS0103", Default::default(), message);
        active = Map::new();
    }
    project.model = match input.options.interpolate {
        true => normalized(input, &setup, active, &inactive, &mut top, context),
        false => unfilled(input, &setup, active, top, context),
    };
    let mut stack = None;
    if input.options.is_whole() && !context.is_broken() {
        let mut lower =
            Lower { context, source: input.source, top: &project.model, project: &setup.name, folder: &setup.folder };
        let made = lower.stack();
        stack = Some(made).filter(|_| !context.has_errors());
    }
    let mut diagnostics = context.take_diagnostics();
    if !input.options.running {
        for diagnostic in diagnostics.iter_mut().filter(|diagnostic| codes::is_about_running(&diagnostic.code)) {
            diagnostic.severity = Severity::Warning;
        }
    }
    Loaded { project: Some(project), stack, diagnostics }
}

fn all_profiles(top: &Map) -> Vec<String> {
    let services = top.get("services").and_then(Node::as_map).into_iter().flatten();
    let names: BTreeSet<String> = services
        .flat_map(|(_, service)| service.items("profiles"))
        .filter_map(|node| node.as_text().map(str::to_owned))
        .collect();
    names.into_iter().collect()
}

fn take_services(top: &mut Map) -> Map {
    top.remove("services").map(|mut node| crate::merge::take_map(&mut node)).unwrap_or_default()
}

/// Splits the services into the active ones and the names of the others.
fn choose(input: &Input<'_>, setup: &Setup, top: &mut Map, context: &mut Context) -> (Map, BTreeSet<String>) {
    let services = take_services(top);
    let mut profiles: BTreeSet<String> = setup.profiles.iter().cloned().collect();
    for name in &input.options.services {
        match services.get(name) {
            Some(service) => {
                profiles.extend(service.items("profiles").iter().filter_map(|node| node.as_text().map(str::to_owned)));
            }
            None => {
                let hint = crate::names::did_you_mean(name, services.keys().map(String::as_str)).unwrap_or_default();
                context.error_hint("RS0506", Default::default(), format!("there is no service `{name}`"), hint);
            }
        }
    }
    let active = |service: &Node| {
        let own = service.items("profiles");
        own.is_empty()
            || profiles.contains("*")
            || own.iter().any(|node| node.as_text().is_some_and(|name| profiles.contains(name)))
    };
    let (active, inactive) = services.split(active);
    (active, inactive.into_iter().map(|(name, _)| name).collect())
}

/// The normalised tree of the active services and everything beside them.
fn normalized(
    input: &Input<'_>,
    setup: &Setup,
    active: Map,
    inactive: &BTreeSet<String>,
    top: &mut Map,
    context: &mut Context,
) -> Node {
    let mut services = Map::new();
    for (name, service) in active {
        if let Some(mut finished) = finish::value(&Kind::Object(SERVICE), service) {
            resolve(input, &setup.env, &mut finished, context);
            finish::tell_not_done(context, &Kind::Object(SERVICE), &finished, &Path::Root.key("services").key(&name));
            services.insert(name, finished);
        }
    }
    let mut finished =
        finish::value(&Kind::Object(TOP), Node::new(Value::Map(std::mem::take(top)), Default::default()))
            .map(|mut node| crate::merge::take_map(&mut node))
            .unwrap_or_default();
    for section in ["networks", "volumes", "configs", "secrets"] {
        if let (Some(field), Some(node)) = (crate::schema::find(TOP, section), finished.get(section)) {
            finish::tell_not_done(context, &field.kind, node, &Path::Root.key(section));
        }
    }
    if input.options.normalize {
        name_everything(&mut services, &mut finished, setup);
        if input.options.check {
            let checked = Checked { services: &services, inactive, top: &finished };
            consistency::check(context, &checked);
        }
    }
    normalize::prune(&mut finished, &services);
    // extensions of the whole file are part of its JSON, unlike others
    for node in (&mut finished).into_iter().filter(|(name, _)| name.starts_with("x-")).map(|(_, node)| node) {
        node.tag = Tag::None;
    }
    finished.insert("services".to_owned(), Node::new(Value::Map(services), Default::default()));
    Node::new(Value::Map(finished), Default::default())
}

/// Everything that the files say, in the one form but with its variables: `config --no-interpolate`.
fn unfilled(input: &Input<'_>, setup: &Setup, mut services: Map, mut top: Map, context: &mut Context) -> Node {
    for (name, service) in &mut services {
        // their defaults are part of the one form
        for key in ["ports", "depends_on"] {
            let field = crate::schema::find(SERVICE, key);
            let node = service.as_map_mut().and_then(|map| map.remove(key));
            let finished = field.zip(node).and_then(|(field, node)| finish::value(&field.kind, node));
            if let (Some(finished), Some(map)) = (finished, service.as_map_mut()) {
                map.insert(key.to_owned(), finished);
            }
        }
        finish::tell_not_done(context, &Kind::Object(SERVICE), service, &Path::Root.key("services").key(name));
    }
    if input.options.normalize {
        for section in ["networks", "volumes", "configs", "secrets"] {
            let entries = top.get_mut(section).and_then(Node::as_map_mut).into_iter().flatten();
            for (_, node) in entries.filter(|(_, node)| node.value == Value::Null) {
                node.value = Value::Map(Map::new());
            }
        }
        name_everything(&mut services, &mut top, setup);
        if let Some(network) = top.get_mut("networks").and_then(|networks| networks.as_map_mut()?.get_mut("default")) {
            // nobody wrote it, and here nothing else is shown that nobody wrote
            network
                .as_map_mut()
                .into_iter()
                .for_each(|map| map.retain(|name, node| name != "ipam" || !node.is_empty()));
        }
    }
    top.insert("services".to_owned(), Node::new(Value::Map(services), Default::default()));
    Node::new(Value::Map(top), Default::default())
}

/// What nobody wrote: default networks and full names.
fn name_everything(services: &mut Map, top: &mut Map, setup: &Setup) {
    normalize::services(services);
    let uses_default = services.values().any(|service| {
        service.get("networks").and_then(Node::as_map).is_some_and(|networks| networks.contains_key("default"))
    });
    normalize::resources(top, &setup.name, uses_default);
}

fn resolve(input: &Input<'_>, env: &Env, service: &mut Node, context: &mut Context) {
    normalize::files(context, service, env, input.source);
    if let Some(map) = service.as_map_mut() {
        map.remove("env_file");
        map.remove("label_file");
    }
}
