//! What is mounted where.

use super::Inputs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Bytes of /dev/shm unless asked otherwise (Docker).
const SHM_SIZE: u64 = 64 << 20;

/// A mount that somebody asked for, with its source found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Absolute path in the container.
    pub(crate) target: String,
    pub(crate) kind: GuestKind,
    pub(crate) read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestKind {
    /// A folder or file of the host, be it a volume's.
    Host {
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// `rprivate` if not said.
        propagation: Option<String>,
    },
    /// A config or secret.
    File { source: PathBuf },
    /// Memory.
    Tmpfs { size: Option<u64>, mode: Option<u32>, options: Vec<String> },
}

/// All mounts, in the order to make them.
pub(super) fn all(inputs: &Inputs<'_>) -> Vec<Value> {
    let taken: Vec<String> = inputs.guests.iter().map(|guest| tidy(&guest.target)).collect();
    let mut list: Vec<Value> = base(inputs)
        .into_iter()
        .filter(|(target, _)| !taken.iter().any(|taken| taken == target))
        .map(|(_, mount)| mount)
        .collect();
    let mut guests: Vec<&Guest> = inputs.guests.iter().collect();
    // What lies deeper comes later, so that nothing hides it.
    guests.sort_by_key(|guest| tidy(&guest.target).matches('/').count());
    list.extend(guests.into_iter().map(guest));
    if let Some(init) = inputs.init {
        list.push(bind(init, super::process::INIT, &["bind", "ro", "rprivate"]));
    }
    list
}

/// Without doubled and trailing slashes.
fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

fn base(inputs: &Inputs<'_>) -> Vec<(&'static str, Value)> {
    let container = &inputs.create.spec.container;
    let mount = |target: &'static str, kind: &str, source: &str, options: &[&str]| {
        (target, json!({"destination": target, "type": kind, "source": source, "options": options}))
    };
    let access = if container.privileged { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", access]),
        // Shows the queues of the IPC namespace, be it the host's, which may not have it mounted itself.
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if container.ipc_host {
        list.push(("/dev/shm", bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rprivate"])));
    } else {
        let size = format!("size={}", container.shm_size.unwrap_or(SHM_SIZE));
        list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    let access = if container.read_only { "ro" } else { "rw" };
    for (target, name) in [("/etc/hosts", "hosts"), ("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")]
    {
        list.push((target, bind(&inputs.folder.path.join(name), target, &["rbind", "rprivate", access])));
    }
    list
}

fn guest(guest: &Guest) -> Value {
    match &guest.kind {
        GuestKind::Host { source, recursive, propagation } => {
            let how = if *recursive { "rbind" } else { "bind" };
            let access = match (guest.read_only, recursive) {
                (false, _) => "rw",
                // Docker 25: read-only means all below it too.
                (true, true) => "rro",
                (true, false) => "ro",
            };
            bind(source, &guest.target, &[how, propagation.as_deref().unwrap_or("rprivate"), access])
        }
        GuestKind::File { source } => {
            bind(source, &guest.target, &["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"])
        }
        GuestKind::Tmpfs { size, mode, options } => {
            let mut all: Vec<String> = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
            all.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            if let Some(size) = size {
                all.push(format!("size={size}"));
            }
            // Later words win.
            all.extend(options.iter().cloned());
            if guest.read_only {
                all.push("ro".to_owned());
            }
            json!({"destination": guest.target, "type": "tmpfs", "source": "tmpfs", "options": all})
        }
    }
}

/// Mounts that are to propagate need a root that does.
pub(super) fn root_propagation(guests: &[Guest]) -> Option<&'static str> {
    let has = |words: [&str; 2]| {
        guests.iter().any(|guest| match &guest.kind {
            GuestKind::Host { propagation: Some(propagation), .. } => words.contains(&propagation.as_str()),
            _ => false,
        })
    };
    if has(["shared", "rshared"]) {
        Some("rshared")
    } else if has(["slave", "rslave"]) {
        Some("rslave")
    } else {
        None
    }
}
