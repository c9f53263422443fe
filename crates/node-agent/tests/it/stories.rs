//! What happens to a task, from its assignment to its end.

use crate::rig::*;
use model::*;
use node_agent::{AgentInput, Effect, EffectError, NetFault, Outcome};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_assigned_task_is_prepared_beside_its_network_and_then_started() {
    let mut rig = Rig::new();
    let mut spec = service();
    spec.ports = vec![port(80, 8080)];
    let id = rig.add(1, &spec);
    rig.work();
    rig.words();
    rig.assign();
    assert_eq!(rig.open_words(), ["prepare 1", "net [1] [8080x0]"]);
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    assert_eq!(rig.open_words(), ["prepare 1"]);
    rig.answer("prepare", Ok(Outcome::Prepared { healthcheck: None }));
    assert_eq!(rig.open_words(), ["create 1"]);
    rig.answer("create", Ok(Outcome::Started { pid: 7, started_at: rig.now }));
    rig.pass(SECOND);
    assert_eq!(rig.state(id), TaskState::Running);
    assert_eq!((rig.container(id).state, rig.container(id).pid), (ContainerState::Running, 7));
    assert_eq!(rig.container(id).ports["80/tcp"], [8080]);
    assert_eq!(rig.open_words(), ["net [1] [8080x1]"], "traffic is let in once it runs");
}

#[test]
fn a_hundred_tasks_need_one_network_value_and_few_reports() {
    let mut rig = Rig::new();
    rig.work();
    rig.words();
    rig.reports.clear();
    for id in 1..=100 {
        rig.add(id, &service());
    }
    rig.assign();
    rig.live(SECOND);
    let words = rig.words();
    assert_eq!(words.iter().filter(|word| word.starts_with("net")).count(), 1);
    assert_eq!(words.iter().filter(|word| word.starts_with("create")).count(), 100);
    assert!(rig.told.values().all(|told| told.status.state == TaskState::Running));
    assert!(rig.reports.len() <= 3, "{} reports", rig.reports.len());
}

#[test]
fn a_stop_uses_the_signal_and_the_grace_that_were_asked_for() {
    let mut spec = service();
    spec.container.stop_signal = Some("SIGQUIT".to_owned());
    spec.container.stop_grace_period = Some(Duration::from_secs(3));
    let (mut rig, id) = Rig::running(&spec);
    rig.change(id, |task| task.desired = Desired::Shutdown);
    rig.assign();
    assert_eq!(rig.open_words(), ["stop 1 SIGQUIT 3"]);
    rig.work();
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Shutdown);
    assert_eq!(rig.container(id).exit_code, Some(143));
    assert!(rig.words().contains(&"net [] []".to_owned()), "its namespace goes");

    let (mut rig, id) = Rig::running(&service());
    rig.change(id, |task| {
        task.stopped_by_user = true;
        task.stop_signal = Some("INT".to_owned());
        task.stop_timeout = Some(1);
    });
    rig.assign();
    assert_eq!(rig.open_words(), ["stop 1 INT 1"]);
}

#[test]
fn who_goes_on_with_the_data_of_another_waits_until_that_one_has_stopped() {
    let (mut rig, first) = Rig::running(&service());
    let second = rig.add(2, &service());
    rig.change(second, |task| task.inherits = Some(Heritage { node: NODE, from: first }));
    // The managers hold the first for lost with its node, which is back.
    rig.change(first, |task| {
        (task.desired, task.status.state) = (Desired::Shutdown, TaskState::Orphaned);
    });
    rig.assign();
    rig.answer("prepare 2", Ok(Outcome::Prepared { healthcheck: None }));
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    assert_eq!(rig.open_words(), ["stop 1 - 10"]);
    rig.pass(SECOND);
    assert!(rig.message(second).contains("has stopped"), "{}", rig.message(second));
    rig.live(SECOND);
    assert_eq!(rig.state(second), TaskState::Running);

    // Others do not wait, be it for one that they would go on with on another node.
    for inherits in [None, Some(Heritage { node: NodeId(77), from: first })] {
        let (mut rig, first) = Rig::running(&service());
        let second = rig.add(2, &service());
        rig.change(second, |task| task.inherits = inherits);
        rig.assign();
        rig.live(SECOND);
        assert_eq!([first, second].map(|id| rig.state(id)), [TaskState::Running; 2]);
    }
}

#[test]
fn a_removed_task_is_stopped_removed_and_told_to_be_gone() {
    let (mut rig, id) = Rig::running(&service());
    rig.change(id, |task| {
        task.desired = Desired::Remove;
        task.remove_volumes = true;
    });
    rig.assign();
    rig.live(SECOND);
    let words = rig.words();
    assert_eq!(words, ["stop 1 - 10", "remove 1 volumes=true", "net [] []"]);
    assert!(rig.told[&id].removed);
    rig.order.tasks.clear();
    rig.assign();
    rig.live(SECOND);
    assert!(rig.words().is_empty());
}

