//! What a container may use: memory, processors, processes.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

/// A file of the container's cgroup, whichever version this machine has.
fn cgroup_file(host: &Host, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    let pid = host.inspect(id, "{{.State.Pid}}");
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |line: &str| line.splitn(3, ':').nth(2).unwrap().to_owned();
    let old = table.lines().find(|line| line.split(':').nth(1).unwrap().split(',').any(|name| name == controller));
    let file = match old {
        Some(line) => format!("/sys/fs/cgroup/{controller}{}/{v1}", path(line)),
        None => format!("/sys/fs/cgroup{}/{v2}", path(table.lines().find(|line| line.starts_with("0::")).unwrap())),
    };
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {file}: {error}")).trim().to_owned()
}

#[test]
fn limits_are_what_the_kernel_has() {
    let Some(host) = Host::new() else { return };
    let id = host.sleeper("--memory 64m --pids-limit 33 --cpus 0.5 --name box");
    assert_eq!(cgroup_file(&host, &id, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(cgroup_file(&host, &id, "pids", "pids.max", "pids.max"), "33");
    let quota = cgroup_file(&host, &id, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    assert!(
        std::fs::read_to_string(format!("/proc/{}/cgroup", host.inspect(&id, "{{.State.Pid}}")))
            .unwrap()
            .contains(host.cgroup())
    );
}

#[test]
fn too_much_memory_is_an_oom_kill_and_is_told() {
    let Some(host) = Host::new() else { return };
    let eat = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived";
    host.rswarm(["run", "--name", "eater", "--memory", "32m", "--memory-swap", "32m", BUSYBOX, "sh", "-c", eat])
        .fails()
        .never_says("survived");
    assert_eq!(host.inspect("eater", "{{.State.OOMKilled}}"), "true");
}

#[test]
fn a_service_has_the_limits_of_its_file() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  app: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, deploy: {{resources: {{limits: {{memory: 48M, cpus: '0.25', pids: 17}}}}}}}}\n"
    );
    host.up("lim", &text).ok();
    let id = host.sh("ps -q -p lim").ok().text();
    assert_eq!(cgroup_file(&host, &id, "memory", "memory.limit_in_bytes", "memory.max"), (48 << 20).to_string());
    assert_eq!(cgroup_file(&host, &id, "pids", "pids.max", "pids.max"), "17");
}

#[test]
fn stats_count_what_is_used() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--name", "busy", BUSYBOX, "sh", "-c", "while :; do :; done"]).ok();
    eventually("the processor is seen to be used", Duration::from_secs(15), || {
        let rows = host.sh("stats --no-stream --format {{.CPUPerc}} busy").ok().text();
        rows.trim_end_matches('%').parse::<f64>().unwrap() > 20.0
    });
}
