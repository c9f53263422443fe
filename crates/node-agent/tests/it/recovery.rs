//! A new agent on a host that an earlier one left.

use crate::rig::*;
use model::*;
use node_agent::{AgentInput, EffectError, Ledger};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn runs(id: u128, attempt: u32) -> Observed {
    let state = ObservedState::Running { pid: 9, started_at: Time(900_000), paused: false };
    Observed { task: TaskId(id), attempt, state, restart_count: 0, space: None, hosts: lines(id), volumes_of: None }
}

fn ended(id: u128, code: i32) -> Observed {
    let exit = Exit { code, oom_killed: false, started_at: Time(900_000), finished_at: Time(950_000) };
    Observed {
        task: TaskId(id),
        attempt: 1,
        state: ObservedState::Exited(exit),
        restart_count: 0,
        space: None,
        hosts: Vec::new(),
        volumes_of: None,
    }
}

fn ledger(tasks: &[AssignedTask]) -> Option<Box<Ledger>> {
    let mut order = assignment();
    order.tasks = tasks.iter().map(|it| (it.task.id, it.clone())).collect();
    Some(Box::new(Ledger { assignment: Some(order), ..Ledger::default() }))
}

fn order(rig: &mut Rig, tasks: &[AssignedTask]) {
    rig.order.generation.revision = 5;
    rig.order.tasks = tasks.iter().map(|it| (it.task.id, it.clone())).collect();
    rig.assign();
}

#[test]
fn what_runs_and_is_wanted_is_left_alone() {
    let tasks = [task(1, &service())];
    let mut rig = Rig::on(vec![runs(1, 1)], ledger(&tasks));
    rig.live(SECOND);
    assert_eq!(rig.words(), ["prepare 1", "net [1] []"], "names and health are looked after at once");
    order(&mut rig, &tasks);
    rig.live(SECOND);
    assert!(rig.words().is_empty());
    assert_eq!(rig.state(TaskId(1)), TaskState::Running);
}

#[test]
fn a_container_that_nobody_knows_goes_only_when_a_manager_has_spoken() {
    let mut rig = Rig::on(vec![runs(1, 1), ended(2, 0)], ledger(&[]));
    rig.live(60 * SECOND);
    assert!(rig.words().is_empty(), "its network is not torn down either");
    order(&mut rig, &[]);
    rig.live(SECOND);
    let words = rig.words();
    assert!(words.contains(&"stop 1 - 10".to_owned()) && words.contains(&"remove 1 volumes=false".to_owned()));
    assert!(words.contains(&"remove 2 volumes=false".to_owned()));
    assert!(rig.told[&TaskId(1)].removed && rig.told[&TaskId(2)].removed);
}

#[test]
fn without_managers_what_ended_is_started_again_after_a_while() {
    let mut spec = service();
    spec.restart = in_place(RestartCondition::Any, None);
    let tasks = [task(1, &spec), task(2, &spec)];
    let mut rig = Rig::silent(vec![ended(1, 1)], ledger(&tasks));
    rig.live(4 * SECOND);
    assert!(rig.words().iter().all(|word| word.starts_with("net")), "it may have been stopped on purpose");
    rig.live(2 * SECOND);
    let words = rig.words();
    assert!(words.contains(&"start 1 restarts=1".to_owned()), "{words:?}");
    assert!(!words.iter().any(|word| word.starts_with("create")), "nothing that may have been removed comes back");
}

