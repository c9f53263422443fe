//! Both versions on folders that stand in for the kernel's, and its programs on an interpreter.

use super::device_program::{self as program, BLOCK, CHARACTER, Instruction, MKNOD, READ, WRITE};
use super::*;
use std::path::Path;

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("json")
}

fn lines(settings: &[limits::Setting]) -> Vec<String> {
    settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
}

const LIMITS: &str = r#"{"memory":{"limit":1048576,"swap":3145728,"reservation":524288,"swappiness":10},
    "cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1"},"pids":{"limit":64},
    "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}]}}"#;

#[test]
fn limits_of_both_versions() {
    let resources = resources(LIMITS);
    assert_eq!(
        lines(&limits::v2(&resources).expect("v2")),
        [
            "memory.max=1048576",
            "memory.swap.max=2097152",
            "memory.low=524288",
            "cpu.weight=39",
            "cpu.max=50000 100000",
            "cpuset.cpus=0-1",
            "pids.max=64",
            "io.max=8:0 rbps=1000"
        ]
    );
    assert_eq!(
        lines(&limits::v1(&resources).expect("v1")),
        [
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=3145728",
            "memory.soft_limit_in_bytes=524288",
            "memory.swappiness=10",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
            "pids.max=64",
            "blkio.throttle.read_bps_device=8:0 1000"
        ]
    );
}

