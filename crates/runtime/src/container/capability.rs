//! The five capability sets of a process.

use super::sys;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use rustix::io::Errno;

/// The kernel's capabilities; the place in this list is the number.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// Sets of capabilities, bit N for number N.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

fn bits(set: Option<&Capabilities>) -> u64 {
    let Some(set) = set else { return 0 };
    ALL.iter().enumerate().filter(|(_, capability)| set.contains(capability)).fold(0, |bits, (n, _)| bits | 1 << n)
}

impl Sets {
    /// As the spec says; nothing said is nothing given. What is not permitted can't be effective,
    /// and what is not inheritable can't be ambient: the kernel would refuse it anyway.
    pub(crate) fn of(spec: Option<&LinuxCapabilities>) -> Self {
        let Some(spec) = spec else { return Self::default() };
        let permitted = bits(spec.permitted().as_ref());
        let inheritable = bits(spec.inheritable().as_ref());
        Self {
            bounding: bits(spec.bounding().as_ref()),
            effective: bits(spec.effective().as_ref()) & permitted,
            permitted,
            inheritable,
            ambient: bits(spec.ambient().as_ref()) & permitted & inheritable,
        }
    }

    /// Without those that this process does not have itself, as in a nested container.
    pub(crate) fn limited_to(self, own: u64) -> Self {
        Self {
            bounding: self.bounding & own,
            effective: self.effective & own,
            permitted: self.permitted & own,
            inheritable: self.inheritable & own,
            ambient: self.ambient & own,
        }
    }
}

/// What this process may hand on: its bounding set.
pub(crate) fn own_bounding() -> u64 {
    (0..ALL.len() as u64)
        .filter(|n| matches!(sys::prctl(libc::PR_CAPBSET_READ, *n, 0), Ok(1)))
        .fold(0, |bits, n| bits | 1 << n)
}

/// Drops from the bounding set all that `keep` has not. Needs CAP_SETPCAP, so it comes first.
/// Capabilities that only a newer kernel has go too.
pub(crate) fn drop_bounding(keep: u64) -> Result<(), Errno> {
    for n in 0..64 {
        if keep & (1 << n) != 0 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, n, 0) {
            Ok(_) => {}
            // Past the kernel's last one.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets the other four. After the user was changed with PR_SET_KEEPCAPS.
pub(crate) fn apply(sets: &Sets) -> Result<(), Errno> {
    sys::capset(sets.effective, sets.permitted, sets.inheritable)?;
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for n in (0..64).filter(|n| sets.ambient & (1 << n) != 0) {
        sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, n)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let set = |capability| bits(Some(&Capabilities::from([capability])));
        assert_eq!(set(Capability::Chown), 1);
        assert_eq!(set(Capability::SysAdmin), 1 << 21);
        assert_eq!(set(Capability::Setfcap), 1 << 31);
        assert_eq!(set(Capability::CheckpointRestore), 1 << 40);
        for (n, capability) in ALL.iter().enumerate() {
            let name = format!("CAP_{capability}").replace("CAP_CAP_", "CAP_");
            let parsed: caps::Capability = name.parse().expect("known to caps");
            assert_eq!(usize::from(parsed.index()), n, "{name}");
        }
    }

    #[test]
    fn ambient_needs_the_others() {
        let mut spec = LinuxCapabilities::default();
        let both = Capabilities::from([Capability::Chown, Capability::Kill]);
        spec.set_permitted(Some(Capabilities::from([Capability::Chown])));
        spec.set_inheritable(Some(both.clone()));
        spec.set_ambient(Some(both.clone()));
        spec.set_effective(Some(both));
        let sets = Sets::of(Some(&spec));
        assert_eq!((sets.ambient, sets.effective), (1, 1));
    }
}
