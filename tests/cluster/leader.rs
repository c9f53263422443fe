//! The leader dies again and again while everybody writes.

use e2e::{Keepers, Lab, Writer};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const DEATHS: usize = 6;

#[test]
fn the_leader_dies_again_and_again_and_nothing_acknowledged_is_lost() {
    let Some(lab) = Lab::cluster(3, 2) else { return };
    let (managers, workers) = lab.hosts.split_at(3);
    lab.create_web(0, &["--replicas", "4", "--constraint", "node.role==worker"]);
    lab.runs_once(0, 4, SOON);
    let before: Vec<_> = workers.iter().map(|host| host.processes(e2e::WEB)).collect();
    let keepers = Keepers::start(managers);
    let writer = Writer::new(managers, "w");
    writer.during(|| {
        for death in 0..DEATHS {
            writer.goes_on(SOON);
            let leader = lab.leader(death % 3);
            managers[leader].kill_daemon();
            writer.goes_on(SOON);
            managers[leader].start_daemon();
        }
        writer.goes_on(SOON);
    });
    writer.expect_all(managers);
    lab.all_ready(5);
    lab.runs_once(1, 4, SOON);
    let after: Vec<_> = workers.iter().map(|host| host.processes(e2e::WEB)).collect();
    assert_eq!(after, before, "the same processes as before");
    keepers.end(&managers[0]);
    println!("{} writes acknowledged, at most {:?} apart", writer.count(), writer.longest_gap());
}
