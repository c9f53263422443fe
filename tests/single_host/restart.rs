//! Restart policies, of containers and of services.

use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, eventually, eventually_some};

fn restarts(host: &Host, name: &str) -> u32 {
    host.inspect(name, "{{.RestartCount}}").parse().unwrap()
}

#[test]
fn always_starts_again_whatever_the_exit_code() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--restart", "always", "--name", "box", BUSYBOX, "sh", "-c", "echo run; sleep 0.1"]).ok();
    eventually("it was restarted", Duration::from_secs(10), || restarts(&host, "box") >= 2);
    assert!(host.sh("logs box").ok().lines().len() >= 3);
}

#[test]
fn on_failure_gives_up_after_its_tries_and_accepts_success() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--restart", "on-failure:2", "--name", "bad", BUSYBOX, "sh", "-c", "exit 3"]).ok();
    host.rswarm(["run", "-d", "--restart", "on-failure", "--name", "good", BUSYBOX, "true"]).ok();
    eventually("it gave up", Duration::from_secs(10), || {
        host.inspect("bad", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}") == "exited 2 3"
    });
    assert_eq!(host.inspect("good", "{{.State.Status}} {{.RestartCount}}"), "exited 0");
}

#[test]
fn the_back_off_doubles() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--restart", "always", "--name", "box", BUSYBOX, "false"]).ok();
    // 100, 200, 400, 800, 1600 ms: in two seconds there are four restarts, not forty
    std::thread::sleep(Duration::from_secs(2));
    let count = restarts(&host, "box");
    assert!((2..=6).contains(&count), "{count} restarts in two seconds");
}

#[test]
fn a_manual_stop_is_respected_until_the_next_start() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--restart always --name box");
    host.sh("stop -t 0 box").ok();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "false");
    host.sh("start box").ok();
    host.sh("exec box true").ok();
    // killed from outside is no manual stop
    let pid = host.inspect("box", "{{.State.Pid}}");
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    eventually("it is back", Duration::from_secs(5), || {
        host.inspect("box", "{{.State.Running}}") == "true" && host.inspect("box", "{{.State.Pid}}") != pid
    });
}

#[test]
fn after_a_stop_of_everything_always_comes_back_and_unless_stopped_does_not() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--restart always --name always");
    host.sleeper("--restart unless-stopped --name unless");
    host.sleeper("--restart unless-stopped --name unless-runs");
    host.sh("stop -t 0 always unless").ok();
    host.kill_daemon();
    host.start_daemon();
    eventually("always is back", Duration::from_secs(10), || host.inspect("always", "{{.State.Running}}") == "true");
    assert_eq!(host.inspect("unless", "{{.State.Running}}"), "false");
    assert_eq!(host.inspect("unless-runs", "{{.State.Running}}"), "true");
}

#[test]
fn a_service_task_is_replaced_after_its_delay() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sleep 10000\n    deploy: {{restart_policy: {{condition: any, delay: 1s}}}}\n"
    );
    host.up("shop", &text).ok();
    let name = host.sh("ps -p shop --format {{.Names}}").ok().text();
    let pid = host.inspect(&name, "{{.State.Pid}}");
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    let start = Instant::now();
    eventually_some("another one runs", Duration::from_secs(15), || {
        let rows = host.sh("ps -p shop -q --no-trunc").ok().lines();
        rows.into_iter().find(|id| {
            let new = host.rswarm(["inspect", "--format", "{{.State.Pid}}", id]);
            new.succeeded() && new.text() != pid && new.text() != "0"
        })
    });
    assert!(start.elapsed() >= Duration::from_millis(900), "the delay was not kept: {:?}", start.elapsed());
}

#[test]
fn max_attempts_ends_the_tries() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  bad:\n    image: {BUSYBOX}\n    command: sh -c 'echo try; exit 1'\n    deploy: {{restart_policy: {{condition: on-failure, delay: 100ms, max_attempts: 2}}}}\n"
    );
    // it may have been seen running before it failed
    host.up("tries", &text);
    std::thread::sleep(Duration::from_secs(2));
    let all = host.sh("ps -a -p tries -q").ok().lines().len();
    assert!((1..=3).contains(&all), "{all} tries");
    host.sh("ps -p tries -q").ok().prints("");
}
