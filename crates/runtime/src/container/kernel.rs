//! Settings of the kernel that a container asks for: sysctls, labels, the out-of-memory score.
//! All are written through a descriptor of the host's own procfs, never by a path of the container:
//! one that fakes `/proc` gets nothing to write to (CVE-2025-52881).

use super::Error;
use super::prepare::on_procfs;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;

/// Writes `value` to a file below the host's `/proc`, after a look at where it leads.
fn write(proc: impl AsFd, path: &str, value: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = fs::openat2(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    if !on_procfs(&file)? {
        return Err(Errno::XDEV);
    }
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

/// Sets how likely the out-of-memory killer takes a process.
pub(crate) fn set_oom_score(proc: impl AsFd, pid: rustix::process::Pid, score: i32) -> Result<(), Error> {
    write(proc, &format!("{}/oom_score_adj", pid.as_raw_nonzero()), &score.to_string())
        .map_err(|error| Error::io(format!("set oom_score_adj to {score}"), error))
}

/// Sets the sysctls of a spec from inside the container's namespaces.
pub(crate) fn set_sysctls(proc: impl AsFd, sysctls: &HashMap<String, String>) -> Result<(), Error> {
    for (name, value) in sysctls {
        let path = format!("sys/{}", file_of(name));
        write(&proc, &path, value).map_err(|error| Error::io(format!("set sysctl {name} to {value:?}"), error))?;
    }
    Ok(())
}

/// `net.ipv4.conf.eth0/1.forwarding` is a file whose interface has a dot; the separators change
/// places, as with sysctl(8).
fn file_of(name: &str) -> String {
    let slashes_first = matches!((name.find('/'), name.find('.')), (Some(slash), Some(dot)) if slash < dot);
    if slashes_first || !name.contains('.') {
        return name.to_owned();
    }
    name.chars()
        .map(|letter| {
            if letter == '.' {
                '/'
            } else if letter == '/' {
                '.'
            } else {
                letter
            }
        })
        .collect()
}

/// Refuses sysctls that would change the host.
pub(crate) fn check_sysctls(spec: &Spec) -> Result<(), Error> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let own = |kind| linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind);
    const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    for name in linux.sysctl().iter().flat_map(HashMap::keys) {
        let file = file_of(name);
        let escapes = Path::new(&file).components().any(|part| !matches!(part, std::path::Component::Normal(_)));
        let (known, namespace, kind) = match file.split_once('/') {
            Some(("net", _)) => (true, "network", LinuxNamespaceType::Network),
            Some(("fs", rest)) => (rest.starts_with("mqueue/"), "ipc", LinuxNamespaceType::Ipc),
            Some(("kernel", "domainname" | "hostname")) => (true, "uts", LinuxNamespaceType::Uts),
            Some(("kernel", rest)) => (IPC.contains(&rest), "ipc", LinuxNamespaceType::Ipc),
            _ => (false, "", LinuxNamespaceType::Network),
        };
        if escapes || !known {
            return Err(Error::text(format!(
                "sysctl {name} is not one of a container's own, it would change the host"
            )));
        }
        if !own(kind) {
            let why = format!("sysctl {name} needs a {namespace} namespace of the container's own");
            return Err(Error::text(format!("{why}, it would change the host")));
        }
    }
    Ok(())
}

/// Makes a time namespace for what is executed next, with the clocks of the spec.
pub(crate) fn new_time_namespace(proc: impl AsFd, linux: &Linux) -> Result<(), Error> {
    let failed = |error: Errno| Error::io("make a time namespace", error);
    super::sys::unshare(super::namespaces::CLONE_NEWTIME).map_err(failed)?;
    let folder = fs::openat(&proc, "self", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(failed)?;
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        let line = format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        write(&folder, "timens_offsets", &line).map_err(|error| Error::io(format!("set clock {line}"), error))?;
    }
    Ok(())
}

/// Which security modules this kernel runs that can label a process.
fn runs_apparmor(proc: impl AsFd) -> bool {
    let attr = fs::openat(proc, "thread-self/attr/apparmor/exec", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    attr.is_ok() && std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn runs_selinux() -> bool {
    fs::access("/sys/fs/selinux/enforce", fs::Access::EXISTS).is_ok()
}

/// Labels that the process asks for and this kernel can't give.
pub(crate) fn label_warnings(proc: impl AsFd, process: &Process) -> Vec<String> {
    let mut warnings = Vec::new();
    let profile = process.apparmor_profile().as_deref().unwrap_or_default();
    if !matches!(profile, "" | "unconfined") && !runs_apparmor(proc) {
        warnings.push(format!("AppArmor profile {profile} is not applied: this kernel does not run AppArmor"));
    }
    let label = process.selinux_label().as_deref().unwrap_or_default();
    if !label.is_empty() && !runs_selinux() {
        warnings.push(format!("SELinux label {label} is not applied: this kernel does not run SELinux"));
    }
    warnings
}

/// Sets the labels that the next execve takes. The file is the kernel's even if the container has
/// mounted something else there.
pub(crate) fn set_labels(proc: impl AsFd, process: &Process, with: Labels) -> Result<(), Error> {
    // `thread-self` is a link that the kernel makes up, so the folder is opened in two steps.
    let attr = |file: &str, value: &str| {
        let folder =
            fs::openat(&proc, "thread-self/attr", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if !on_procfs(&folder)? {
            return Err(Errno::XDEV);
        }
        write(&folder, file, value)
    };
    if let (true, Some(profile)) = (with.apparmor, process.apparmor_profile()) {
        attr("apparmor/exec", &format!("exec {profile}"))
            .map_err(|error| Error::io(format!("apply AppArmor profile {profile}"), error))?;
    }
    if let (true, Some(label)) = (with.selinux, process.selinux_label()) {
        attr("exec", label).map_err(|error| Error::io(format!("apply SELinux label {label}"), error))?;
    }
    Ok(())
}

/// Which labels a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Labels {
    apparmor: bool,
    selinux: bool,
}

impl Labels {
    /// Those that it asks for and the kernel can give.
    pub(crate) fn of(proc: impl AsFd, process: &Process) -> Self {
        let asks = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
        Self {
            apparmor: asks(process.apparmor_profile()) && runs_apparmor(proc),
            selinux: asks(process.selinux_label()) && runs_selinux(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(sysctl: &str, namespaces: &str) -> Spec {
        let json =
            format!(r#"{{"ociVersion":"1.0.2","linux":{{"sysctl":{{"{sysctl}":"1"}},"namespaces":[{namespaces}]}}}}"#);
        serde_json::from_str(&json).expect("json")
    }

    #[test]
    fn only_sysctls_of_own_namespaces() {
        let all = r#"{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}"#;
        for good in
            ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.hostname", "net/core/somaxconn"]
        {
            check_sysctls(&spec(good, all)).unwrap_or_else(|error| panic!("{good}: {error}"));
            assert!(check_sysctls(&spec(good, r#"{"type":"mount"}"#)).is_err(), "{good} would be the host's");
        }
        for bad in
            ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "net/../kernel/core_pattern", "net", "/net.x"]
        {
            assert!(check_sysctls(&spec(bad, all)).is_err(), "{bad}");
        }
    }

    #[test]
    fn dots_and_slashes_change_places() {
        assert_eq!(file_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(file_of("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(file_of("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
