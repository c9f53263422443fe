//! The rare wishes of a spec: a personality, a priority for I/O; and a word on those that are not
//! fulfilled.

use super::{Error, sys};
use oci_spec::runtime::{IOPriorityClass, LinuxPersonalityDomain, Process, Spec};

/// What the spec asks for and this runtime does not do, in a sentence each.
pub(crate) fn not_done(spec: &Spec) -> Vec<String> {
    let mut wishes = Vec::new();
    if let Some(process) = spec.process() {
        wishes.push(("process.scheduler", process.scheduler().is_some()));
        wishes.push(("process.execCPUAffinity", process.exec_cpu_affinity().is_some()));
    }
    if let Some(linux) = spec.linux() {
        let label = linux.mount_label().as_ref().is_some_and(|label| !label.is_empty());
        wishes.push(("linux.mountLabel", label));
        wishes.push(("linux.intelRdt", linux.intel_rdt().is_some()));
        wishes.push(("linux.memoryPolicy", linux.memory_policy().is_some()));
        wishes.push(("linux.netDevices", linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())));
        let rdma = linux.resources().as_ref().and_then(|resources| resources.rdma().as_ref());
        wishes.push(("linux.resources.rdma", rdma.is_some_and(|rdma| !rdma.is_empty())));
    }
    let wishes = wishes.into_iter().filter(|(_, wished)| *wished);
    wishes.map(|(name, _)| format!("{name} is not supported and left out")).collect()
}

/// Applies those that are done to this process.
pub(crate) fn apply(spec: &Spec, process: &Process) -> Result<(), Error> {
    let personality = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref());
    if let Some(personality) = personality {
        let domain = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        };
        sys::personality(domain).map_err(|error| Error::io("set the personality", error))?;
    }
    if let Some(priority) = process.io_priority() {
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u16::try_from(priority.priority()).ok().filter(|level| *level < 8);
        let level = level.ok_or_else(|| Error::text("process.ioPriority.priority goes from 0 to 7"))?;
        sys::ioprio_set(class, level).map_err(|error| Error::io("set the I/O priority", error))?;
    }
    Ok(())
}
