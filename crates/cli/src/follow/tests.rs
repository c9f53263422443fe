//! Stacks on their way up, told as states.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use model::{
    ContainerSpec, ContainerStatus, EndpointMode, Health, HealthResult, NetworkMode, Placement, Resources,
    RestartPolicy, ServiceSpec, TaskStatus, UpdateConfig, UpdateStatus,
};
use std::sync::Arc;

fn spec(key: &str, replicas: u32, scope: RestartScope) -> ServiceSpec {
    ServiceSpec {
        name: format!("shop_{key}"),
        key: key.to_owned(),
        stack: Some("shop".to_owned()),
        standalone: false,
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas },
        container: ContainerSpec::default(),
        restart: RestartPolicy {
            condition: RestartCondition::Any,
            scope,
            delay: Duration::ZERO,
            max_attempts: None,
            window: Duration::ZERO,
        },
        resources: Resources::default(),
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: NetworkMode::default(),
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: EndpointMode::default(),
        depends_on: BTreeMap::new(),
    }
}

fn service(id: u128, spec: ServiceSpec) -> Service {
    Service::new(ServiceId(id), Arc::new(spec), Time(0))
}

fn ended() -> ContainerStatus {
    ContainerStatus {
        state: ContainerState::Exited,
        pid: 1,
        exit_code: None,
        oom_killed: false,
        restart_count: 0,
        started_at: None,
        finished_at: None,
        health: None,
        ports: BTreeMap::new(),
    }
}

/// If it runs, it has done so for longer than anybody knows.
fn task(id: u128, service: &Service, slot: u32, state: TaskState) -> Task {
    let state_of_it = if state == TaskState::Running { ContainerState::Running } else { ContainerState::Exited };
    let container = ContainerStatus { state: state_of_it, ..ended() };
    Task {
        id: TaskId(id),
        service: service.id,
        slot,
        spec: service.spec.clone(),
        spec_version: service.spec_version,
        node: None,
        desired: Desired::Running,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus {
            attempt: 1,
            state,
            since: Time(0),
            message: String::new(),
            container: (state >= TaskState::Running && state != TaskState::Rejected).then_some(container),
        },
        created: Time(u64::try_from(id).unwrap()),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: None,
    }
}

fn state(services: &[&Service], tasks: Vec<Task>) -> State {
    State {
        services: services.iter().map(|service| (*service).clone()).collect(),
        tasks: tasks.into_iter().map(Arc::new).collect(),
        ..State::default()
    }
}

fn board() -> Board {
    Board::all()
}

#[test]
fn all_replicas_must_serve() {
    let web = service(1, spec("web", 2, RestartScope::InPlace));
    let mut board = board();
    board.observe(state(&[&web], vec![]), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    let tasks = vec![task(1, &web, 1, TaskState::Running), task(2, &web, 2, TaskState::Preparing)];
    board.observe(state(&[&web], tasks), Time(10));
    let line = &board.lines(Time(10))[0];
    assert_eq!((line.ready, line.wanted, line.phase.as_str()), (1, 2, "preparing"));
    let tasks = vec![task(1, &web, 1, TaskState::Running), task(2, &web, 2, TaskState::Running)];
    board.observe(state(&[&web], tasks), Time(20));
    assert_eq!(board.outcome(Time(20)), Outcome::Settled);
    assert!(board.troubles(Time(20)).is_empty());
}

#[test]
fn a_node_that_is_drained_is_no_replica() {
    let mut spec = spec("agent", 1, RestartScope::Replace);
    spec.mode = Mode::Global;
    let agent = service(1, spec);
    let [here, mut drained] = [1, 2].map(|id| {
        let mut task = task(id, &agent, 0, TaskState::Running);
        task.node = Some(NodeId(id));
        task
    });
    (drained.desired, drained.status.state) = (Desired::Shutdown, TaskState::Shutdown);
    let mut board = board();
    board.observe(state(&[&agent], vec![here, drained]), Time(10));
    board.look(Time(10_000));
    assert_eq!(board.outcome(Time(10_000)), Outcome::Settled);
}

#[test]
fn what_a_person_froze_is_not_waited_for() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut frozen = task(1, &web, 1, TaskState::Running);
    frozen.status.container = Some(ContainerStatus { state: ContainerState::Paused, ..ended() });
    let mut board = board();
    board.observe(state(&[&web], vec![frozen]), Time(10));
    assert_eq!(board.outcome(Time(10)), Outcome::Settled);
    assert!(board.lines(Time(10))[0].phase.starts_with("paused"));
}

