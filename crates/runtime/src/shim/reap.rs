//! Children that have ended.

use rustix::process::{WaitOptions, WaitStatus};
use std::os::fd::OwnedFd;

/// Takes note of the signals, so that the descriptor is quiet until the next one.
pub(super) fn acknowledge(signals: &OwnedFd) {
    let mut buffer = [0; 1024];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|count| count > 0) {}
}

/// The next child that has ended, also one that was inherited from a process of the container's.
pub(super) fn next() -> Option<(i32, i32)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(code) = exit_code(status) {
                    return Some((pid.as_raw_nonzero().get(), code));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Exit code in the shell's habit: 128 + signal for one that a signal ended.
pub(super) fn exit_code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}
