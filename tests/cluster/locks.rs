//! Managers that ask for a key after a restart: `--autolock`, `unlock`, `unlock-key`.

use std::time::Duration;

use e2e::{Host, Lab, eventually, eventually_some};

const SOON: Duration = Duration::from_secs(30);
const LOCKED: &str = "this manager is locked";

fn restart(host: &Host) {
    host.kill_daemon();
    host.start_daemon();
}

fn is_locked(host: &Host) -> bool {
    let output = host.sh("node ls");
    !output.succeeded() && output.stderr.contains(LOCKED)
}

/// Is the file of its key itself sealed on disk?
fn is_sealed(host: &Host) -> bool {
    std::fs::read(host.data().join("node-key")).is_ok_and(|file| file.starts_with(b"rswarmKY"))
}

fn key(host: &Host) -> String {
    eventually_some("an unlock key", SOON, || {
        let key = host.sh("unlock-key -q");
        key.succeeded().then(|| key.text())
    })
}

#[test]
fn a_locked_manager_answers_nothing_but_its_key_while_its_containers_run() {
    let Some(lab) = Lab::new(2) else { return };
    let (first, second) = (&lab.hosts[0], &lab.hosts[1]);
    let init = first.rswarm(["init", "--autolock", "--advertise-addr", &Lab::address(0)]).ok();
    let old = key(first);
    eventually("the key is sealed", SOON, || is_sealed(first));
    assert!(init.stdout.contains(&old), "{init}");
    lab.create_web(0, &["--mode", "global"]);
    eventually("it runs", SOON, || lab.places(0, "web") == ["host1"]);
    let container = first.sh("ps -q --no-trunc").ok().text();
    let pid = first.inspect(&container, "{{.State.Pid}}");
    let alive = || std::path::Path::new("/proc").join(&pid).exists();

    restart(first);
    first.sh("ps").exits(1).complains(LOCKED).complains("rswarm unlock");
    first.sh("logs web").exits(1).complains(LOCKED);
    first.sh("init --force-new-cluster").exits(1).complains(LOCKED);
    first.rswarm_with_input(["unlock"], b"nonsense\n").exits(1).complains("no unlock key");
    let wrong = old.chars().rev().take(4).fold(old[..old.len() - 4].to_owned(), |text, digit| match digit {
        '0' => text + "1",
        _ => text + "0",
    });
    first.rswarm_with_input(["unlock"], wrong.as_bytes()).exits(1).complains("does not open with that key");
    assert!(alive());
    first.rswarm_with_input(["unlock"], old.as_bytes()).ok();
    first.rswarm_with_input(["unlock"], old.as_bytes()).exits(1).complains("not locked");
    eventually("it is back", SOON, || first.sh("ps -q --no-trunc").text() == container);
    assert!(alive(), "the same process");

    // Others that join are locked as well; one that is down while the key is rotated keeps the old one.
    lab.join(1, "manager").ok();
    lab.all_ready(2);
    eventually("the second manager answers", SOON, || second.sh("unlock-key -q").text() == old);
    eventually("the key of the second manager is sealed", SOON, || is_sealed(second));
    restart(second);
    assert!(is_locked(second));
    second.rswarm_with_input(["unlock"], old.as_bytes()).ok();
    lab.all_ready(2);
    let new = first.sh("unlock-key -q --rotate").ok().text();
    assert_ne!(new, old);
    restart(first);
    first.rswarm_with_input(["unlock"], old.as_bytes()).exits(1).complains("does not open with that key");
    first.rswarm_with_input(["unlock"], new.as_bytes()).ok();
    lab.all_ready(2);

    // A worker is never locked.
    first.sh("node demote host2").ok();
    eventually("a worker", SOON, || second.sh("node ls").stderr.contains("is a worker"));
    restart(second);
    lab.all_ready(2);

    // What begins anew by itself stays open, and going on alone does so.
    first.sh("init --force-new-cluster").ok();
    lab.all_ready(2);
    first.sh("cluster update --autolock=false").ok();
    restart(first);
    lab.all_ready(2);
    first.sh("unlock-key").exits(1).complains("no unlock key");
    eventually("it still runs", SOON, || first.sh("ps -q --no-trunc").lines().contains(&container));
    assert!(alive());
}

#[test]
fn who_has_lost_the_key_leaves() {
    let Some(lab) = Lab::new(1) else { return };
    let host = &lab.hosts[0];
    host.rswarm(["init", "--advertise-addr", &Lab::address(0)]).ok();
    let shown = host.sh("cluster update --autolock").ok();
    assert!(shown.stdout.contains(&key(host)), "{shown}");
    restart(host);
    assert!(is_locked(host));
    host.sh("leave").exits(1).complains(LOCKED);
    host.sh("leave --force").ok();
    host.rswarm(["init", "--advertise-addr", &Lab::address(0)]).ok();
    restart(host);
    lab.all_ready(1);
}