#[test]
fn a_task_that_is_not_assigned_any_more_goes() {
    let (mut rig, id) = Rig::running(&service());
    rig.order.tasks.clear();
    rig.order.networks.clear();
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.words(), ["stop 1 - 10", "remove 1 volumes=false", "net [] []"]);
    assert!(rig.told[&id].removed);
}

#[test]
fn an_ending_is_told_as_what_it_is() {
    let cases = [(0, TaskState::Complete, ""), (3, TaskState::Failed, "exit code 3")];
    for (code, state, message) in cases {
        let (mut rig, id) = Rig::running(&service());
        rig.dies(id, code);
        rig.live(SECOND);
        assert_eq!((rig.state(id), rig.message(id)), (state, message));
        assert_eq!(rig.container(id).exit_code, Some(code));
        assert_eq!(rig.words(), ["net [] []"], "a task that is over is not started again here");
    }
}

#[test]
fn a_container_that_ends_before_its_start_is_told_is_known_to_have_run() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.assign();
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    rig.answer("prepare", Ok(Outcome::Prepared { healthcheck: None }));
    let exit = Exit { code: 0, oom_killed: false, started_at: rig.now, finished_at: rig.now };
    rig.input(node_agent::AgentInput::Exited { task: id, attempt: 1, exit });
    rig.answer("create", Ok(Outcome::Started { pid: 7, started_at: rig.now }));
    rig.pass(SECOND);
    assert_eq!(rig.state(id), TaskState::Complete);
}

#[test]
fn restarts_in_place_back_off_and_count() {
    let mut spec = service();
    spec.restart = in_place(RestartCondition::OnFailure, Some(2));
    let (mut rig, id) = Rig::running(&spec);
    rig.dies(id, 1);
    rig.pass(Duration::from_millis(60));
    assert_eq!(rig.state(id), TaskState::Running);
    assert_eq!((rig.container(id).state, rig.container(id).exit_code), (ContainerState::Restarting, Some(1)));
    rig.live(SECOND);
    assert_eq!(rig.container(id).state, ContainerState::Running);
    assert_eq!(rig.container(id).restart_count, 1);
    rig.dies(id, 1);
    rig.live(SECOND);
    rig.dies(id, 1);
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Failed, "two restarts were allowed");
    let words = rig.words();
    let starts: Vec<&String> = words.iter().filter(|word| word.starts_with("start")).collect();
    assert_eq!(starts, ["start 1 restarts=1", "start 1 restarts=2"]);
}

#[test]
fn a_task_that_ends_with_zero_is_done_when_only_failures_restart() {
    let mut spec = service();
    spec.restart = in_place(RestartCondition::OnFailure, None);
    let (mut rig, id) = Rig::running(&spec);
    rig.dies(id, 0);
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Complete);
}

#[test]
fn a_stop_by_hand_ends_the_wait_for_a_restart_and_a_start_begins_anew() {
    let mut spec = service();
    spec.restart = in_place(RestartCondition::Any, None);
    let (mut rig, id) = Rig::running(&spec);
    rig.dies(id, 1);
    rig.change(id, |task| task.stopped_by_user = true);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Shutdown);
    assert!(!rig.words().iter().any(|word| word.starts_with("start")));
    rig.change(id, |task| {
        task.stopped_by_user = false;
        task.attempt = 2;
    });
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Running);
    assert_eq!(rig.told[&id].status.attempt, 2);
    assert_eq!(rig.words(), ["net [1] []", "start 1 restarts=0"]);
}

#[test]
fn a_restart_by_hand_stops_what_runs_first() {
    let (mut rig, id) = Rig::running(&service());
    rig.change(id, |task| task.attempt = 2);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.words(), ["stop 1 - 10", "start 1 restarts=0"]);
    assert_eq!((rig.state(id), rig.told[&id].status.attempt), (TaskState::Running, 2));
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_rejects() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.assign();
    rig.answer("prepare", Err(EffectError::transient("registry does not answer")));
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.state(id), TaskState::Preparing);
    assert_eq!(rig.message(id), "registry does not answer (trying again in 250 ms)");
    rig.pass(SECOND);
    rig.answer("prepare", Err(EffectError::fatal("no such image")));
    rig.pass(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Rejected, "no such image"));
}

