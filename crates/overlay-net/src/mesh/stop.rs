//! A word that ends threads which wait.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Readable once it is time to stop.
#[derive(Debug)]
pub(super) struct Stop(OwnedFd);

impl Stop {
    pub(super) fn new() -> io::Result<Stop> {
        Ok(Stop(eventfd(0, EventfdFlags::CLOEXEC)?))
    }

    /// It is time to stop.
    pub(super) fn say(&self) {
        let _written = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits so long; `true`: it is time to stop.
    pub(super) fn within(&self, pause: Duration) -> bool {
        let mut stopped = [PollFd::new(&self.0, PollFlags::IN)];
        let pause = rustix::time::Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
        !matches!(poll(&mut stopped, Some(&pause)), Ok(0) | Err(rustix::io::Errno::INTR))
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
