//! What a container finds when it starts: mounts, devices, errors of its program.

use super::support::{Bundle, possible};
use serde_json::json;

#[test]
fn errors_in_dockers_words() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("");
    for (args, code, text) in [
        (json!(["nope"]), 127, r#"exec: "nope": executable file not found in $PATH"#),
        (json!(["/nope"]), 127, r#"exec: "/nope": stat /nope: no such file or directory"#),
        (json!(["/etc/passwd"]), 126, r#"exec: "/etc/passwd": permission denied"#),
        (json!(["/etc"]), 126, r#"exec: "/etc": permission denied"#),
    ] {
        bundle.config["process"]["args"] = args;
        let ran = bundle.run();
        assert!(ran.code == code && ran.err.contains(text), "{text}: {ran:?}");
    }
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.config["process"]["cwd"] = "/etc/passwd".into();
    let ran = bundle.run();
    assert!(ran.err.contains("chdir to cwd (\"/etc/passwd\"): not a directory"), "{ran:?}");
    bundle.config["process"]["cwd"] = "/".into();
    bundle.mount("/data", "bind", "missing", &["rbind"]);
    let ran = bundle.run();
    assert!(ran.err.contains("mount volume /data: ") && ran.err.contains("no such file"), "{ran:?}");
}

#[test]
fn mounts_of_all_kinds() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new(
        "cat /file; touch /ro/x; touch /rro/inner/x; touch /rw/x && echo rw; touch /tmp/x && echo tmp; \
         grep -c 'size=1024k' /proc/mounts; grep -E ' /rro' /proc/mounts | grep -c 'ro,'; ls /made/by/runtime; \
         cat /copied/seed; stat -c %a /copied; pwd",
    );
    let outer = bundle.path().join("outer");
    std::fs::create_dir_all(outer.join("inner")).expect("mkdir");
    std::fs::write(bundle.path().join("file"), "content\n").expect("write");
    std::fs::create_dir(bundle.rootfs().join("copied")).expect("mkdir");
    std::fs::write(bundle.rootfs().join("copied/seed"), "seed\n").expect("write");
    bundle.mount("/file", "bind", "file", &["bind", "ro"]);
    bundle.mount("/ro", "bind", "outer", &["rbind", "ro"]);
    bundle.mount("/rw", "bind", "outer", &["rbind"]);
    bundle.mount("/rro", "bind", "outer", &["rbind", "rro"]);
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["size=1m", "nosuid"]);
    bundle.mount("/made/by/runtime", "tmpfs", "tmpfs", &["ro"]);
    bundle.mount("/copied", "tmpfs", "tmpfs", &["tmpcopyup", "mode=700"]);
    bundle.config["process"]["cwd"] = "/new/folder".into();
    let ran = bundle.run();
    assert_eq!(ran.out, "content\nrw\ntmp\n1\n1\nseed\n700\n/new/folder\n", "{ran:?}");
    assert_eq!(ran.err.matches("Read-only file system").count(), 2, "{ran:?}");
    assert!(outer.join("x").exists());
}

#[test]
fn nothing_of_a_container_shows_on_the_host() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("sleep 100");
    bundle.mount("/data", "tmpfs", "tmpfs", &[]);
    bundle.start();
    let path = bundle.path().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(&path), "{mounts}");
    bundle.ok(&["delete", "--force", &bundle.id]);
    let left = std::fs::read_dir("/sys/fs/cgroup").expect("list").flatten();
    let left: Vec<_> = left.map(|entry| entry.path().join(format!("oci-test-{}", bundle.id))).collect();
    assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
}

#[test]
fn hooks_run_in_order_and_read_the_state() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("echo program >> /log");
    let log = bundle.rootfs().join("log").to_string_lossy().into_owned();
    let hook = |name: &str, path: &str| {
        let script = format!("read state; case $state in *'\"status\":\"'*) echo {name} >> {path};; esac");
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    bundle.config["hooks"] = json!({
        "prestart": hook("prestart", &log),
        "createRuntime": hook("createRuntime", &log),
        "createContainer": hook("createContainer", &log),
        "startContainer": hook("startContainer", "/log"),
        "poststart": hook("poststart", &log),
        "poststop": hook("poststop", &log)
    });
    let ran = bundle.run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let log = std::fs::read_to_string(&log).expect("log");
    let mut lines: Vec<&str> = log.lines().collect();
    // The program runs while poststart hooks do.
    let before: Vec<&str> = lines.drain(..4).collect();
    assert_eq!(before, ["prestart", "createRuntime", "createContainer", "startContainer"]);
    lines.sort_unstable();
    assert_eq!(lines, ["poststart", "poststop", "program"]);
    bundle.config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("CreateRuntime hook /bin/false"), "{ran:?}");
}