#[test]
fn without_managers_what_they_would_replace_is_started_again_here() {
    let mut never = service();
    never.restart.condition = RestartCondition::None;
    let mut job = service();
    job.mode = Mode::ReplicatedJob { total: 1, concurrent: 1 };
    let tasks = [task(1, &service()), task(2, &never), task(3, &job), task(4, &job)];
    let mut rig = Rig::silent(vec![ended(1, 255), ended(2, 255), ended(3, 0), ended(4, 1)], ledger(&tasks));
    rig.live(4 * SECOND);
    assert!(rig.words().iter().all(|word| word.starts_with("net")), "a manager may have another one elsewhere");
    rig.live(8 * SECOND);
    let words: Vec<String> = rig.words().into_iter().filter(|word| word.starts_with("start")).collect();
    assert_eq!(words, ["start 1 restarts=1", "start 4 restarts=1"]);

    // With a manager it is replaced, which is not for the agent to do.
    order(&mut rig, &tasks);
    rig.input(AgentInput::SessionUp);
    rig.live(SECOND);
    assert_eq!(rig.state(TaskId(1)), TaskState::Running);
    rig.dies(TaskId(1), 3);
    rig.live(20 * SECOND);
    assert_eq!((rig.state(TaskId(1)), rig.message(TaskId(1))), (TaskState::Failed, "exit code 3"));

    // One that ends when the managers are just gone waits whether they come back.
    rig.input(AgentInput::SessionLost);
    rig.dies(TaskId(4), 3);
    rig.live(4 * SECOND);
    rig.words();
    rig.input(AgentInput::SessionUp);
    rig.live(20 * SECOND);
    assert_eq!((rig.state(TaskId(4)), rig.message(TaskId(4))), (TaskState::Failed, "exit code 3"));
    assert!(rig.words().iter().all(|word| !word.starts_with("start")));
}

#[test]
fn what_a_manager_was_told_of_and_did_not_live_to_replace_is_started_again_here() {
    let mut never = service();
    never.restart.condition = RestartCondition::None;
    let mut rig = Rig::new();
    let [failed, over, stopped, replaced] =
        [(1, &service()), (2, &never), (3, &service()), (4, &service())].map(|(number, spec)| rig.add(number, spec));
    rig.assign();
    rig.live(SECOND);
    rig.change(stopped, |task| task.stopped_by_user = true);
    rig.assign();
    [failed, over, replaced].into_iter().for_each(|task| rig.dies(task, 3));
    rig.live(SECOND);
    rig.change(replaced, |task| task.desired = Desired::Shutdown);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(failed), TaskState::Failed);
    rig.words();
    rig.input(AgentInput::SessionLost);
    rig.live(4 * SECOND);
    assert!(rig.words().is_empty(), "the next manager may replace it");
    rig.live(10 * SECOND);
    let starts: Vec<String> = rig.words().into_iter().filter(|word| word.starts_with("start")).collect();
    assert_eq!(starts, ["start 1 restarts=1"]);

    // Whoever comes back knows whether it failed, and says so.
    rig.input(AgentInput::SessionUp);
    rig.live(SECOND);
    assert_eq!(rig.state(failed), TaskState::Running);
    rig.change(failed, |task| task.desired = Desired::Shutdown);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.words().first().map(String::as_str), Some("stop 1 - 10"));
}

#[test]
fn what_ended_while_nobody_looked_is_told_as_it_was() {
    let tasks = [task(1, &service())];
    let mut rig = Rig::on(vec![ended(1, 4)], ledger(&tasks));
    order(&mut rig, &tasks);
    rig.live(SECOND);
    assert_eq!((rig.state(TaskId(1)), rig.message(TaskId(1))), (TaskState::Failed, "exit code 4"));
    assert_eq!(rig.container(TaskId(1)).finished_at, Some(Time(950_000)));
}

#[test]
fn a_container_of_an_earlier_attempt_is_restarted() {
    let mut newer = task(1, &service());
    std::sync::Arc::make_mut(&mut newer.task).attempt = 2;
    let mut rig = Rig::on(vec![runs(1, 1)], ledger(&[task(1, &service())]));
    order(&mut rig, &[newer]);
    rig.live(SECOND);
    assert!(rig.words().ends_with(&["stop 1 - 10 receives".to_owned(), "start 1 restarts=0".to_owned()]));
    assert_eq!((rig.state(TaskId(1)), rig.told[&TaskId(1)].status.attempt), (TaskState::Running, 2));
}

