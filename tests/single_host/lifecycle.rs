//! From created to removed: stop, start, restart, kill, pause, wait, rm, and what looks at containers shows.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually, run};

#[test]
fn stop_asks_then_kills() {
    let Some(host) = Host::new() else { return };
    let polite = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    host.rswarm(["run", "-d", "--name", "polite", BUSYBOX, "sh", "-c", polite]).ok();
    host.sh("stop polite").ok().prints("polite");
    assert_eq!(host.inspect("polite", "{{.State.ExitCode}}"), "0");
    host.sh("logs polite").ok().says("bye");
    host.sleeper("--name deaf");
    let stop = host.sh("stop -t 1 deaf").ok();
    assert!(stop.took >= Duration::from_secs(1) && stop.took < Duration::from_secs(6), "{stop}");
    assert_eq!(host.inspect("deaf", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
}

#[test]
fn the_stop_signal_is_the_containers_own() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'exit 9' USR1; while :; do sleep 0.05; done";
    host.rswarm(["run", "-d", "--stop-signal", "USR1", "--name", "one", BUSYBOX, "sh", "-c", script]).ok();
    host.sh("stop one").ok();
    assert_eq!(host.inspect("one", "{{.State.ExitCode}}"), "9");
}

#[test]
fn start_and_restart_keep_the_files() {
    let Some(host) = Host::new() else { return };
    let script = "echo run >> /runs; cat /runs; exec sleep 1000";
    host.rswarm(["run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script]).ok();
    host.sh("restart -t 0 box").ok();
    host.sh("stop -t 0 box").ok();
    host.sh("start box").ok().prints("box");
    eventually("three runs", Duration::from_secs(5), || host.sh("exec box cat /runs").stdout.lines().count() == 3);
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
}

#[test]
fn kill_sends_any_signal() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
    host.rswarm(["run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script]).ok();
    eventually("it is ready", Duration::from_secs(5), || host.sh("logs box").stdout.contains("ready"));
    host.sh("kill -s HUP box").ok();
    eventually("the signal came", Duration::from_secs(5), || host.sh("logs box").stdout.contains("hup"));
    host.sh("kill box").ok();
    assert_eq!(host.sh("wait box").ok().text(), "137");
    host.sh("kill box").fails();
    host.sh("kill -s NOSUCH box").fails().complains("NOSUCH");
}

#[test]
fn pause_stops_time() {
    let Some(host) = Host::new() else { return };
    let script = "i=0; while :; do i=$((i+1)); echo $i > /n; sleep 0.02; done";
    host.rswarm(["run", "-d", "--name", "box", BUSYBOX, "sh", "-c", script]).ok();
    host.sh("pause box").ok();
    assert_eq!(host.inspect("box", "{{.State.Status}}"), "paused");
    host.sh("ps").ok().says("Paused");
    host.sh("exec box true").exits(1).complains("paused");
    host.sh("unpause box").ok();
    let count = || host.sh("exec box cat /n").text().parse::<u64>().unwrap_or_default();
    let before = count();
    eventually("it counts again", Duration::from_secs(5), || count() > before);
    host.sh("unpause box").fails();
    // a paused container can be removed
    host.sh("pause box").ok();
    host.sh("rm -f box").ok();
}

#[test]
fn wait_gives_exit_codes_in_order() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--name", "first", BUSYBOX, "sh", "-c", "sleep 0.5; exit 4"]).ok();
    host.rswarm(["run", "-d", "--name", "second", BUSYBOX, "sh", "-c", "exit 5"]).ok();
    host.sh("wait first second").ok().prints("4\n5");
    host.sh("wait nobody").fails().complains("nobody");
}

#[test]
fn rm_refuses_what_runs() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    host.sh("rm box").fails().complains("box");
    let asked = std::time::Instant::now();
    host.sh("rm -f box").ok().prints("box");
    assert!(asked.elapsed() < Duration::from_secs(5), "rm -f waits for nobody's grace period");
    host.sh("rm box").fails().complains("box");
    host.sh("rm -f box").ok();
}

#[test]
fn ps_has_dockers_columns_filters_and_formats() {
    let Some(host) = Host::new() else { return };
    let id = host.sleeper("--name one --label tier=front");
    host.rswarm(["run", "--name", "two", BUSYBOX, "sh", "-c", "exit 3"]).exits(3);
    let table = host.sh("ps").ok();
    let head = table.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    assert!(table.stdout.contains("one") && !table.stdout.contains("two"), "{table}");
    host.sh("ps -a").ok().says("Exited (3)");
    host.sh("ps -q").ok().prints(&id[..12]);
    host.sh("ps -q --no-trunc").ok().prints(&id);
    host.sh("ps -a --format {{.Names}}").ok().prints("two\none");
    host.sh("ps -a --filter status=exited --format {{.Names}}").ok().prints("two");
    host.sh("ps -a --filter exited=3 --format {{.Names}}").ok().prints("two");
    host.sh("ps -a --filter label=tier=front --format {{.Names}}").ok().prints("one");
    host.sh("ps -a --filter name=tw --format {{.Names}}").ok().prints("two");
    let rows = host.sh("ps --format json").ok().json_rows();
    assert_eq!((rows.len(), rows[0]["Names"].as_str(), rows[0]["State"].as_str()), (1, Some("one"), Some("running")));
}

#[test]
fn inspect_shows_what_was_asked_for() {
    let Some(host) = Host::new() else { return };
    let id = host.sleeper("--name box -e A=1 -l k=v --memory 64m --cpus 0.5 --restart unless-stopped");
    let json = host.sh("inspect box").ok().json();
    let box_ = &json[0];
    assert_eq!(box_["Id"], id.as_str());
    assert_eq!(box_["Name"], "/box");
    assert_eq!(box_["State"]["Running"], true);
    assert_eq!(box_["Config"]["Labels"]["k"], "v");
    assert_eq!(box_["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(box_["HostConfig"]["NanoCpus"], 500_000_000);
    assert_eq!(box_["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    assert!(box_["Config"]["Env"].as_array().unwrap().contains(&"A=1".into()), "{box_}");
    assert!(box_["State"]["Pid"].as_u64().unwrap() > 0);
    host.sh("inspect nobody").fails().complains("nobody");
}

#[test]
fn top_stats_and_port_look_inside() {
    let Some(host) = Host::new() else { return };
    let port = host.free_port().to_string();
    host.sleeper(&format!("--name box --memory 64m -p {port}:80"));
    let top = host.sh("top box").ok();
    assert!(top.stdout.contains("PID") && top.stdout.contains("sleep 10000"), "{top}");
    let top = host.sh("top box -o comm,pid").ok().lines();
    assert!(top.len() == 2 && top[0].starts_with("COMMAND") && top[1].starts_with("sleep"), "{top:?}");
    host.sh("top box -o comm").fails().complains("no column PID");
    host.sh("top box --nonsense").fails().complains("ps --nonsense");
    let stats = host.sh("stats --no-stream --format json").ok().json_rows();
    assert_eq!(stats[0]["Name"], "box");
    assert!(stats[0]["MemUsage"].as_str().unwrap().contains("64MiB"), "{stats:?}");
    host.sh("port box").ok().says(&format!("80/tcp -> 0.0.0.0:{port}"));
    host.sh("port box 80").ok().says(&port);
}

#[test]
fn events_tell_a_containers_life() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--name", "box", BUSYBOX, "sh", "-c", "exit 3"]).exits(3);
    host.sh("rm box").ok();
    let mut command = host.rswarm_command(["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"]);
    let events = run(&mut command).ok();
    let actions = events.lines();
    let mut rest = actions.iter();
    for wanted in ["create", "start", "die", "destroy"] {
        assert!(rest.any(|action| action == wanted), "no {wanted} in its place: {actions:?}");
    }
}

#[test]
fn exec_runs_beside() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box -e A=1 -w /tmp");
    host.rswarm(["exec", "-e", "B=2", "-u", "nobody", "box", "sh", "-c", "echo $A $B; pwd; id -u"])
        .ok()
        .prints("1 2\n/tmp\n65534");
    host.rswarm(["exec", "box", "sh", "-c", "exit 9"]).exits(9);
    host.rswarm(["exec", "box", "no-such-program"]).exits(127);
    host.rswarm_with_input(["exec", "-i", "box", "cat"], b"through\n").ok().prints("through");
    host.rswarm(["exec", "-d", "box", "sh", "-c", "echo x > /tmp/detached"]).ok();
    eventually("the detached one ran", Duration::from_secs(5), || {
        host.sh("exec box test -e /tmp/detached").succeeded()
    });
    host.sh("stop -t 0 box").ok();
    host.sh("exec box true").fails().complains("not running");
    host.sh("exec nobody true").fails().complains("nobody");
}

#[test]
fn exec_ends_with_its_container_and_leaves_no_process() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    let mut exec = host.rswarm_command(["exec", "box", "sleep", "20000"]).spawn().unwrap();
    eventually("the exec runs", Duration::from_secs(5), || host.sh("top box").stdout.contains("sleep 20000"));
    host.sh("kill box").ok();
    assert_eq!(exec.wait().unwrap().code(), Some(137));
}

#[test]
fn container_prune_removes_the_ended() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--name", "ended", BUSYBOX, "true"]).ok();
    host.sleeper("--name runs");
    host.sh("container prune -f").ok();
    host.sh("ps -a --format {{.Names}}").ok().prints("runs");
}

#[test]
fn services_are_names_of_their_containers() {
    let Some(host) = Host::new() else { return };
    let service = format!("{{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s");
    let text = format!(
        "name: shop\nservices:\n  db: {service}}}\n  web: {service}, scale: 2, ports: ['127.0.0.1::80'], profiles: [all]}}\n"
    );
    let file = host.write("compose.yaml", &text);
    host.rswarm(["up", "-f", &file, "--profile", "all"]).ok();
    let running = || host.sh("ps -q -p shop").ok().lines().len();
    // With the name of the stack from anywhere, and without it in the folder of its file.
    let host_name = |words: &str| host.sh(words).ok().text();
    let [one, two] = [1, 2].map(|index| host_name(&format!("exec -p shop --index {index} web hostname")));
    assert_ne!(one, two);
    assert_eq!(host_name("exec -T web hostname"), one);
    assert!(host_name("top db").contains("sleep 10000"));
    assert!(host_name("port -p shop web 80").starts_with("127.0.0.1:"));
    host.write("motd", "welcome\n");
    host.sh("cp motd db:/motd").ok();
    host.sh("exec db cat /motd").ok().prints("welcome\n");
    assert_eq!(host.sh("stop web").ok().lines().len(), 2);
    assert_eq!(running(), 1);
    host.sh("start -p shop web").ok();
    host.sh("restart -p shop").ok();
    assert_eq!(running(), 3);
    host.sh("pause db").ok();
    host.sh("unpause db").ok();
    // A container that is called so comes first.
    host.sleeper("--name db");
    host.sh("exec db cat /motd").fails();
    host.sh("exec -p shop db cat /motd").ok();
    let out = host.sh("restart -p shop wbe").fails();
    assert!(out.stderr.contains("stack shop has no service wbe"), "{out}");
    host.sh("stop -p shop").ok();
    assert_eq!(host.sh("ps -q -p shop").ok().lines().len(), 0);
    host.down("shop").ok();
    // Of what is not there any more nothing is meant.
    assert!(host.sh("exec web true").fails().stderr.contains("no such container"));
}
