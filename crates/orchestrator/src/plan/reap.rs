//! What is over: services and stacks being removed, history, contents that nobody uses.

use super::slots;
use crate::cluster::{Brief, Cluster, Slot, TaskExt, slot};
use crate::draft::Draft;
use model::{ConfigId, Desired, Heritage, SecretId, Service, ServiceId, Task, TaskId, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tasks that are kept of each slot for `logs` and `inspect`, the present one among them (swarmkit).
pub(super) const HISTORY: usize = 5;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    auto_remove(draft, restless);
    remove_services(draft, restless);
    cut_history(draft, restless);
    drop_tasks(draft, restless);
    drop_services(draft, restless);
    drop_stacks(draft);
    drop_contents(draft);
    drop_left_volumes(draft);
}

/// Containers of `run --rm` that have ended go, with their anonymous volumes.
fn auto_remove(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let over: Vec<(ServiceId, TaskId)> = slots::standing(draft.cluster(), restless)
        .into_iter()
        .filter(|service| service.spec.standalone && service.spec.container.auto_remove)
        .filter_map(|service| {
            let mut tasks = draft.cluster().tasks_of(service.id);
            let task = tasks.next().filter(|task| task.has_ended())?;
            Some((service.id, task.id))
        })
        .collect();
    for (service, task) in over {
        draft.edit().edit_service(service, |service| service.removing = true);
        draft.edit().edit_task(task, |task| task.remove_volumes = true);
    }
}

/// Tasks of services that are being removed stop after those of the services that depend on them.
fn remove_services(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let removing: Vec<Arc<Service>> = removing_of(draft.cluster(), restless);
    let ready: Vec<ServiceId> = removing
        .iter()
        .filter(|service| !is_needed(draft.cluster(), &removing, service))
        .map(|service| service.id)
        .collect();
    for service in ready {
        let tasks: Vec<TaskId> = draft.cluster().tasks_of(service).map(|task| task.id).collect();
        for task in tasks {
            slots::lower(draft, task, Desired::Remove);
        }
    }
}

/// Does a service that depends on this one, and goes too, still run?
fn is_needed(cluster: &Cluster, removing: &[Arc<Service>], service: &Service) -> bool {
    removing.iter().any(|other| {
        other.id != service.id
            && other.spec.stack == service.spec.stack
            && other.spec.depends_on.contains_key(&service.spec.key)
            && cluster.tasks_of(other.id).any(|task| task.node.is_some() && !task.status.state.is_terminal())
    })
}

fn cut_history(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let mut too_old = Vec::new();
    for service in slots::standing(draft.cluster(), restless) {
        let mut slots: BTreeMap<Slot, Vec<&Arc<Task>>> = BTreeMap::new();
        for task in draft.cluster().tasks_where(service.id, |task| task.desired == Desired::Shutdown) {
            slots.entry(slot(task)).or_default().push(task);
        }
        let full: Vec<_> = slots.into_iter().filter(|(_, past)| past.len() >= HISTORY).collect();
        let left = if full.is_empty() { BTreeMap::new() } else { waiting(draft.cluster(), service.id) };
        for (slot, mut past) in full {
            past.sort_by_key(|task| (task.created, task.id));
            let keeper = left.get(&slot).and_then(|left| keeper(draft.cluster(), left, &past));
            let old = past.iter().take(past.len() + 1 - HISTORY).map(|task| task.id);
            too_old.extend(old.filter(|id| Some(*id) != keeper));
        }
    }
    for task in too_old {
        slots::lower(draft, task, Desired::Remove);
    }
}

/// What is left to tasks that have not begun, by slot.
fn waiting(cluster: &Cluster, service: ServiceId) -> BTreeMap<Slot, Heritage> {
    let live = cluster.tasks_where(service, Brief::is_live).filter(|task| !slots::has_begun(cluster, task));
    live.filter_map(|task| Some((slot(task), task.inherits?))).collect()
}

/// The one whose container keeps these anonymous volumes.
fn keeper(cluster: &Cluster, left: &Heritage, past: &[&Arc<Task>]) -> Option<TaskId> {
    let has_them = |task: &&&Arc<Task>| {
        task.node == Some(left.node) && task.volumes_of() == left.from && slots::has_begun(cluster, task)
    };
    past.iter().rev().find(has_them).map(|task| task.id)
}

/// Tasks that no agent will ever tell of: no agent ever had them, or theirs is lost while others are there.
/// Those that an agent has are dropped when it says that they are gone; one that comes back later removes
/// what is not assigned to it. A node that is alone is waited for: only it knows what it has left to do.
fn drop_tasks(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let cluster = draft.cluster();
    let others = cluster.nodes.values().any(|node| node.ready);
    let lost = |task: &Task| match task.node.and_then(|node| cluster.nodes.get(&node)) {
        Some(node) => !node.ready && others,
        None => true,
    };
    let gone: Vec<TaskId> = slots::tasks_where(cluster, restless, |task| task.desired >= Desired::Shutdown)
        .filter(|task| match task.desired {
            Desired::Ready | Desired::Running => false,
            // Where the node is the slot it is known before the task is assigned to it.
            Desired::Shutdown => task.status.state < TaskState::Assigned,
            Desired::Remove => task.status.state < TaskState::Assigned || lost(task),
        })
        .map(|task| task.id)
        .collect();
    for task in gone {
        draft.edit().drop_task(task);
    }
}

