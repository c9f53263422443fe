//! All that starts a container, gathered from the assignment.

use crate::effect::{Launch, LaunchFile, Prepare};
use crate::hosts;
use crate::net::space;
use crate::task::Local;
use crate::template::{self, Machine};
use model::{AssignedTask, Assignment, ContentSpec, FileRef, MountSource, ServiceSpec, TaskId, VolumeSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has to be there before the container can be made.
pub(crate) fn prepare(assigned: &AssignedTask, assignment: &Assignment, machine: &Machine) -> Prepare {
    let spec = template::fill(&assigned.task, &assigned.name, machine);
    let volumes = volumes(&spec, assignment);
    let logins = assignment.logins.get(&assigned.task.service).cloned().unwrap_or_default();
    Prepare { task: assigned.task.id, spec, volumes, logins }
}

/// The specs of the named volumes that a container mounts.
fn volumes(spec: &ServiceSpec, assignment: &Assignment) -> BTreeMap<String, VolumeSpec> {
    let named =
        mounted(spec).filter_map(|name| assignment.volumes.get(name).map(|spec| (name.to_owned(), spec.clone())));
    named.collect()
}

/// The named volumes that a spec mounts.
pub(crate) fn mounted(spec: &ServiceSpec) -> impl Iterator<Item = &str> {
    spec.container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.as_str()),
        MountSource::Anonymous | MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    })
}

/// Everything for a start.
///
/// # Errors
/// A sentence: what the assignment lacks.
pub(crate) fn launch(
    locals: &BTreeMap<TaskId, Local>,
    assigned: &AssignedTask,
    assignment: &Assignment,
    machine: &Machine,
    restarts: u32,
) -> Result<Launch, String> {
    let task = &assigned.task;
    let spec = template::fill(task, &assigned.name, machine);
    let lost = |owner: TaskId| format!("container {} is not on this node", owner.short());
    let net = space(locals, task.id).net().map_err(lost)?;
    let dns = net.owner().is_some_and(|owner| has_dns(locals, owner));
    let hostname = hosts::hostname(locals, task.id, &spec, machine);
    let hosts = hosts::of(locals, task, &spec, &hostname, net, assignment)?;
    Ok(Launch {
        task: task.id,
        name: assigned.name.clone(),
        attempt: task.attempt,
        restarts,
        net,
        hostname,
        hosts,
        dns,
        files: files(assigned, &spec, assignment, machine)?,
        labels: labels(assigned, &spec),
        volumes: volumes(&spec, assignment),
        volumes_of: task.volumes_of(),
        spec,
    })
}

fn has_dns(locals: &BTreeMap<TaskId, Local>, owner: TaskId) -> bool {
    let assigned = locals.get(&owner).and_then(|local| local.assigned.as_ref());
    assigned.is_some_and(|assigned| !assigned.task.endpoints.is_empty())
}

/// Configs, then secrets.
fn files(
    assigned: &AssignedTask,
    spec: &ServiceSpec,
    assignment: &Assignment,
    machine: &Machine,
) -> Result<Vec<LaunchFile>, String> {
    let payload = Payload { assigned, spec, assignment, machine };
    let mut files = Vec::new();
    for file in &spec.container.configs {
        let content = file.id.and_then(|id| assignment.configs.get(&id));
        let content = content.ok_or_else(|| format!("waits for the content of config {}", file.name))?;
        files.push(launch_file(file, content, false, &payload));
    }
    for file in &spec.container.secrets {
        let content = file.id.and_then(|id| assignment.secrets.get(&id));
        let content = content.ok_or_else(|| format!("waits for the content of secret {}", file.name))?;
        files.push(launch_file(file, content, true, &payload));
    }
    Ok(files)
}

/// What the content of a config or secret may ask for.
struct Payload<'a> {
    assigned: &'a AssignedTask,
    /// Filled in.
    spec: &'a ServiceSpec,
    assignment: &'a Assignment,
    machine: &'a Machine,
}

impl Payload<'_> {
    /// The text with its placeholders filled in; other files come as they were written.
    fn expand(&self, text: &str) -> String {
        let Payload { assigned, machine, .. } = self;
        template::expand_with(text, &assigned.task, &assigned.name, machine, &|function, name| {
            self.call(function, name)
        })
    }

    /// `env "NAME"`, `secret "FILE"`, `config "FILE"` (swarmkit). A variable that is not set is empty.
    fn call(&self, function: &str, name: &str) -> Option<String> {
        let container = &self.spec.container;
        let contents = match function {
            "env" => return Some(container.env.get(name).cloned().flatten().unwrap_or_default()),
            "secret" => find(&container.secrets, name).and_then(|id| self.assignment.secrets.get(&id)),
            "config" => find(&container.configs, name).and_then(|id| self.assignment.configs.get(&id)),
            _ => None,
        };
        contents.and_then(|content| String::from_utf8(content.data.clone()).ok())
    }
}

/// The file of a container that has this target, or is called so in its folder.
fn find<Id: Copy>(files: &[FileRef<Id>], name: &str) -> Option<Id> {
    let file = files.iter().find(|file| file.target == name || file.target.rsplit('/').next() == Some(name));
    file.and_then(|file| file.id)
}

fn launch_file<Id>(file: &FileRef<Id>, content: &ContentSpec, secret: bool, payload: &Payload<'_>) -> LaunchFile {
    let text = content.template.then(|| std::str::from_utf8(&content.data).ok()).flatten();
    let data = match text {
        Some(text) => payload.expand(text).into_bytes(),
        None => content.data.clone(),
    };
    LaunchFile {
        target: file.target.clone(),
        data: Arc::new(data),
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        secret,
    }
}

/// Labels of the spec, and those that tools for Compose and Swarm look for. A container that `run` made
/// has only its own.
fn labels(assigned: &AssignedTask, spec: &ServiceSpec) -> BTreeMap<String, String> {
    let task = &assigned.task;
    let mut labels = spec.container.labels.clone();
    if spec.standalone {
        return labels;
    }
    let mut label = |name: &str, value: String| labels.insert(name.to_owned(), value);
    label("com.docker.swarm.node.id", task.node.map(|node| node.to_string()).unwrap_or_default());
    label("com.docker.swarm.service.id", task.service.to_string());
    label("com.docker.swarm.service.name", spec.name.clone());
    label("com.docker.swarm.task", String::new());
    label("com.docker.swarm.task.id", task.id.to_string());
    label("com.docker.swarm.task.name", assigned.name.clone());
    if let Some(stack) = &spec.stack {
        label("com.docker.compose.container-number", task.slot.max(1).to_string());
        label("com.docker.compose.oneoff", "False".to_owned());
        label("com.docker.compose.project", stack.clone());
        label("com.docker.compose.service", spec.key.clone());
        label("com.docker.stack.namespace", stack.clone());
    }
    labels
}
