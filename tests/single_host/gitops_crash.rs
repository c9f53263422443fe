//! A source in bad times: daemons that die, storms of saves, servers that are away.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Host, Numbers, eventually, eventually_some, run};

use crate::gitops::{Repo, Running, SOON, pair, stack, until, versions};

/// With those of the leader of a cluster (`cluster::gitops`) it is 50 in all.
const KILLS: u32 = 38;

/// For what waits for a daemon on a machine with much else to do.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn killed_in_the_middle_of_a_sync_it_is_one_of_two_commits() {
    let Some(host) = Host::new() else { return };
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &pair("0"), &[]);
    host.rswarm(["gitops", "add", "shop", &repo.url(), "--interval", "0"]).ok();
    let seed = 0x2545_f491_4f6c_dd1d;
    println!("the instants are of seed {seed:#x}");
    let (mut dice, mut before) = (Numbers(seed), "0".to_owned());
    let (mut killed, mut new) = (0, 0);
    for round in 1..=KILLS {
        let value = round.to_string();
        repo.commit("compose.yaml", &pair(&value), &[]);
        let mut sync = host.rswarm_command(["gitops", "sync", "shop"]);
        let sync = sync.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let sync = Running(sync);
        // A sync takes about a tenth of a second here.
        std::thread::sleep(Duration::from_micros(dice.below(200_000)));
        host.kill_daemon();
        drop(sync);
        killed += 1;
        host.start_daemon();
        // What it says first, and what it ends with, is one commit or the other: both services.
        // A git that the dead daemon was just about to start may hold its socket for a moment yet.
        let seen =
            eventually_some("it answers", LONG, || Some(versions(&host, "shop")).filter(|seen| !seen.is_empty()));
        let whole = |value: &String| seen == [value.clone(), value.clone()];
        assert!(whole(&before) || whole(&value), "half of a commit {value} after {before}: {seen:?}");
        new += u32::from(whole(&value));
        until(&host, "shop", &[&value, &value], LONG);
        before = value;
    }
    println!("{killed} kills; after {new} of them the new commit was there already");
    assert_eq!(killed, KILLS);
    host.sh("gitops status shop --wait").ok();
    host.sh("gitops rm shop --down").ok();
}

#[test]
fn a_storm_of_saves_ends_at_the_last_one() {
    let Some(host) = Host::new() else { return };
    host.write("src/compose.yaml", &stack("0", ""));
    host.sh("gitops add shop src").ok();
    let began = Instant::now();
    for number in 1..=1_000_u32 {
        host.write("src/compose.yaml", &stack(&number.to_string(), ""));
        let due = Duration::from_millis(10) * number;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    until(&host, "shop", &["1000"], LONG);
    host.sh("gitops status shop --wait").ok();
    assert_eq!(versions(&host, "shop"), ["1000"]);
    // Somebody who saves without end is followed at a distance, not at every save.
    let history = host.sh("gitops history shop --format json").ok();
    let synced = history.stdout.matches("\"changes\"").count();
    println!("{synced} of 1000 saves were applied");
    assert!(synced < 50, "{synced} of 1000 saves were applied");
    host.sh("gitops rm shop --down").ok();
}

/// `git daemon` on a port of the host's loopback.
fn serve(host: &Host, port: u16) -> Running {
    // `git daemon` itself would only be the parent of it.
    let programs = run(Command::new("git").arg("--exec-path")).ok().text();
    let mut server = host.command(format!("{programs}/git-daemon"));
    let (port, base) = (format!("--port={port}"), format!("--base-path={}", host.work().display()));
    server.args(["--listen=127.0.0.1", "--reuseaddr", "--export-all", &port, &base]);
    server.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    Running(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_server_that_is_away_changes_nothing_and_is_heard_when_it_is_back() {
    let port = 18_094;
    let Some(host) = Host::new() else { return };
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &pair("1"), &[]);
    let url = format!("git://127.0.0.1:{port}/repo.git");
    let server = serve(&host, port);
    eventually("the server answers", SOON, || {
        run(host.command("git").args(["ls-remote", &url]).stdin(Stdio::null())).succeeded()
    });
    host.rswarm(["gitops", "add", "shop", &url, "--ref", "main", "--interval", "300ms", "--self-heal"]).ok();
    host.sh("gitops status shop --wait").ok();
    let containers = || {
        let mut ids = host.sh("ps -q --no-trunc").ok().lines();
        ids.sort();
        ids
    };
    let before = containers();
    assert_eq!(before.len(), 2, "{before:?}");
    drop(server);
    let status = || host.sh("gitops status shop");
    eventually("it is told", SOON, || status().stdout.contains("unreachable"));
    let told = status();
    assert!(told.code() == 1 && told.stdout.contains("127.0.0.1"), "which server, and why: {told}");
    // What somebody changes by hand is put right without it.
    host.sh("service scale -d shop_web=3").ok();
    eventually("it is put right", SOON, || host.sh("gitops history shop").stdout.contains("put right"));
    repo.commit("compose.yaml", &pair("2"), &[]);
    assert_eq!((versions(&host, "shop"), containers()), (vec!["1".to_owned(); 2], before));
    let _server = serve(&host, port);
    until(&host, "shop", &["2", "2"], LONG);
    host.sh("gitops status shop --wait").ok();
    host.sh("gitops rm shop --down").ok();
}
