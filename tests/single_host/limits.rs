//! What a container may use: memory, processors, processes.

use std::time::Duration;

use e2e::{BUSYBOX, Host, Options, eventually};

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

#[test]
fn services_go_where_the_labels_are_and_enough_is_left() {
    let daemon = ["--label", "rack=a1", "--label", "fast", "--node-generic-resource", "GPU=2"];
    let options = Options { daemon: daemon.map(str::to_owned).to_vec(), ..Options::default() };
    let Some(host) = Host::with(options) else { return };
    let seen = "{{index .Description.Engine.Labels \"rack\"}} {{json .Description.Resources.GenericResources}}";
    let seen = host.rswarm(["node", "inspect", "self", "--format", seen]).ok().text();
    assert_eq!(seen, r#"a1 [{"DiscreteResourceSpec":{"Kind":"GPU","Value":2}}]"#);

    let create = |name: &str, flags: &[&str]| {
        let words = ["service", "create", "-d", "--name", name, "--stop-grace-period", "0s"];
        host.rswarm(words.iter().chain(flags).chain(&[BUSYBOX, "sleep", "10000"])).ok();
    };
    let running = |name: &str| {
        let rows = host.rswarm(["service", "ps", "--format", "{{.CurrentState}}", name]).ok();
        rows.lines().iter().filter(|state| state.starts_with("Running")).count()
    };
    create("here", &["--constraint", "engine.labels.rack == a1"]);
    create("nowhere", &["--constraint", "engine.labels.rack == b2"]);
    create("gpus", &["--generic-resource", "GPU=1", "--replicas", "3"]);
    eventually("what fits runs", Duration::from_secs(20), || running("here") == 1 && running("gpus") == 2);
    assert_eq!(running("nowhere"), 0);
    host.sh("explain gpus").ok().says("lacks GPU");
    host.rswarm(["service", "rm", "here", "nowhere", "gpus"]).ok();

    for (flag, word) in [("--node-generic-resource", "GPU=uuid1"), ("--label", "=x")] {
        let refused = e2e::run(&mut host.rooted_command(["daemon", flag, word]));
        refused.fails().complains(flag);
    }
}
