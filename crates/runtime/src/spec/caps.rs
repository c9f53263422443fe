//! Capabilities: Docker's default set, more or less some.

use std::collections::BTreeSet;

/// What containers have unless they ask otherwise (moby `oci/caps/defaults.go`).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// All that the kernel has, by number (capability.h).
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The set as `CAP_…` names, of at most the `last` capability that the kernel knows.
///
/// # Errors
/// A name that is no capability, as a sentence.
pub(crate) fn set(add: &[String], drop: &[String], privileged: bool, last: usize) -> Result<BTreeSet<String>, String> {
    let known: BTreeSet<&str> = ALL.iter().take(last + 1).copied().collect();
    if privileged {
        return Ok(named(known));
    }
    let add = read(add)?;
    let drop = read(drop)?;
    let mut set: BTreeSet<&str> = match (add.all, drop.all) {
        (true, _) => known.clone(),
        (false, true) => BTreeSet::new(),
        (false, false) => BTreeSet::from(DEFAULT),
    };
    if add.all && drop.all {
        set.clear();
    }
    set.retain(|name| !drop.names.contains(name));
    set.extend(add.names.iter().filter(|name| known.contains(*name)));
    Ok(named(set))
}

fn named(set: BTreeSet<&str>) -> BTreeSet<String> {
    set.into_iter().map(|name| format!("CAP_{name}")).collect()
}

struct Asked {
    all: bool,
    names: BTreeSet<&'static str>,
}

fn read(list: &[String]) -> Result<Asked, String> {
    let mut asked = Asked { all: false, names: BTreeSet::new() };
    for text in list {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match ALL.iter().find(|known| **known == name) {
            Some(known) => {
                asked.names.insert(known);
            }
            None if name == "ALL" => asked.all = true,
            None => return Err(format!("`{text}` is no capability")),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str]) -> BTreeSet<String> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        set(&owned(add), &owned(drop), false, 40).unwrap()
    }

    #[test]
    fn more_and_less() {
        assert_eq!(caps(&[], &[]).len(), 14);
        assert!(caps(&["NET_ADMIN"], &[]).contains("CAP_NET_ADMIN"));
        assert_eq!(caps(&["cap_chown"], &["ALL"]), BTreeSet::from(["CAP_CHOWN".to_owned()]));
        assert_eq!(caps(&["ALL"], &[]).len(), 41);
        assert!(!caps(&["ALL"], &["SYS_ADMIN"]).contains("CAP_SYS_ADMIN"));
        assert!(!caps(&[], &["MKNOD"]).contains("CAP_MKNOD"));
        assert!(set(&["NOPE".to_owned()], &[], false, 40).is_err());
        // An older kernel.
        assert_eq!(set(&[], &[], true, 37).unwrap().len(), 38);
    }
}
