//! Staying with a process until it ends: signals go to it, and a terminal's bytes both ways.

use super::Error;
use crate::container::{foreground_signals, send_signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Sends a terminal's master to the engine that listens at `path`.
pub(super) fn hand_over(console: OwnedFd, path: &Path) -> Result<(), Error> {
    let send = || {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let fds = [console.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(&socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL).map(drop)
    };
    send().map_err(|error: Errno| Error::io(format!("hand the terminal over at {}", path.display()), error))
}

/// The caller's terminal in raw mode; as it was when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return None;
        }
        let before = tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

fn copy_size(master: &OwnedFd) {
    // Not from a terminal: there is no size to copy.
    if let Ok(Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel }) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(master, Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel });
    }
}

/// Waits for the end of a child of this process; gives its exit code, 128+N for signal N.
pub(super) fn attend(pid: Pid, pidfd: &OwnedFd, console: Option<OwnedFd>) -> Result<u8, Error> {
    let failed = |error: Errno| Error::io("wait for the container", error);
    let signals = foreground_signals().map_err(failed)?;
    let raw = console.as_ref().and_then(|_| Raw::enter());
    if let Some(master) = &console {
        copy_size(master);
    }
    let (mut input_open, mut output_open) = (console.is_some(), console.is_some());
    loop {
        let idle = PollFlags::empty();
        let fds = [
            pidfd.as_fd(),
            signals.as_fd(),
            console.as_ref().map_or(pidfd.as_fd(), AsFd::as_fd),
            rustix::stdio::stdin(),
        ];
        let wanted = [
            PollFlags::IN,
            PollFlags::IN,
            if output_open { PollFlags::IN } else { idle },
            if input_open { PollFlags::IN } else { idle },
        ];
        // A descriptor that is not wanted is left out: an end of it would wake this loop for ever.
        let mut ready = [idle; 4];
        {
            let listed: Vec<usize> = (0..4).filter(|at| wanted[*at] != idle).collect();
            let mut polled: Vec<PollFd<'_>> =
                listed.iter().map(|at| PollFd::from_borrowed_fd(fds[*at], wanted[*at])).collect();
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                result => result.map_err(failed)?,
            };
            for (at, fd) in listed.iter().zip(&polled) {
                ready[*at] = fd.revents();
            }
        }
        if ready[1] != idle {
            forward(&signals, pidfd, console.as_ref()).map_err(failed)?;
        }
        if let Some(master) = &console {
            if output_open && ready[2] != idle {
                output_open = pump(master, rustix::stdio::stdout());
            }
            if input_open && ready[3] != idle {
                input_open = pump(rustix::stdio::stdin(), master);
            }
        }
        // The terminal says all that it has before its end is taken notice of.
        if ready[0] != idle && ready[2] == idle {
            break;
        }
    }
    drop(raw);
    reap(pid).map_err(failed)
}

/// Hands a signal on; a new size of the window is copied instead.
fn forward(signals: &OwnedFd, pidfd: &OwnedFd, console: Option<&OwnedFd>) -> Result<(), Errno> {
    // `struct signalfd_siginfo`, which starts with the number.
    let mut info = [0u8; 128];
    let count = rustix::io::read(signals, &mut info[..])?;
    let [a, b, c, d, ..] = info;
    let signal = i32::from_le_bytes([a, b, c, d]);
    match (count == info.len(), signal, console) {
        (false, ..) | (_, libc::SIGCHLD, _) => Ok(()),
        (_, libc::SIGWINCH, Some(master)) => {
            copy_size(master);
            Ok(())
        }
        _ => match send_signal(pidfd, signal) {
            Err(Errno::SRCH) => Ok(()),
            result => result,
        },
    }
}

/// Copies what is there; whether there can be more.
fn pump(from: impl AsFd, to: impl AsFd) -> bool {
    let mut bytes = [0u8; 8192];
    let Ok(count) = rustix::io::read(from, &mut bytes[..]) else { return false };
    let mut left = &bytes[..count];
    while !left.is_empty() {
        match rustix::io::write(&to, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    count > 0
}

fn reap(pid: Pid) -> Result<u8, Errno> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(None) => {}
            Ok(Some((_, status))) => {
                let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                if let Some(code) = code {
                    return Ok(u8::try_from(code).unwrap_or(255));
                }
            }
        }
    }
}
