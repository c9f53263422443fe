//! What happens when machines are lost, cut off or frozen.

use e2e::{BUSYBOX, Lab, eventually};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
/// A node is lost, and its replicas run elsewhere: 5 s where nothing else runs, more in a crowd of tests.
const MOVED: Duration = Duration::from_secs(12);

fn moved(lab: &Lab, by: usize, from: &str, replicas: usize) {
    eventually(&format!("all runs elsewhere than on {from}"), MOVED, || {
        let places = lab.places(by, "web");
        places.iter().filter(|place| *place != from).count() == replicas
    });
}

#[test]
fn a_worker_that_is_cut_off_is_replaced_and_stops_its_copies_when_it_is_back() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    lab.create_web(0, &["--replicas", "3"]);
    eventually("one on each", SOON, || lab.places(0, "web") == ["host1", "host2", "host3"]);
    let copy = lab.hosts[2].sh("ps -q --no-trunc").ok().text();
    // A worker says what it is, and a line of a log whose it is.
    let swarm = "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.ContainersRunning}} {{.Name}}";
    lab.hosts[2].rswarm(["info", "-f", swarm]).ok().prints("active false 1 host3");
    lab.hosts[0]
        .rswarm([
            "service",
            "create",
            "--name",
            "says",
            "--mode",
            "global",
            "--stop-grace-period",
            "0s",
            BUSYBOX,
            "sh",
            "-c",
            "echo hi; sleep 1000",
        ])
        .ok();
    let lines = lab.hosts[0].sh("service logs says").ok().lines();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.starts_with("says.") && line.contains("@host")),
        "{lines:?}"
    );
    lab.hosts[0].sh("service rm says").ok();
    eventually("it is gone", SOON, || lab.hosts[2].sh("ps -a -q --no-trunc").ok().text() == copy);
    lab.cut(2, true);
    moved(&lab, 0, "host3", 3);
    // What the others say is told, and that something is missing.
    let logs = lab.hosts[0].sh("service logs web").ok();
    assert!(logs.stderr.contains("lines of") && logs.stderr.contains("missing"), "{logs}");
    // Alone it keeps what it has, and answers for it.
    assert_eq!(lab.hosts[2].sh("ps -q --no-trunc").ok().text(), copy);
    lab.cut(2, false);
    eventually("its copy has ended", SOON, || !lab.hosts[2].sh("ps -q --no-trunc").lines().contains(&copy));
    eventually("three run", SOON, || lab.places(0, "web").len() == 3);

    // Frozen, which no connection tells of.
    let on = |host: usize| lab.places(0, "web").contains(&format!("host{host}"));
    let host = if on(2) { 2 } else { 3 };
    lab.hosts[host - 1].freeze_daemon(true);
    moved(&lab, 0, &format!("host{host}"), 3);
    lab.hosts[host - 1].freeze_daemon(false);
    lab.all_ready(3);
}

#[test]
fn a_worker_whose_daemon_is_killed_keeps_its_containers() {
    let Some(lab) = Lab::cluster(1, 1) else { return };
    lab.create_web(0, &["--mode", "global"]);
    eventually("one on each", SOON, || lab.places(0, "web") == ["host1", "host2"]);
    let copy = lab.hosts[1].sh("ps -q --no-trunc").ok().text();
    lab.hosts[1].kill_daemon();
    lab.hosts[1].start_daemon();
    lab.all_ready(2);
    eventually("the same one", SOON, || lab.hosts[1].sh("ps -q --no-trunc").text() == copy);

    // With the manager gone it still starts again what ends, also after its daemon began anew.
    let alone = ["run", "-d", "--name", "keeper", "--restart", "always", BUSYBOX, "sleep", "10000"];
    lab.hosts[0].rswarm(alone).ok();
    // An agent writes down what it is told within a tenth of a second.
    std::thread::sleep(Duration::from_millis(300));
    lab.hosts[0].kill_daemon();
    lab.hosts[1].kill_daemon();
    lab.hosts[1].start_daemon();
    eventually("it answers for what it has", SOON, || lab.hosts[1].sh("ps -q --no-trunc").text() == copy);
    lab.hosts[0].start_daemon();
    lab.all_ready(2);
    lab.hosts[0].sh("rm -f keeper").ok();
}

#[test]
fn the_leader_is_killed_and_the_others_go_on() {
    let Some(lab) = Lab::cluster(3, 2) else { return };
    lab.create_web(0, &["--replicas", "5"]);
    eventually("five run", SOON, || lab.places(0, "web").len() == 5);
    let leader = (0..3).find(|index| {
        let rows = lab.hosts[0].rswarm(["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
        rows.lines().contains(&format!("host{} Leader", index + 1))
    });
    let leader = leader.expect("one leads");
    let other = (leader + 1) % 3;
    lab.hosts[leader].kill_daemon();
    let killed = Instant::now();
    eventually("a write is taken", SOON, || lab.hosts[other].rswarm(["network", "create", "after"]).succeeded());
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    let gone = format!("host{}", leader + 1);
    moved(&lab, other, &gone, 5);
    lab.hosts[leader].start_daemon();
    eventually("all five are there", SOON, || {
        let rows = lab.hosts[other].rswarm(["node", "ls", "--format", "{{.Status}}"]);
        rows.lines().iter().filter(|line| *line == "Ready").count() == 5
    });
    eventually("five run, and no more", SOON, || {
        let count: usize = lab.hosts.iter().map(|host| host.sh("ps -q").lines().len()).sum();
        lab.places(other, "web").len() == 5 && count >= 5
    });
    lab.hosts[other].sh("network rm after").ok();
}
