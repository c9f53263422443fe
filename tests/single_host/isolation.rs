//! Walls of a container, each tried from inside; and known escapes, each tried and failed.

use e2e::{BUSYBOX, Host, Output};

/// Runs a shell line in a container with these flags.
fn inside(host: &Host, flags: &str, script: &str) -> Output {
    let words = ["run", "--rm"].into_iter().chain(flags.split_whitespace()).chain([BUSYBOX, "sh", "-c", script]);
    host.rswarm(words)
}

#[test]
fn every_namespace_is_its_own() {
    let Some(host) = Host::new() else { return };
    for kind in ["mnt", "uts", "ipc", "net", "pid", "cgroup"] {
        let ours = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let theirs = inside(&host, "", &format!("readlink /proc/self/ns/{kind}")).ok().text();
        assert_ne!(theirs, ours.to_str().unwrap(), "{kind}");
    }
    inside(&host, "", "echo $$").ok().prints("1");
    inside(&host, "--pid host --uts host --ipc host", "readlink /proc/self/ns/pid")
        .ok()
        .prints(std::fs::read_link("/proc/self/ns/pid").unwrap().to_str().unwrap());
}

#[test]
fn capabilities_are_dockers() {
    let Some(host) = Host::new() else { return };
    // moby's default set
    inside(&host, "", "grep CapEff /proc/self/status").ok().says("00000000a80425fb");
    inside(&host, "--cap-drop ALL", "grep CapBnd /proc/self/status").ok().says("0000000000000000");
    inside(&host, "--cap-drop ALL --cap-add NET_BIND_SERVICE", "grep CapEff /proc/self/status")
        .ok()
        .says("0000000000000400");
    inside(&host, "-u nobody", "grep CapEff /proc/self/status").ok().says("0000000000000000");
    inside(&host, "", "ip link add x type bridge").fails();
    inside(&host, "--cap-add NET_ADMIN", "ip link add x type bridge").ok();
    inside(&host, "", "mount -t tmpfs tmpfs /tmp").fails();
    inside(&host, "--cap-add NO_SUCH", "true").fails().complains("NO_SUCH");
}

#[test]
fn seccomp_is_on_and_can_be_chosen() {
    let Some(host) = Host::new() else { return };
    inside(&host, "", "grep Seccomp: /proc/self/status").ok().says("2");
    inside(&host, "--security-opt seccomp=unconfined", "grep Seccomp: /proc/self/status").ok().says("0");
    // unshare of a user namespace needs no capability: only the filter forbids it
    inside(&host, "", "unshare -U true").fails();
    inside(&host, "--security-opt seccomp=unconfined", "unshare -U true").ok();
    host.write(
        "deny.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    inside(&host, "--security-opt seccomp=deny.json", "mkdir /x").fails().complains("not permitted");
}

#[test]
fn privileges_can_be_given_and_refused() {
    let Some(host) = Host::new() else { return };
    inside(&host, "--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status").ok().says("1");
    inside(&host, "", "grep NoNewPrivs /proc/self/status").ok().says("0");
    let privileged = inside(&host, "--privileged", "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs tmpfs /mnt 2>&1 || mkdir /mnt && mount -t tmpfs tmpfs /mnt && echo mounted; ls /dev | wc -l").ok();
    assert!(privileged.stdout.contains("mounted") && privileged.stdout.contains("Seccomp:\t0"), "{privileged}");
    assert!(privileged.lines().last().unwrap().parse::<u32>().unwrap() > 20, "all devices: {privileged}");
}

#[test]
fn masked_and_read_only_paths() {
    let Some(host) = Host::new() else { return };
    for masked in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        inside(&host, "", &format!("test ! -e {masked} || test ! -s {masked} || ! head -c 1 {masked} | grep -q ."))
            .ok();
    }
    inside(&host, "", "ls /sys/firmware | wc -l").prints("0");
    for locked in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"] {
        inside(&host, "", &format!("test -e {locked} && echo x > {locked}")).fails();
    }
    inside(&host, "", "mkdir /sys/fs/cgroup/x").fails();
    inside(&host, "", "echo 1 > /sys/kernel/profiling").fails();
}

