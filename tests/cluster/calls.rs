//! Containers on other nodes, by any manager.

use e2e::{BUSYBOX, Lab, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn what_runs_elsewhere_is_reached_from_any_manager() {
    let Some(lab) = Lab::cluster(2, 1) else { return };
    let first = &lab.hosts[0];
    let script = "echo hello from $(hostname); trap 'echo ends; exit 7' TERM; while :; do sleep 0.1; done";
    let words = ["service", "create", "-d", "--name", "web", "--constraint", "node.hostname==host3"];
    first.rswarm(words.iter().chain(&[BUSYBOX, "sh", "-c", script])).ok();
    eventually("it runs on host3", SOON, || lab.places(0, "web") == ["host3"]);
    assert!(first.sh("ps -q").lines().len() == 1 || first.sh("ps -q").lines().is_empty());
    for manager in &lab.hosts[..2] {
        eventually("its words", SOON, || manager.sh("logs web.1").stdout.contains("hello from"));
        manager.rswarm(["exec", "web.1", "sh", "-c", "echo in; exit 3"]).exits(3).prints("in");
        let input = manager.rswarm_with_input(["exec", "-i", "web.1", "cat"], b"there and back");
        input.ok().prints("there and back");
        manager.sh("top web.1").ok().says("sleep");
        manager.sh("stats --no-stream web.1").ok().says("web.1");
        assert_eq!(manager.inspect("web.1", "{{.State.Status}}"), "running");
        manager.write("in.txt", "copied");
        manager.rswarm(["cp", "in.txt", "web.1:/tmp/in.txt"]).ok();
        manager.rswarm(["cp", "web.1:/tmp/in.txt", "out.txt"]).ok();
        assert_eq!(std::fs::read_to_string(manager.work().join("out.txt")).unwrap(), "copied");
        manager.sh("pause web.1").ok();
        manager.sh("unpause web.1").ok();
    }
    lab.hosts[1].sh("exec none true").fails().complains("no such container");

    // What a person runs, runs where it was asked for.
    lab.hosts[1].rswarm(["run", "--rm", BUSYBOX, "echo", "here"]).ok().prints("here");
}

#[test]
fn logs_and_events_of_several_nodes_come_together() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let first = &lab.hosts[0];
    let text = format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sh -c 'echo said; exec sleep 10000'\n    \
         deploy: {{mode: global}}\n    stop_grace_period: 0s\n"
    );
    first.up("shop", &text).ok();
    let said = || first.rswarm(["logs", "-p", "shop", "--no-log-prefix"]).stdout.matches("said").count();
    eventually("three said something", SOON, || said() == 3);
    let since = ["events", "--since", "5m", "--until", "0s", "--filter", "event=start"];
    eventually("three began", SOON, || {
        first.rswarm(since).lines().iter().filter(|line| line.contains("container start")).count() == 3
    });
}
