//! Values for unit tests.

use model::{
    ContainerSpec, Desired, Mode, RestartPolicy, ServiceId, ServiceSpec, Task, TaskId, TaskState, TaskStatus, Time,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn service(name: &str, key: &str, stack: Option<&str>) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        key: key.to_owned(),
        stack: stack.map(str::to_owned),
        standalone: false,
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        container: ContainerSpec { image: "busybox".to_owned(), ..ContainerSpec::default() },
        restart: RestartPolicy::SWARM,
        resources: model::Resources::default(),
        placement: model::Placement::default(),
        update: model::UpdateConfig::default(),
        rollback: model::UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Networks,
        ports: Vec::new(),
        endpoint_mode: model::EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    }
}

pub(crate) fn task(id: u128, spec: &ServiceSpec, slot: u32) -> Task {
    Task {
        id: TaskId(id),
        service: ServiceId(1),
        slot,
        spec: Arc::new(spec.clone()),
        spec_version: 1,
        node: None,
        desired: Desired::Running,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus {
            attempt: 1,
            state: TaskState::Running,
            since: Time(1),
            message: String::new(),
            container: None,
        },
        created: Time(1),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
    }
}
