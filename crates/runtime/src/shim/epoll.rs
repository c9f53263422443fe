//! What the shim waits for, by tokens that are never used twice.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A new connection.
    Listener,
    /// A child has changed.
    Children,
    /// The out-of-memory killer may have been there.
    Oom,
    /// A connection, by id.
    Conn(u64),
    /// Output of a job, by its id.
    Stdout(u64),
    /// Error output of a job.
    Stderr(u64),
    /// Room in the input of a job.
    Stdin(u64),
}

impl Token {
    fn encode(self) -> u64 {
        match self {
            Token::Listener => 0,
            Token::Children => 1,
            Token::Oom => 2,
            Token::Conn(id) => id << 3 | 3,
            Token::Stdout(id) => id << 3 | 4,
            Token::Stderr(id) => id << 3 | 5,
            Token::Stdin(id) => id << 3 | 6,
        }
    }

    fn decode(value: u64) -> Token {
        let id = value >> 3;
        match value & 7 {
            1 => Token::Children,
            2 => Token::Oom,
            3 => Token::Conn(id),
            4 => Token::Stdout(id),
            5 => Token::Stderr(id),
            6 => Token::Stdin(id),
            _ => Token::Listener,
        }
    }
}

/// What of a descriptor matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const READ: Interest = Interest { read: true, write: false };
    pub(super) const WRITE: Interest = Interest { read: false, write: true };
    pub(super) const NOTHING: Interest = Interest { read: false, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if self.read {
            flags |= EventFlags::IN;
        }
        if self.write {
            flags |= EventFlags::OUT;
        }
        flags
    }
}

/// An epoll instance.
pub(super) struct Epoll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Epoll { fd: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(32) })
    }

    pub(super) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, EventData::new_u64(token.encode()), interest.flags())?)
    }

    /// `POLLPRI`, as cgroup files say it.
    pub(super) fn add_priority(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, EventData::new_u64(token.encode()), EventFlags::PRI)?)
    }

    pub(super) fn change(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, EventData::new_u64(token.encode()), interest.flags())?)
    }

    /// To be called before a descriptor is closed of which others hold duplicates.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // Closed or never added: then there is nothing to do.
        let _gone = epoll::delete(&self.fd, fd);
    }

    /// Waits until something is ready or the time is over.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| Token::decode(event.data.u64())).collect())
    }
}
