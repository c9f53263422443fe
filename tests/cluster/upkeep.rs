//! What runs goes on while the cluster around it changes: daemons that are restarted one after the other,
//! certificates that are replaced under load; and images reach machines that no registry serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Host, Lab, eventually, eventually_some};

const SOON: Duration = Duration::from_secs(40);

/// Writes on this host until told to stop; the names of what was acknowledged.
fn write(host: &Host, tag: &str, stop: &AtomicBool) -> BTreeSet<String> {
    let mut done = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{tag}-{number}");
        if host.rswarm_with_input(["secret", "create", &name, "-"], b"x").succeeded() {
            done.insert(name);
        }
    }
    done
}

fn secrets(host: &Host) -> BTreeSet<String> {
    let rows = eventually_some("secrets are listed", SOON, || {
        let rows = host.rswarm(["secret", "ls", "--format", "{{.Name}}"]);
        rows.succeeded().then(|| rows.lines())
    });
    rows.into_iter().collect()
}

/// The processes of the containers of a host, by container.
fn processes(host: &Host) -> BTreeMap<String, String> {
    let containers = host.sh("ps -q --no-trunc").ok().lines();
    containers.into_iter().map(|id| (id.clone(), host.inspect(&id, "{{.State.Pid}}"))).collect()
}

#[test]
fn daemons_and_certificates_are_replaced_and_no_container_notices() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    lab.create_web(0, &["--mode", "global"]);
    eventually("one on each", SOON, || lab.places(0, "web") == ["host1", "host2", "host3", "host4"]);
    let before: Vec<_> = lab.hosts.iter().map(processes).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&lab.hosts[0], "w", &stop));
        lab.hosts[1].sh("ca --rotate -q").ok();
        stop.store(true, Ordering::Relaxed);
        let done = writer.join().unwrap();
        assert!(done.is_subset(&secrets(&lab.hosts[2])));
    });
    for host in &lab.hosts {
        host.stop_daemon();
        host.start_daemon();
        lab.all_ready(4);
    }
    eventually("all run", SOON, || lab.places(0, "web") == ["host1", "host2", "host3", "host4"]);
    for (host, before) in lab.hosts.iter().zip(before) {
        eventually("the same processes", SOON, || processes(host) == before);
    }
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
