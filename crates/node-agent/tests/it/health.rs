//! Health checks as a task lives with them.

use crate::rig::*;
use model::*;
use node_agent::{AgentInput, EffectError, Outcome};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn checked() -> ServiceSpec {
    let mut spec = service();
    spec.ports = vec![port(80, 8080)];
    spec.container.healthcheck = Some(HealthCheck {
        test: Some(HealthTest::CmdShell("curl -f localhost".to_owned())),
        interval: Some(2 * SECOND),
        timeout: Some(SECOND),
        retries: Some(2),
        ..HealthCheck::default()
    });
    spec
}

fn verdict(rig: &Rig, id: TaskId) -> Verdict {
    rig.container(id).health.as_ref().unwrap().verdict
}

fn failing(rig: &Rig) -> Result<Outcome, EffectError> {
    Ok(Outcome::Probed { start: rig.now, exit_code: 1, output: "connection refused".to_owned() })
}

#[test]
fn traffic_waits_for_the_first_success() {
    let (mut rig, id) = Rig::running(&checked());
    assert_eq!(verdict(&rig, id), Verdict::Starting);
    rig.pass(2 * SECOND);
    assert_eq!(rig.open_words(), ["probe 1"]);
    let success = Ok(Outcome::Probed { start: rig.now, exit_code: 0, output: String::new() });
    rig.answer("probe", success);
    assert_eq!(rig.open_words(), ["net [1] [8080x1]"]);
    rig.pass(SECOND);
    assert_eq!(verdict(&rig, id), Verdict::Healthy);
    rig.work();
    let reports = rig.reports.len();
    rig.live(60 * SECOND);
    assert_eq!(rig.reports.len(), reports, "a check that goes on as before is nothing to tell");
}

#[test]
fn an_unhealthy_task_of_a_service_is_stopped_and_failed() {
    let (mut rig, id) = Rig::running(&checked());
    for _ in 0..2 {
        rig.pass(2 * SECOND);
        let failing = failing(&rig);
        rig.answer("probe", failing);
    }
    assert_eq!(rig.open_words(), ["stop 1 - 10"]);
    rig.live(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Failed, "unhealthy: connection refused (exit code 1)"));
    assert_eq!(verdict(&rig, id), Verdict::Unhealthy);
}

#[test]
fn an_unhealthy_task_is_started_again_where_nobody_would_replace_it() {
    let (mut rig, id) = Rig::running(&checked());
    rig.input(AgentInput::SessionLost);
    for _ in 0..2 {
        rig.pass(2 * SECOND);
        let failing = failing(&rig);
        rig.answer("probe", failing);
    }
    rig.words();
    rig.live(20 * SECOND);
    assert!(rig.words().contains(&"start 1 restarts=1".to_owned()));
    rig.input(AgentInput::SessionUp);
    rig.live(SECOND);
    assert_eq!((rig.state(id), verdict(&rig, id)), (TaskState::Running, Verdict::Healthy));
}

#[test]
fn an_unhealthy_container_of_a_person_is_only_told() {
    let mut spec = checked();
    spec.standalone = true;
    spec.stack = None;
    let (mut rig, id) = Rig::running(&spec);
    for _ in 0..2 {
        rig.pass(2 * SECOND);
        let failing = failing(&rig);
        rig.answer("probe", failing);
    }
    rig.pass(SECOND);
    assert_eq!((rig.state(id), verdict(&rig, id)), (TaskState::Running, Verdict::Unhealthy));
    rig.live(5 * SECOND);
    assert_eq!(verdict(&rig, id), Verdict::Healthy);
}

#[test]
fn the_image_may_bring_the_check() {
    let mut rig = Rig::new();
    rig.image_health = checked().container.healthcheck;
    let id = rig.add(1, &service());
    rig.assign();
    rig.live(SECOND);
    assert_eq!(verdict(&rig, id), Verdict::Starting);
    rig.live(3 * SECOND);
    assert_eq!(verdict(&rig, id), Verdict::Healthy);
}

#[test]
fn a_stop_does_not_wait_for_a_probe_whose_result_is_ignored() {
    let (mut rig, id) = Rig::running(&checked());
    rig.pass(2 * SECOND);
    rig.change(id, |task| task.desired = Desired::Shutdown);
    rig.assign();
    assert_eq!(rig.open_words(), ["probe 1", "stop 1 - 10"]);
    let failing = failing(&rig);
    rig.answer("probe", failing);
    rig.live(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Shutdown, ""));
}

#[test]
fn a_frozen_container_is_not_probed() {
    let (mut rig, id) = Rig::running(&checked());
    rig.input(node_agent::AgentInput::Paused { task: id, paused: true });
    rig.live(10 * SECOND);
    assert!(!rig.words().contains(&"probe 1".to_owned()));
    assert_eq!(rig.container(id).state, ContainerState::Paused);
    rig.input(node_agent::AgentInput::Paused { task: id, paused: false });
    rig.live(SECOND);
    assert!(rig.words().contains(&"probe 1".to_owned()));
    assert_eq!(rig.container(id).state, ContainerState::Running);
}
