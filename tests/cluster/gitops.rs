//! Sources that a cluster follows: asked of any manager, followed by one.

use e2e::{BUSYBOX, Host, Lab, Numbers, eventually, run};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// For what waits for an election, on a machine with much else to do.
const LONG: Duration = Duration::from_secs(60);

/// With those of a daemon on its own (`single_host::gitops_crash`) it is 50 in all.
const KILLS: u32 = 12;

/// Two services of this version.
fn text(version: u32) -> String {
    let service = |name: &str| {
        format!(
            "  {name}:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    \
             environment: {{V: '{version}'}}\n"
        )
    };
    format!("services:\n{}{}", service("web"), service("other"))
}

/// Saved as editors do: never half.
fn write(folder: &str, version: u32) {
    std::fs::write(format!("{folder}/new"), text(version)).unwrap();
    std::fs::rename(format!("{folder}/new"), format!("{folder}/compose.yaml")).unwrap();
}

fn commit(folder: &str, version: u32) {
    write(folder, version);
    let script = "git add -A && git -c user.name=a -c user.email=a@example.com commit -q -m change";
    run(Command::new("sh").args(["-c", script]).current_dir(folder)).ok();
}

/// The variables of both services at one moment; none when nobody answers.
fn versions(host: &Host) -> Vec<String> {
    let format = "{{json .Spec.TaskTemplate.ContainerSpec.Env}}";
    let out = host.rswarm(["service", "inspect", "--format", format, "shop_web", "shop_other"]);
    if out.succeeded() { out.lines() } else { Vec::new() }
}

fn version(host: &Host) -> String {
    let words = ["service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Env}}", "shop_web"];
    host.rswarm(words).stdout.trim().to_owned()
}

/// A cluster of three managers and a worker with a repository on the first; whichever leads can read it, as all
/// hosts are one machine.
fn followed() -> Option<(Lab, String)> {
    let lab = Lab::cluster(3, 1)?;
    let folder = lab.hosts[0].work().join("repo").display().to_string();
    run(Command::new("git").args(["init", "-q", "-b", "main", &folder])).ok();
    commit(&folder, 0);
    let url = format!("file://{folder}");
    lab.hosts[1].rswarm(["gitops", "add", "shop", &url, "--ref", "main", "--interval", "200ms"]).ok();
    eventually("the first commit runs", LONG, || version(&lab.hosts[2]).contains("V=0"));
    Some((lab, folder))
}

