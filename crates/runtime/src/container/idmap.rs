//! User and group id mappings: of user namespaces and of mounts.

use super::Error;
use super::options::Recursive;
use super::sys::{self, Forked, MountAttr};
use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// The lines of `/proc/PID/uid_map`.
fn lines(mappings: &[LinuxIdMapping]) -> String {
    let mut text = String::new();
    for mapping in mappings {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} {}", mapping.container_id(), mapping.host_id(), mapping.size());
    }
    text
}

/// Writes both maps of the new user namespace of `pid`, through the host's procfs.
pub(crate) fn write_maps(
    proc: impl AsFd,
    pid: Pid,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<(), Error> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("{}/{file}", pid.as_raw_nonzero());
        let write = || {
            let file = fs::openat(&proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, lines(mappings).as_bytes())
        };
        write().map_err(|error| Error::io(format!("map ids of the user namespace ({file})"), error))?;
    }
    Ok(())
}

/// Maps the ids of a detached mount as its own mappings say, or else the container's.
pub(crate) fn apply(tree: impl AsFd, mount: &Mount, spec: &Spec, recursive: Recursive) -> Result<(), Error> {
    let linux = spec.linux().as_ref();
    let uids = mount.uid_mappings().as_ref().or_else(|| linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let gids = mount.gid_mappings().as_ref().or_else(|| linux.and_then(|linux| linux.gid_mappings().as_ref()));
    let (Some(uids), Some(gids)) = (uids, gids) else {
        return Err(Error::text("option idmap needs uidMappings and gidMappings"));
    };
    let userns = namespace_with(uids, gids)?;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        userns_fd: std::os::fd::AsRawFd::as_raw_fd(&userns) as u64,
        ..MountAttr::default()
    };
    sys::mount_setattr(tree, recursive == Recursive::Yes, &attr)
        .map_err(|error| Error::io("map ids of the mount", error))
}

/// A user namespace with these mappings, held by nothing but the descriptor.
fn namespace_with(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd, Error> {
    let failed = |error: Errno| Error::io("make a user namespace for an id-mapped mount", error);
    let proc = super::prepare::host_proc()?;
    let (pid, pidfd) = match sys::clone3(libc::CLONE_NEWUSER as u64, None).map_err(failed)? {
        Forked::Child => loop {
            // Only holds the namespace until it is killed; does not outlive its creator.
            if sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).is_err() {
                sys::exit(1);
            }
            // An early end of the sleep is as good as a late one.
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 });
            if rustix::process::getppid().is_none() {
                sys::exit(0);
            }
        },
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    let opened = write_maps(&proc, pid, uids, gids).and_then(|()| {
        let path = format!("{}/ns/user", pid.as_raw_nonzero());
        fs::openat(&proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
    });
    pidfd_send_signal(&pidfd, Signal::KILL).map_err(failed)?;
    waitpid(Some(pid), WaitOptions::empty()).map_err(failed)?;
    opened
}
