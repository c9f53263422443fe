//! The binary as containers may see it: a read-only clone that nobody can make writable again.
//!
//! A process in a container can reach the file that its runtime was executed from through
//! `/proc/PID/exe`, as root of the host if there is no user namespace (CVE-2019-5736). So whatever
//! forks container processes is executed from a detached read-only bind mount of the binary; when
//! the descriptor is closed by the execve the mount belongs to no namespace any more, and neither
//! mount(2) nor mount_setattr(2) accepts it.

use super::options::READ_ONLY;
use super::sys::{self, Strings};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// A read-only clone of the binary at `path`, to be executed as `/proc/self/fd/N` (or by
/// execveat). Close-on-exec. Two cheap syscalls; nothing is copied. Make one for each spawn and
/// drop it after.
pub fn open_sealed(path: &Path) -> io::Result<OwnedFd> {
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    sys::mount_setattr(&tree, false, &READ_ONLY)?;
    Ok(tree)
}

/// Whether this process was executed from a clone that can't be written to.
pub fn is_sealed() -> bool {
    rustix::fs::statvfs("/proc/self/exe").is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Executes the same binary with the same arguments and environment again from a sealed clone,
/// unless it is already. To be called first thing by whatever is going to create containers;
/// returns without having done anything if sealed already. What the new process sees as
/// `std::env::current_exe` has no use: say the binary's path in an argument if it is needed.
pub fn ensure_sealed() -> io::Result<()> {
    if is_sealed() {
        return Ok(());
    }
    let clone = open_sealed(Path::new("/proc/self/exe"))?;
    let list = |strings: &mut dyn Iterator<Item = OsString>| {
        let strings = strings.map(|string| CString::new(string.into_vec()).map_err(|_| Errno::INVAL));
        strings.collect::<Result<Vec<_>, _>>().map(Strings::new)
    };
    let argv = list(&mut std::env::args_os())?;
    let env = list(&mut std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))?;
    Err(sys::fexecve(&clone, &argv, &env).into())
}
