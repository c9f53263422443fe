//! Volumes: named, anonymous, bound; what is copied up, what is kept, what is refused.

use e2e::{BUSYBOX, Host, eventually, rootfs_tar};
use std::time::Duration;

/// An image with files below `/seed`, one of them owned by `www`.
fn seeded(host: &Host) {
    let layout = e2e::make_layout(host, "seeded", |rootfs| {
        let tar =
            std::process::Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs).status().unwrap();
        assert!(tar.success());
        std::fs::create_dir_all(rootfs.join("seed/sub")).unwrap();
        std::fs::write(rootfs.join("seed/sub/file"), "from the image\n").unwrap();
        std::os::unix::fs::chown(rootfs.join("seed"), Some(82), Some(50)).unwrap();
        std::os::unix::fs::chown(rootfs.join("seed/sub/file"), Some(82), Some(50)).unwrap();
    });
    let archive = host.work().join("seeded.tar");
    e2e::run(std::process::Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".")).ok();
    let loaded = host.rswarm(["image", "load", "-q", "-i", archive.to_str().unwrap()]).ok();
    host.rswarm(["tag", loaded.stdout.split_whitespace().last().unwrap(), "seeded:1"]).ok();
}

#[test]
fn a_named_volume_outlives_its_containers() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", "-v", "data:/data", BUSYBOX, "sh", "-c", "echo kept > /data/file"]).ok();
    host.rswarm(["run", "--rm", "-v", "data:/data:ro", BUSYBOX, "cat", "/data/file"]).ok().prints("kept");
    host.rswarm(["run", "--rm", "-v", "data:/data:ro", BUSYBOX, "touch", "/data/x"]).fails().complains("Read-only");
    host.sh("volume ls -q").ok().prints("data");
    let path = host.rswarm(["volume", "inspect", "--format", "{{.Mountpoint}}", "data"]).ok().text();
    assert!(std::path::Path::new(&path).join("file").exists(), "{path}");
    host.sh("volume rm data").ok();
    host.sh("volume rm data").fails().complains("data");
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn anonymous_volumes_go_on_in_the_container_that_replaces_one() {
    let Some(host) = Host::new() else { return };
    let text = |env: &str| {
        format!(
            "services:\n  db:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    \
             environment: {{V: '{env}'}}\n    volumes: [/data, /more]\n    \
             deploy: {{restart_policy: {{condition: any, delay: 0s}}}}\n"
        )
    };
    let id = || host.sh("ps -q -p shop").ok().text();
    let exec = |words: &[&str]| host.rswarm([&["exec", id().as_str()], words].concat()).ok();
    let volumes = || host.sh("volume ls -q").ok().lines().len();
    host.up("shop", &text("1")).ok();
    exec(&["sh", "-c", "echo kept >/data/file"]);
    // More often than containers are kept.
    for env in ["2", "3", "4", "5", "6", "7", "8"] {
        host.up("shop", &text(env)).ok();
        exec(&["cat", "/data/file"]).prints("kept");
        assert_eq!(volumes(), 2, "none is left behind");
    }
    // Nor by a replacement that a person asks for, or that follows from an end.
    host.rswarm(["up", "-p", "shop", "-f", &host.write("shop.yaml", &text("8")), "--force-recreate"]).ok();
    let before = id();
    exec(&["sh", "-c", "echo twice >>/data/file"]);
    let pid = host.inspect(&before, "{{.State.Pid}}");
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    eventually("it is replaced", Duration::from_secs(10), || id() != before && !id().is_empty());
    exec(&["cat", "/data/file"]).prints("kept\ntwice");
    assert_eq!(volumes(), 2);
    // What nothing uses may go; this is used.
    host.sh("volume prune -f").ok();
    exec(&["cat", "/data/file"]).prints("kept\ntwice");
    host.rswarm(["down", "-v", "-p", "shop"]).ok();
    assert_eq!(volumes(), 0);
}