#[test]
fn a_restarted_agent_remembers_what_the_host_cannot_tell() {
    let mut spec = service();
    spec.container.healthcheck = Some(HealthCheck {
        test: Some(HealthTest::CmdShell("true".to_owned())),
        interval: Some(SECOND),
        ..HealthCheck::default()
    });
    let mut rig = Rig::new();
    let healthy = rig.add(1, &spec);
    let stopped = rig.add(2, &service());
    rig.assign();
    rig.live(5 * SECOND);
    rig.change(stopped, |task| task.stopped_by_user = true);
    rig.assign();
    rig.live(5 * SECOND);
    let started_at = rig.container(healthy).started_at.unwrap();
    let exit = Exit { code: 143, oom_killed: false, started_at, finished_at: rig.now };
    let running = ObservedState::Running { pid: 9, started_at, paused: false };
    let observed = vec![
        Observed {
            task: healthy,
            attempt: 1,
            state: running,
            restart_count: 0,
            space: None,
            hosts: lines(1),
            volumes_of: None,
        },
        Observed {
            task: stopped,
            attempt: 1,
            state: ObservedState::Exited(exit),
            restart_count: 0,
            space: None,
            hosts: Vec::new(),
            volumes_of: None,
        },
    ];
    let mut after = Rig::on(observed, rig.ledger);
    after.order = rig.order;
    after.pass(SECOND);
    assert_eq!(after.container(healthy).health.as_ref().unwrap().verdict, Verdict::Healthy);
    after.assign();
    after.live(5 * SECOND);
    assert_eq!(after.state(stopped), TaskState::Shutdown);
    assert_eq!(after.container(healthy).health.as_ref().unwrap().verdict, Verdict::Healthy);
    assert!(!after.words().iter().any(|word| word.starts_with("stop") || word.starts_with("start")));
}

#[test]
fn a_node_that_was_lost_stops_what_was_given_up() {
    let mut lost = task(1, &service());
    let status = &mut std::sync::Arc::make_mut(&mut lost.task).status;
    status.state = TaskState::Orphaned;
    let mut rig = Rig::on(vec![runs(1, 1)], ledger(&[task(1, &service())]));
    order(&mut rig, &[lost]);
    rig.live(SECOND);
    assert!(rig.words().contains(&"stop 1 - 10 drained".to_owned()));
    assert_eq!(rig.state(TaskId(1)), TaskState::Orphaned);
}

#[test]
fn one_that_joined_a_namespace_which_is_replaced_follows_after_a_restart() {
    let (old, new) = (task(1, &service()), task(3, &service()));
    let joins = |owner: u128| AssignedTask { joins: Some(TaskId(owner)), ..task(2, &service()) };
    let joined = Observed { space: Some(TaskId(1)), ..runs(2, 1) };
    let mut rig = Rig::on(vec![runs(1, 1), joined, runs(3, 1)], ledger(&[old.clone(), joins(1)]));
    order(&mut rig, &[old, joins(3), new]);
    assert!(rig.asked().endpoints.contains_key(&TaskId(1)), "somebody runs in there");
    rig.live(SECOND);
    assert!(rig.words().iter().any(|word| word == "start 2 restarts=0"), "it runs where the other one is");
}

#[test]
fn a_start_of_which_nothing_is_left_does_not_fall_back() {
    let mut started = task(1, &service());
    std::sync::Arc::make_mut(&mut started.task).status.state = TaskState::Starting;
    let mut rig = Rig::on(Vec::new(), ledger(&[task(1, &service())]));
    order(&mut rig, &[started]);
    rig.answer("prepare", Err(EffectError::transient("no route to the registry")));
    rig.pass(SECOND / 10);
    assert_eq!(rig.state(TaskId(1)), TaskState::Starting, "managers hear nothing of one that falls");
    assert!(rig.message(TaskId(1)).contains("no route to the registry"));
}

#[test]
fn nobody_starts_beside_a_container_that_goes_on_with_its_data() {
    // The ledger was not written in time: it says that the first is wanted, and the second, which replaced it, runs.
    let mut spec = service();
    spec.restart = in_place(RestartCondition::Any, None);
    (spec.network_mode, spec.networks) = (NetworkMode::Host, Vec::new());
    let second = Observed { volumes_of: Some(TaskId(1)), ..runs(2, 1) };
    let first = task(1, &spec);
    let mut rig = Rig::silent(vec![ended(1, 1), second], ledger(std::slice::from_ref(&first)));
    rig.live(SECOND * 60);
    assert!(!rig.words().iter().any(|word| word.starts_with("start 1")), "{:?}", rig.words());
    // Of another it does not wait.
    let mut rig = Rig::silent(vec![ended(1, 1), runs(2, 1)], ledger(&[first]));
    rig.live(SECOND * 60);
    assert!(rig.words().iter().any(|word| word.starts_with("start 1")));
}
