//! `up`, `down` and friends: progress, idempotence, scale, orphans, failures, two at once.

use std::time::Duration;

use e2e::{BUSYBOX, Host, Options, Pty, eventually};

fn service(extra: &str) -> String {
    format!("{{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s{extra}}}")
}

fn ids(host: &Host, project: &str, service: &str) -> Vec<String> {
    let label = format!("label=com.docker.compose.service={service}");
    let mut ids = host.rswarm(["ps", "-q", "--no-trunc", "-p", project, "--filter", &label]).ok().lines();
    ids.sort();
    ids
}

#[test]
fn up_starts_a_daemon_where_none_runs() {
    let Some(host) = Host::with(Options { no_daemon: true, ..Options::default() }) else { return };
    let file = host.write("a.yaml", &format!("services:\n  web: {}\n", service("")));
    // no image can be had here, so `up` fails, but the daemon is there and says so
    let out = e2e::run(&mut host.rooted_command(["up", "-p", "a", "-f", &file])).fails();
    assert!(out.stderr.contains("daemon"), "{out}");
    host.import_busybox();
    host.rswarm(["up", "-p", "a", "-f", &file]).ok();
    host.sh("ps -p a -q").ok();
    host.down("a").ok();
    host.sh("ps -a -q").ok().prints("");
}

#[test]
fn down_gives_containers_the_time_that_is_asked_for() {
    let Some(host) = Host::new() else { return };
    let deaf = format!(
        "services:\n  deaf: {{image: {BUSYBOX}, command: [sh, -c, \"trap '' TERM; while :; do sleep 1; done\"], stop_grace_period: 90s}}\n"
    );
    host.up("slow", &deaf).ok();
    let began = std::time::Instant::now();
    host.rswarm(["down", "-p", "slow", "-t", "0"]).ok();
    assert!(began.elapsed() < Duration::from_secs(45), "the grace period of the file was waited for");
}

#[test]
fn up_waits_for_the_down_before_it() {
    let Some(host) = Host::new() else { return };
    // A shell as the first process does not hear that it is to end, so it takes a second.
    let text =
        format!("services:\n  web: {{image: {BUSYBOX}, command: [sh, -c, sleep 1000; true], stop_grace_period: 1s}}\n");
    host.up("shop", &text).ok();
    let first = ids(&host, "shop", "web");
    host.sh("down -p shop --no-wait").ok();
    host.up("shop", &text).ok();
    let second = ids(&host, "shop", "web");
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
}

#[test]
fn services_that_are_named_come_up_with_what_they_depend_on_and_the_others_stay() {
    let Some(host) = Host::new() else { return };
    let text = |env: &str| {
        let env = format!(", environment: {{X: '{env}'}}");
        let web = service(&format!("{env}, depends_on: [db]"));
        format!("services:\n  web: {web}\n  db: {}\n  other: {}\n", service(&env), service(&env))
    };
    let up = |env: &str, names: &[&str]| {
        let file = host.write("shop.yaml", &text(env));
        host.rswarm(["up", "-p", "shop", "-f", &file].iter().chain(names))
    };
    up("1", &["web"]).ok();
    let count = |key: &str| ids(&host, "shop", key).len();
    assert_eq!((count("web"), count("db"), count("other")), (1, 1, 0));
    up("1", &[]).ok();
    let before = (ids(&host, "shop", "db"), ids(&host, "shop", "other"));
    let out = up("2", &["db"]).ok();
    assert!(!out.stderr.contains("other"), "{out}");
    assert_ne!(ids(&host, "shop", "db"), before.0);
    assert_eq!(ids(&host, "shop", "other"), before.1);
    up("2", &["nobody"]).fails().complains("nobody");
}

