//! Placeholders of services: `{{.Service.Name}}`, `{{.Node.Hostname}}`, `{{.Task.Slot}}` in hostname,
//! environment and mounts (swarmkit, template).

use model::{MountSource, ServiceSpec, Task};
use std::sync::Arc;

/// The machine, as placeholders name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Host name.
    pub hostname: String,
    /// `linux/amd64`.
    pub platform: String,
}

/// The spec of a task with its placeholders filled in.
pub(crate) fn fill(task: &Task, name: &str, machine: &Machine) -> Arc<ServiceSpec> {
    if !has_placeholders(&task.spec) {
        return task.spec.clone();
    }
    let filled = |text: &String| expand(text, task, name, machine);
    let mut spec = ServiceSpec::clone(&task.spec);
    let container = &mut spec.container;
    container.hostname = container.hostname.as_ref().map(filled);
    for value in container.env.values_mut().flatten() {
        *value = filled(value);
    }
    for mount in &mut container.mounts {
        mount.target = filled(&mount.target);
        match &mut mount.source {
            MountSource::Volume { name, subpath, .. } => {
                *name = filled(name);
                *subpath = subpath.as_ref().map(filled);
            }
            MountSource::Bind { path, .. } => *path = filled(path),
            MountSource::Anonymous | MountSource::Tmpfs { .. } => {}
        }
    }
    Arc::new(spec)
}

fn has_placeholders(spec: &ServiceSpec) -> bool {
    let container = &spec.container;
    let open = |text: &str| text.contains("{{");
    container.hostname.as_deref().is_some_and(open)
        || container.env.values().flatten().any(|value| open(value))
        || container.mounts.iter().any(|mount| {
            open(&mount.target)
                || match &mount.source {
                    MountSource::Volume { name, subpath, .. } => open(name) || subpath.as_deref().is_some_and(open),
                    MountSource::Bind { path, .. } => open(path),
                    MountSource::Anonymous | MountSource::Tmpfs { .. } => false,
                }
        })
}

/// Fills in every placeholder that is known; others stay as they are, since other programs use the
/// same braces.
fn expand(text: &str, task: &Task, name: &str, machine: &Machine) -> String {
    expand_with(text, task, name, machine, &|_, _| None)
}

/// The same with functions of one text, such as `env "HOME"`: `call` gets both words.
pub(crate) fn expand_with(
    text: &str,
    task: &Task,
    name: &str,
    machine: &Machine,
    call: &dyn Fn(&str, &str) -> Option<String>,
) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((inside, after)) = opened.split_once("}}") else {
            filled.push_str("{{");
            rest = opened;
            continue;
        };
        let key = inside.trim();
        match value(key, task, name, machine).or_else(|| called(key, call)) {
            Some(value) => filled.push_str(&value),
            None => {
                filled.push_str("{{");
                filled.push_str(inside);
                filled.push_str("}}");
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn value(key: &str, task: &Task, name: &str, machine: &Machine) -> Option<String> {
    let platform = || machine.platform.split_once('/').unwrap_or((&machine.platform, ""));
    Some(match key {
        ".Service.ID" => task.service.to_string(),
        ".Service.Name" => task.spec.name.clone(),
        ".Task.ID" => task.id.to_string(),
        ".Task.Name" => name.to_owned(),
        // Where the node is the slot, its id stands for it.
        ".Task.Slot" if task.slot == 0 => task.node.map(|node| node.to_string()).unwrap_or_default(),
        ".Task.Slot" => task.slot.to_string(),
        ".Node.ID" => task.node.map(|node| node.to_string()).unwrap_or_default(),
        ".Node.Hostname" => machine.hostname.clone(),
        ".Node.Platform.OS" => platform().0.to_owned(),
        ".Node.Platform.Architecture" => platform().1.to_owned(),
        ".Service.Labels" => {
            let labels: Vec<String> = task.spec.labels.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("map[{}]", labels.join(" "))
        }
        key => label(key, task)?,
    })
}

/// `FUNCTION "TEXT"`
fn called(key: &str, call: &dyn Fn(&str, &str) -> Option<String>) -> Option<String> {
    let (function, argument) = key.split_once(' ')?;
    let quote = |mark: char| argument.trim().strip_prefix(mark)?.strip_suffix(mark);
    call(function, quote('"').or_else(|| quote('`'))?)
}

/// `.Service.Labels.NAME`, or `index .Service.Labels "NAME"` for names with dots.
fn label(key: &str, task: &Task) -> Option<String> {
    let dotted = key.strip_prefix(".Service.Labels.");
    let indexed = || {
        let quoted = key.strip_prefix("index ")?.trim_start().strip_prefix(".Service.Labels")?.trim();
        quoted.strip_prefix('"')?.strip_suffix('"')
    };
    let name = dotted.or_else(indexed)?;
    // A label that is not there is empty, as Go's templates have it.
    Some(task.spec.labels.get(name).cloned().unwrap_or_default())
}