#[test]
fn what_ended_when_the_same_was_wanted_before_is_history() {
    let mut web = service(1, spec("web", 1, RestartScope::Replace));
    let first = task(1, &web, 1, TaskState::Shutdown);
    // Another image, and back.
    let mut other = (*web.spec).clone();
    other.container.image = "other".to_owned();
    let mut second = task(2, &service(1, other), 1, TaskState::Running);
    second.created = Time(5);
    web.spec_version = 3;
    let mut board = board();
    for at in [0, 2_000, 4_000] {
        board.observe(state(&[&web], vec![first.clone(), second.clone()]), Time(at));
        assert_eq!(board.outcome(Time(at)), Outcome::Pending, "{at}");
    }
    second.status.state = TaskState::Shutdown;
    let mut third = task(3, &web, 1, TaskState::Running);
    third.created = Time(4_500);
    board.observe(state(&[&web], vec![first, second, third]), Time(5_000));
    board.look(Time(8_000));
    assert_eq!(board.outcome(Time(8_000)), Outcome::Settled);
}

/// A replica without a health check that started at this time.
fn started(id: u128, service: &Service, slot: u32, at: u64) -> Task {
    let mut task = task(id, service, slot, TaskState::Running);
    task.status.container.as_mut().unwrap().started_at = Some(Time(at));
    task
}

#[test]
fn what_has_just_begun_has_to_run_for_a_moment() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut board = board();
    board.observe(state(&[&web], vec![]), Time(1000));
    board.observe(state(&[&web], vec![started(1, &web, 1, 1005)]), Time(1010));
    assert_eq!((board.outcome(Time(1010)), board.wake(Time(1010))), (Outcome::Pending, Some(Time(1040))));
    assert_eq!(board.lines(Time(1010))[0].phase, "starting");
    let mut steady = board.clone();
    steady.look(Time(1040));
    assert_eq!((steady.outcome(Time(1040)), steady.wake(Time(1040))), (Outcome::Settled, None));
    // One that ends within that moment never counted.
    board.observe(state(&[&web], vec![task(1, &web, 1, TaskState::Failed)]), Time(1020));
    board.look(Time(1035));
    assert_eq!(board.outcome(Time(1035)), Outcome::Pending);
    board.look(Time(4000));
    board.look(Time(5000));
    assert_eq!(board.outcome(Time(5000)), Outcome::Failed);
}

#[test]
fn that_moment_is_longer_where_the_start_took_long_within_bounds_whatever_the_clock_of_the_node() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    for (at, wake) in [(4990, 5040), (4890, 5190), (1000, 6010), (500_000, 5040)] {
        let mut board = board();
        board.observe(state(&[&web], vec![]), Time(1000));
        board.observe(state(&[&web], vec![started(1, &web, 1, at)]), Time(5010));
        assert_eq!(board.wake(Time(5010)), Some(Time(wake)), "started at {at}");
    }
}

#[test]
fn what_the_runtime_refuses_is_told_at_once() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut refused = task(1, &web, 1, TaskState::Rejected);
    refused.status.message = "bind source path does not exist: /nowhere".to_owned();
    let container = ContainerStatus { state: ContainerState::Created, exit_code: Some(125), ..ended() };
    refused.status.container = Some(container);
    let next = task(2, &web, 1, TaskState::Ready);
    let mut board = board();
    board.observe(state(&[&web], vec![refused, next]), Time(0));
    board.look(Time(800));
    assert_eq!(board.outcome(Time(800)), Outcome::Failed);
    assert_eq!(board.troubles(Time(800))[0].what, "bind source path does not exist: /nowhere");
}

