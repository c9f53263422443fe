//! The engine's side of the nursery: starts it, hands it requests, starts it again if it is gone.

use crate::shim::{MOST_FDS, ROOM};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Sessions that can be handed over with one start; the first descriptor is the engine's own.
pub(super) const MOST_SESSIONS: usize = MOST_FDS - 1;

/// Where shims come from.
#[derive(Debug)]
pub(super) struct Nursery {
    exe: PathBuf,
    cgroup_parent: String,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    socket: Option<OwnedFd>,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when it sees its socket closed.
        self.socket = None;
        if let Err(error) = self.child.wait() {
            tracing::debug!("wait for the nursery: {error}");
        }
    }
}

impl Nursery {
    pub(super) fn new(exe: PathBuf, cgroup_parent: String) -> Self {
        Nursery { exe, cgroup_parent, process: Mutex::new(None) }
    }

    /// Starts it ahead of the first request. Blocks.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.with(|_| Ok(()))
    }

    /// Asks for a shim that serves these descriptors: the engine's connection, then sessions. Blocks.
    pub(super) fn request(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.with(|socket| send(socket, fds)) {
            // It was killed; nobody but us holds the other end, so the request was not seen.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                *self.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.with(|socket| send(socket, fds))
            }
            other => other,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_none() {
            *process = Some(self.spawn()?);
        }
        match process.as_ref().and_then(|process| process.socket.as_ref()) {
            Some(socket) => work(socket),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn spawn(&self) -> io::Result<Process> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let child = Command::new(&self.exe)
            .args(["shim", "nursery", &self.cgroup_parent, ROOM])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Process { socket: Some(ours), child })
    }
}

fn send(socket: &OwnedFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one start"));
    }
    rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
