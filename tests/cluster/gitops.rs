//! Sources that a cluster follows: asked of any manager, followed by one.

use e2e::{BUSYBOX, Host, Lab, eventually, run};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// A commit with one service of this version.
fn commit(folder: &str, version: u32) {
    let text = format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    \
         environment: {{V: '{version}'}}\n"
    );
    std::fs::write(format!("{folder}/stack.yaml"), text).unwrap();
    let script = "git add -A && git -c user.name=a -c user.email=a@example.com commit -q -m change";
    run(Command::new("sh").args(["-c", script]).current_dir(folder)).ok();
}

fn version(host: &Host) -> String {
    let words = ["service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Env}}", "shop_web"];
    host.rswarm(words).stdout.trim().to_owned()
}

#[test]
fn a_source_is_asked_of_any_manager_and_outlives_the_one_that_follows_it() {
    let Some(lab) = Lab::cluster(3, 0) else { return };
    let folder = lab.hosts[0].work().join("repo").display().to_string();
    run(Command::new("git").args(["init", "-q", "-b", "main", &folder])).ok();
    commit(&folder, 1);
    let url = format!("file://{folder}");
    // The second manager does not lead.
    lab.hosts[1].rswarm(["gitops", "add", "shop", &url, "--ref", "main", "--interval", "1h"]).ok();
    eventually("the first commit runs", SOON, || version(&lab.hosts[2]).contains("V=1"));
    commit(&folder, 2);
    lab.hosts[2].sh("gitops sync shop").ok();
    eventually("the second commit runs", SOON, || version(&lab.hosts[1]).contains("V=2"));
    // Whoever leads then follows. By then all three have a vote: they catch up first.
    std::thread::sleep(Duration::from_secs(3));
    lab.hosts[0].kill_daemon();
    commit(&folder, 3);
    eventually("a new leader follows", SOON, || lab.hosts[1].sh("gitops sync shop").succeeded());
    eventually("the third commit runs", SOON, || version(&lab.hosts[2]).contains("V=3"));
    lab.hosts[0].start_daemon();
    lab.hosts[1].sh("gitops rm shop").ok();
}