fn drop_services(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    for service in removing_of(draft.cluster(), restless) {
        if !draft.cluster().has_tasks(service.id) {
            draft.edit().services.remove(&service.id);
            draft.edit().failures.retain(|(of, _), _| *of != service.id);
            draft.edit().logins.remove(&service.id);
        }
    }
}

/// Those of the services that are being removed.
fn removing_of(cluster: &Cluster, services: &[ServiceId]) -> Vec<Arc<Service>> {
    let services = services.iter().filter_map(|id| cluster.services.get(id));
    services.filter(|service| service.removing).cloned().collect()
}

/// When the last service of a stack is gone, the rest of it goes.
fn drop_stacks(draft: &mut Draft<'_>) {
    let cluster = draft.cluster();
    let of = |owner: &Option<String>, name: &str| owner.as_deref() == Some(name);
    let empty: Vec<_> = cluster
        .stacks_removing
        .iter()
        .filter(|(name, _)| !cluster.services.values().any(|service| of(&service.spec.stack, name)))
        .map(|(name, removing)| (name.clone(), *removing))
        .collect();
    for (name, removing) in empty {
        let networks: Vec<_> = draft
            .cluster()
            .networks
            .values()
            .filter(|network| of(&network.spec.stack, &name))
            .filter(|network| crate::usage::of_network(draft.cluster(), network).is_none())
            .map(|network| network.id)
            .collect();
        let volumes: Vec<String> = draft
            .cluster()
            .volumes
            .values()
            .filter(|volume| removing.volumes && of(&volume.stack, &name))
            .filter(|volume| crate::usage::of_volume(draft.cluster(), &volume.name).is_none())
            .map(|volume| volume.name.clone())
            .collect();
        let cluster = draft.edit();
        for id in networks {
            cluster.networks.remove(&id);
            cluster.last_address.remove(&id);
        }
        for volume in volumes {
            remove_volume(cluster, &volume);
        }
        let Cluster { configs, secrets, config_names, secret_names, .. } = cluster;
        config_names.retain(|_, id| !configs.get(id).is_some_and(|content| of(&content.stack, &name)));
        secret_names.retain(|_, id| !secrets.get(id).is_some_and(|content| of(&content.stack, &name)));
        cluster.stacks_removing.remove(&name);
    }
}

/// Forgets a volume, and has every node delete its data.
pub(crate) fn remove_volume(cluster: &mut Cluster, name: &str) {
    cluster.volumes.remove(name);
    cluster.homes.remove(name);
    let nodes: BTreeSet<_> = cluster.nodes.keys().copied().collect();
    if !nodes.is_empty() {
        cluster.volumes_left.insert(name.to_owned(), nodes);
    }
}

/// Contents whose name means another by now go with their last user.
fn drop_contents(draft: &mut Draft<'_>) {
    let cluster = draft.cluster();
    if cluster.configs.len() == cluster.config_names.len() && cluster.secrets.len() == cluster.secret_names.len() {
        return;
    }
    let mut configs: BTreeSet<ConfigId> = cluster.config_names.values().copied().collect();
    let mut secrets: BTreeSet<SecretId> = cluster.secret_names.values().copied().collect();
    let services =
        cluster.services.values().flat_map(|service| std::iter::once(&service.spec).chain(&service.previous));
    for spec in services.chain(cluster.tasks.values().map(|task| &task.spec)) {
        configs.extend(spec.container.configs.iter().filter_map(|file| file.id));
        secrets.extend(spec.container.secrets.iter().filter_map(|file| file.id));
    }
    let unused = cluster.configs.keys().any(|id| !configs.contains(id))
        || cluster.secrets.keys().any(|id| !secrets.contains(id));
    if unused {
        draft.edit().configs.retain(|id, _| configs.contains(id));
        draft.edit().secrets.retain(|id, _| secrets.contains(id));
    }
}

/// Nodes that are not there any more have no data to delete.
fn drop_left_volumes(draft: &mut Draft<'_>) {
    let cluster = draft.cluster();
    let stale = cluster.volumes_left.values().any(|nodes| nodes.iter().any(|node| !cluster.nodes.contains_key(node)));
    if stale {
        let known: BTreeSet<_> = draft.cluster().nodes.keys().copied().collect();
        let left = &mut draft.edit().volumes_left;
        left.values_mut().for_each(|nodes| nodes.retain(|node| known.contains(node)));
        left.retain(|_, nodes| !nodes.is_empty());
    }
}
