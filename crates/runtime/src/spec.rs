//! What was asked for, as an OCI spec: Docker's meaning of every field. Pure: whatever has to be
//! looked up comes in.

mod caps;
mod check;
mod limits;
mod mounts;
mod process;
mod seccomp;

pub use check::check;
pub(crate) use mounts::{Guest, GuestKind};
pub(crate) use process::{arguments, environment, exec_process, working_dir};

use crate::engine::{CreateContainer, NetMode};
use crate::layout::Folder;
use crate::users::User;
use model::{Device, Seccomp};
use oci_spec::runtime::{LinuxSeccomp, Spec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// What the host is like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Highest capability that its kernel knows.
    pub(crate) last_cap: usize,
    /// `x86_64`, `aarch64`.
    pub(crate) architecture: &'static str,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Path in the container.
    pub(crate) path: String,
    /// `c` or `b`.
    pub(crate) kind: char,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Type and permission bits of the host's node.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Some of `rwm`.
    pub(crate) permissions: String,
}

/// All that a spec is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) create: &'a CreateContainer,
    pub(crate) folder: &'a Folder,
    pub(crate) host: &'a Host,
    pub(crate) net: &'a NetMode,
    pub(crate) user: &'a User,
    pub(crate) cgroup: &'a str,
    /// Volumes, binds, tmpfs and files, resolved.
    pub(crate) guests: Vec<Guest>,
    /// Devices asked for, or all of the host for a privileged container.
    pub(crate) devices: Vec<HostDevice>,
    /// Program that is to be PID 1 (`init: true`), on the host.
    pub(crate) init: Option<&'a Path>,
    pub(crate) size: Option<(u16, u16)>,
}

/// Not namespaced or dangerous to see.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Dangerous to change.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Makes the spec.
///
/// # Errors
/// Something that was asked for makes no sense, as a sentence.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Spec, String> {
    let container = &inputs.create.spec.container;
    let caps = capabilities(inputs)?;
    let mut linux = json!({
        "namespaces": namespaces(inputs),
        "cgroupsPath": inputs.cgroup,
        "resources": limits::resources(inputs)?,
        "sysctl": limits::sysctls(container, inputs.net),
        "devices": inputs.devices.iter().map(device).collect::<Vec<_>>(),
    });
    if !container.privileged {
        put(&mut linux, "maskedPaths", json!(MASKED));
        put(&mut linux, "readonlyPaths", json!(READ_ONLY));
    }
    if let Some(propagation) = mounts::root_propagation(&inputs.guests) {
        put(&mut linux, "rootfsPropagation", json!(propagation));
    }
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": container.read_only},
        "process": process::main(inputs, &caps)?,
        "mounts": mounts::all(inputs),
        "linux": linux,
    });
    if !container.uts_host {
        put(&mut spec, "hostname", json!(inputs.create.hostname));
        if let Some(domain) = &container.domainname {
            put(&mut spec, "domainname", json!(domain));
        }
    }
    let mut spec: Spec = serde_json::from_value(spec).map_err(|error| format!("make the OCI spec: {error}"))?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(filter(inputs, &caps)?);
    }
    Ok(spec)
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

fn capabilities(inputs: &Inputs<'_>) -> Result<BTreeSet<String>, String> {
    let container = &inputs.create.spec.container;
    caps::set(&container.cap_add, &container.cap_drop, container.privileged, inputs.host.last_cap)
}

/// Every capability, for a privileged exec.
pub(crate) fn every_capability(host: &Host) -> BTreeSet<String> {
    caps::set(&[], &[], true, host.last_cap).unwrap_or_default()
}

/// The profile of most containers, to be compiled before the first one.
pub(crate) fn usual_filter(host: &Host) -> LinuxSeccomp {
    let caps = caps::set(&[], &[], false, host.last_cap).unwrap_or_default();
    seccomp::default_profile(&caps, host.architecture)
}

fn filter(inputs: &Inputs<'_>, caps: &BTreeSet<String>) -> Result<Option<LinuxSeccomp>, String> {
    let container = &inputs.create.spec.container;
    match &container.seccomp {
        Seccomp::Unconfined => Ok(None),
        // Docker: a privileged container has no filter unless it names one.
        Seccomp::Default if container.privileged => Ok(None),
        Seccomp::Default => Ok(Some(seccomp::default_profile(caps, inputs.host.architecture))),
        Seccomp::Profile(text) => seccomp::custom_profile(text, caps, inputs.host.architecture).map(Some),
    }
}

fn namespaces(inputs: &Inputs<'_>) -> Value {
    let container = &inputs.create.spec.container;
    let own = [
        ("mount", true),
        ("pid", !container.pid_host),
        ("ipc", !container.ipc_host),
        ("uts", !container.uts_host),
        ("cgroup", !container.cgroup_host),
    ];
    let mut list: Vec<Value> = own.iter().filter(|(_, own)| *own).map(|(kind, _)| json!({"type": kind})).collect();
    if let NetMode::Path(path) = inputs.net {
        list.push(json!({"type": "network", "path": path}));
    }
    json!(list)
}

fn device(device: &HostDevice) -> Value {
    json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode & 0o7777,
        "uid": device.uid,
        "gid": device.gid,
    })
}

/// Reads `rwm`.
///
/// # Errors
/// Another letter, as a sentence.
pub(crate) fn permissions(device: &Device) -> Result<String, String> {
    let wanted = if device.permissions.is_empty() { "rwm" } else { device.permissions.as_str() };
    if wanted.chars().all(|letter| "rwm".contains(letter)) {
        Ok(wanted.to_owned())
    } else {
        Err(format!("device {}: `{wanted}` should be some of `rwm`", device.source))
    }
}

#[cfg(test)]
mod tests;