#[test]
fn unlimited_and_contradictions() {
    let v2 = |json: &str| limits::v2(&resources(json));
    assert_eq!(
        lines(&v2(r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1}}"#).expect("v2")),
        ["memory.max=max", "memory.swap.max=max", "pids.max=max"]
    );
    assert!(v2(r#"{"memory":{"limit":100,"swap":50}}"#).is_err());
    assert!(v2(r#"{"unified":{"../memory.max":"1"}}"#).is_err());
    assert!(limits::v1(&resources(r#"{"unified":{"memory.max":"1"}}"#)).is_err());
    assert!(v2(r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#).is_err());
}

/// A folder with the files that the kernel would have put there.
fn fake_v2(root: &Path) -> Layout {
    for folder in ["", "rswarm", "rswarm/one"] {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder).expect("mkdir");
        std::fs::write(folder.join("cgroup.controllers"), "cpuset cpu io memory pids rdma\n").expect("write");
        std::fs::write(folder.join("cgroup.subtree_control"), "cpu\n").expect("write");
    }
    let leaf = root.join("rswarm/one");
    for (file, text) in [
        ("memory.max", "1048576\n"),
        ("memory.current", "5000\n"),
        ("memory.stat", "anon 1\ninactive_file 1000\n"),
        ("memory.events", "oom 3\noom_kill 2\n"),
        ("pids.max", ""),
        ("pids.current", "7\n"),
        ("cpu.stat", "usage_usec 12\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2\n"),
        ("cgroup.procs", "12\n5\n"),
    ] {
        std::fs::write(leaf.join(file), text).expect("write");
    }
    Layout { v1: Vec::new(), v2: Some(root.to_owned()), unified: true }
}

#[test]
fn version_2_on_a_stand_in() {
    let folder = tempfile::tempdir().expect("tempdir");
    let layout = fake_v2(folder.path());
    let cgroup = Cgroup::open_in(&layout, "/rswarm/one").expect("open");
    cgroup.update(&resources(r#"{"pids":{"limit":5}}"#)).expect("update");
    assert_eq!(std::fs::read_to_string(folder.path().join("rswarm/one/pids.max")).expect("read"), "5");
    files::delegate(folder.path(), "/rswarm/one").expect("delegate");
    let control = |path: &str| std::fs::read_to_string(folder.path().join(path).join("cgroup.subtree_control"));
    assert_eq!(control("").expect("read"), "+cpuset +io +memory +pids");
    assert_eq!(control("rswarm/one").expect("read"), "cpu\n", "the group itself hands nothing down");
    assert_eq!(
        cgroup.stats().expect("stats"),
        CgroupStats {
            cpu_ns: 12_000,
            memory: 4000,
            memory_limit: Some(1_048_576),
            block_read: 1,
            block_write: 2,
            pids: 7
        }
    );
    assert_eq!(cgroup.oom_kills().expect("oom"), 2);
    assert_eq!(cgroup.pids().expect("pids"), [5, 12]);
    assert!(matches!(cgroup.oom_events().expect("events"), Some(OomEvents::V2(_))));
    assert!(Cgroup::open_in(&layout, "/rswarm/two").expect("open").pids().expect("pids").is_empty());
}

#[test]
fn paths_stay_below_the_hierarchy() {
    assert_eq!(clean("rswarm//a/./b").expect("clean"), "/rswarm/a/b");
    for path in ["/", "", "/a/../b", "system.slice:x:y"] {
        assert!(clean(path).is_err(), "{path}");
    }
}

#[test]
fn the_spec_chooses_controllers() {
    assert_eq!(limits::needed_v1(&LinuxResources::default(), true), ["blkio", "devices", "memory", "pids"]);
    let needed = limits::needed_v1(&resources(LIMITS), false);
    for name in ["cpuacct", "freezer", "cpu", "cpuset"] {
        assert!(needed.contains(&name), "{name}");
    }
}

/// Runs a device program as the kernel would.
fn ask(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
    let mut registers = [0i64; 11];
    let mut at = 0;
    loop {
        let Instruction { code, dst, src, off, imm } = program[at];
        at += 1;
        let (dst, imm) = (usize::from(dst), i64::from(imm));
        let jump = |taken: bool| if taken { usize::try_from(off).expect("forward") } else { 0 };
        match code {
            0x61 => registers[dst] = i64::from([kind | access << 16, major, minor][off as usize / 4]),
            0xb7 => registers[dst] = imm,
            0xbf => registers[dst] = registers[usize::from(src)],
            0x57 => registers[dst] &= imm,
            0x77 => registers[dst] >>= imm,
            0x55 => at += jump(registers[dst] != imm),
            0x5d => at += jump(registers[dst] != registers[usize::from(src)]),
            0x15 => at += jump(registers[dst] == imm),
            0x95 => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn device_rules(json: &str) -> devices::Rules {
    devices::Rules::of(resources(json).devices().as_deref().unwrap_or_default())
}

#[test]
fn device_rules_decide_alike_in_both_versions() {
    let rules = device_rules(
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
            {"allow":true,"type":"b","major":8,"access":"r"}]}"#,
    );
    let code = program::compile(&rules);
    assert!(ask(&code, CHARACTER, READ | WRITE, 1, 3), "null is always there");
    assert!(ask(&code, CHARACTER, READ | WRITE, 10, 229));
    assert!(ask(&code, CHARACTER, MKNOD, 10, 200), "any node may be made");
    assert!(!ask(&code, CHARACTER, READ, 10, 200), "and not opened");
    assert!(ask(&code, BLOCK, READ, 8, 3));
    assert!(!ask(&code, BLOCK, READ | WRITE, 8, 3), "part of what is wanted is not enough");
    assert!(!ask(&code, BLOCK, READ, 9, 3));
    let lines = rules.v1_lines();
    assert_eq!(lines[0], ("devices.deny", "a".to_owned()));
    assert!(lines.contains(&("devices.allow", "c 10:229 rw".to_owned())));
    assert!(lines.contains(&("devices.allow", "b 8:* r".to_owned())));
    assert!(lines.contains(&("devices.allow", "c *:* m".to_owned())));
}

#[test]
fn everything_allowed_and_something_taken_away() {
    assert!(device_rules(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#).allow_all());
    assert!(!device_rules(r#"{}"#).allow_all());
    let rules = device_rules(
        r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"w"}]}"#,
    );
    assert!(!rules.allow_all());
    let code = program::compile(&rules);
    assert!(ask(&code, BLOCK, READ, 8, 0) && ask(&code, CHARACTER, WRITE, 99, 9));
    assert!(!ask(&code, BLOCK, READ | WRITE, 8, 0));
}