#[test]
fn a_health_check_must_pass_and_an_unhealthy_one_is_the_end() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let with = |verdict| {
        let mut task = task(1, &web, 1, TaskState::Running);
        let result = HealthResult { start: Time(0), end: Time(0), exit_code: 1, output: "on fire\n".to_owned() };
        task.status.container.as_mut().unwrap().health = Some(Health { verdict, failing_streak: 0, log: vec![result] });
        state(&[&web], vec![task])
    };
    let mut board = board();
    board.observe(with(Verdict::Starting), Time(0));
    assert_eq!(board.outcome(Time(100_000)), Outcome::Pending);
    board.observe(with(Verdict::Healthy), Time(5));
    assert_eq!(board.outcome(Time(5)), Outcome::Settled);
    assert_eq!(board.lines(Time(5))[0].phase, "healthy");
    board.observe(with(Verdict::Unhealthy), Time(10));
    assert_eq!(board.outcome(Time(10)), Outcome::Pending);
    board.look(Time(10_000));
    assert_eq!(board.outcome(Time(10_000)), Outcome::Failed);
    let trouble = &board.troubles(Time(10_000))[0];
    assert_eq!((trouble.what.as_str(), trouble.check.as_deref()), ("unhealthy", Some("on fire")));
    // The one that comes after it may be better.
    board.observe(with(Verdict::Healthy), Time(11_000));
    assert_eq!(board.outcome(Time(11_000)), Outcome::Settled);
}

#[test]
fn what_ended_with_zero_is_done() {
    let job = service(1, spec("migrate", 1, RestartScope::InPlace));
    let mut board = board();
    board.observe(state(&[&job], vec![task(1, &job, 1, TaskState::Complete)]), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Settled);
    assert_eq!(board.lines(Time(0))[0].phase, "completed");
}

#[test]
fn jobs_count_their_completions() {
    let mut spec = spec("batch", 1, RestartScope::Replace);
    spec.mode = Mode::ReplicatedJob { total: 2, concurrent: 1 };
    let job = service(1, spec);
    let mut board = board();
    let tasks = vec![task(1, &job, 1, TaskState::Complete), task(2, &job, 2, TaskState::Running)];
    board.observe(state(&[&job], tasks), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    let tasks = vec![task(1, &job, 1, TaskState::Complete), task(2, &job, 2, TaskState::Complete)];
    board.observe(state(&[&job], tasks), Time(1));
    assert_eq!(board.outcome(Time(1)), Outcome::Settled);
}

#[test]
fn one_that_ends_without_replacement_fails_after_a_moment() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut failed = task(1, &web, 1, TaskState::Failed);
    failed.status.message = "exit code 3".to_owned();
    let mut board = board();
    board.observe(state(&[&web], vec![failed]), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    board.look(Time(1600));
    board.look(Time(2500));
    assert_eq!(board.outcome(Time(2500)), Outcome::Failed);
    let troubles = board.troubles(Time(2500));
    assert_eq!((troubles[0].replica.as_str(), troubles[0].what.as_str()), ("web.1", "exit code 3"));
    assert!(troubles[0].has_run);
}

#[test]
fn one_that_was_replaced_must_stay_up_a_while() {
    let web = service(1, spec("web", 1, RestartScope::Replace));
    let mut board = board();
    board.observe(state(&[&web], vec![task(1, &web, 1, TaskState::Failed)]), Time(0));
    let mut second = task(2, &web, 1, TaskState::Running);
    second.status.container.as_mut().unwrap().started_at = Some(Time(1000));
    board.observe(state(&[&web], vec![task(1, &web, 1, TaskState::Failed), second]), Time(1000));
    assert_eq!(board.outcome(Time(1000)), Outcome::Pending);
    board.look(Time(4500));
    assert_eq!(board.outcome(Time(4500)), Outcome::Settled);
}

#[test]
fn one_that_fails_again_and_again_is_given_up() {
    let web = service(1, spec("web", 1, RestartScope::Replace));
    let mut board = board();
    for last in 1..=3 {
        let mut tasks: Vec<Task> = (1..=last).map(|id| task(id, &web, 1, TaskState::Failed)).collect();
        tasks.push(task(last + 10, &web, 1, TaskState::Preparing));
        board.observe(state(&[&web], tasks), Time(0));
    }
    board.look(Time(900));
    assert_eq!(board.outcome(Time(900)), Outcome::Failed);
    assert!(board.troubles(Time(900))[0].what.contains("(3 times)"));
}

#[test]
fn a_crash_loop_in_place_is_seen_by_its_restarts() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let with = |restarts| {
        let mut task = task(1, &web, 1, TaskState::Running);
        task.status.container.as_mut().unwrap().restart_count = restarts;
        task.status.container.as_mut().unwrap().started_at = Some(Time(1000));
        state(&[&web], vec![task])
    };
    let mut crashing = board();
    crashing.observe(with(1), Time(1000));
    assert_eq!(crashing.outcome(Time(1000)), Outcome::Pending);
    crashing.observe(with(5), Time(1200));
    crashing.look(Time(2100));
    assert_eq!(crashing.outcome(Time(2100)), Outcome::Failed);
    // What happened before `up` is not its business.
    let mut unchanged = Board::of(["shop_web".to_owned()].into(), ["shop_web".to_owned()].into());
    unchanged.observe(with(7), Time(2000));
    assert_eq!(unchanged.outcome(Time(2000)), Outcome::Settled);
}