#[test]
fn nobody_but_root_gets_at_volumes() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", "-u", "1000", "-v", "data:/tmp", BUSYBOX, "sh", "-c", "ls -la /tmp"]).ok();
    let path = host.rswarm(["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).ok().text();
    let volumes = std::path::Path::new(&path).parent().and_then(|volume| volume.parent()).unwrap();
    assert_eq!(volumes.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_volume_in_use_cannot_be_removed() {
    let Some(host) = Host::new() else { return };
    host.sleeper("-v data:/data --name box");
    host.sh("volume rm data").fails().complains("data");
    host.sh("stop -t 0 box").ok();
    host.sh("volume rm data").fails().complains("data");
    host.sh("volume prune -a -f").ok();
    host.sh("volume ls -q").ok().prints("data");
    host.sh("rm box").ok();
    host.sh("volume rm data").ok();
}

#[test]
fn anonymous_volumes_go_with_rm() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", "-v", "/data", BUSYBOX, "touch", "/data/x"]).ok();
    host.sh("volume ls -q").ok().prints("");
    host.sleeper("-v /data --name box");
    assert_eq!(host.sh("volume ls -q").ok().lines().len(), 1);
    host.sh("rm -f -v box").ok();
    host.sh("volume ls -q").ok().prints("");
    host.sleeper("-v /data --name box");
    host.sh("rm -f box").ok();
    assert_eq!(host.sh("volume ls -q").ok().lines().len(), 1, "without -v it stays");
    host.sh("volume prune -f").ok();
    host.sh("volume ls -q").ok().prints("");
}

#[test]
fn what_the_image_has_is_copied_up_once_with_its_owner() {
    let Some(host) = Host::new() else { return };
    seeded(&host);
    let look = ["stat", "-c", "%u %g", "/seed", "/seed/sub/file"];
    host.rswarm(["run", "--rm", "-v", "fresh:/seed", "seeded:1"].into_iter().chain(look)).ok().prints("82 50\n82 50");
    host.rswarm(["run", "--rm", "-v", "fresh:/seed", "seeded:1", "sh", "-c", "echo changed > /seed/sub/file"]).ok();
    host.rswarm(["run", "--rm", "-v", "fresh:/seed", "seeded:1", "cat", "/seed/sub/file"]).ok().prints("changed");
    // a bind mount hides, it does not copy
    std::fs::create_dir(host.work().join("empty")).unwrap();
    let bind = format!("{}/empty:/seed", host.work().display());
    host.rswarm(["run", "--rm", "-v", &bind, "seeded:1", "ls", "/seed"]).ok().prints("");
}

#[test]
fn binds_short_and_long() {
    let Some(host) = Host::new() else { return };
    let dir = host.work();
    let short = format!("{}/made:/data", dir.display());
    host.rswarm(["run", "--rm", "-v", &short, BUSYBOX, "sh", "-c", "echo x > /data/file"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("made/file")).unwrap(), "x\n");
    let long = format!("type=bind,source={}/made,target=/data,readonly", dir.display());
    host.rswarm(["run", "--rm", "--mount", &long, BUSYBOX, "cat", "/data/file"]).ok().prints("x");
    host.rswarm(["run", "--rm", "--mount", &long, BUSYBOX, "touch", "/data/file"]).fails();
    let missing = format!("type=bind,source={}/missing,target=/data", dir.display());
    host.rswarm(["run", "--rm", "--mount", &missing, BUSYBOX, "true"]).exits(125).complains("missing");
    // one file, onto one that the image has
    host.write("motd", "from the host\n");
    let file = format!("{}/motd:/etc/passwd:ro", dir.display());
    host.rswarm(["run", "--rm", "-v", &file, BUSYBOX, "cat", "/etc/passwd"]).ok().prints("from the host");
}

#[test]
fn a_link_in_the_image_does_not_lead_a_mount_out() {
    let Some(host) = Host::new() else { return };
    let layout = e2e::make_layout(&host, "evil", |rootfs| {
        let tar =
            std::process::Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs).status().unwrap();
        assert!(tar.success());
        std::os::unix::fs::symlink("../../../../../../../../work-outside", rootfs.join("out")).unwrap();
    });
    let archive = host.work().join("evil.tar");
    e2e::run(std::process::Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".")).ok();
    let loaded = host.rswarm(["image", "load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let image = loaded.stdout.split_whitespace().last().unwrap_or_default().to_owned();
    host.rswarm([
        "run",
        "--rm",
        "-v",
        "data:/out/deep",
        &image,
        "sh",
        "-c",
        "touch /out/deep/x && ls /work-outside/deep",
    ])
    .ok()
    .prints("x");
    assert!(!std::path::Path::new("/work-outside").exists(), "the host got a folder");
}

#[test]
fn down_keeps_volumes_unless_told() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  db: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, volumes: ['data:/data']}}\nvolumes: {{data: {{labels: {{a: b}}}}}}\n"
    );
    host.up("shop", &text).ok();
    host.sh("volume ls -q").ok().prints("shop_data");
    assert_eq!(host.rswarm(["volume", "inspect", "--format", "{{index .Labels \"a\"}}", "shop_data"]).ok().text(), "b");
    host.down("shop").ok();
    host.sh("volume ls -q").ok().prints("shop_data");
    host.up("shop", &text).ok();
    host.sh("down -v -p shop").ok();
    host.sh("volume ls -q").ok().prints("");
}

#[test]
fn external_volumes_must_exist_and_are_never_removed() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  db: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, volumes: ['data:/data']}}\nvolumes: {{data: {{external: true, name: precious}}}}\n"
    );
    host.up("shop", &text).fails().complains("precious");
    host.sh("volume create precious").ok().prints("precious");
    host.up("shop", &text).ok();
    host.sh("down -v -p shop").ok();
    host.sh("volume ls -q").ok().prints("precious");
}
