//! The slots of a service, and how a task is made.

use crate::cluster::{Brief, Cluster, Slot, TaskExt, slot};
use crate::draft::Draft;
use model::{Desired, Heritage, NodeId, Service, ServiceId, Task, TaskId, TaskState, TaskStatus, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Live tasks by slot; within a slot the oldest first.
pub(crate) fn live(cluster: &Cluster, service: ServiceId) -> BTreeMap<Slot, Vec<Arc<Task>>> {
    let mut slots: BTreeMap<Slot, Vec<Arc<Task>>> = BTreeMap::new();
    for task in cluster.tasks_where(service, Brief::is_live) {
        slots.entry(slot(task)).or_default().push(task.clone());
    }
    for tasks in slots.values_mut() {
        tasks.sort_by_key(|task| (task.created, task.id));
    }
    slots
}

/// Those of the services that are not being removed.
pub(crate) fn standing(cluster: &Cluster, services: &[ServiceId]) -> Vec<Arc<Service>> {
    let services = services.iter().filter_map(|id| cluster.services.get(id));
    services.filter(|service| !service.removing).cloned().collect()
}

/// Those tasks of these services that this is true of.
pub(crate) fn tasks_where<'c>(
    cluster: &'c Cluster,
    services: &'c [ServiceId],
    is_wanted: impl Fn(&Brief) -> bool + Copy,
) -> impl Iterator<Item = &'c Arc<Task>> {
    services.iter().flat_map(move |service| cluster.tasks_where(*service, is_wanted))
}

/// What a new task begins with.
#[derive(Debug, Default)]
pub(crate) struct Begin {
    pub(crate) slot: u32,
    /// Where, if that is decided already.
    pub(crate) node: Option<NodeId>,
    pub(crate) not_before: Time,
    pub(crate) restarts: Vec<Time>,
    /// What the task that it replaces has left.
    pub(crate) inherits: Option<Heritage>,
}

impl Begin {
    /// In the place of another task, which has ended, or is told to.
    pub(crate) fn after(cluster: &Cluster, task: &Task) -> Begin {
        Begin {
            slot: task.slot,
            node: task.node.filter(|_| task.slot == 0),
            not_before: Time::default(),
            restarts: task.restarts.clone(),
            inherits: leaves(cluster, task),
        }
    }
}

/// Fills slots that nobody holds, with what was left there.
pub(crate) fn fill(draft: &mut Draft<'_>, service: &Service, free: &[Slot]) {
    if free.is_empty() {
        return;
    }
    let left = left(draft.cluster(), service.id);
    for own in free {
        let (slot, node) = *own;
        create(draft, service, Begin { slot, node, inherits: left.get(own).copied(), ..Begin::default() });
    }
}

/// The anonymous volumes that a task leaves which has ended, or is told to. Each run of a job is a new one.
fn leaves(cluster: &Cluster, task: &Task) -> Option<Heritage> {
    if task.spec.standalone || task.spec.mode.is_job() {
        return None;
    }
    // One that never got that far has written nothing: what was left to it is still there.
    match task.node {
        Some(node) if has_begun(cluster, task) => Some(Heritage { node, from: task.volumes_of() }),
        _ => task.inherits,
    }
}

/// The same of the task that was replaced last in each slot of a service.
fn left(cluster: &Cluster, service: ServiceId) -> BTreeMap<Slot, Heritage> {
    let mut last: BTreeMap<Slot, &Arc<Task>> = BTreeMap::new();
    for task in cluster.tasks_where(service, |task| task.desired == Desired::Shutdown) {
        let known = last.entry(slot(task)).or_insert(task);
        if (task.created, task.id) > (known.created, known.id) {
            *known = task;
        }
    }
    last.into_iter().filter_map(|(slot, task)| Some((slot, leaves(cluster, task)?))).collect()
}

/// Is there a container of it, or may there be one that nobody has told of?
pub(crate) fn has_begun(cluster: &Cluster, task: &Task) -> bool {
    let state = task.status.state;
    let is_away = || task.node.and_then(|node| cluster.nodes.get(&node)).is_some_and(|node| !node.ready);
    match state {
        TaskState::Starting | TaskState::Running | TaskState::Orphaned => true,
        _ if task.status.container.is_some() => true,
        state => !state.is_terminal() && state >= TaskState::Assigned && is_away(),
    }
}

/// Makes a task of the service as it is now. It is only made ready; [`super::gates`] lets it run.
pub(crate) fn create(draft: &mut Draft<'_>, service: &Service, begin: Begin) -> TaskId {
    let id = draft.ids.next(TaskId);
    let now = draft.now;
    let task = Task {
        id,
        service: service.id,
        slot: begin.slot,
        spec: service.spec.clone(),
        spec_version: service.spec_version,
        node: begin.node,
        desired: Desired::Ready,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus { attempt: 1, state: TaskState::New, since: now, message: String::new(), container: None },
        created: now,
        not_before: begin.not_before.max(now),
        restarts: begin.restarts,
        remove_volumes: false,
        inherits: begin.inherits,
    };
    draft.edit().put_task(Arc::new(task));
    id
}

/// Wants less of a task. Overrides of how to stop it were for another stop.
pub(crate) fn lower(draft: &mut Draft<'_>, task: TaskId, desired: Desired) {
    let Some(found) = draft.cluster().tasks.get(&task).cloned() else { return };
    if found.desired < desired {
        // `down` has said how its own are stopped.
        let stack = found.spec.stack.as_deref();
        let going = stack.is_some_and(|stack| draft.cluster().stacks_removing.contains_key(stack));
        draft.edit().edit_task(task, |task| {
            if !task.stopped_by_user && !going {
                (task.stop_signal, task.stop_timeout) = (None, None);
            }
            task.desired = desired;
        });
    }
}
