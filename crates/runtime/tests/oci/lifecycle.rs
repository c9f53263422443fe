//! create, start, exec, kill, delete; and what is left when any of it is cut off.

use super::support::{Bundle, possible};
use serde_json::{Value, json};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// The container as `state` says.
fn state(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.ok(&["state", &bundle.id])).expect("json")
}

/// Waits up to ten seconds until it is so.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_whole_life() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("echo begun; trap 'exit 7' TERM; while :; do sleep 0.1; done");
    bundle.create();
    assert_eq!(state(&bundle)["status"], "created");
    assert_eq!(bundle.out(), "", "nothing runs yet");
    let twice = bundle.oci(&["create", "-b", &bundle.path().to_string_lossy(), &bundle.id]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("already exists"));
    bundle.ok(&["start", &bundle.id]);
    wait_for("output", || bundle.out() == "begun\n");
    assert_eq!(state(&bundle)["status"], "running");
    let ran = bundle.exec("echo $PPID; hostname; exit 3");
    assert_eq!((ran.code, ran.out.as_str()), (3, "0\nrswarm\n"), "{ran:?}");
    let ran = bundle.exec("grep ^Cap /proc/self/status; grep NoNewPrivs /proc/self/status");
    assert!(ran.out.contains("CapInh:\t0000000000000000\nCapPrm:\t0000000020000420"), "{ran:?}");
    assert!(ran.out.contains("CapBnd:\t0000000020000420") && ran.out.contains("NoNewPrivs:\t1"), "{ran:?}");
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(state(&bundle)["status"], "paused");
    assert!(!bundle.oci(&["exec", &bundle.id, "true"]).status.success(), "it would hang");
    bundle.ok(&["resume", &bundle.id]);
    assert!(bundle.ok(&["ps", &bundle.id]).lines().count() >= 2);
    assert!(bundle.ok(&["list"]).contains(&bundle.id));
    let refused = bundle.oci(&["delete", &bundle.id]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not stopped: running"));
    bundle.ok(&["kill", &bundle.id, "TERM"]);
    wait_for("the end", || state(&bundle)["status"] == "stopped");
    let refused = bundle.oci(&["kill", &bundle.id, "TERM"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("container not running"));
    bundle.ok(&["delete", &bundle.id]);
    assert!(String::from_utf8_lossy(&bundle.oci(&["state", &bundle.id]).stderr).contains("does not exist"));
}

#[test]
fn a_frozen_or_created_container_can_be_deleted() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 100");
    bundle.create();
    bundle.ok(&["delete", &bundle.id]);
    bundle.start();
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn the_reason_comes_from_start() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("");
    bundle.config["process"]["args"] = json!(["nope"]);
    bundle.create();
    let output = bundle.oci(&["start", &bundle.id]);
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not found in $PATH"));
    wait_for("the end", || state(&bundle)["status"] == "stopped");
}

/// The terminal that an engine is sent, read until its end.
fn read_terminal(listener: &UnixListener) -> String {
    let (socket, _) = listener.accept().expect("accept");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 64];
    let mut iov = [std::io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(&socket, &mut iov, &mut control, rustix::net::RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
    let master = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut text = Vec::new();
    // A terminal ends with an error once the other end is closed.
    let _ = std::fs::File::from(master.expect("a descriptor")).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_terminal_is_the_containers_own() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("tty; stat -c %t:%T /dev/console; echo hello > /dev/console; ls -1 /dev/pts");
    bundle.config["process"]["terminal"] = true.into();
    let path = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let socket = path.to_string_lossy().into_owned();
    let reader = std::thread::spawn(move || read_terminal(&listener));
    bundle.ok(&["run", "-d", "-b", &bundle.path().to_string_lossy(), "--console-socket", &socket, &bundle.id]);
    let text = reader.join().expect("reader").replace('\r', "");
    assert_eq!(text, "/dev/pts/0\n88:0\nhello\n0\nptmx\n");
}

#[test]
fn nothing_is_left_when_the_creator_is_killed() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("sleep 1000");
    let mark = bundle.path().join("pid").to_string_lossy().into_owned();
    let script = format!("read state; echo \"$state\" > {mark}; exec sleep 30");
    bundle.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    let mut creator =
        bundle.command(&["create", "-b", &bundle.path().to_string_lossy(), &bundle.id]).spawn().expect("spawn");
    let told = || serde_json::from_str::<Value>(&std::fs::read_to_string(&mark).ok()?).ok();
    wait_for("the hook", || told().is_some());
    let pid = told().expect("state")["pid"].as_i64().expect("pid");
    let init = format!("/proc/{pid}");
    assert!(Path::new(&init).exists());
    creator.kill().expect("kill");
    creator.wait().expect("wait");
    wait_for("the end of init", || !Path::new(&init).exists());
    bundle.config["hooks"] = json!({});
    bundle.ok(&["delete", "--force", &bundle.id]);
    let cgroup = format!("/sys/fs/cgroup/memory/oci-test-{}", bundle.id);
    assert!(!Path::new(&cgroup).exists());
    bundle.start();
}

#[test]
fn many_at_once() {
    if !possible() {
        return;
    }
    let bundles: Vec<Bundle> = (0..20).map(|_| Bundle::new("exit 5")).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = bundles.iter().map(|bundle| scope.spawn(|| bundle.run().code)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("join"), 5);
        }
    });
}
