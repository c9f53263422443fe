//! Managers that are lost for good: replaced while there is a majority, and what is left goes on alone when there is
//! none any more.

use e2e::{Keepers, Lab, WEB, Writer, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Waits until that many managers have a vote.
fn votes(lab: &Lab, by: usize, count: usize) {
    eventually(&format!("{count} managers vote"), SOON, || {
        let rows = lab.hosts[by].rswarm(["node", "ls", "--format", "{{.ManagerStatus}}"]);
        rows.lines().iter().filter(|line| ["Leader", "Reachable"].contains(&line.as_str())).count() == count
    });
}

#[test]
fn a_manager_that_died_for_good_is_replaced() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    lab.create_web(0, &["--replicas", "4"]);
    lab.runs_once(0, 4, SOON);
    votes(&lab, 0, 3);
    let dead = lab.leader(0);
    let (by, other) = ((dead + 1) % 3, (dead + 2) % 3);
    let survivors = [&lab.hosts[by], &lab.hosts[other]];
    let keepers = Keepers::start(survivors);
    let writer = Writer::new(survivors, "w");
    let name = format!("host{}", dead + 1);
    writer.during(|| {
        writer.goes_on(SOON);
        lab.lose(dead);
        lab.runs_once(by, 4, SOON);
        writer.goes_on(SOON);
        lab.hosts[by].rswarm(["node", "demote", &name]).ok();
        lab.hosts[by].rswarm(["node", "rm", &name]).ok();
        lab.boot(dead);
        lab.join_by(by, dead, "manager").ok();
        votes(&lab, by, 3);
        // The new one has a vote that counts.
        lab.hosts[other].kill_daemon();
        writer.goes_on(SOON);
        lab.hosts[other].start_daemon();
        lab.ready_by(by, 4);
        writer.goes_on(SOON);
    });
    writer.expect_all(&lab.hosts[..3]);
    lab.runs_once(dead, 4, SOON);
    keepers.end(&lab.hosts[by]);
}

#[test]
fn one_that_is_left_goes_on_alone_and_the_others_come_back() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    let (first, cut_off, worker) = (&lab.hosts[0], &lab.hosts[2], &lab.hosts[3]);
    lab.create_web(0, &["--replicas", "2", "--constraint", "node.role==worker"]);
    lab.runs_once(0, 2, SOON);
    let web = worker.processes(WEB);
    let keepers = Keepers::start([first]);
    let before = Writer::new(&lab.hosts[..3], "before");
    before.during(|| std::thread::sleep(Duration::from_secs(1)));
    before.expect_all([first]);
    lab.lose(1);
    lab.part(&[2]);

    first.sh("init --force-new-cluster").ok();
    let alone = Writer::new([first], "alone");
    alone.during(|| alone.goes_on(SOON));
    // The worker finds it by itself, and has noticed nothing.
    lab.ready_by(0, 2);
    lab.runs_once(0, 2, SOON);
    assert_eq!(worker.processes(WEB), web);
    keepers.expect();

    // Who holds the older truth is not let in with it, and says what to do.
    lab.heal();
    cut_off.sh("node ls").fails().complains("no manager has answered");
    first.rswarm(["node", "ls", "--filter", "name=host3", "--format", "{{.Status}}"]).ok().prints("Down");
    cut_off.sh("leave --force").ok();
    first.sh("node rm host2 host3").ok();
    lab.join_by(0, 2, "manager").ok();
    lab.boot(1);
    lab.join_by(0, 1, "manager").ok();
    votes(&lab, 0, 3);
    for writer in [&before, &alone] {
        writer.expect_all(&lab.hosts[..3]);
    }
    assert_eq!(worker.processes(WEB), web);
    keepers.end(first);
}

#[test]
fn a_backup_on_a_new_machine_brings_all_back() {
    let Some(lab) = Lab::cluster(2, 1) else { return };
    let (first, new, worker) = (&lab.hosts[0], &lab.hosts[1], &lab.hosts[2]);
    lab.create_web(0, &["--replicas", "2", "--constraint", "node.role==worker"]);
    lab.runs_once(0, 2, SOON);
    let web = worker.processes(WEB);
    let _keepers = Keepers::start([first]);
    let writer = Writer::new([first, new], "w");
    writer.during(|| std::thread::sleep(Duration::from_secs(1)));
    let key = lab.hosts[2].write("key", &format!("RWMKEY-1-{}\n", "5a".repeat(32)));
    let file = lab.hosts[2].work().join("backup").display().to_string();
    first.rswarm(["cluster", "backup", "--key-file", &key, &file]).ok();
    lab.lose(0);
    lab.lose(1);

    lab.boot(1);
    lab.take_address(1, 0);
    new.rswarm(["cluster", "restore", "--key-file", &key, &file]).ok();
    writer.expect_all([new]);
    // The worker finds it where the other was, and has noticed nothing; what ran on that starts here.
    new.sh("service scale -d web=3").ok();
    lab.runs_once(1, 3, SOON);
    assert!(worker.processes(WEB).is_superset(&web));
    eventually("what ran on the lost manager runs here", SOON, || new.processes("20000").len() == 1);
    new.rswarm(["rm", "-f", &format!("keeper-{}", first.cgroup())]).ok();
    let later = Writer::new([new], "later");
    later.during(|| later.goes_on(SOON));
    later.expect_all([new]);
}
