//! The daemon dies at any moment: nothing stops, nothing is lost, nothing is left behind.

use std::process::Stdio;
use std::time::Duration;

use e2e::{BUSYBOX, Host, Numbers, Options, Registry, eventually, make_layout};

fn service(extra: &str) -> String {
    format!("{{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s{extra}}}")
}

#[test]
fn containers_do_not_notice() {
    let Some(host) = Host::new() else { return };
    let script = "i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done";
    host.rswarm(["run", "-d", "--name", "count", BUSYBOX, "sh", "-c", script]).ok();
    let pid = host.inspect("count", "{{.State.Pid}}");
    for _ in 0..3 {
        host.kill_daemon();
        std::thread::sleep(Duration::from_millis(300));
        host.start_daemon();
    }
    assert_eq!(host.inspect("count", "{{.State.Pid}}"), pid);
    let lines = host.sh("logs count").ok().lines();
    let numbers: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() > 50 && numbers.iter().enumerate().all(|(at, n)| *n as usize == at + 1), "a line is lost");
    host.sh("exec count true").ok();
    host.sh("stop -t 0 count").ok();
}

#[test]
fn exit_codes_of_what_ended_meanwhile_are_known() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--name", "ends", BUSYBOX, "sh", "-c", "sleep 1; echo last words; exit 42"]).ok();
    host.rswarm(["run", "-d", "--rm", "--name", "goes", BUSYBOX, "sleep", "1"]).ok();
    host.kill_daemon();
    std::thread::sleep(Duration::from_millis(1500));
    host.start_daemon();
    eventually("the end is known", Duration::from_secs(5), || {
        host.inspect("ends", "{{.State.Status}} {{.State.ExitCode}}") == "exited 42"
    });
    host.sh("logs ends").ok().prints("last words");
    host.sh("wait ends").ok().prints("42");
    eventually("--rm is kept as well", Duration::from_secs(5), || !host.sh("inspect goes").succeeded());
}

#[test]
fn what_died_meanwhile_is_restarted() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--restart always --name box");
    let pid = host.inspect("box", "{{.State.Pid}}");
    host.kill_daemon();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    host.start_daemon();
    eventually("it runs again", Duration::from_secs(10), || {
        host.inspect("box", "{{.State.Running}}") == "true" && host.inspect("box", "{{.State.Pid}}") != pid
    });
}

#[test]
fn a_stop_in_order_keeps_containers_as_well() {
    let Some(host) = Host::new() else { return };
    host.up("shop", &format!("services:\n  web: {}\n", service(", deploy: {replicas: 2}"))).ok();
    let before = host.sh("ps -q --no-trunc").ok().text();
    let pids = before.lines().map(|id| host.inspect(id, "{{.State.Pid}}")).collect::<Vec<_>>();
    host.stop_daemon();
    host.start_daemon();
    eventually("they are found", Duration::from_secs(5), || host.sh("ps -q --no-trunc").ok().text() == before);
    assert_eq!(before.lines().map(|id| host.inspect(id, "{{.State.Pid}}")).collect::<Vec<_>>(), pids);
}

/// An instant that differs from the others, not from run to run.
fn instant(numbers: &mut Numbers, below_ms: u64) -> Duration {
    Duration::from_millis(numbers.below(below_ms))
}

/// Containers that write and compute all the time, and have to notice nothing: their pids.
fn load(host: &Host) -> Vec<String> {
    let script = "i=0; while :; do i=$((i+1)); echo $i; done";
    for name in ["load-1", "load-2"] {
        let limits = ["--cpus", "0.2", "--log-opt", "max-size=1m"];
        let words = ["run", "-d", "--name", name].into_iter().chain(limits).chain([BUSYBOX, "sh", "-c", script]);
        host.rswarm(words.collect::<Vec<_>>()).ok();
    }
    load_pids(host)
}

fn load_pids(host: &Host) -> Vec<String> {
    ["load-1", "load-2"].map(|name| host.inspect(name, "{{.State.Pid}}")).to_vec()
}

