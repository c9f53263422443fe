//! Many containers at once.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

#[test]
fn two_hundred_containers() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  many: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, deploy: {{replicas: 200}}}}\n  client: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s}}\n"
    );
    let up = host.up("many", &text).ok();
    assert_eq!(host.sh("ps -q").ok().lines().len(), 201);
    let answers = host.rswarm(["exec", "many-client-1", "sh", "-c", "nslookup tasks.many | grep -c '^Address'"]).ok();
    assert!(answers.text().parse::<u32>().unwrap() >= 20, "a datagram holds some thirty: {answers}");
    // all of them survive, and the new daemon knows all of them
    host.kill_daemon();
    host.start_daemon();
    eventually("all are found", Duration::from_secs(20), || host.sh("ps -q").ok().lines().len() == 201);
    let down = host.down("many").ok();
    host.sh("ps -a -q").ok().prints("");
    assert!(up.took < Duration::from_secs(60) && down.took < Duration::from_secs(60), "{up}\n{down}");
}

#[test]
fn twenty_runs_at_once() {
    let Some(host) = Host::new() else { return };
    let runs: Vec<_> = (0..20)
        .map(|number| {
            let script = format!("echo {number}; exit {number}");
            host.rswarm_command(["run", "--rm", BUSYBOX, "sh", "-c", &script])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(i32::try_from(number).unwrap()));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), number.to_string());
    }
    host.sh("ps -a -q").ok().prints("");
}