#[test]
fn up_ends_when_its_stack_is_taken_away() {
    let Some(host) = Host::new() else { return };
    let never = service(", healthcheck: {test: sleep 5, interval: 1s, timeout: 10s, retries: 9}");
    let file = host.write("a.yaml", &format!("services:\n  web: {never}\n"));
    let mut up =
        host.rswarm_command(["up", "-p", "a", "-f", &file]).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("it is on its way", Duration::from_secs(10), || ids(&host, "a", "web").len() == 1);
    host.down("a").ok();
    let mut code = None;
    eventually("it has ended", Duration::from_secs(10), || {
        code = up.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(1));
}

#[test]
fn a_second_up_changes_only_what_changed() {
    let Some(host) = Host::new() else { return };
    let text = |env: &str| {
        format!("services:\n  a: {}\n  b: {}\n", service(""), service(&format!(", environment: {{X: '{env}'}}")))
    };
    host.up("shop", &text("1")).ok();
    let (a, b) = (ids(&host, "shop", "a"), ids(&host, "shop", "b"));
    let again = host.up("shop", &text("1")).ok();
    assert_eq!((ids(&host, "shop", "a"), ids(&host, "shop", "b")), (a.clone(), b.clone()));
    assert!(again.took < Duration::from_secs(5), "{again}");
    host.up("shop", &text("2")).ok();
    assert_eq!(ids(&host, "shop", "a"), a);
    assert_ne!(ids(&host, "shop", "b"), b);
    assert_eq!(ids(&host, "shop", "b").len(), 1);
}

#[test]
fn force_recreate_and_scale() {
    let Some(host) = Host::new() else { return };
    let file = host.write("a.yaml", &format!("services:\n  web: {}\n", service("")));
    host.rswarm(["up", "-p", "a", "-f", &file]).ok();
    let first = ids(&host, "a", "web");
    host.rswarm(["up", "-p", "a", "-f", &file, "--force-recreate"]).ok();
    let second = ids(&host, "a", "web");
    assert_ne!(first, second);
    host.rswarm(["up", "-p", "a", "-f", &file, "--scale", "web=3"]).ok();
    let three = ids(&host, "a", "web");
    assert!(three.len() == 3 && three.contains(&second[0]), "{three:?}");
    host.rswarm(["up", "-p", "a", "-f", &file, "--scale", "web=0"]).ok();
    assert_eq!(ids(&host, "a", "web").len(), 0);
    host.rswarm(["up", "-p", "a", "-f", &file, "--scale", "nobody=3"]).fails().complains("nobody");
}

#[test]
fn orphans_stay_with_a_warning_until_told() {
    let Some(host) = Host::new() else { return };
    host.up("shop", &format!("services:\n  a: {}\n  b: {}\n", service(""), service(""))).ok();
    let file = host.write("shop.yaml", &format!("services:\n  a: {}\n", service("")));
    host.rswarm(["up", "-p", "shop", "-f", &file]).ok().complains("b");
    assert_eq!(ids(&host, "shop", "b").len(), 1);
    host.rswarm(["up", "-p", "shop", "-f", &file, "--remove-orphans"]).ok();
    eventually("b is gone", Duration::from_secs(10), || ids(&host, "shop", "b").is_empty());
    assert_eq!(ids(&host, "shop", "a").len(), 1);
}

#[test]
fn failing_replicas_are_told_with_their_last_words() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  good: {}\n  bad: {{image: {BUSYBOX}, restart: 'no', command: sh -c 'echo reading config; echo cannot open /etc/app.conf >&2; exit 3'}}\n  absent: {{image: '{BUSYBOX}', command: no-such-program, restart: 'no'}}\n",
        service("")
    );
    let out = host.up("mixed", &text).exits(1);
    for part in ["bad", "cannot open /etc/app.conf", "3", "absent", "no-such-program"] {
        assert!(out.stderr.contains(part), "should say `{part}`: {out}");
    }
    assert_eq!(ids(&host, "mixed", "good").len(), 1);
}

#[test]
fn a_service_that_ends_as_soon_as_it_has_begun_did_not_come_up() {
    let Some(host) = Host::new() else { return };
    let text =
        format!("services:\n  web: {{image: {BUSYBOX}, restart: 'no', command: sh -c 'echo wrong option; exit 64'}}\n");
    // on a busy machine the end may come too late to be told; that it is judged right is tested where time is ours
    let told = (0..5).any(|_| {
        let out = host.up("brief", &text);
        host.down("brief").ok();
        let failed = out.code() == 1;
        assert!(!failed || out.stderr.contains("exit code 64") && out.stderr.contains("wrong option"), "{out}");
        failed
    });
    assert!(told, "never in five times");
}

