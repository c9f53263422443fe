//! The programs are run here by a small interpreter, since a filter can't be taken off again.

use super::*;
use oci_spec::runtime::LinuxSyscall;

/// What a filter says to one call.
fn run(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
    let (mut at, mut word) = (0usize, 0u32);
    loop {
        let SockFilter { code, jt, jf, k } = filter.program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => word = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().expect("four bytes")),
            0x06 => return k,
            0x05 => at += k as usize,
            0x15 => at += jump(word == k),
            0x25 => at += jump(word > k),
            0x35 => at += jump(word >= k),
            0x54 => word &= k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

fn profile(json: &str) -> Filter {
    let spec: LinuxSeccomp = serde_json::from_str(json).expect("json");
    Filter::compile(&spec).expect("compile").expect("a filter")
}

#[test]
fn names_are_sorted_and_known() {
    assert!(names::NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(Target::X86_64.number("execve"), Some(59));
    assert_eq!(Target::X86.number("execve"), Some(11));
    assert_eq!(Target::Arm64.number("execve"), Some(221));
    assert_eq!(Target::Arm64.number("open"), None);
    assert_eq!(Target::Arm64.number("newfstatat"), Some(79));
    assert_eq!(Target::X86_64.number("clone3"), Some(435));
    assert_eq!(Target::X86_64.number("nope"), None);
    #[cfg(target_arch = "x86_64")]
    for (name, number) in [("openat2", libc::SYS_openat2), ("keyctl", libc::SYS_keyctl), ("read", libc::SYS_read)] {
        assert_eq!(Target::X86_64.number(name).map(i64::from), Some(number));
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn both_architectures_and_none_other() {
    let filter = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
            "syscalls":[{"names":["read","write","getpid","futex_waitv"],"action":"SCMP_ACT_ALLOW"},
                        {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
    );
    let say = |arch, number| run(&filter, arch, number, [0; 6]);
    assert_eq!(say(X86_64, 0), ALLOW);
    assert_eq!(say(X86_64, 39), ALLOW);
    assert_eq!(say(X86_64, 20), EPERM, "writev is not listed; 20 is getpid on x86");
    assert_eq!(say(X86, 20), ALLOW);
    assert_eq!(say(X86, 0), EPERM);
    assert_eq!(say(X86_64, 435), libc::SECCOMP_RET_ERRNO | 38);
    assert_eq!(say(X86_64, 449), ALLOW);
    assert_eq!(say(X86_64, 450), libc::SECCOMP_RET_ERRNO | ENOSYS, "younger than the profile");
    assert_eq!(say(X86_64, X32_BIT), libc::SECCOMP_RET_ERRNO | ENOSYS);
    assert_eq!(say(0xc000_00b7, 0), libc::SECCOMP_RET_KILL_PROCESS);
    let native =
        profile(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_KILL"}]}"#);
    assert_eq!(run(&native, X86, 20, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    assert_eq!(run(&native, X86_64, 321, [0; 6]), libc::SECCOMP_RET_KILL_THREAD);
    assert_eq!(run(&native, X86_64, 500, [0; 6]), ALLOW);
}

#[test]
fn every_operator_on_every_half() {
    let holds = |op: &str, arg: u64, value: u64, two: u64| match op {
        "NE" => arg != value,
        "LT" => arg < value,
        "LE" => arg <= value,
        "EQ" => arg == value,
        "GE" => arg >= value,
        "GT" => arg > value,
        _ => arg & value == two,
    };
    let values = [0, 1, 5, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (5 << 32) + 1, u64::MAX - 1, u64::MAX];
    for op in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        for value in values {
            let two = value & 0x1_0000_0001;
            let filter = profile(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                    "args":[{{"index":3,"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}]}}]}}"#
            ));
            let number = Target::NATIVE.and_then(|target| target.number("read")).expect("read");
            let arch = Target::NATIVE.expect("native").audit();
            for arg in values {
                let said = run(&filter, arch, number, [7, 7, 7, arg, 7, 7]);
                assert_eq!(said == ALLOW, holds(op, arg, value, two), "{arg:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn conditions_on_different_arguments_all_hold_and_on_one_any() {
    let arg = |index: usize, value: u64| format!(r#"{{"index":{index},"value":{value},"op":"SCMP_CMP_EQ"}}"#);
    let with = |args: &str| {
        profile(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{args}]}}]}}"#
        ))
    };
    let number = Target::NATIVE.and_then(|target| target.number("personality")).expect("known");
    let arch = Target::NATIVE.expect("native").audit();
    let both = with(&format!("{},{}", arg(0, 1), arg(1, 2)));
    assert_eq!(run(&both, arch, number, [1, 2, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&both, arch, number, [1, 3, 0, 0, 0, 0]), EPERM);
    let any = with(&format!("{},{}", arg(0, 1), arg(0, 2)));
    assert_eq!(run(&any, arch, number, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&any, arch, number, [3, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn every_number_of_a_large_profile_is_found() {
    let target = Target::NATIVE.expect("native");
    // Every third name is allowed, every fifth traced under a condition: many ranges.
    let named = |step: usize, action, args: Option<LinuxSeccompArg>| {
        let mut rule = LinuxSyscall::default();
        rule.set_names(names::NAMES.iter().step_by(step).map(|name| name.0.to_owned()).collect());
        rule.set_action(action);
        rule.set_args(args.map(|arg| vec![arg]));
        rule
    };
    let arg = serde_json::from_str(r#"{"index":0,"value":9,"op":"SCMP_CMP_EQ"}"#).expect("json");
    let mut spec = LinuxSeccomp::default();
    spec.set_default_action(LinuxSeccompAction::ScmpActErrno);
    spec.set_syscalls(Some(vec![
        named(3, LinuxSeccompAction::ScmpActAllow, None),
        named(5, LinuxSeccompAction::ScmpActLog, Some(arg)),
    ]));
    let filter = Filter::compile(&spec).expect("compile").expect("a filter");
    for (at, name) in names::NAMES.iter().enumerate() {
        let Some(number) = target.number(name.0) else { continue };
        let logged = run(&filter, target.audit(), number, [9, 0, 0, 0, 0, 0]);
        let plain = run(&filter, target.audit(), number, [0; 6]);
        // Two names of one number (there are a few on arm64) may say different things.
        let twins = names::NAMES.iter().filter(|other| target.number(other.0) == Some(number)).count();
        if twins > 1 {
            continue;
        }
        let below = if at % 3 == 0 { ALLOW } else { EPERM };
        assert_eq!(plain, below, "{}", name.0);
        assert_eq!(logged, if at % 5 == 0 { libc::SECCOMP_RET_LOG } else { below }, "{}", name.0);
    }
}

#[test]
fn what_can_not_be_done_is_refused() {
    let refused = |json: &str| {
        let spec: LinuxSeccomp = serde_json::from_str(json).expect("json");
        Filter::compile(&spec).expect_err("refused").to_string()
    };
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).contains("NOTIFY"));
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#).contains("5000"));
    let spec: LinuxSeccomp = serde_json::from_str(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).expect("json");
    assert_eq!(Filter::compile(&spec).expect("compile"), None);
}
