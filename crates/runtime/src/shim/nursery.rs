//! The process that shims are copied from.

use super::{keeper, launch};
use crate::container::exe;
use crate::sys::{self, Fork};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Descriptors that come with one request: the engine's connection, then sessions that were opened
/// before the start.
pub(crate) const MOST_FDS: usize = 17;

/// A further word on the nursery's command line, which makes room for the titles of shims.
pub(crate) const ROOM: &str = concat!(
    "................................................................",
    "................................................................",
    "................................................................",
    "................................................................",
);

/// Serves requests on standard input, a SOCK_SEQPACKET: each brings the descriptors of one shim.
/// Returns when the daemon has gone.
///
/// # Errors
/// It could not be set up.
pub(super) fn run(cgroup: &str) -> io::Result<()> {
    exe::ensure_sealed()?;
    sys::set_title(&["rswarm", "shim", "nursery", cgroup]);
    let socket = sys::inherited(0)?;
    // ^C in the daemon's terminal is not for shims. Fails only for a leader, which is as good.
    let _leader = rustix::process::setsid();
    rustix::process::chdir("/")?;
    leave_daemon(cgroup);
    sys::ignore_children(true);
    launch::warm_up();
    loop {
        let Some(mut fds) = receive(&socket)? else { return Ok(()) };
        if fds.is_empty() {
            continue;
        }
        match sys::fork() {
            Ok(Fork::Parent(_)) => {}
            Ok(Fork::Child) => {
                drop(socket);
                let sessions = fds.split_off(1);
                let Some(engine) = fds.pop() else { return Ok(()) };
                if let Err(error) = keeper::run(engine, sessions) {
                    super::complain(&error.to_string());
                }
                return Ok(());
            }
            // The engine sees its connection close.
            Err(error) => super::complain(&format!("fork: {error}")),
        }
    }
}

/// One request; `None` once the daemon has gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some(fds))
}

/// Moves to a cgroup of its own, where neither the end of the daemon's unit nor its limits reach
/// shims. On version 1 the tree that service managers watch is the named one. A host that does not
/// allow it leaves shims where the daemon is.
fn leave_daemon(parent: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let trees = match root.join("cgroup.procs").exists() {
        true => vec![root.to_owned()],
        false => vec![root.join("systemd"), root.join("unified")],
    };
    for tree in trees.iter().filter(|tree| tree.join("cgroup.procs").exists()) {
        let home = tree.join(parent.trim_matches('/')).join("shims");
        let moved = fs::create_dir_all(&home).and_then(|()| fs::write(home.join("cgroup.procs"), "0"));
        if let Err(error) = moved {
            super::complain(&format!("move to {}: {error}", home.display()));
        }
    }
}