#[test]
fn a_refused_start_is_told_at_once_and_counts_as_an_attempt() {
    let Some(host) = Host::new() else { return };
    let why = "bind source path does not exist: /no/such/folder";
    let policy = "{condition: any, delay: 200ms, max_attempts: 2}";
    let mount = "{type: bind, source: /no/such/folder, target: /x}";
    let text = format!(
        "services:\n  web: {}\n",
        service(&format!(", volumes: [{mount}], deploy: {{restart_policy: {policy}}}"))
    );
    let out = host.up("bad", &text).exits(1).complains(why);
    assert!(out.took < Duration::from_secs(3), "{out}");
    // the first and two more, and then no more
    let tries = || host.sh("ps -a -p bad --format {{.Status}}").ok().lines();
    eventually("three starts", Duration::from_secs(5), || tries().len() == 3);
    std::thread::sleep(Duration::from_millis(600));
    let tries = tries();
    assert!(tries.len() == 3 && tries.iter().all(|status| status.contains(why)), "{tries:?}");
    host.sh("service ps --no-trunc bad_web").ok().says(why);
}

#[test]
fn a_service_of_no_stack_is_created_followed_and_removed() {
    let Some(host) = Host::new() else { return };
    let create = |extra: &str, command: &[&str]| {
        let words = format!("service create --name lone {extra} {BUSYBOX}");
        host.rswarm(words.split_whitespace().chain(command.iter().copied()))
    };
    let flags = "--replicas 2 -e A=b -l team=x --container-label c=d --mount type=volume,source=v1,target=/data \
                 --limit-memory 32m --restart-condition none --stop-grace-period 1s";
    create(flags, &["sh", "-c", "echo $A; sleep 1000"]).ok().prints("lone");
    host.sh("service ls --format {{.Name}},{{.Mode}},{{.Replicas}}").ok().prints("lone,replicated,2/2");
    let inspected = host.sh("service inspect lone").ok();
    inspected.says("\"team\": \"x\"");
    host.sh("service logs --raw lone").ok().prints("b\nb");
    create("", &["true"]).exits(1).complains("lone");
    // Its shell does not hear that it is to end, so the name is taken for a second yet.
    host.sh("service rm lone").ok();
    let failed = create("--restart-condition none --stop-grace-period 0s", &["no-such-program"]).exits(1);
    for part in ["service lone did not come up", "no-such-program", "rswarm service ps lone"] {
        assert!(failed.stderr.contains(part), "should say `{part}`: {failed}");
    }
    host.sh("service rm lone").ok();
    create("--mode global --replicas 2", &["true"]).exits(1).complains("--replicas");
}

#[test]
fn events_of_networks_and_services_carry_their_ids() {
    let Some(host) = Host::new() else { return };
    host.up("a", &format!("services:\n  web: {}\n", service(""))).ok();
    let network = host.inspect("a_default", "{{.Id}}");
    let service = host.rswarm(["service", "inspect", "-f", "{{.ID}}", "a_web"]).ok().text();
    host.down("a").ok();
    host.rswarm(["run", "--rm", BUSYBOX, "true"]).ok();
    let words = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}"];
    let events = host.rswarm(words).ok().lines();
    let told = |kind: &str| -> Vec<&String> { events.iter().filter(|line| line.starts_with(kind)).collect() };
    assert_eq!(told("service"), [&format!("service create {service}"), &format!("service remove {service}")]);
    let ours: Vec<_> = told("network").into_iter().filter(|line| line.ends_with(&network)).collect();
    assert_eq!(ours, [&format!("network create {network}"), &format!("network destroy {network}")], "{events:?}");
}

#[test]
fn a_timeout_is_a_failure_and_no_wait_is_none() {
    let Some(host) = Host::new() else { return };
    let never = "{test: 'false', interval: 100ms, start_period: 1h, start_interval: 100ms}";
    let text = format!("services:\n  slow: {}\n", service(&format!(", healthcheck: {never}")));
    let file = host.write("a.yaml", &text);
    let out = host.rswarm(["up", "-p", "a", "-f", &file, "--timeout", "1"]).exits(1);
    assert!(out.stderr.contains("slow") && out.took < Duration::from_secs(10), "{out}");
    let out = host.rswarm(["up", "-p", "a", "-f", &file, "--no-wait"]).ok();
    assert!(out.took < Duration::from_secs(2), "{out}");
}

