//! Who is in: `init`, `join`, `promote`, `demote`, `drain`, `leave`, `rm`.

use std::time::Duration;

use e2e::{Lab, eventually};

const SOON: Duration = Duration::from_secs(20);

fn node(lab: &Lab, by: usize, name: &str, column: &str) -> String {
    let rows = lab.hosts[by].rswarm(["node", "ls", "--format", &format!("{{{{.Hostname}}}} {{{{.{column}}}}}")]);
    let prefix = format!("{name} ");
    rows.lines().into_iter().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).unwrap_or_default()
}

fn runs_on(lab: &Lab, places: &[&str]) {
    eventually(&format!("web runs on {places:?}"), SOON, || lab.places(0, "web") == places);
}

#[test]
fn machines_join_take_tasks_drain_and_leave() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let worker = &lab.hosts[1];
    worker.rswarm(["service", "ls"]).fails().complains("this node is a worker").complains(&Lab::address(0));
    lab.create_web(0, &["--replicas", "3"]);
    runs_on(&lab, &["host1", "host2", "host3"]);
    // Each node answers for itself.
    assert_eq!(worker.sh("ps -q").ok().lines().len(), 1);

    lab.hosts[0].sh("node update --availability drain host3").ok();
    eventually("none on host3", SOON, || {
        let places = lab.places(0, "web");
        places.len() == 3 && places.iter().all(|place| place != "host3")
    });
    lab.hosts[0].sh("node update --availability active host3").ok();

    worker.sh("leave").ok();
    eventually("host2 is down", SOON, || node(&lab, 0, "host2", "Status") == "Down");
    eventually("three elsewhere", SOON, || lab.places(0, "web").iter().filter(|place| *place != "host2").count() == 3);
    eventually("nothing of it runs on host2", SOON, || worker.sh("ps -q").lines().is_empty());
    lab.hosts[0].sh("node rm host2").ok();
    assert_eq!(node(&lab, 0, "host2", "Status"), "");
    // One that was removed has nobody left to tell that it goes.
    lab.hosts[0].sh("node rm --force host3").ok();
    eventually("it may leave", SOON, || lab.hosts[2].sh("leave").succeeded());
    eventually("it is a machine of its own", SOON, || lab.hosts[2].sh("info").stdout.contains("Cluster: inactive"));
}

#[test]
fn a_worker_becomes_a_manager_and_a_worker_again() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    lab.create_web(0, &["--replicas", "3"]);
    runs_on(&lab, &["host1", "host2", "host3"]);
    let before = lab.hosts[1].sh("ps -q --no-trunc").ok().text();
    lab.hosts[0].sh("node promote host2 host3").ok();
    for (index, name) in [(1, "host2"), (2, "host3")] {
        eventually(&format!("{name} answers as a manager"), SOON, || lab.hosts[index].sh("service ls").succeeded());
    }
    // Its containers did not notice.
    eventually("the same container", SOON, || lab.hosts[1].sh("ps -q --no-trunc").lines().contains(&before));
    lab.hosts[1].sh("node demote host3").ok();
    eventually("host3 is a worker", SOON, || !lab.hosts[2].sh("service ls").succeeded());
    runs_on(&lab, &["host1", "host2", "host3"]);
}
