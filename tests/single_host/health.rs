//! Health checks: verdicts, start periods, replacement, and who waits for them.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

fn health(host: &Host, name: &str) -> String {
    host.inspect(name, "{{.State.Health.Status}}")
}

#[test]
fn a_container_becomes_healthy_and_unhealthy() {
    let Some(host) = Host::new() else { return };
    let flags = "--name box --health-cmd /check --health-interval 200ms --health-retries 2";
    host.write("check", "#!/bin/sh\necho checked; test -e /ok\n");
    std::fs::set_permissions(host.work().join("check"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    host.sleeper(&format!("{flags} -v {}/check:/check", host.work().display()));
    assert_eq!(health(&host, "box"), "starting");
    host.sh("exec box touch /ok").ok();
    eventually("healthy", Duration::from_secs(5), || health(&host, "box") == "healthy");
    host.sh("ps").ok().says("(healthy)");
    assert!(host.inspect("box", "{{json .State.Health.Log}}").contains("checked"));
    host.sh("exec box rm /ok").ok();
    eventually("unhealthy", Duration::from_secs(5), || health(&host, "box") == "unhealthy");
    host.sh("ps").ok().says("(unhealthy)");
    // nobody asked for a replacement: it runs on
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
}

#[test]
fn a_check_that_hangs_is_a_failed_one_and_leaves_no_process() {
    let Some(host) = Host::new() else { return };
    let words =
        "run -d --name box --health-interval 200ms --health-timeout 300ms --health-retries 1 --health-cmd".split(' ');
    host.rswarm(words.chain(["sleep 5000", BUSYBOX, "sleep", "10000"])).ok();
    eventually("unhealthy", Duration::from_secs(10), || health(&host, "box") == "unhealthy");
    let top = host.sh("top box").ok();
    assert!(top.stdout.matches("sleep 5000").count() <= 2, "checks pile up: {top}");
}

#[test]
fn failures_within_the_start_period_do_not_count() {
    let Some(host) = Host::new() else { return };
    let words = "run -d --name box --health-interval 200ms --health-start-interval 100ms --health-retries 1 --health-start-period 2s --health-cmd";
    let script = "sleep 1; touch /ok; exec sleep 10000";
    host.rswarm(words.split(' ').chain(["test -e /ok", BUSYBOX, "sh", "-c", script])).ok();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(health(&host, "box"), "starting");
    eventually("healthy", Duration::from_secs(5), || health(&host, "box") == "healthy");
}

#[test]
fn an_unhealthy_task_of_a_service_is_replaced() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:
  web:
    image: {BUSYBOX}
    command: sh -c 'touch /ok; exec sleep 10000'
    healthcheck: {{test: test -e /ok, interval: 200ms, retries: 1, start_interval: 100ms}}
    deploy: {{restart_policy: {{delay: 100ms}}}}
"
    );
    host.up("shop", &text).ok();
    let first = host.sh("ps -p shop -q --no-trunc").ok().text();
    host.rswarm(["exec", &first, "rm", "/ok"]).ok();
    eventually("another task is healthy", Duration::from_secs(20), || {
        let now = host.rswarm(["ps", "-p", "shop", "-q", "--no-trunc", "--filter", "health=healthy"]).ok().text();
        !now.is_empty() && now != first
    });
}

#[test]
fn up_waits_for_health_and_says_what_the_check_said() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:
  web:
    image: {BUSYBOX}
    command: sleep 10000
    healthcheck: {{test: 'echo the disk is on fire; exit 1', interval: 200ms, retries: 2}}
"
    );
    let up = host.up("ill", &text).fails();
    assert!(up.stderr.contains("web") && up.stderr.contains("unhealthy"), "{up}");
    assert!(up.stderr.contains("the disk is on fire"), "{up}");
}

#[test]
fn dependants_wait_for_health_for_starts_and_for_ends() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:
  app:
    image: {BUSYBOX}
    command: sh -c 'cat /shared/*; exec sleep 10000'
    volumes: ['shared:/shared']
    depends_on:
      db: {{condition: service_healthy}}
      migrate: {{condition: service_completed_successfully}}
  db:
    image: {BUSYBOX}
    command: sh -c 'sleep 1; echo db > /shared/1; touch /ok; exec sleep 10000'
    volumes: ['shared:/shared']
    healthcheck: {{test: test -e /ok, interval: 200ms, start_period: 20s, start_interval: 100ms}}
  migrate:
    image: {BUSYBOX}
    command: sh -c 'sleep 1; echo migrated > /shared/2'
    volumes: ['shared:/shared']
    depends_on: [db]
    restart: 'no'
volumes: {{shared: }}
"
    );
    host.up("chain", &text).ok();
    host.sh("logs -p chain --no-log-prefix app").ok().prints("db\nmigrated");
}

#[test]
fn a_dependency_that_fails_fails_up_and_its_dependant_never_starts() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:
  app:
    image: {BUSYBOX}
    command: sleep 10000
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
  migrate:
    image: {BUSYBOX}
    command: sh -c 'echo no such table; exit 3'
    restart: 'no'
"
    );
    let up = host.up("broken", &text).fails();
    assert!(up.stderr.contains("migrate") && up.stderr.contains("no such table"), "{up}");
    host.sh("ps -p broken -q").ok().prints("");
}

#[test]
fn no_healthcheck_switches_the_images_off() {
    let Some(host) = Host::new() else { return };
    host.rswarm([
        "image",
        "import",
        "-c",
        "HEALTHCHECK --interval=200ms CMD false",
        e2e::rootfs_tar().to_str().unwrap(),
        "ill:1",
    ])
    .ok();
    host.rswarm(["run", "-d", "--name", "on", "ill:1", "sleep", "10000"]).ok();
    host.rswarm(["run", "-d", "--name", "off", "--no-healthcheck", "ill:1", "sleep", "10000"]).ok();
    eventually("the image's check runs", Duration::from_secs(10), || health(&host, "on") == "unhealthy");
    host.sh("ps --filter name=off").ok().never_says("healthy");
}
