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
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let first = &lab.hosts[0];
    // Importing makes an image that has another id each time, so that no other machine can have it.
    let words = ["image", "import", "--change", "CMD [\"sleep\", \"10000\"]"];
    let tar = e2e::rootfs_tar().display().to_string();
    first.rswarm(words.iter().map(|word| (*word).to_owned()).chain([tar, "only:here".to_owned()])).ok();
    let id = first.inspect("only:here", "{{.Id}}");
    let words = ["service", "create", "-d", "--name", "web", "--mode", "global", "--stop-grace-period", "0s"];
    first.rswarm(words.iter().chain(&["only:here"])).ok();
    eventually("one on each", SOON, || lab.places(0, "web") == ["host1", "host2", "host3"]);
    for host in &lab.hosts[1..] {
        assert!(host.rswarm(["images", "-q", "--no-trunc"]).ok().lines().contains(&id));
    }
}
