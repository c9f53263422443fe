//! Each reason, as it is told.

use super::*;
use model::{ContainerSpec, NodeId, ServiceId, ServiceSpec, TaskId, TaskStatus, Time, UpdateStatus};
use std::sync::Arc;

const NOW: u64 = 1_800_000_600_000;

fn spec() -> Arc<ServiceSpec> {
    let container = ContainerSpec { image: "img:1".to_owned(), ..Default::default() };
    Arc::new(ServiceSpec {
        name: "shop_web".to_owned(),
        key: "web".to_owned(),
        stack: Some("shop".to_owned()),
        standalone: false,
        labels: BTreeMap::default(),
        mode: Mode::Replicated { replicas: 3 },
        container,
        restart: model::RestartPolicy::SWARM,
        resources: Default::default(),
        placement: Default::default(),
        update: Default::default(),
        rollback: Default::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: Default::default(),
        depends_on: Default::default(),
    })
}

fn a_task(id: u128, slot: u32, node: Option<u128>, state: TaskState, message: &str) -> Arc<Task> {
    let minutes = |ago: u64| Time(NOW - ago * 60_000);
    Arc::new(Task {
        id: TaskId(id),
        service: ServiceId(1),
        slot,
        spec: spec(),
        spec_version: 1,
        node: node.map(NodeId),
        desired: if state.is_terminal() { Desired::Shutdown } else { Desired::Running },
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus { attempt: 1, state, since: minutes(2), message: message.to_owned(), container: None },
        created: minutes(5),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: None,
    })
}

fn state() -> (State, Service) {
    let nodes = vec![
        Node { ready: true, manager: true, ..Node::new(NodeId(1), "host1") },
        Node { availability: Availability::Drain, ..Node::new(NodeId(2), "host2") },
    ];
    let tasks = vec![
        a_task(11, 1, None, TaskState::Pending, ""),
        a_task(12, 2, Some(1), TaskState::Preparing, "pull img:1: no such image"),
        a_task(13, 2, Some(1), TaskState::Failed, "exit code 3"),
        a_task(14, 3, Some(2), TaskState::Running, ""),
    ];
    let waiting = BTreeMap::from([(TaskId(11), "2 of 2 nodes lack 512 MiB".to_owned())]);
    let state = State { nodes, tasks, waiting, leader: Some(NodeId(1)), ..State::default() };
    let service = Service {
        update_status: Some(UpdateStatus {
            state: UpdateState::Paused,
            started: Time(NOW - 180_000),
            finished: None,
            message: "web.2 failed (exit code 3)".to_owned(),
        }),
        ..Service::new(ServiceId(1), spec(), Time(1))
    };
    (state, service)
}

#[test]
fn of_a_service_everything_that_does_not_serve_is_explained() {
    let (state, web) = state();
    assert_eq!(
        service(&state, &web, NOW).join("\n"),
        "service shop_web: 0 of 3 replicas serve\n\
         its update is paused (begun 3 minutes ago): web.2 failed (exit code 3); `rswarm service update shop_web` goes \
         on, `rswarm service rollback shop_web` goes back\n\
         where: 1 on host1, 1 on host2\n\
         shop_web.1: waits for 5 minutes: 2 of 2 nodes lack 512 MiB\n\
         shop_web.2: image, networks and volumes are being made ready on host1, begun 2 minutes ago: pull img:1: no \
         such image\n  1 before it in this slot failed, the last one on host1 2 minutes ago: exit code 3\n\
         shop_web.3: runs on host2, begun 2 minutes ago\n  host2 is down; it is replaced elsewhere as soon as a node fits"
    );
}

#[test]
fn of_a_node_it_is_told_what_it_may_do() {
    let (state, _) = state();
    let [first, second] = state.nodes.as_slice() else { panic!("two nodes") };
    let told = node(&state, first, NOW).join("\n");
    assert!(told.starts_with("node host1: is up\nit takes tasks\nit is a manager and leads\n0 of its 1 tasks serve\n"));
    let told = node(&state, second, NOW).join("\n");
    assert!(told.starts_with("node host2: is down: nothing is heard of it\nit is drained"), "{told}");
}

#[test]
fn a_node_that_a_service_avoids_is_told_of_on_both_sides() {
    let (mut state, web) = state();
    let until = Time(NOW + 90_000);
    let (service_id, id) = (ServiceId(1), NodeId(1));
    state.avoided = vec![model::Avoided { service: service_id, node: id, failures: 6, until }];
    state.services = vec![web.clone()];
    let told = service(&state, &web, NOW).join("\n");
    assert!(told.contains("\navoids host1 until 08:11:30 UTC: it failed there 6 times lately\n"), "{told}");
    let told = node(&state, &state.nodes[0], NOW).join("\n");
    assert!(
        told.contains("\nservice shop_web avoids it until 08:11:30 UTC: it failed here 6 times lately\n"),
        "{told}"
    );
    assert!(!node(&state, &state.nodes[0], until.0).join("\n").contains("avoids"));
}

#[test]
fn a_manager_without_a_vote_is_told_of() {
    let (mut state, _) = state();
    (state.leader, state.voters) = (None, vec![NodeId(7)]);
    let told = node(&state, &state.nodes[0], NOW).join("\n");
    assert!(told.contains("\nit is a manager that has no vote yet: it catches up first\n"), "{told}");
}
