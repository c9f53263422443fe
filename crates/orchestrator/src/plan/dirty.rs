//! Which differences of two specs mean new tasks.

use model::{Mode, RestartScope, Service, ServiceSpec, Task};
use std::sync::Arc;

/// Is the task of another spec than its service, so that it will be replaced?
pub fn is_dirty(service: &Service, task: &Task) -> bool {
    task.spec_version != service.spec_version
        && (task.spec_version < service.force_version
            || !Arc::ptr_eq(&task.spec, &service.spec) && replaces(&task.spec, &service.spec))
}

/// Must tasks of `old` be replaced for `new`? How many there are, what the service is labelled, how it is
/// updated, what it waits for and what its ports are called are no matter of a task that runs.
pub(crate) fn replaces(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let ServiceSpec {
        name,
        key,
        stack,
        standalone,
        labels: _,
        mode,
        container,
        restart,
        resources,
        placement,
        update: _,
        rollback: _,
        networks,
        network_mode,
        ports,
        exposed: _,
        endpoint_mode,
        depends_on: _,
    } = new;
    let planner_restarts = restart.scope == RestartScope::Replace && old.restart.scope == RestartScope::Replace;
    old.name != *name
        || old.key != *key
        || old.stack != *stack
        || old.standalone != *standalone
        || !is_same_mode(old.mode, *mode)
        || !is_same_container(&old.container, container)
        || old.restart != *restart && !planner_restarts
        || old.resources != *resources
        || old.placement != *placement
        || old.networks != *networks
        || old.network_mode != *network_mode
        || old.ports != *ports
        || old.endpoint_mode != *endpoint_mode
}

fn is_same_mode(old: Mode, new: Mode) -> bool {
    match (old, new) {
        (Mode::Replicated { .. }, Mode::Replicated { .. }) => true,
        (Mode::ReplicatedJob { .. }, Mode::ReplicatedJob { .. }) => true,
        (old, new) => old == new,
    }
}

/// When to ask for an image again is no matter of a container that runs.
fn is_same_container(old: &model::ContainerSpec, new: &model::ContainerSpec) -> bool {
    if old.pull_policy == new.pull_policy {
        return old == new;
    }
    let asked_alike = model::ContainerSpec { pull_policy: new.pull_policy, ..old.clone() };
    asked_alike == *new
}
