//! The classes of escapes that were published for runc, each tried and each failing.

#[path = "../oci/support.rs"]
mod support;

use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Bundle, possible};

fn everything(bundle: &mut Bundle) {
    let names = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
        "CAP_MKNOD",
    ];
    bundle.config["process"]["capabilities"] = json!({ "bounding": names, "effective": names, "permitted": names });
}

/// CVE-2019-5736: the runtime's binary through /proc/PID/exe. The container has CAP_SYS_PTRACE and
/// CAP_SYS_ADMIN, holds every foreign binary that it sees open and tries to write to it later.
#[test]
fn the_runtimes_binary_can_not_be_overwritten() {
    if !possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("tempdir");
    let helper = folder.path().join("runtime");
    std::fs::copy(env!("CARGO_BIN_EXE_runtime-test-helper"), &helper).expect("copy");
    let before = std::fs::read(&helper).expect("read");
    let script = "n=3; while :; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in */busybox|'') ;; \
                  *) echo seen; { while :; do echo x > /proc/self/fd/3 && echo OVERWRITTEN && exit; sleep 0.02; done; } \
                  2>/dev/null 3< $p/exe & ;; esac; done; done";
    let mut bundle = Bundle::with_helper(script, helper.clone());
    everything(&mut bundle);
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 200 });
    bundle.start();
    for _ in 0..20 {
        bundle.exec("true");
    }
    for args in [["/proc/self/exe", "x"], ["/proc/1/exe", "x"]] {
        bundle.oci(&["exec", &bundle.id, args[0], args[1]]);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!bundle.out().contains("OVERWRITTEN"));
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(std::fs::read(&helper).expect("read") == before, "the binary was changed");
    // A shebang that leads to the runtime itself runs it inside, where it is as read-only.
    let mut bundle = Bundle::with_helper("", helper.clone());
    everything(&mut bundle);
    std::fs::write(bundle.rootfs().join("trap"), "#!/proc/self/exe\n").expect("write");
    std::fs::set_permissions(bundle.rootfs().join("trap"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    bundle.config["process"]["args"] = json!(["/trap"]);
    bundle.run();
    assert!(std::fs::read(&helper).expect("read") == before, "the binary was changed");
}

/// CVE-2021-30465: a mount target that becomes a symlink while it is being mounted upon.
#[test]
fn exchanged_mount_targets_stay_inside() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("true");
    let outside = bundle.path().join("outside");
    std::fs::create_dir_all(&outside).expect("mkdir");
    let volume = bundle.path().join("volume");
    std::fs::create_dir_all(volume.join("folder")).expect("mkdir");
    // Both ways out: to the root, and by dots to where the host keeps its own.
    let dots = format!("../../../../../../../../../../..{}", outside.display());
    symlink(&dots, volume.join("link")).expect("symlink");
    bundle.mount("/volume", "bind", "volume", &["rbind"]);
    bundle.mount("/volume/folder/new/target", "tmpfs", "tmpfs", &[]);
    bundle.mount("/volume/folder/file", "bind", "config.json", &["bind"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = std::fs::File::open(&volume).expect("open");
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(&dir, "folder", &dir, "link", flags);
            }
        });
        for _ in 0..30 {
            bundle.run();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&outside).expect("list").count(), 0, "something was made outside");
}

/// CVE-2024-21626: a working folder that is a descriptor which the runtime has left open.
#[test]
fn no_descriptor_of_the_host_is_a_working_folder() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("ls /; ls ../../../../..");
    for number in 3..24 {
        bundle.config["process"]["cwd"] = format!("/proc/self/fd/{number}").into();
        let ran = bundle.run();
        // One may stand for the container's own root, from where the same is seen.
        let half = "bin\ndev\netc\nproc\nsys\n";
        assert!(ran.code != 0 || ran.out == half.repeat(2), "by {number}: {ran:?}");
    }
    bundle.config["process"]["cwd"] = "/".into();
    bundle.config["process"]["args"] = json!(["sleep", "100"]);
    bundle.start();
    for number in 3..24 {
        let output = bundle.oci(&["exec", "--cwd", &format!("/proc/self/fd/{number}"), &bundle.id, "pwd"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() || said.starts_with("/proc"), "by {number}: {said}");
    }
    let ran = bundle.exec("ls -l /proc/self/fd /proc/1/fd");
    assert!(!ran.out.contains("cgroup") && !ran.out.contains("config.json"), "{ran:?}");
}

