//! What a task that is ready waits for before it may run.

use super::slots;
use crate::cluster::{Cluster, Slot, TaskExt, slot};
use crate::draft::Draft;
use crate::explain::{Lack, Wait};
use model::{Dependency, DependencyCondition, Desired, NetworkMode, Service, ServiceId, Task, TaskId, TaskState};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn step(draft: &mut Draft<'_>, restless: &[ServiceId]) {
    let waiting: Vec<(Arc<Service>, Arc<Task>)> =
        slots::tasks_where(draft.cluster(), restless, |task| task.desired == Desired::Ready)
            .filter_map(|task| Some((draft.cluster().services.get(&task.service)?.clone(), task.clone())))
            .filter(|(service, _)| !service.removing)
            .collect();
    // Asked once for all tasks of a service.
    let mut dependencies: BTreeMap<ServiceId, Option<Wait>> = BTreeMap::new();
    let mut stopping: BTreeMap<ServiceId, BTreeMap<Slot, TaskId>> = BTreeMap::new();
    for (service, task) in waiting {
        let before = stopping.entry(service.id).or_insert_with(|| still_stopping(draft.cluster(), service.id));
        let wait = own(draft, &task, before).or_else(|| {
            let cluster = draft.cluster();
            dependencies.entry(service.id).or_insert_with(|| dependency(cluster, &service)).clone()
        });
        match wait {
            Some(wait) => draft.wait(task.id, wait),
            None => draft.edit().edit_task(task.id, |task| task.desired = Desired::Running),
        }
    }
}

/// What concerns this task alone.
fn own(draft: &mut Draft<'_>, task: &Task, before: &BTreeMap<Slot, TaskId>) -> Option<Wait> {
    if task.not_before > draft.now {
        draft.wake_at(task.not_before);
        return Some(Wait::Delay(task.not_before));
    }
    if let Some(before) = before.get(&slot(task)) {
        return Some(Wait::Predecessor(*before));
    }
    joined(draft.cluster(), task)
}

/// Slots of a service whose earlier task has not stopped yet.
fn still_stopping(cluster: &Cluster, service: ServiceId) -> BTreeMap<Slot, TaskId> {
    let past = cluster.tasks_where(service, |task| !task.is_live()).filter(|task| still_runs(cluster, task));
    past.map(|task| (slot(task), task.id)).collect()
}

/// May something of it run, as far as we know?
pub(super) fn still_runs(cluster: &Cluster, task: &Task) -> bool {
    !task.status.state.is_terminal()
        && task.node.and_then(|node| cluster.nodes.get(&node)).is_some_and(|node| node.ready)
}

fn joined(cluster: &Cluster, task: &Task) -> Option<Wait> {
    let whose = match &task.spec.network_mode {
        NetworkMode::Service(key) => key.clone(),
        NetworkMode::Container(name) => format!("container {name}"),
        NetworkMode::Networks | NetworkMode::Host | NetworkMode::None => return None,
    };
    let runs =
        join_target(cluster, task).and_then(|id| cluster.tasks.get(&id)).is_some_and(|target| target.is_running());
    (!runs).then_some(Wait::Joins(whose))
}

/// The task whose network namespace a task joins: of a service that of the same slot, else of the first.
pub(crate) fn join_target(cluster: &Cluster, task: &Task) -> Option<TaskId> {
    match &task.spec.network_mode {
        NetworkMode::Service(key) => {
            let service = cluster.service_of(task.spec.stack.as_deref(), key)?;
            let mut live: Vec<&Arc<Task>> =
                cluster.tasks_of(service.id).filter(|other| other.is_live() && other.id != task.id).collect();
            live.sort_by_key(|other| {
                (slot(other) != slot(task), !other.is_running(), other.slot, other.created, other.id)
            });
            live.first().map(|target| target.id)
        }
        NetworkMode::Container(name) => {
            let called = |other: &&Arc<Task>| {
                other.is_live()
                    && other.id != task.id
                    && (other.id.to_string() == *name
                        || other.name() == *name
                        || name.len() >= 12 && other.id.to_string().starts_with(name.as_str()))
            };
            cluster.tasks.values().filter(called).max_by_key(|other| (other.created, other.id)).map(|target| target.id)
        }
        NetworkMode::Networks | NetworkMode::Host | NetworkMode::None => None,
    }
}

/// The first dependency of a service that is not satisfied.
pub(super) fn dependency(cluster: &Cluster, service: &Service) -> Option<Wait> {
    service.spec.depends_on.iter().find_map(|(key, wanted)| {
        let lacks = lack(cluster, service, key, wanted)?;
        Some(Wait::Dependency { service: key.clone(), lacks })
    })
}

fn lack(cluster: &Cluster, service: &Service, key: &str, wanted: &Dependency) -> Option<Lack> {
    let found = cluster.service_of(service.spec.stack.as_deref(), key).filter(|found| !found.removing);
    let Some(found) = found else {
        return wanted.required.then_some(Lack::Missing);
    };
    let live = slots::live(cluster, found.id);
    // Scaled to nothing on purpose: there is nothing to wait for.
    let all = found.replicas().map_or(live.len(), |replicas| (replicas as usize).max(live.len()));
    let done =
        |is_done: &dyn Fn(&Task) -> bool| live.values().filter(|tasks| tasks.iter().any(|task| is_done(task))).count();
    let (done, lack): (usize, fn(usize, usize) -> Lack) = match wanted.condition {
        DependencyCondition::ServiceStarted => (done(&has_started), Lack::Started),
        DependencyCondition::ServiceHealthy => (done(&Task::is_serving), Lack::Healthy),
        DependencyCondition::ServiceCompletedSuccessfully => {
            (done(&|task| task.status.state == TaskState::Complete && task.has_ended()), Lack::Completed)
        }
    };
    if done >= all {
        return None;
    }
    match failed(&live, wanted.condition) {
        Some(why) => wanted.required.then_some(Lack::Failed(why)),
        None => Some(lack(done, all)),
    }
}

fn has_started(task: &Task) -> bool {
    task.status.state >= TaskState::Running && !matches!(task.status.state, TaskState::Rejected | TaskState::Orphaned)
}

/// Why a dependency will not come by itself. Restarts were planned before: what has ended stays so.
fn failed(live: &BTreeMap<Slot, Vec<Arc<Task>>>, condition: DependencyCondition) -> Option<String> {
    let ended = |task: &&Arc<Task>| {
        let success = task.status.state == TaskState::Complete && condition != DependencyCondition::ServiceHealthy;
        task.has_ended() && !success && !(condition == DependencyCondition::ServiceStarted && has_started(task))
    };
    let task = live.values().flatten().find(ended)?;
    let code = task.status.container.as_ref().and_then(|container| container.exit_code);
    Some(match (task.status.message.is_empty(), code) {
        (false, _) => task.status.message.clone(),
        (true, Some(code)) => format!("exit code {code}"),
        (true, None) => "it ended".to_owned(),
    })
}
