//! Facts become state. Total: what cannot be is refused and told, never a panic, for an entry that
//! panics would take down every member, again and again.

use crate::change::{Change, NewTask, TaskEdit};
use crate::cluster::{ANSWERS, Cluster, Followed};
use crate::entry::Entry;
use model::{Desired, Task, TaskId, TaskState, TaskStatus, Time};
use std::sync::Arc;

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is part of the state; what could not be is listed.
    Applied(Vec<String>),
    /// It was decided upon another state and changed nothing.
    Stale,
}

/// Applies an entry.
pub(crate) fn apply(cluster: &mut Cluster, entry: &Entry) -> Outcome {
    if entry.base != cluster.revision {
        return Outcome::Stale;
    }
    let at = entry.at.max(cluster.at);
    let mut refused = Vec::new();
    for change in &entry.changes {
        if let Err(why) = change_one(cluster, change, at) {
            refused.push(why);
        }
    }
    for (id, response) in &entry.answers {
        cluster.answers.push_back((*id, Arc::new(response.clone())));
    }
    while cluster.answers.len() > ANSWERS {
        cluster.answers.pop_front();
    }
    cluster.at = at;
    cluster.revision += 1;
    Outcome::Applied(refused)
}

fn change_one(cluster: &mut Cluster, change: &Change, at: Time) -> Result<(), String> {
    match change {
        Change::Cluster(info) => cluster.info = Some(info.clone()),
        Change::PutNode(node) => drop(cluster.nodes.insert(node.id, node.clone())),
        Change::DropNode(id) => drop(cluster.nodes.remove(id)),
        Change::VolumeHomes(name, nodes) if nodes.is_empty() => drop(cluster.homes.remove(name)),
        Change::VolumeHomes(name, nodes) => drop(cluster.homes.insert(name.clone(), nodes.clone())),
        Change::Failures(service, node, Some(failures)) => {
            cluster.failures.insert((*service, *node), failures.clone());
        }
        Change::Failures(service, node, None) => drop(cluster.failures.remove(&(*service, *node))),
        Change::PutNetwork(network) => drop(cluster.networks.insert(network.id, network.clone())),
        Change::DropNetwork(id) => {
            cluster.networks.remove(id);
            cluster.last_address.remove(id);
        }
        Change::PutVolume(volume) => drop(cluster.volumes.insert(volume.name.clone(), volume.clone())),
        Change::DropVolume(name) => drop(cluster.volumes.remove(name)),
        Change::VolumeLeft(name, nodes) if nodes.is_empty() => drop(cluster.volumes_left.remove(name)),
        Change::VolumeLeft(name, nodes) => drop(cluster.volumes_left.insert(name.clone(), nodes.clone())),
        Change::PutConfig(id, content) => drop(cluster.configs.insert(*id, content.clone())),
        Change::DropConfig(id) => drop(cluster.configs.remove(id)),
        Change::NameConfig(name, Some(id)) => drop(cluster.config_names.insert(name.clone(), *id)),
        Change::NameConfig(name, None) => drop(cluster.config_names.remove(name)),
        Change::PutSecret(id, content) => drop(cluster.secrets.insert(*id, content.clone())),
        Change::DropSecret(id) => drop(cluster.secrets.remove(id)),
        Change::NameSecret(name, Some(id)) => drop(cluster.secret_names.insert(name.clone(), *id)),
        Change::NameSecret(name, None) => drop(cluster.secret_names.remove(name)),
        Change::Logins(service, Some(logins)) => drop(cluster.logins.insert(*service, logins.clone())),
        Change::Logins(service, None) => drop(cluster.logins.remove(service)),
        Change::Stack(name, Some(removing)) => drop(cluster.stacks_removing.insert(name.clone(), *removing)),
        Change::Stack(name, None) => drop(cluster.stacks_removing.remove(name)),
        Change::PutService(service) => drop(cluster.services.insert(service.id, service.clone())),
        Change::EditService(edit) => {
            let Some(service) = cluster.services.get_mut(&edit.id) else {
                return Err(format!("there is no service {}", edit.id));
            };
            let service = Arc::make_mut(service);
            service.version = edit.version;
            service.removing = edit.removing;
            service.update_status = edit.update_status.clone();
        }
        Change::DropService(id) => drop(cluster.services.remove(id)),
        Change::NewTask(new) => return new_task(cluster, new, at),
        Change::EditTask(edit) => return edit_task(cluster, edit),
        Change::SpecTask(id) => return spec_task(cluster, *id),
        Change::DropTask(id) => cluster.drop_task(*id),
        Change::PutSource(source) => drop(cluster.sources.insert(source.spec.name.clone(), source.clone())),
        Change::DropSource(name) => drop(cluster.sources.remove(name)),
        Change::Followed(stack, Some(followed)) => {
            let followed = shared(cluster, followed);
            cluster.followed.insert(stack.clone(), followed);
        }
        Change::Followed(stack, None) => drop(cluster.followed.remove(stack)),
        Change::Good(stack, Some(followed)) => {
            let followed = shared(cluster, followed);
            cluster.good.insert(stack.clone(), followed);
        }
        Change::Good(stack, None) => drop(cluster.good.remove(stack)),
        Change::GoodAsFollowed(stack) => match cluster.followed.get(stack).cloned() {
            Some(followed) => drop(cluster.good.insert(stack.clone(), followed)),
            None => return Err(format!("stack {stack} is not followed")),
        },
        Change::LastPort(port) => cluster.last_port = *port,
        Change::LastVni(vni) => cluster.last_vni = *vni,
        Change::LastAddress(network, address) => drop(cluster.last_address.insert(*network, *address)),
    }
    Ok(())
}