#[test]
fn devices_are_the_usual_ones_and_those_given() {
    let Some(host) = Host::new() else { return };
    let list = inside(
        &host,
        "",
        "cd /dev; ls -d null zero full random urandom tty ptmx pts shm mqueue stdin stdout stderr fd",
    )
    .ok();
    assert_eq!(list.lines().len(), 14, "{list}");
    inside(&host, "", "head -c 3 /dev/zero | od -An -tx1").ok().prints("00 00 00");
    inside(&host, "", "echo x > /dev/full").fails();
    // made, but not usable: the cgroup's device list forbids it
    inside(&host, "", "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem").fails();
    inside(&host, "--device /dev/kmsg:/dev/seen:r", "test -c /dev/seen").ok();
    inside(&host, "--device /dev/not-there", "true").fails().complains("not-there");
}

#[test]
fn sysctls_and_ulimits() {
    let Some(host) = Host::new() else { return };
    inside(&host, "--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward").ok().prints("1");
    inside(&host, "--sysctl kernel.panic=1", "true").fails().complains("kernel.panic");
    inside(&host, "--ulimit nofile=100:200", "ulimit -n; ulimit -Hn").ok().prints("100\n200");
    inside(&host, "--ulimit nofile=300:200", "true").fails().complains("nofile");
}

#[test]
fn no_descriptor_of_ours_leaks_in() {
    let Some(host) = Host::new() else { return };
    // ls itself opens one for the folder
    let out = inside(&host, "", "ls /proc/self/fd").ok();
    assert_eq!(out.lines(), ["0", "1", "2", "3"], "{out}");
    host.sleeper("--name box");
    let out = host.rswarm(["exec", "box", "ls", "/proc/self/fd"]).ok();
    assert_eq!(out.lines(), ["0", "1", "2", "3"], "{out}");
    let out = inside(&host, "", "for f in /proc/1/fd/*; do readlink $f; done; true").ok();
    assert!(!out.stdout.contains(host.dir.to_str().unwrap()), "{out}");
}

#[test]
fn our_binary_cannot_be_overwritten_from_inside() {
    let Some(host) = Host::new() else { return };
    let before = std::fs::metadata(e2e::binary()).unwrap().modified().unwrap();
    host.sleeper("--name box");
    // the attack of CVE-2019-5736: the entry is /proc/self/exe, so that the runtime runs itself inside
    host.rswarm(["exec", "box", "/proc/self/exe", "--version"]).fails();
    host.rswarm(["run", "--rm", BUSYBOX, "/proc/self/exe"]).fails().prints("");
    let script = "for p in /proc/[0-9]*; do echo broken > $p/exe; done 2>/dev/null; true";
    for _ in 0..5 {
        inside(&host, "", script);
        host.rswarm(["exec", "box", "sh", "-c", script]);
    }
    assert_eq!(std::fs::metadata(e2e::binary()).unwrap().modified().unwrap(), before);
}

#[test]
fn a_working_folder_that_is_a_descriptor_is_refused() {
    let Some(host) = Host::new() else { return };
    // the attack of CVE-2024-21626: a descriptor of the host's file system as the working folder
    for fd in 3..12 {
        let out = inside(&host, &format!("-w /proc/self/fd/{fd}"), "ls -a ../../../../../../; pwd");
        assert!(!out.stdout.contains("lost+found") && !out.stdout.contains("rswarm-e2e"), "{out}");
    }
}

#[test]
fn proc_and_sys_cannot_be_hidden_by_an_images_links() {
    let Some(host) = Host::new() else { return };
    // the attack of CVE-2021-30465 and CVE-2019-19921: /proc is a link when the runtime mounts onto it
    let layout = e2e::make_layout(&host, "links", |rootfs| {
        let tar =
            std::process::Command::new("tar").arg("-xf").arg(e2e::rootfs_tar()).arg("-C").arg(rootfs).status().unwrap();
        assert!(tar.success());
        std::fs::remove_dir(rootfs.join("proc")).unwrap();
        std::os::unix::fs::symlink("/tmp", rootfs.join("proc")).unwrap();
    });
    let archive = host.work().join("links.tar");
    e2e::run(std::process::Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(&archive).arg(".")).ok();
    let loaded = host.rswarm(["image", "load", "-q", "-i", archive.to_str().unwrap()]).ok();
    let image = loaded.stdout.split_whitespace().last().unwrap().to_owned();
    let out = host.rswarm(["run", "--rm", &image, "sh", "-c", "grep -c ' /tmp proc' /proc/mounts"]);
    assert!(!out.succeeded() || out.text() == "0", "proc was mounted elsewhere: {out}");
}

#[test]
fn pid_limits_hold_against_a_fork_bomb() {
    let Some(host) = Host::new() else { return };
    let out =
        inside(&host, "--pids-limit 20", "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done 2>&1; echo end");
    assert!(out.stdout.contains("fork") || out.stderr.contains("fork"), "{out}");
}
