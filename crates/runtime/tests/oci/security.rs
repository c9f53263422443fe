//! What a container must not be able to do.

use super::support::{Bundle, possible};
use serde_json::json;

#[test]
fn capabilities_in_all_five_sets() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("grep ^Cap /proc/self/status; id");
    let set = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
    bundle.config["process"]["capabilities"] = json!({
        "bounding": set, "effective": set, "permitted": set, "inheritable": set, "ambient": ["CAP_KILL"]
    });
    bundle.config["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6] });
    let ran = bundle.run();
    for line in [
        "CapInh:\t0000000000000420",
        "CapPrm:\t0000000000000020",
        "CapEff:\t0000000000000020",
        "CapBnd:\t0000000000000420",
        "CapAmb:\t0000000000000020",
        "uid=1000 gid=1001 groups=5,6",
    ] {
        assert!(ran.out.contains(line), "{line:?} in {ran:?}");
    }
}

#[test]
fn seccomp_refuses_what_its_profile_refuses() {
    if !possible() {
        return;
    }
    let mut bundle =
        Bundle::new("grep ^Seccomp: /proc/self/status; unshare -U true; unshare -m true; mkdir /x; echo end");
    bundle.config["process"]["noNewPrivileges"] = false.into();
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            { "names": ["unshare", "keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }
        ]
    });
    for no_new_privs in [false, true] {
        bundle.config["process"]["noNewPrivileges"] = no_new_privs.into();
        let ran = bundle.run();
        assert!(ran.out.contains("Seccomp:\t2") && ran.out.contains("end"), "{ran:?}");
        assert_eq!(ran.err.matches("unshare: unshare").count(), 2, "{ran:?}");
        assert!(ran.err.contains("No space left on device"), "the errno of the profile: {ran:?}");
    }
}

#[test]
fn hidden_and_read_only_paths() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new(
        "cat /proc/timer_list; ls -A /sys/firmware; echo 1 > /proc/sys/kernel/shm_rmid_forced; \
         chmod 777 /proc/timer_list; mkdir /sys/firmware/x; echo x > /sys/kernel/profiling; echo end",
    );
    let all: Vec<_> = ["CAP_SYS_ADMIN", "CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_CHOWN"].into();
    bundle.config["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    let ran = bundle.run();
    assert_eq!(ran.out, "end\n", "{ran:?}");
    assert_eq!(ran.err.matches("Read-only file system").count(), 4, "{ran:?}");
}

#[test]
fn devices_that_are_not_listed_can_not_be_opened() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new(
        "mknod /dev/disk b 8 0; mknod /dev/kmsg2 c 1 11; cat /dev/disk; cat /dev/kmsg2; \
         echo x > /dev/null; head -c 4 /dev/zero | wc -c; stat -c %t:%T /dev/fuse",
    );
    bundle.config["process"]["capabilities"] =
        json!({ "bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"] });
    bundle.config["linux"]["devices"] = json!([
        { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 0, "gid": 0 }
    ]);
    let ran = bundle.run();
    assert_eq!(ran.err.matches("Operation not permitted").count(), 2, "{ran:?}");
    assert_eq!(ran.out, "4\na:e5\n", "{ran:?}");
}

#[test]
fn processes_are_limited() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo end");
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 5 });
    let ran = bundle.run();
    assert!(ran.err.contains("can't fork"), "{ran:?}");
}

#[test]
fn memory_is_limited() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("tail /dev/zero; echo tail=$?");
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 33_554_432, "swap": 33_554_432 });
    let ran = bundle.run();
    assert!(ran.out.contains("tail=137"), "{ran:?}");
}

#[test]
fn a_read_only_root_stays_so() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("touch /x; mount -o remount,rw /; touch /x; touch /dev/x && echo fine");
    bundle.config["root"]["readonly"] = true.into();
    let ran = bundle.run();
    assert_eq!(ran.err.matches("Read-only file system").count(), 2, "{ran:?}");
    assert_eq!(ran.out, "fine\n");
}

#[test]
fn no_new_privs_limits_and_umask() {
    if !possible() {
        return;
    }
    let mut bundle =
        Bundle::new("grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -Hn; umask; ls /proc/self/fd | wc -l");
    bundle.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    bundle.config["process"]["user"]["umask"] = 0o27.into();
    let ran = bundle.run();
    // The last: three streams and the folder that ls reads.
    assert_eq!(ran.out, "NoNewPrivs:\t1\n100\n200\n0027\n4\n", "{ran:?}");
}

#[test]
fn sysctls_of_the_host_are_refused() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni; hostname");
    bundle.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmni": "77" });
    assert_eq!(bundle.run().out, "1\n77\nrswarm\n");
    bundle.config["linux"]["sysctl"] = json!({ "vm.swappiness": "1" });
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("sysctl vm.swappiness"), "{ran:?}");
}

#[test]
fn a_user_namespace_has_devices_and_no_rights_outside() {
    if !possible() {
        return;
    }
    let mut bundle = Bundle::new(
        "id -u; cat /proc/self/uid_map; echo x > /dev/null && stat -c %t:%T /dev/null; mknod /tmp-node c 1 3; \
         mount -t tmpfs none /etc && echo mounted",
    );
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    let caps = json!(["CAP_SYS_ADMIN", "CAP_MKNOD"]);
    bundle.config["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    std::fs::set_permissions(bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(100_000)).expect("chown");
    let ran = bundle.run();
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "1:3", "mounted"], "{ran:?}");
    assert!(ran.err.contains("mknod: /tmp-node: Operation not permitted"), "{ran:?}");
}
