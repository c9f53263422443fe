//! Machines that are booted anew, or frozen with all that runs on them.

use e2e::{BUSYBOX, Lab, WEB, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_worker_that_is_booted_runs_all_again_without_a_manager() {
    let Some(lab) = Lab::cluster(1, 1) else { return };
    let (manager, worker) = (&lab.hosts[0], &lab.hosts[1]);
    // What the shell forks has its command line for a moment: the word that is looked for is not in it.
    let script = "echo start >> /data/starts; mkdir -p /www; echo here > /www/index.html; httpd -p 80 -h /www; \
                  exec sleep $$SECONDS_TO_LIVE";
    let deploy = "{replicas: 2, placement: {constraints: [node.role==worker]}}";
    let web = format!(
        "{{image: {BUSYBOX}, command: [sh, -c, '{script}'], environment: {{SECONDS_TO_LIVE: '{WEB}'}}, \
         volumes: ['data:/data'], ports: ['8080:80'], stop_grace_period: 0s, deploy: {deploy}}}"
    );
    manager.up("shop", &format!("services:\n  web: {web}\nvolumes:\n  data: {{}}\n")).ok();
    let answers = || worker.get("http://127.0.0.1:8080/").as_deref() == Some("here\n");
    eventually("it answers", SOON, answers);
    let containers = || worker.sh("ps -q --no-trunc").ok().lines();
    eventually("both are told as running", SOON, || containers().len() == 2);
    let before = containers();
    // An agent writes down what it is told within a tenth of a second.
    std::thread::sleep(Duration::from_millis(300));
    manager.kill_daemon();
    lab.reboot(1);
    eventually("both run", SOON, || worker.processes(WEB).len() == 2);
    eventually("it answers", SOON, answers);
    // A container's process is there a moment before the agent has noted that it runs.
    eventually("the same containers are told as running", SOON, || containers().len() == 2);
    assert_eq!(containers(), before);
    worker.rswarm(["exec", &before[0], "cat", "/data/starts"]).ok().prints(&"start\n".repeat(4));
    let names = || worker.rswarm(["exec", &before[0], "nslookup", "tasks.web"]).succeeded();
    eventually("they have names", SOON, names);
    // And what ends by itself.
    let one = worker.processes(WEB).pop_first().and_then(Pid::from_raw).unwrap();
    kill_process(one, Signal::KILL).unwrap();
    eventually("both run again", SOON, || {
        worker.processes(WEB).len() == 2 && !worker.processes(WEB).contains(&one.as_raw_nonzero().get())
    });
    eventually("both are told as running again", SOON, || containers().len() == 2);
    let processes = worker.processes(WEB);

    manager.start_daemon();
    lab.all_ready(2);
    eventually("the manager sees both", SOON, || lab.places(0, "shop_web") == ["host2", "host2"]);
    assert_eq!((containers(), worker.processes(WEB)), (before, processes));
}

#[test]
fn a_machine_that_was_frozen_stops_its_copies_and_the_new_ones_live() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    lab.create_web(0, &["--replicas", "2", "--constraint", "node.role==worker"]);
    lab.runs_once(0, 2, SOON);
    let (frozen, other) = (&lab.hosts[1], &lab.hosts[2]);
    let copies = frozen.processes(WEB);
    assert_eq!(copies.len(), 1);
    frozen.freeze(true);
    eventually("both run elsewhere", SOON, || lab.places(0, "web") == ["host3", "host3"]);
    let new = other.processes(WEB);
    assert_eq!((new.len(), frozen.processes(WEB)), (2, copies));
    frozen.freeze(false);
    eventually("its copy is stopped", SOON, || frozen.processes(WEB).is_empty());
    lab.all_ready(3);
    lab.runs_once(0, 2, SOON);
    assert_eq!(other.processes(WEB), new, "the same processes");
}