/// CVE-2025-31133 and CVE-2025-52565: an image whose /dev/null or /dev/console leads elsewhere.
#[test]
fn devices_of_the_image_are_not_trusted() {
    if !possible() {
        return;
    }
    let mut bundle =
        Bundle::new("cat /proc/timer_list | wc -c; stat -c %t:%T /proc/timer_list; stat -c %t:%T /dev/null");
    let mounts = bundle.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|target| target.starts_with("/dev")));
    std::fs::create_dir(bundle.rootfs().join("dev")).expect("mkdir");
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs().join("dev/null")).expect("symlink");
    symlink("../../target", bundle.rootfs().join("dev/console")).expect("symlink");
    let ran = bundle.run();
    assert_eq!(ran.out, "0\n1:3\n1:3\n", "{ran:?}");
    // With a terminal the console is refused rather than followed.
    bundle.config["process"]["terminal"] = true.into();
    bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
    let target = bundle.path().join("target");
    std::fs::write(&target, "host").expect("write");
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("/dev/console"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&target).expect("read"), "host");
}

/// CVE-2019-19921, CVE-2023-27561 and CVE-2025-52881: a /proc that is not the kernel's, so that what
/// the runtime writes there (sysctls, labels) goes nowhere or somewhere else.
#[test]
fn a_false_proc_is_refused() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_forward");
    std::fs::create_dir(bundle.path().join("volume")).expect("mkdir");
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    for target in ["/proc", "/proc/self/attr", "/proc/sys/kernel", "/link/sys", "/proc/../proc/1"] {
        let mut one = Bundle::new("true");
        one.config["linux"]["sysctl"] = bundle.config["linux"]["sysctl"].clone();
        std::fs::create_dir(one.path().join("volume")).expect("mkdir");
        symlink("/proc", one.rootfs().join("link")).expect("symlink");
        one.mount(target, "bind", "volume", &["rbind"]);
        let ran = one.run();
        assert!(ran.code != 0 && ran.err.contains("mount volume"), "{target}: {ran:?}");
    }
    assert_eq!(bundle.run().out, "1\n");
    // The image's own /proc is a symlink: procfs would be mounted where it leads.
    std::fs::create_dir(bundle.rootfs().join("evil")).expect("mkdir");
    let _ = std::fs::remove_dir(bundle.rootfs().join("proc"));
    symlink("/evil", bundle.rootfs().join("proc")).expect("symlink");
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("must be a folder, not a symlink"), "{ran:?}");
}

/// CVE-2019-19921 again: the root file system itself is a symlink that somebody else controls.
#[test]
fn a_root_that_is_a_symlink_is_refused() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("true");
    symlink("/", bundle.path().join("link")).expect("symlink");
    bundle.config["root"]["path"] = "link".into();
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("open root file system"), "{ran:?}");
}

/// CVE-2022-29162: capabilities that a file could inherit.
#[test]
fn exec_gives_no_inheritable_capabilities() {
    if !possible() {
        return;
    }
    let bundle = Bundle::new("sleep 100");
    bundle.start();
    let output = bundle.oci(&["exec", "--cap", "CAP_CHOWN", &bundle.id, "grep", "^Cap", "/proc/self/status"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("CapInh:\t0000000000000000") && said.contains("CapAmb:\t0000000000000000"), "{said}");
    assert!(said.contains("CapEff:\t0000000020000421"), "{said}");
}

/// A container without CAP_SYS_PTRACE learns nothing from a process that joins it.
#[test]
fn a_joining_process_can_not_be_looked_into() {
    if !possible() {
        return;
    }
    let script = "while :; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *) \
                  grep -q SECRET_OF_THE_HOST $p/environ 2>/dev/null && echo LEAKED ;; esac; done; done";
    let bundle = Bundle::new(script);
    bundle.start();
    for _ in 0..20 {
        let mut command = bundle.command(&["exec", &bundle.id, "true"]);
        command.env("SECRET_OF_THE_HOST", "1").output().expect("exec");
    }
    assert!(!bundle.out().contains("LEAKED"));
}

/// A target that is a symlink to an absolute path is followed inside only.
#[test]
fn links_of_the_image_lead_inside() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("touch /inside/x; ls /inside");
    let outside: PathBuf = bundle.path().join("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    symlink(&outside, bundle.rootfs().join("link")).expect("symlink");
    symlink("/inside", bundle.rootfs().join("other")).expect("symlink");
    bundle.mount("/link/deep", "tmpfs", "tmpfs", &[]);
    bundle.mount("/other", "tmpfs", "tmpfs", &[]);
    let ran = bundle.run();
    assert_eq!(ran.out, "x\n", "{ran:?}");
    assert_eq!(std::fs::read_dir(&outside).expect("list").count(), 0);
    assert!(Path::new(&format!("{}{}", bundle.rootfs().display(), outside.display())).exists());
    assert!(!bundle.rootfs().join("inside/x").exists(), "it was a mount");
}