#[test]
fn an_image_that_is_nowhere_fails_up_by_name() {
    let Some(host) = Host::new() else { return };
    let text = "services:\n  web: {image: '127.0.0.1:1/no/such:image'}\n";
    host.up("a", text).exits(1).complains("127.0.0.1:1/no/such:image");
}

#[test]
fn down_takes_everything_and_can_be_repeated() {
    let Some(host) = Host::new() else { return };
    let before = host.census();
    let text = format!(
        "services:\n  a: {}\n  b: {}\nnetworks: {{default: , extra: }}\n",
        service(", networks: [default, extra]"),
        service(", deploy: {replicas: 3}")
    );
    host.up("shop", &text).ok();
    host.sh("ls -q").ok().prints("shop");
    host.down("shop").ok();
    host.sh("ls -a -q").ok().prints("");
    host.sh("network ls --format {{.Name}}").ok().never_says("shop");
    host.down("shop");
    eventually("all is as it was", Duration::from_secs(5), || host.census().beyond(&before).is_empty());
}

#[test]
fn down_honours_dependencies_in_reverse_and_stop_grace() {
    let Some(host) = Host::new() else { return };
    let trap = |name: &str| {
        format!(
            "sh -c 'trap \"sleep 0.3; read t x < /proc/uptime; echo \\$$t > /out/{name}; exit 0\" TERM; while :; do sleep 0.05; done'"
        )
    };
    let text = format!(
        "services:\n  db: {{image: {BUSYBOX}, command: {}, volumes: ['{out}:/out']}}\n  app: {{image: {BUSYBOX}, command: {}, volumes: ['{out}:/out'], depends_on: [db]}}\n",
        trap("db"),
        trap("app"),
        out = host.work().display()
    );
    host.up("order", &text).ok();
    host.down("order").ok();
    let read = |name: &str| std::fs::read_to_string(host.work().join(name)).unwrap().trim().parse::<f64>().unwrap();
    assert!(read("app") < read("db"), "app ended first");
}

