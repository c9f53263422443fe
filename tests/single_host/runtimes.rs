//! An external OCI runtime in place of the built-in one, and the built-in one on its own.

use std::process::Command;

use e2e::{BUSYBOX, Host, Options, eventually, make_layout, rootfs_tar, run};

fn with_runtime(program: &str) -> Option<Host> {
    let daemon = vec!["--oci-runtime".to_owned(), program.to_owned()];
    Host::with(Options { daemon, ..Options::default() })
}

/// What every runtime must do.
fn the_same_everywhere(host: &Host) {
    host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "echo out; exit 7"]).exits(7).prints("out");
    host.rswarm(["run", "--rm", BUSYBOX, "no-such-program"]).exits(127);
    host.sleeper("--name box --memory 64m --cap-drop ALL");
    host.rswarm(["exec", "box", "grep", "CapEff", "/proc/self/status"]).ok().says("0000000000000000");
    host.rswarm(["exec", "box", "sh", "-c", "exit 9"]).exits(9);
    host.sh("pause box").ok();
    host.sh("unpause box").ok();
    let pid = host.inspect("box", "{{.State.Pid}}");
    host.kill_daemon();
    host.start_daemon();
    assert_eq!(host.inspect("box", "{{.State.Pid}}"), pid);
    host.sh("stop -t 0 box").ok();
    host.sh("start box").ok();
    host.sh("rm -f box").ok();
    host.up("s", &format!("services:\n  web: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, deploy: {{replicas: 2}}}}\n")).ok();
    host.rswarm(["exec", "s-web-1", "ping", "-c", "1", "-W", "2", "web"]).ok();
}

/// Runs its arguments where the first version of cgroups is all there is. The folder of the second must not be there
/// either: crun makes its own in each.
const ONE_VERSION: &str = r#"
d=$(mktemp -d) && mount -t tmpfs cgroups "$d" && cd /sys/fs/cgroup || exit
for tree in *; do
    [ "$tree" = unified ] || { mkdir "$d/$tree" && mount --move "$tree" "$d/$tree"; } || exit
done
cd / && umount -l /sys/fs/cgroup && mount --move "$d" /sys/fs/cgroup && rmdir "$d" && exec "$@""#;

#[test]
fn crun() {
    // crun refuses machines where both versions of cgroups have controllers: this test again, with the first one only
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    if !controllers.trim().is_empty() && Host::with(Options { no_daemon: true, ..Options::default() }).is_some() {
        let mut again = Command::new("unshare");
        again.args(["--mount", "sh", "-c", ONE_VERSION, "sh"]);
        again.arg(std::env::current_exe().unwrap()).args(["--exact", "runtimes::crun", "--nocapture"]);
        run(&mut again).ok().says("1 passed");
        return;
    }
    let Some(host) = with_runtime("crun") else { return };
    the_same_everywhere(&host);
}

#[test]
fn runc() {
    let Some(host) = with_runtime("runc") else { return };
    the_same_everywhere(&host);
}

#[test]
fn built_in() {
    let Some(host) = Host::new() else { return };
    the_same_everywhere(&host);
}

#[test]
fn a_runtime_that_is_not_there_is_told_at_the_start() {
    let Some(host) = Host::with(Options { no_daemon: true, ..Options::default() }) else { return };
    run(&mut host.rooted_command(["daemon", "--oci-runtime", "/no/such/runtime"]))
        .fails()
        .complains("/no/such/runtime");
}

#[test]
fn the_built_in_one_has_an_oci_command_line() {
    let Some(host) = Host::with(Options { no_daemon: true, ..Options::default() }) else { return };
    let layout = make_layout(&host, "layout", |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
    });
    let bundle = host.work().join("bundle");
    run(Command::new("umoci").args(["unpack", "--image", &format!("{layout}:latest")]).arg(&bundle)).ok();
    let config = bundle.join("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    json["process"]["args"] = serde_json::json!(["sh", "-c", "echo ran; sleep 10000"]);
    json["process"]["terminal"] = false.into();
    json["linux"]["cgroupsPath"] = format!("/{}/oci-test", host.cgroup()).into();
    std::fs::write(&config, json.to_string()).unwrap();
    let state = host.work().join("state");
    let id = format!("{}-oci", host.cgroup());
    let oci = |words: &[&str]| {
        let mut command = host.command(e2e::binary());
        command.arg("oci").arg("--root").arg(&state).args(words);
        run(&mut command)
    };
    // its output must be a file: the container keeps what it is given
    let log = host.work().join("out");
    let status = host
        .command(e2e::binary())
        .args(["oci", "--root", state.to_str().unwrap(), "create", "--bundle", bundle.to_str().unwrap(), &id])
        .stdout(std::fs::File::create(&log).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(oci(&["state", &id]).ok().json()["status"], "created");
    oci(&["start", &id]).ok();
    eventually("it runs", std::time::Duration::from_secs(5), || std::fs::read_to_string(&log).unwrap() == "ran\n");
    assert_eq!(oci(&["state", &id]).ok().json()["status"], "running");
    oci(&["delete", &id]).fails();
    oci(&["kill", &id, "KILL"]).ok();
    eventually("it has stopped", std::time::Duration::from_secs(5), || {
        oci(&["state", &id]).ok().json()["status"] == "stopped"
    });
    oci(&["delete", &id]).ok();
    oci(&["state", &id]).fails();
}