#[test]
fn killed_at_any_instant_of_up_and_down() {
    let Some(host) = Host::new() else { return };
    let pids = load(&host);
    let text = format!(
        "services:\n  web: {}\n  db: {}\n  job: {{image: {BUSYBOX}, command: 'true', restart: 'no'}}\nvolumes: {{data: }}\nnetworks: {{back: , default: }}\n",
        service(", deploy: {replicas: 4}, networks: [default, back]"),
        service(", volumes: ['data:/data'], depends_on: [job]"),
    );
    let file = host.write("crash.yaml", &text);
    let before = host.census();
    let mut numbers = Numbers(7);
    for round in 0..25 {
        let mut up = host
            .rswarm_command(["up", "-p", "crash", "-f", &file, "--no-wait"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(instant(&mut numbers, 400));
        host.kill_daemon();
        up.wait().unwrap();
        host.start_daemon();
        // whatever was accepted before, now it is made true
        host.rswarm(["up", "-p", "crash", "-f", &file]).ok();
        // The job may run yet.
        eventually(&format!("round {round}: all run"), Duration::from_secs(20), || {
            host.sh("ps -q -p crash").ok().lines().len() == 5
        });
        let mut down = host
            .rswarm_command(["down", "-v", "-p", "crash"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(instant(&mut numbers, 400));
        host.kill_daemon();
        down.wait().unwrap();
        host.start_daemon();
        host.rswarm(["down", "-v", "-p", "crash"]);
        eventually(&format!("round {round}: nothing is left"), Duration::from_secs(20), || {
            host.sh("ps -a -q -p crash").ok().text().is_empty()
        });
    }
    assert_eq!(load_pids(&host), pids, "others did not notice");
    let mut left = Vec::new();
    for _ in 0..100 {
        left = host.census().beyond(&before);
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[test]
fn an_accepted_up_survives() {
    let Some(host) = Host::new() else { return };
    let file = host.write("a.yaml", &format!("services:\n  web: {}\n", service(", deploy: {replicas: 3}")));
    host.rswarm(["up", "-p", "a", "-f", &file, "--no-wait"]).ok();
    host.kill_daemon();
    host.start_daemon();
    eventually("all three run", Duration::from_secs(20), || host.sh("ps -q -p a").ok().lines().len() == 3);
}

#[test]
fn an_accepted_stop_survives() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--restart unless-stopped --name box");
    let kept = host.sleeper("--restart unless-stopped --name kept");
    for _ in 0..3 {
        host.sh("stop -t 0 box").ok();
        host.kill_daemon();
        host.start_daemon();
        eventually("what runs is found", Duration::from_secs(20), || {
            host.inspect("kept", "{{.State.Running}}") == "true"
        });
        assert_eq!(host.sh("ps -q --no-trunc").ok().text(), kept, "what was stopped stays so");
        assert_eq!(host.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        host.sh("start box").ok();
    }
    host.sh("rm -f box").ok();
    host.kill_daemon();
    host.start_daemon();
    eventually("what runs is found", Duration::from_secs(20), || host.sh("ps -a -q --no-trunc").ok().text() == kept);
}

/// An image of six layers of a megabyte that does not shrink, so that there is something to be killed in.
fn push_layers(host: &Host, registry: &Registry) -> String {
    let mut random = Numbers(23);
    let layout = make_layout(host, "layers", |rootfs| {
        e2e::run(std::process::Command::new("tar").arg("-xf").arg(e2e::rootfs_tar()).arg("-C").arg(rootfs)).ok();
    });
    for number in 0..6 {
        let bytes: Vec<u8> = (0..1 << 20).map(|_| random.below(256) as u8).collect();
        let file = host.write(&format!("layer-{number}"), "");
        std::fs::write(&file, bytes).unwrap();
        let words = ["insert", "--image", &format!("{layout}:latest"), &file, &format!("/layer-{number}")];
        e2e::run(std::process::Command::new("umoci").args(words)).ok();
    }
    registry.push_layout(&layout, "layers:1")
}

#[test]
fn killed_at_any_instant_of_pull() {
    let options =
        Options { daemon: vec!["--insecure-registry".to_owned(), "127.0.0.1:5000".to_owned()], ..Options::default() };
    let Some(host) = Host::with(options) else { return };
    let pids = load(&host);
    let registry = Registry::start(&host, 5000);
    let image = push_layers(&host, &registry);
    let images = host.sh("images -a -q").ok().text();
    let (before, empty) = (host.census(), kilobytes(&host));
    let (mut numbers, mut torn) = (Numbers(11), 0);
    for round in 0..25 {
        let mut pull =
            host.rswarm_command(["pull", &image]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(instant(&mut numbers, 400));
        host.kill_daemon();
        torn += usize::from(!pull.wait().unwrap().success());
        host.start_daemon();
        host.rswarm(["pull", &image]).ok();
        host.rswarm(["run", "--rm", &image, "test", "-s", "/layer-5"]).ok();
        let out = host.rswarm(["rmi", &image]).ok();
        assert_eq!(host.sh("images -a -q").ok().text(), images, "round {round}: {out}");
    }
    assert!(torn > 0, "every pull was over before the kill");
    assert_eq!(load_pids(&host), pids, "others did not notice");
    eventually("torn pulls leave nothing on the disk", Duration::from_secs(10), || kilobytes(&host) < empty + 1000);
    eventually("nothing is left", Duration::from_secs(10), || host.census().beyond(&before).is_empty());
}

/// The image store's size.
fn kilobytes(host: &Host) -> u64 {
    let du = e2e::run(std::process::Command::new("du").arg("-sk").arg(host.data().join("images"))).ok();
    du.stdout.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn an_attached_client_is_told_and_the_container_lives() {
    let Some(host) = Host::new() else { return };
    let mut command = host.rswarm_command(["run", "--name", "box", BUSYBOX, "sleep", "10000"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it runs", Duration::from_secs(5), || host.sh("ps -q").text() != "");
    host.kill_daemon();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty(), "it says why");
    host.start_daemon();
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
}

#[test]
fn a_dead_shim_is_noticed_and_its_container_is_not_left() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    let pid = host.inspect("box", "{{.State.Pid}}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let shim = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
    std::process::Command::new("kill").args(["-9", &shim]).status().unwrap();
    eventually("the container has ended", Duration::from_secs(10), || {
        host.inspect("box", "{{.State.Running}}") == "false"
    });
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
            || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty()
    );
    host.sh("rm box").ok();
}