/// Which of the first three leads, as one that runs sees it.
fn leader(lab: &Lab) -> usize {
    e2e::eventually_some("somebody leads", LONG, || {
        lab.hosts[..3].iter().filter(|host| host.runs()).find_map(|host| {
            let nodes = host.rswarm(["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
            let lines = nodes.succeeded().then(|| nodes.lines())?;
            let name = lines.iter().find_map(|line| line.strip_suffix(" Leader").map(str::to_owned))?;
            (0..3).find(|index| name == format!("host{}", index + 1))
        })
    })
}

#[test]
fn a_leader_killed_in_the_middle_of_a_sync_leaves_one_of_two_commits() {
    let Some((lab, folder)) = followed() else { return };
    // Until the others have caught up, they can't lead.
    std::thread::sleep(Duration::from_secs(3));
    let seed = 0x9e37_79b9_7f4a_7c15;
    println!("the instants are of seed {seed:#x}");
    let (mut dice, mut killed) = (Numbers(seed), 0);
    for round in 1..=KILLS {
        let leads = leader(&lab);
        commit(&folder, round);
        std::thread::sleep(Duration::from_micros(dice.below(500_000)));
        lab.hosts[leads].kill_daemon();
        killed += 1;
        let other = &lab.hosts[(leads + 1) % 3];
        // Both services are always of one commit, whoever is asked: of the one before, or of this one.
        let of = |version: u32| move |seen: &String| seen.contains(&format!("V={version}\""));
        eventually("the commit is whole", LONG, || {
            let seen = versions(other);
            let whole = seen.len() == 2 && (seen.iter().all(of(round - 1)) || seen.iter().all(of(round)));
            assert!(seen.is_empty() || whole, "half of commit {round}: {seen:?}");
            seen.first().is_some_and(of(round))
        });
        lab.hosts[leads].start_daemon();
    }
    assert_eq!(killed, KILLS);
    lab.all_ready(4);
    lab.hosts[1].sh("gitops rm shop").ok();
}

#[test]
fn a_folder_of_a_worker_is_followed_by_whoever_leads() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    let worker = &lab.hosts[3];
    let folder = worker.work().join("src").display().to_string();
    std::fs::create_dir_all(&folder).unwrap();
    write(&folder, 1);
    lab.hosts[1].rswarm(["gitops", "add", "shop", &folder, "--node", "host4"]).ok();
    eventually("it runs", LONG, || version(&lab.hosts[2]).contains("V=1"));
    write(&folder, 2);
    eventually("what was saved runs", LONG, || version(&lab.hosts[2]).contains("V=2"));
    std::fs::write(format!("{folder}/compose.yaml"), "services:\n  web: {imagee: x}\n").unwrap();
    let status = || lab.hosts[1].sh("gitops status shop");
    eventually("it is refused", LONG, || status().stderr.contains("compose.yaml:2"));
    write(&folder, 3);
    eventually("it runs again", LONG, || version(&lab.hosts[2]).contains("V=3"));
    // Its node is lost: that is told, and nothing changes.
    worker.kill_daemon();
    eventually("the loss is told", Duration::from_secs(90), || status().stdout.contains("unreachable"));
    assert!(version(&lab.hosts[2]).contains("V=3"));
    write(&folder, 4);
    worker.start_daemon();
    eventually("it goes on", LONG, || version(&lab.hosts[2]).contains("V=4"));
    // Another leader asks the same node.
    let leads = leader(&lab);
    lab.hosts[leads].kill_daemon();
    write(&folder, 5);
    let other = &lab.hosts[(leads + 1) % 3];
    eventually("a new leader follows", LONG, || version(other).contains("V=5"));
    lab.hosts[leads].start_daemon();
    lab.all_ready(4);
    other.sh("gitops rm shop").ok();
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

/// The script makes a lab of its own, as a reader's.
#[test]
fn the_walk_through_of_three_nodes_walks() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let name = format!("rsw{}", std::process::id());
    let folder = std::path::PathBuf::from(format!("/var/tmp/{name}"));
    let script = |words: &[&str]| {
        let mut command = Command::new(e2e::root().join("deploy/three-nodes.sh"));
        command.args(words).env("LAB_DIR", folder.join("lab")).env("LAB_NAME", &name).env("TMPDIR", &folder);
        command.env("RSWARM_BIN", e2e::binary()).env("GIT_CONFIG_GLOBAL", "/dev/null").env_remove("RSWARM_HOST");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@example.com");
        }
        command
    };
    std::fs::create_dir_all(&folder).unwrap();
    let out = run(&mut script(&["walk", e2e::root().join("examples/gitops/three-nodes.md").to_str().unwrap()]));
    // Also after a failure nothing of it is left.
    let down = run(&mut script(&["down"]));
    let left = || {
        let spaces = run(Command::new("ip").arg("netns")).stdout;
        let processes = run(Command::new("ps").args(["-eo", "args"])).stdout;
        spaces.contains(&name) || processes.lines().any(|line| line.contains(&format!("/{name}/lab/n")))
    };
    let left = left() || folder.join("lab").exists();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(out.succeeded() && down.succeeded() && !left, "left: {left}; {out}; {down}");
    let pages: Vec<&str> = out.stdout.lines().filter(|line| ["first", "second", "third"].contains(line)).collect();
    assert_eq!(pages, ["first", "second", "second", "first", "third"], "{out}");
    for text in ["shop: healthy", "shop: rolled back", "A mistake", "web.1: exit code 1"] {
        assert!(out.stdout.contains(text), "{text} is not in {out}");
    }
}