#[test]
fn one_that_waits_for_a_failed_one_does_not_hold_up_the_verdict() {
    let db = service(1, spec("db", 1, RestartScope::InPlace));
    let web = service(2, spec("web", 1, RestartScope::InPlace));
    let mut seen = state(&[&db, &web], vec![task(1, &db, 1, TaskState::Failed), task(2, &web, 1, TaskState::Pending)]);
    seen.waiting.insert(TaskId(2), "waits for db to be healthy".to_owned());
    let mut board = board();
    board.observe(seen, Time(0));
    board.look(Time(1600));
    board.look(Time(2600));
    assert_eq!(board.outcome(Time(2600)), Outcome::Failed);
    let troubles = board.troubles(Time(2600));
    let told: Vec<String> = troubles.iter().map(|trouble| format!("{}: {}", trouble.replica, trouble.what)).collect();
    assert_eq!(told, ["db.1: failed", "web.1: waits for db to be healthy"]);
}

#[test]
fn only_tasks_of_the_new_version_count() {
    let mut web = service(1, spec("web", 1, RestartScope::InPlace));
    let old = task(1, &web, 1, TaskState::Running);
    web.spec_version = 2;
    let mut kept = Board::all();
    kept.observe(state(&[&web], vec![old.clone()]), Time(0));
    assert_eq!(kept.outcome(Time(0)), Outcome::Settled, "an earlier version asked for the same");
    web.force_version = 2;
    let mut board = board();
    board.observe(state(&[&web], vec![old.clone()]), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    let both = vec![old.clone(), task(2, &web, 1, TaskState::Running)];
    board.observe(state(&[&web], both), Time(1));
    assert_eq!(board.lines(Time(1))[0].phase, "stopping 1 more");
    assert_eq!(board.outcome(Time(1)), Outcome::Pending);
    let ended = task(1, &web, 1, TaskState::Shutdown);
    let ended = Task { spec_version: 1, ..ended };
    board.observe(state(&[&web], vec![ended, task(2, &web, 1, TaskState::Running)]), Time(1));
    assert_eq!(board.outcome(Time(1)), Outcome::Settled);
    web.update_status = Some(UpdateStatus {
        state: UpdateState::Paused,
        started: Time(0),
        finished: None,
        message: "update paused: web.1 failed".to_owned(),
    });
    board.observe(state(&[&web], vec![task(2, &web, 1, TaskState::Running)]), Time(2));
    assert_eq!(board.lines(Time(2))[0].standing, Standing::Failed);
}

#[test]
fn a_rollback_of_before_is_no_failure_of_what_replaces_nothing() {
    let mut web = service(1, spec("web", 1, RestartScope::InPlace));
    let ended = |started| {
        let message = "rollback completed".to_owned();
        Some(UpdateStatus { state: UpdateState::RollbackCompleted, started, finished: Some(Time(20)), message })
    };
    (web.updated, web.update_status) = (Time(10), ended(Time(10)));
    let mut board = Board::of(["shop_web".to_owned()].into(), BTreeSet::new());
    let running = || vec![task(1, &service(1, spec("web", 1, RestartScope::InPlace)), 1, TaskState::Running)];
    board.observe(state(&[&web], running()), Time(30));
    assert_eq!(board.lines(Time(30))[0].standing, Standing::Failed, "the update that was asked for");
    web.updated = Time(30);
    board.observe(state(&[&web], running()), Time(30));
    assert_eq!(board.outcome(Time(30)), Outcome::Settled);
}

#[test]
fn an_update_that_is_watched_goes_on_where_that_is_waited_for() {
    let mut web = service(1, spec("web", 1, RestartScope::InPlace));
    let going = |state| {
        let message = String::new();
        Some(UpdateStatus { state, started: Time(0), finished: None, message })
    };
    web.update_status = going(UpdateState::Updating);
    let running = || vec![task(1, &service(1, spec("web", 1, RestartScope::InPlace)), 1, TaskState::Running)];
    let mut verifying = Board::of(["shop_web".to_owned()].into(), BTreeSet::new()).verifying();
    let mut running_is_enough = Board::of(["shop_web".to_owned()].into(), BTreeSet::new());
    for board in [&mut verifying, &mut running_is_enough] {
        board.observe(state(&[&web], running()), Time(1));
    }
    assert_eq!((verifying.outcome(Time(1)), running_is_enough.outcome(Time(1))), (Outcome::Pending, Outcome::Settled));
    web.update_status = going(UpdateState::Completed);
    verifying.observe(state(&[&web], running()), Time(2));
    assert_eq!(verifying.outcome(Time(2)), Outcome::Settled);
}

#[test]
fn services_that_leave_must_be_gone() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut old = service(2, spec("old", 1, RestartScope::InPlace));
    old.removing = true;
    let mut board = board();
    let tasks = vec![task(1, &web, 1, TaskState::Running), task(2, &old, 1, TaskState::Running)];
    board.observe(state(&[&web, &old], tasks), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    assert_eq!(board.lines(Time(0))[0].standing, Standing::Leaving);
    board.observe(state(&[&web], vec![task(1, &web, 1, TaskState::Running)]), Time(1));
    assert_eq!(board.outcome(Time(1)), Outcome::Settled);
}

#[test]
fn a_global_service_without_a_fitting_node_settles() {
    let mut spec = spec("agent", 1, RestartScope::Replace);
    spec.mode = Mode::Global;
    let agent = service(1, spec);
    let mut board = board();
    board.observe(state(&[&agent], vec![]), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    assert_eq!(board.outcome(Time(2500)), Outcome::Settled);
    board.observe(state(&[&agent], vec![task(1, &agent, 0, TaskState::Running)]), Time(3000));
    assert_eq!(board.outcome(Time(3000)), Outcome::Settled);
}

#[test]
fn services_that_the_file_does_not_name_are_not_looked_at() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut orphan = service(2, spec("orphan", 1, RestartScope::InPlace));
    orphan.removing = true;
    let mut board = Board::of(["shop_web".to_owned()].into(), BTreeSet::new());
    let tasks = vec![task(1, &web, 1, TaskState::Running), task(2, &orphan, 1, TaskState::Failed)];
    board.observe(state(&[&web, &orphan], tasks), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Settled);
    assert_eq!(board.lines(Time(0)).len(), 1);
}

#[test]
fn what_is_too_many_must_have_stopped() {
    let web = service(1, spec("web", 1, RestartScope::InPlace));
    let mut board = Board::all();
    let tasks = |second| vec![task(1, &web, 1, TaskState::Running), task(2, &web, 2, second)];
    board.observe(state(&[&web], tasks(TaskState::Running)), Time(0));
    assert_eq!(board.outcome(Time(0)), Outcome::Pending);
    board.observe(state(&[&web], tasks(TaskState::Shutdown)), Time(1));
    assert_eq!(board.outcome(Time(1)), Outcome::Settled);
}
