//! What runs goes on while daemons are replaced by newer ones, one after the other, under load; and images reach
//! machines that no registry serves.

use std::time::Duration;

use e2e::{Keepers, Lab, WEB, Writer, eventually};

const SOON: Duration = Duration::from_secs(40);

#[test]
fn daemons_are_replaced_by_new_ones_and_no_container_notices() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    let managers = &lab.hosts[..3];
    lab.create_web(0, &["--mode", "global"]);
    lab.runs_once(0, 4, SOON);
    let processes = || lab.hosts.iter().map(|host| host.processes(WEB)).collect::<Vec<_>>();
    let before = processes();
    let keepers = Keepers::start(managers);
    let writer = Writer::new(managers, "w");
    // As a package is upgraded: another file takes the place of the one that all is running from.
    let installed = managers[0].work().join("rswarm");
    writer.during(|| {
        for _ in 0..2 {
            let new = installed.with_extension("new");
            std::fs::copy(e2e::binary(), &new).unwrap();
            std::fs::rename(new, &installed).unwrap();
            for host in &lab.hosts {
                host.upgrade(installed.clone());
                host.stop_daemon();
                host.start_daemon();
                lab.all_ready(4);
            }
            writer.goes_on(SOON);
        }
    });
    writer.expect_all(managers);
    lab.runs_once(0, 4, SOON);
    assert_eq!(processes(), before, "the same processes");
    keepers.end(&managers[0]);
    println!("{} writes acknowledged, at most {:?} apart", writer.count(), writer.longest_gap());
}

#[test]
fn an_image_that_one_machine_has_reaches_the_others() {
    let Some(lab) = Lab::cluster(2, 1) else { return };
    // Importing makes an image that has another id each time, so that no other machine can have it.
    let words = ["image", "import", "--change", "CMD [\"sleep\", \"10000\"]"];
    let tar = e2e::rootfs_tar().display().to_string();
    // Of the manager that is asked, and of the other one.
    for (has, name) in [(0, "only:here"), (1, "only:there")] {
        let has = &lab.hosts[has];
        has.rswarm(words.iter().map(|word| (*word).to_owned()).chain([tar.clone(), name.to_owned()])).ok();
        let id = has.inspect(name, "{{.Id}}");
        let service = name.replace(':', "-");
        let words = ["service", "create", "-d", "--mode", "global", "--stop-grace-period", "0s", "--name", &service];
        lab.hosts[0].rswarm(words.iter().chain(&[name])).ok();
        eventually("one on each", SOON, || lab.places(0, &service) == ["host1", "host2", "host3"]);
        for host in &lab.hosts {
            assert!(host.rswarm(["images", "-q", "--no-trunc"]).ok().lines().contains(&id));
        }
    }
    // One that is asked of no registry, as what a stack has built is, goes from node to node as well.
    let text = "services:\n  web:\n    image: only:here\n    pull_policy: never\n    stop_grace_period: 0s\n    deploy: {mode: global}\n";
    let has = &lab.hosts[0];
    has.rswarm(words.iter().map(|word| (*word).to_owned()).chain([tar, "only:here".to_owned()])).ok();
    let file = has.write("never.yaml", text);
    has.rswarm(["up", "-p", "never", "-f", &file]).ok();
    assert_eq!(lab.places(0, "never_web"), ["host1", "host2", "host3"]);
    lab.hosts[0].rswarm(["service", "create", "--name", "none", "not:there"]).fails().complains("not:there");
}
