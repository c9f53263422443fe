//! Disks that are full: what cannot be done says why, all else goes on, and so does that once there is room.

use e2e::{BUSYBOX, Host, Keepers, Lab, Options, WEB, Writer, eventually};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);
/// Of the disk that fills up.
const SIZE: u64 = 48 << 20;

/// The disk of a host is full until this is dropped.
struct Full(PathBuf);

impl Full {
    fn fill(host: &Host) -> Full {
        let path = host.data().join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        // Until there is no room for a page.
        while file.write_all(&[1; 4096]).is_ok() {}
        Full(path)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// Machines of which one has a small disk.
fn lab(count: usize, small: usize) -> Option<Lab> {
    let disk = |index| (index == small).then_some(SIZE);
    Lab::with(count, |index, options| Options { disk: disk(index), ..options })
}

#[test]
fn a_worker_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let Some(lab) = lab(2, 1) else { return };
    lab.form(1, 1);
    let (manager, worker) = (&lab.hosts[0], &lab.hosts[1]);
    lab.create_web(0, &["--constraint", "node.role==worker"]);
    lab.runs_once(0, 1, SOON);
    let web = worker.processes(WEB);
    let full = Full::fill(worker);
    let words = ["service", "create", "-d", "--name", "more", "--stop-grace-period", "0s"];
    let more = ["--constraint", "node.role==worker", BUSYBOX, "sleep", "30000"];
    manager.rswarm(words.iter().chain(&more)).ok();
    let mut said = String::new();
    eventually("the task says what is missing", SOON, || {
        let rows = manager.rswarm(["service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "more"]);
        said = rows.ok().stdout;
        said.contains("no room") || said.contains("No space left on device")
    });
    println!("{said}");
    assert_eq!(worker.processes(WEB), web);
    lab.all_ready(2);
    drop(full);
    eventually("it runs", SOON, || worker.processes("30000").len() == 1);
    assert_eq!(worker.processes(WEB), web);
}

#[test]
fn a_leader_whose_disk_is_full_lets_another_lead_and_catches_up_when_there_is_room() {
    let Some(lab) = lab(3, 0) else { return };
    lab.form(3, 0);
    let keepers = Keepers::start(&lab.hosts);
    let first = &lab.hosts[0];
    let writer = Writer::new(&lab.hosts, "w");
    assert_eq!(lab.leader(1), 0);
    writer.during(|| {
        writer.goes_on(SOON);
        let full = Full::fill(first);
        eventually("another leads", SOON, || lab.leader(1) != 0);
        writer.goes_on(SOON);
        lab.ready_by(1, 3);
        // What it does not know it asks the others.
        lab.all_ready(3);
        keepers.expect();
        drop(full);
        writer.goes_on(SOON);
    });
    writer.expect_all(&lab.hosts);
    lab.all_ready(3);
    keepers.end(first);
    println!("{} writes acknowledged, at most {:?} apart", writer.count(), writer.longest_gap());
}
