//! The namespaces of a container: which are new and which are somebody else's.

use super::Error;
use super::sys::{self, Forked};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Bit of the time namespace, which clone and setns share with an exit signal.
pub(crate) const CLONE_NEWTIME: i32 = 0x80;

/// Namespaces of the spec, those to be joined opened.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` to be given to clone3.
    pub(crate) at_birth: u64,
    /// A cgroup namespace, made once the cgroup is joined, which is its root.
    pub(crate) new_cgroup: bool,
    /// A time namespace, entered at execve, after its offsets were written.
    pub(crate) new_time: bool,
    /// To be joined by init.
    pub(crate) join: Vec<(i32, OwnedFd)>,
    /// To be joined by the creator while it clones.
    pub(crate) join_pid: Option<OwnedFd>,
}

fn bit(kind: LinuxNamespaceType) -> i32 {
    match kind {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::User => libc::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::Time => CLONE_NEWTIME,
    }
}

impl Namespaces {
    /// Opens and sorts those of the spec.
    pub(crate) fn of(spec: &Spec) -> Result<Self, Error> {
        let mut namespaces = Self::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
        for namespace in listed {
            let kind = namespace.typ();
            let path = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty());
            match (path, kind) {
                (None, LinuxNamespaceType::Cgroup) => namespaces.new_cgroup = true,
                (None, LinuxNamespaceType::Time) => namespaces.new_time = true,
                (None, kind) => namespaces.at_birth |= bit(kind) as u64,
                (Some(path), LinuxNamespaceType::Mount) => {
                    let why = "a container can't be created inside the mount namespace of another";
                    return Err(Error::new(&format!("namespace {}", path.display()), why));
                }
                (Some(path), kind) => {
                    let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                        .map_err(|error| Error::io(format!("open {kind} namespace {}", path.display()), error))?;
                    if kind == LinuxNamespaceType::Pid {
                        namespaces.join_pid = Some(fd);
                    } else {
                        namespaces.join.push((bit(kind), fd));
                    }
                }
            }
        }
        if namespaces.at_birth & libc::CLONE_NEWNS as u64 == 0 {
            return Err(Error::text("a container without a mount namespace of its own is not supported"));
        }
        Ok(namespaces)
    }

    /// Whether the container has a user namespace that is not the caller's.
    pub(crate) fn has_user(&self) -> bool {
        self.new_user() || self.join.iter().any(|(bit, _)| *bit == libc::CLONE_NEWUSER)
    }

    /// Whether it is a new one, whose ids have to be mapped.
    pub(crate) fn new_user(&self) -> bool {
        self.at_birth & libc::CLONE_NEWUSER as u64 != 0
    }

    /// Joins those of others. One that the user namespace owns can only be joined from inside of it
    /// and one that the host owns only from outside, so each is tried before and after.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let failed = |bit: i32, error: Errno| Error::io(format!("join the {} namespace", name(bit)), error);
        let (user, others): (Vec<_>, Vec<_>) = self.join.iter().partition(|(bit, _)| *bit == libc::CLONE_NEWUSER);
        let mut later = Vec::new();
        for (bit, fd) in others {
            match sys::setns(fd, *bit) {
                Err(Errno::PERM) if !user.is_empty() => later.push((bit, fd)),
                result => result.map_err(|error| failed(*bit, error))?,
            }
        }
        for (bit, fd) in user.into_iter().map(|(bit, fd)| (bit, fd)).chain(later) {
            sys::setns(fd, *bit).map_err(|error| failed(*bit, error))?;
        }
        Ok(())
    }
}

fn name(bit: i32) -> &'static str {
    match bit {
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWNET => "network",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWPID => "pid",
        CLONE_NEWTIME => "time",
        _ => "mount",
    }
}

/// Clones a process that is born in the pid namespace of `namespace` (a namespace file or a pidfd),
/// and takes that back for the children to come.
pub(crate) fn clone_into(
    namespace: Option<BorrowedFd<'_>>,
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Forked, Error> {
    let clone = || sys::clone3(flags, cgroup).map_err(|error| Error::io("clone a process", error));
    let Some(namespace) = namespace else { return clone() };
    let failed = |error| Error::io("join the pid namespace", error);
    let own = fs::open("/proc/self/ns/pid_for_children", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let own = own.map_err(failed)?;
    sys::setns(namespace, libc::CLONE_NEWPID).map_err(failed)?;
    let forked = clone();
    if !matches!(forked, Ok(Forked::Child)) {
        sys::setns(&own, libc::CLONE_NEWPID).map_err(failed)?;
    }
    forked
}

/// Everything that a process of a running container shares with its init.
pub(crate) fn of_running(spec: &Spec) -> i32 {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    // The pid namespace is the creator's part, the rest is joined at once.
    listed
        .iter()
        .map(|namespace| bit(namespace.typ()))
        .filter(|bit| *bit != libc::CLONE_NEWPID)
        .fold(0, |all, bit| all | bit)
}
