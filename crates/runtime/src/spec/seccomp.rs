//! Seccomp profiles: Docker's default one as a table, and those that users write in Docker's JSON form.

use oci_spec::runtime::LinuxSeccomp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Allowed to everybody.
const ALWAYS: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64
    prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6
    pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
    sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
    waitpid write writev";

/// Allowed to whoever has the capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed on one architecture.
const BY_ARCHITECTURE: [(&str, &str); 3] = [
    ("x86_64", "arch_prctl modify_ldt"),
    ("aarch64", "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    ("riscv64", "riscv_flush_icache"),
];

/// Personalities that change nothing of security: Linux, 32-bit Linux, with and without
/// `UNAME26`, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff];

/// `AF_VSOCK` reaches the hypervisor around the network namespace.
const AF_VSOCK: u64 = 40;

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// `clone3` hides its flags from filters; ENOSYS lets libraries fall back to `clone`.
const ENOSYS: u32 = 38;

/// Docker's default profile for somebody with these capabilities.
pub(crate) fn default_profile(capabilities: &BTreeSet<String>, architecture: &str) -> LinuxSeccomp {
    let mut names: Vec<&str> = ALWAYS.split_whitespace().collect();
    for (capability, more) in BY_CAPABILITY {
        if capabilities.contains(capability) {
            names.extend(more.split_whitespace());
        }
    }
    for (known, more) in BY_ARCHITECTURE {
        if known == architecture {
            names.extend(more.split_whitespace());
        }
    }
    names.sort_unstable();
    names.dedup();
    let allow = |names: &[&str], index: usize, op: &str, value: u64, two: Option<u64>| {
        let mut arg = json!({"index": index, "op": op, "value": value});
        if let (Some(two), Some(arg)) = (two, arg.as_object_mut()) {
            arg.insert("valueTwo".to_owned(), two.into());
        }
        json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": [arg]})
    };
    let mut syscalls =
        vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"}), allow(&["socket"], 0, "SCMP_CMP_NE", AF_VSOCK, None)];
    syscalls.extend(PERSONALITIES.map(|value| allow(&["personality"], 0, "SCMP_CMP_EQ", value, None)));
    if !capabilities.contains("CAP_SYS_ADMIN") {
        syscalls.push(allow(&["clone"], 0, "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES, Some(0)));
        syscalls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": architectures(architecture),
        "syscalls": syscalls,
    });
    // The table above is ours; the tests read it for every capability.
    serde_json::from_value(profile).unwrap_or_default()
}

fn architectures(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _ => &[],
    }
}

/// A profile in Docker's form: OCI's, with conditions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
}

/// Reads a profile that a user wrote. `minKernel` conditions are taken as met: no kernel that we run
/// on is older than any of them.
///
/// # Errors
/// It is no such profile, as a sentence.
pub(crate) fn custom_profile(
    text: &str,
    capabilities: &BTreeSet<String>,
    architecture: &str,
) -> Result<LinuxSeccomp, String> {
    let bad = |error: serde_json::Error| format!("seccomp profile: {error}");
    let profile: Profile = serde_json::from_str(text).map_err(bad)?;
    let short = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let applies = |rule: &Rule| {
        let included = rule.includes.as_ref().is_none_or(|condition| {
            let caps = condition.caps.iter().flatten().all(|cap| capabilities.contains(cap));
            let arches =
                condition.arches.as_ref().is_none_or(|list| list.is_empty() || list.iter().any(|a| a == short));
            caps && arches
        });
        let excluded = rule.excludes.as_ref().is_some_and(|condition| {
            condition.caps.iter().flatten().any(|cap| capabilities.contains(cap))
                || condition.arches.iter().flatten().any(|arch| arch == short)
        });
        included && !excluded
    };
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.iter().flatten().filter(|rule| applies(rule)) {
        let names: Vec<&String> = rule.names.iter().flatten().chain(&rule.name).collect();
        if names.is_empty() {
            continue;
        }
        let mut value = json!({"names": names, "action": rule.action, "args": rule.args.clone().unwrap_or_default()});
        if let (Some(errno), Some(object)) = (rule.errno_ret, value.as_object_mut()) {
            object.insert("errnoRet".to_owned(), errno.into());
        }
        syscalls.push(value);
    }
    let native = architectures(architecture).first().copied().unwrap_or_default();
    let mapped = profile.arch_map.iter().flatten().find(|map| map.architecture == native).map(|map| {
        let mut all = vec![map.architecture.clone()];
        all.extend(map.sub_architectures.iter().flatten().cloned());
        all
    });
    let architectures = mapped.or(profile.architectures).filter(|list| !list.is_empty());
    let mut value = json!({"defaultAction": profile.default_action, "syscalls": syscalls});
    if let Some(object) = value.as_object_mut() {
        if let Some(errno) = profile.default_errno_ret {
            object.insert("defaultErrnoRet".to_owned(), errno.into());
        }
        if let Some(architectures) = architectures {
            object.insert("architectures".to_owned(), json!(architectures));
        }
        if let Some(flags) = profile.flags {
            object.insert("flags".to_owned(), json!(flags));
        }
    }
    serde_json::from_value(value).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxSeccompAction;

    fn allows(profile: &LinuxSeccomp, name: &str) -> bool {
        let rules = profile.syscalls().as_ref().unwrap();
        rules.iter().any(|rule| {
            rule.action() == LinuxSeccompAction::ScmpActAllow && rule.names().iter().any(|known| known == name)
        })
    }

    #[test]
    fn capabilities_open_what_belongs_to_them() {
        let nobody = default_profile(&BTreeSet::new(), "x86_64");
        assert_eq!(nobody.default_errno_ret(), Some(1));
        for name in ["read", "execve", "clone", "socket", "personality", "ptrace", "arch_prctl"] {
            assert!(allows(&nobody, name), "{name}");
        }
        for name in
            ["mount", "unshare", "keyctl", "add_key", "bpf", "io_uring_setup", "reboot", "clone3", "userfaultfd"]
        {
            assert!(!allows(&nobody, name), "{name}");
        }
        for (capability, names) in BY_CAPABILITY {
            let profile = default_profile(&BTreeSet::from([capability.to_owned()]), "aarch64");
            for name in names.split_whitespace() {
                assert!(allows(&profile, name), "{capability} {name}");
            }
        }
    }

    #[test]
    fn a_profile_in_docker_s_form_is_read_with_its_conditions() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[
              {"names":["read"],"action":"SCMP_ACT_ALLOW"},
              {"name":"write","action":"SCMP_ACT_ALLOW","args":null},
              {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
              {"names":["arch_prctl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64"]}},
              {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]},
               "args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
        let profile = custom_profile(text, &BTreeSet::new(), "x86_64").unwrap();
        assert_eq!(profile.default_errno_ret(), Some(13));
        assert_eq!(profile.architectures().as_ref().map(Vec::len), Some(2));
        for (name, allowed) in
            [("read", true), ("write", true), ("mount", false), ("arch_prctl", true), ("clone", true)]
        {
            assert_eq!(allows(&profile, name), allowed, "{name}");
        }
        let admin = BTreeSet::from(["CAP_SYS_ADMIN".to_owned()]);
        let profile = custom_profile(text, &admin, "aarch64").unwrap();
        assert!(allows(&profile, "mount") && !allows(&profile, "clone") && !allows(&profile, "arch_prctl"));
        assert!(custom_profile("{}", &admin, "x86_64").is_err());
    }
}