/// The same, with the specs that the services have already: a spec is kept once.
fn shared(cluster: &Cluster, followed: &Arc<Followed>) -> Arc<Followed> {
    let mut followed = (**followed).clone();
    for (name, spec) in &mut followed.services {
        if let Some(service) = cluster.service_named(name).filter(|service| service.spec == *spec) {
            *spec = service.spec.clone();
        }
    }
    Arc::new(followed)
}

fn new_task(cluster: &mut Cluster, new: &NewTask, at: Time) -> Result<(), String> {
    if cluster.tasks.contains_key(&new.id) {
        return Err(format!("there is a task {} already", new.id));
    }
    let Some(service) = cluster.services.get(&new.service) else {
        return Err(format!("task {} is of a service {} that is not there", new.id, new.service));
    };
    let mut task = Task {
        id: new.id,
        service: new.service,
        slot: new.slot,
        spec: service.spec.clone(),
        spec_version: service.spec_version,
        node: None,
        desired: Desired::Ready,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus { attempt: 1, state: TaskState::New, since: at, message: String::new(), container: None },
        created: at,
        not_before: at,
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: new.inherits,
    };
    edit_fields(&mut task, &new.edit)?;
    cluster.put_task(Arc::new(task));
    Ok(())
}

fn spec_task(cluster: &mut Cluster, id: TaskId) -> Result<(), String> {
    let service = cluster.tasks.get(&id).and_then(|task| cluster.services.get(&task.service)).cloned();
    let Some(service) = service else { return Err(format!("there is no task {id} of a service")) };
    cluster.change_task(id, |task| (task.spec, task.spec_version) = (service.spec.clone(), service.spec_version));
    Ok(())
}

fn edit_task(cluster: &mut Cluster, edit: &TaskEdit) -> Result<(), String> {
    let edited = cluster.change_task(edit.id, |task| edit_fields(task, edit));
    edited.unwrap_or_else(|| Err(format!("there is no task {}", edit.id)))
}

/// Sets what the edit names. What is wanted of a task, its attempt and what was seen of it only rise.
fn edit_fields(task: &mut Task, edit: &TaskEdit) -> Result<(), String> {
    let TaskEdit {
        id: _,
        node,
        desired,
        attempt,
        stopped_by_user,
        stop,
        endpoints,
        status,
        not_before,
        restarts,
        remove_volumes,
    } = edit;
    if desired.is_some_and(|desired| desired < task.desired) {
        return Err(format!("task {} is wanted {:?}: that only rises", task.id, task.desired));
    }
    if attempt.is_some_and(|attempt| attempt < task.attempt) {
        return Err(format!("task {} is at attempt {}: that only rises", task.id, task.attempt));
    }
    if status.as_ref().is_some_and(|status| (status.attempt, status.state) < (task.status.attempt, task.status.state)) {
        return Err(format!("task {} is {:?} already: that only rises", task.id, task.status.state));
    }
    if let Some(node) = node {
        task.node = Some(*node);
    }
    task.desired = desired.unwrap_or(task.desired);
    task.attempt = attempt.unwrap_or(task.attempt);
    task.stopped_by_user = stopped_by_user.unwrap_or(task.stopped_by_user);
    if let Some((signal, timeout)) = stop {
        (task.stop_signal, task.stop_timeout) = (signal.clone(), *timeout);
    }
    if let Some(endpoints) = endpoints {
        task.endpoints = endpoints.clone();
    }
    if let Some(status) = status {
        task.status = (**status).clone();
    }
    task.not_before = not_before.unwrap_or(task.not_before);
    if let Some(restarts) = restarts {
        task.restarts = restarts.clone();
    }
    task.remove_volumes = remove_volumes.unwrap_or(task.remove_volumes);
    Ok(())
}
