//! Wires that are cut between managers: who has no majority says so, keeps what it has, and takes part again by
//! itself.

use e2e::{Host, Keepers, Lab, Writer, eventually};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
/// A request that finds no majority is given up after twenty seconds; the machine may be busy.
const REFUSED: Duration = Duration::from_secs(35);

/// Neither writes nor reads are answered there, which it says before long.
fn refuses(hosts: &[&Host]) {
    std::thread::scope(|scope| {
        for host in hosts {
            for words in ["volume create alone", "node ls"] {
                scope.spawn(move || {
                    let output = host.sh(words).fails().complains("no manager has answered");
                    assert!(output.took < REFUSED, "{output}");
                });
            }
        }
    });
}

#[test]
fn a_minority_with_the_old_leader_refuses_and_the_majority_goes_on() {
    let Some(lab) = Lab::cluster(5, 0) else { return };
    lab.create_web(0, &["--replicas", "5"]);
    lab.runs_once(0, 5, SOON);
    let keepers = Keepers::start(&lab.hosts);
    let writer = Writer::new(&lab.hosts, "w");
    let leader = lab.leader(0);
    let minority = [leader, (leader + 1) % 5];
    let majority: Vec<usize> = (0..5).filter(|index| !minority.contains(index)).collect();
    let by = majority[0];
    writer.during(|| {
        writer.goes_on(SOON);
        lab.part(&minority);
        eventually("all runs in the majority", SOON, || {
            let places = lab.places(by, "web");
            places.len() == 5 && minority.iter().all(|index| !places.contains(&format!("host{}", index + 1)))
        });
        writer.goes_on(SOON);
        let copies: usize = minority.iter().map(|index| lab.hosts[*index].processes(e2e::WEB).len()).sum();
        assert_eq!(copies, 2, "what runs in the minority goes on");
        keepers.expect();
        refuses(&minority.map(|index| &lab.hosts[index]));
        lab.heal();
        lab.ready_by(by, 5);
        lab.runs_once(by, 5, SOON);
        lab.runs_once(minority[0], 5, SOON);
    });
    writer.expect_all(&lab.hosts);
    keepers.end(&lab.hosts[by]);
    println!("{} writes acknowledged, at most {:?} apart", writer.count(), writer.longest_gap());
}

#[test]
fn without_a_majority_anywhere_nothing_changes_until_the_wires_are_mended() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    let managers = &lab.hosts[..3];
    lab.create_web(0, &["--replicas", "4"]);
    lab.runs_once(0, 4, SOON);
    let before: Vec<_> = lab.hosts.iter().map(|host| host.processes(e2e::WEB)).collect();
    let keepers = Keepers::start(managers);
    let writer = Writer::new(managers, "w");
    writer.during(|| writer.goes_on(SOON));
    (0..3).for_each(|index| lab.part(&[index]));
    refuses(&managers.iter().collect::<Vec<_>>());
    keepers.expect();
    let after: Vec<_> = lab.hosts.iter().map(|host| host.processes(e2e::WEB)).collect();
    assert_eq!(after, before, "the same processes as before");
    lab.heal();
    writer.during(|| writer.goes_on(SOON));
    lab.all_ready(4);
    writer.expect_all(managers);
    lab.runs_once(1, 4, SOON);
    keepers.end(&managers[0]);
}