#[test]
fn two_ups_of_one_stack_at_once() {
    let Some(host) = Host::new() else { return };
    let file = host
        .write("a.yaml", &format!("services:\n  web: {}\n  db: {}\n", service(", deploy: {replicas: 4}"), service("")));
    let spawn = || {
        host.rswarm_command(["up", "-p", "a", "-f", &file])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [spawn(), spawn()];
    for child in &mut both {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!((ids(&host, "a", "web").len(), ids(&host, "a", "db").len()), (4, 1));
}

#[test]
fn a_file_that_changes_the_network_or_volume_is_followed() {
    let Some(host) = Host::new() else { return };
    host.up("a", &format!("services:\n  web: {}\nnetworks: {{n: }}\n", service(", networks: [n]"))).ok();
    host.up("a", &format!("services:\n  web: {}\nnetworks: {{n: , m: }}\n", service(", networks: [n, m]"))).ok();
    let id = ids(&host, "a", "web");
    host.rswarm(["exec", &id[0], "sh", "-c", "ip -o -4 addr | grep -c eth"]).ok().prints("2");
}

#[test]
fn progress_is_redrawn_on_a_terminal_and_plain_elsewhere() {
    let Some(host) = Host::new() else { return };
    let file = host.write("a.yaml", &format!("services:\n  web: {}\n", service(", deploy: {replicas: 2}")));
    let plain = host.rswarm(["up", "-p", "a", "-f", &file]).ok();
    assert!(!plain.stderr.contains('\x1b') && plain.stderr.contains("web"), "{plain}");
    host.down("a").ok();
    let mut pty = Pty::spawn(&mut host.rswarm_command(["up", "-p", "a", "-f", &file]));
    assert_eq!(pty.wait(), 0);
    assert!(pty.seen.contains("web") && pty.seen.contains('\x1b'), "{}", pty.seen);
}

#[test]
fn ls_and_ps_of_a_stack() {
    let Some(host) = Host::new() else { return };
    host.up("shop", &format!("services:\n  web: {}\n", service(", deploy: {replicas: 2}"))).ok();
    host.sleeper("--name standalone");
    host.sh("ls").ok().says("shop");
    let rows = host.sh("ls --format json").ok().json_rows();
    assert_eq!((rows.len(), rows[0]["Name"].as_str()), (1, Some("shop")));
    assert_eq!(host.sh("ps -q").ok().lines().len(), 3);
    assert_eq!(host.sh("ps -q -p shop").ok().lines().len(), 2);
    host.rswarm(["exec", "shop-web-2", "true"]).ok();
}

#[test]
fn a_container_name_is_kept_as_given() {
    let Some(host) = Host::new() else { return };
    host.up("a", &format!("services:\n  web: {}\n", service(", container_name: my-own"))).ok();
    host.sh("ps --format {{.Names}}").ok().prints("my-own");
    host.up("b", &format!("services:\n  web: {}\n", service(", container_name: my-own"))).fails().complains("my-own");
}

#[test]
fn environment_hostname_and_labels_know_the_task() {
    let Some(host) = Host::new() else { return };
    let extra = ", hostname: 'h-{{.Task.Slot}}', environment: {NAME: '{{.Service.Name}}.{{.Task.Slot}}'}, deploy: {replicas: 2}";
    host.up("t", &format!("services:\n  web: {}\n", service(extra))).ok();
    host.rswarm(["exec", "t-web-2", "sh", "-c", "hostname; echo $NAME"]).ok().prints("h-2\nt_web.2");
    let labels = host.inspect("t-web-2", "{{json .Config.Labels}}");
    for label in ["com.docker.compose.project", "com.docker.compose.service", "com.docker.stack.namespace"] {
        assert!(labels.contains(label), "{labels}");
    }
}

#[test]
fn health_is_waited_for_only_where_it_is_looked_at() {
    let Some(host) = Host::new() else { return };
    let text = |more: &str| {
        let web = service(", depends_on: {db: {condition: service_healthy}}");
        format!("services:\n  db: {}\n  web: {web}\n", service(more))
    };
    for more in ["", ", healthcheck: {disable: true}"] {
        let out = host.up("shop", &text(more)).exits(1);
        assert!(out.stderr.contains("service web: waits until db is healthy, which has no health check"), "{out}");
        assert_eq!(ids(&host, "shop", "db").len(), 0, "nothing was done");
    }
    host.up("shop", &text(", healthcheck: {test: 'true', interval: 1s}")).ok();
}

#[test]
fn a_number_that_was_mistyped_is_refused() {
    let Some(host) = Host::new() else { return };
    let text = format!("services:\n  web: {}\n", service(", deploy: {replicas: 1000000000}"));
    let out = host.up("shop", &text).exits(1);
    assert!(out.stderr.contains("1000000000 replicas are more than 10000"), "{out}");
    host.up("shop", &text.replace("1000000000", "1")).ok();
    host.sh("service scale shop_web=4000000").fails().complains("10000");
    assert_eq!(ids(&host, "shop", "web").len(), 1);
}

#[test]
fn a_service_that_is_named_needs_no_profile() {
    let Some(host) = Host::new() else { return };
    let text = format!("services:\n  web: {}\n  probe: {}\n", service(""), service(", profiles: [debug]"));
    let file = host.write("shop.yaml", &text);
    let up = |more: &[&str]| host.rswarm([&["up", "-p", "shop", "-f", file.as_str()], more].concat());
    up(&[]).ok();
    assert_eq!(ids(&host, "shop", "probe").len(), 0);
    up(&["probe"]).ok();
    assert_eq!((ids(&host, "shop", "web").len(), ids(&host, "shop", "probe").len()), (1, 1));
    // One that is frozen is not waited for.
    host.sh("pause -p shop web").ok();
    let out = up(&[]).ok();
    assert!(out.stderr.contains("paused"), "{out}");
}

#[test]
fn a_service_is_no_image() {
    let Some(host) = Host::new() else { return };
    host.write("compose.yaml", &format!("services:\n  worker: {}\n", service("")));
    let out = host.sh("run --rm worker true").fails();
    assert!(out.stderr.contains("worker is a service of the stack in this folder"), "{out}");
    host.sh("run --rm other true").fails().complains("not here: pulling it");
}
