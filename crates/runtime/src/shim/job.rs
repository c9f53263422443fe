//! A process whose streams the shim holds: the container's own, an exec, or a probe.

use super::epoll::{Epoll, Interest, Token};
use crate::container::Cgroup;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Input that waits for a process: from here on its clients have to wait.
pub(super) const ENOUGH_INPUT: usize = 256 << 10;

/// Bytes of a probe's output that are kept (Docker keeps as many).
const PROBE_OUTPUT: usize = 4096;

/// Ends of a process's streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// To write to.
    pub(super) stdin: Option<OwnedFd>,
    /// To read from.
    pub(super) stdout: Option<OwnedFd>,
    /// To read from.
    pub(super) stderr: Option<OwnedFd>,
    /// Master of its terminal: takes the place of the other three.
    pub(super) console: Option<OwnedFd>,
}

/// What a job is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The container's own process; its output goes to the log.
    Main,
    /// A command that somebody runs in it.
    Exec,
    /// A health probe.
    Probe(Probe),
}

/// A running health probe.
#[derive(Debug)]
pub(super) struct Probe {
    /// Who asked.
    pub(super) conn: u64,
    /// When it is killed.
    pub(super) deadline: Instant,
    /// Holds all that it started.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) output: Vec<u8>,
    pub(super) timed_out: bool,
}

impl Probe {
    pub(super) fn keep(&mut self, data: &[u8]) {
        let room = PROBE_OUTPUT.saturating_sub(self.output.len());
        self.output.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
    }
}

/// One process and what hangs on it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) pid: i32,
    pub(super) purpose: Purpose,
    pub(super) clients: Vec<u64>,
    /// Its output is not read at this moment: a client has enough to do.
    pub(super) held: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: bool,
    waiting: Vec<u8>,
    no_more_input: bool,
}

/// Which of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Out {
    Stdout,
    Stderr,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Data(usize),
    Nothing,
    End,
}

impl Job {
    /// Takes the streams over; a terminal's input is open only if `stdin` says so.
    pub(super) fn new(
        epoll: &Epoll,
        id: u64,
        pid: i32,
        purpose: Purpose,
        streams: Streams,
        stdin: bool,
    ) -> io::Result<Job> {
        let terminal = streams.console.is_some();
        let (stdin, stdout, stderr) = match streams.console {
            Some(console) => {
                let input = if stdin { Some(console.try_clone()?) } else { None };
                (input, Some(console), None)
            }
            None => (streams.stdin, streams.stdout, streams.stderr),
        };
        for (fd, token) in [(&stdout, Token::Stdout(id)), (&stderr, Token::Stderr(id))] {
            if let Some(fd) = fd {
                rustix::io::ioctl_fionbio(fd, true)?;
                epoll.add(fd, token, Interest::READ)?;
            }
        }
        if let Some(fd) = &stdin {
            rustix::io::ioctl_fionbio(fd, true)?;
            epoll.add(fd, Token::Stdin(id), Interest::NOTHING)?;
        }
        Ok(Job {
            id,
            pid,
            purpose,
            clients: Vec::new(),
            held: false,
            stdout,
            stderr,
            stdin,
            terminal,
            waiting: Vec::new(),
            no_more_input: false,
        })
    }

    /// Reads a piece of output.
    pub(super) fn read(&mut self, epoll: &Epoll, out: Out, buffer: &mut [u8]) -> Piece {
        let slot = match out {
            Out::Stdout => &mut self.stdout,
            Out::Stderr => &mut self.stderr,
        };
        let Some(fd) = slot else { return Piece::End };
        match rustix::io::read(&*fd, buffer) {
            Ok(0) => {}
            Ok(count) => return Piece::Data(count),
            Err(Errno::AGAIN | Errno::INTR) => return Piece::Nothing,
            // EIO is how a terminal says that its other side has closed.
            Err(_) => {}
        }
        epoll.remove(&*fd);
        *slot = None;
        Piece::End
    }

    /// Reads its output, or lets it wait.
    pub(super) fn hold(&mut self, epoll: &Epoll, held: bool) {
        if self.held == held {
            return;
        }
        self.held = held;
        let interest = if held { Interest::NOTHING } else { Interest::READ };
        for (fd, token) in [(&self.stdout, Token::Stdout(self.id)), (&self.stderr, Token::Stderr(self.id))] {
            if let Some(fd) = fd {
                // Fails only for a descriptor that is not there, and this one is.
                let _always = epoll.change(fd, token, interest);
            }
        }
    }

    /// Bytes that wait for the process.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Input from a client.
    pub(super) fn input(&mut self, epoll: &Epoll, data: &[u8]) {
        if self.stdin.is_some() && !self.no_more_input {
            self.waiting.extend_from_slice(data);
            self.pump(epoll);
        }
    }

    /// No more input: a pipe is closed once all is written. A terminal stays open, as others may type
    /// there.
    pub(super) fn end_input(&mut self, epoll: &Epoll) {
        if !self.terminal {
            self.no_more_input = true;
            self.pump(epoll);
        }
    }

    /// Writes what it can of the waiting input.
    pub(super) fn pump(&mut self, epoll: &Epoll) {
        let Some(fd) = &self.stdin else { return };
        let mut gone = false;
        let mut written = 0;
        while let Some(rest) = self.waiting.get(written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(fd, rest) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        self.waiting.drain(..written);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        if gone || (self.no_more_input && self.waiting.is_empty()) {
            epoll.remove(fd);
            self.stdin = None;
            self.waiting = Vec::new();
            return;
        }
        let interest = if self.waiting.is_empty() { Interest::NOTHING } else { Interest::WRITE };
        let _always = epoll.change(fd, Token::Stdin(self.id), interest);
    }

    /// Sets the size of its terminal; nothing for a job without one.
    pub(super) fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(console)) = (self.terminal, &self.stdout) {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal whose process has ended has no size any more.
            let _gone = rustix::termios::tcsetwinsize(console, size);
        }
    }
}