#[test]
fn a_start_that_fails_is_not_tried_again_at_once_because_its_image_is_there() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.assign();
    let end = rig.now.after(10 * SECOND);
    let mut starts = 0;
    while rig.now < end {
        while !rig.open.is_empty() {
            let (id, effect) = rig.open.remove(0);
            let result = match &effect {
                Effect::CreateAndStart(_) => {
                    starts += 1;
                    assert!(starts < 100, "at {:?}", rig.now);
                    Err(EffectError::transient("no room"))
                }
                effect => rig.succeed(effect),
            };
            rig.input(AgentInput::Done(id, result));
        }
        rig.pass(Duration::from_millis(50));
    }
    // After 0, 0.25, 0.75, 1.75, 3.75 and 7.75 s.
    assert_eq!((starts, rig.message(id)), (6, "no room (trying again in 8 s)"));
    rig.live(8 * SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Running, ""));
}

#[test]
fn a_start_that_cannot_work_tells_dockers_exit_code() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.assign();
    while !rig.open_words().contains(&"create 1".to_owned()) {
        let effect = rig.open[0].1.clone();
        let result = rig.succeed(&effect);
        rig.answer(&words(&effect), result);
    }
    let error = EffectError { exit_code: Some(127), ..EffectError::fatal("nope: not found") };
    rig.answer("create", Err(error));
    rig.pass(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Rejected, "nope: not found"));
    assert_eq!((rig.container(id).state, rig.container(id).exit_code), (ContainerState::Created, Some(127)));
}

#[test]
fn a_port_that_is_taken_rejects_only_the_task_that_publishes_it() {
    let mut rig = Rig::new();
    let mut spec = service();
    let other = rig.add(2, &spec);
    spec.ports = vec![port(80, 8080)];
    let id = rig.add(1, &spec);
    let message = "port 8080/tcp is taken by sshd".to_owned();
    rig.faults = vec![NetFault::Port { protocol: Protocol::Tcp, host_port: 8080, host_ip: None, message }];
    rig.assign();
    rig.live(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Rejected, "port 8080/tcp is taken by sshd"));
    assert_eq!(rig.state(other), TaskState::Running);
}

#[test]
fn a_ready_task_is_prepared_and_starts_when_it_is_told_to() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.change(id, |task| task.desired = Desired::Ready);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Ready);
    assert!(!rig.words().contains(&"create 1".to_owned()));
    let later = rig.now.after(5 * SECOND);
    rig.change(id, |task| {
        task.desired = Desired::Running;
        task.not_before = later;
    });
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(id), TaskState::Ready, "its time has not come");
    rig.live(5 * SECOND);
    assert_eq!(rig.state(id), TaskState::Running);
}

#[test]
fn an_older_generation_is_ignored() {
    let (mut rig, id) = Rig::running(&service());
    let mut old = rig.order.clone();
    old.generation.revision -= 1;
    old.tasks.clear();
    rig.input(node_agent::AgentInput::Assignment(Box::new(old)));
    rig.live(SECOND);
    assert!(rig.words().is_empty());
    assert_eq!(rig.state(id), TaskState::Running);
}

#[test]
fn a_volume_goes_once_its_users_are_gone_and_its_next_user_waits() {
    let mut spec = service();
    spec.container.mounts = vec![Mount {
        target: "/data".to_owned(),
        source: MountSource::Volume { name: "shop_data".to_owned(), nocopy: false, subpath: None },
        read_only: false,
    }];
    let (mut rig, id) = Rig::running(&spec);
    rig.change(id, |task| task.desired = Desired::Remove);
    rig.order.removed_volumes.insert("shop_data".to_owned());
    let next = rig.add(2, &spec);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.words().last().map(String::as_str), Some("rmvolume shop_data"));
    assert_eq!(rig.reports.last().unwrap().volumes_removed, ["shop_data"]);
    assert_eq!(rig.message(next), "waits until the old volume shop_data is removed");
    rig.order.removed_volumes.clear();
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.state(next), TaskState::Running);
}

#[test]
fn a_task_that_joins_another_waits_for_it_and_runs_in_its_namespace() {
    let mut rig = Rig::new();
    let owner = rig.add(2, &service());
    let mut spec = service();
    spec.network_mode = NetworkMode::Service("web".to_owned());
    let joiner = rig.add(1, &spec);
    rig.change(joiner, |task| task.endpoints.clear());
    rig.order.tasks.get_mut(&joiner).unwrap().joins = Some(owner);
    rig.assign();
    rig.pass(SECOND);
    rig.answer("prepare 1", Ok(Outcome::Prepared { healthcheck: None }));
    rig.pass(SECOND);
    assert!(rig.message(joiner).starts_with("waits for container"), "{}", rig.message(joiner));
    rig.live(SECOND);
    assert_eq!((rig.state(owner), rig.state(joiner)), (TaskState::Running, TaskState::Running));
}
