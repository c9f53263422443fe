//! The few system calls that no safe wrapper offers, for processes of one thread.
#![expect(unsafe_code, reason = "raw system calls; each says why it is sound")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The one that called; with the child's pid.
    Parent(i32),
    /// The copy.
    Child,
}

/// Copies this process. Only for processes that never had a second thread: the copy goes on running
/// ordinary code.
///
/// # Errors
/// The kernel has no room, or this process has other threads.
pub(crate) fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.take(2).count();
    if threads > 1 {
        return Err(io::Error::other("fork: this process has more than one thread"));
    }
    // SAFETY: there is one thread (just counted), so no lock can be held by a thread that the copy
    // does not have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Closes every descriptor from this number on: for a copy that is to hold nothing of its parent's.
pub(crate) fn close_from(first: u32) {
    // SAFETY: only the copy of a fork calls this, before it makes descriptors of its own; values of Rust
    // that own one of these are never used or dropped any more, since the copy ends in `leave`.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, 0);
    }
}

/// Ends a copy: nothing of what its parent set up for its own end is run.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit(2) does not come back.
    unsafe { libc::_exit(code) }
}

/// Blocks SIGCHLD and gives a descriptor that becomes readable when a child has changed.
///
/// # Errors
/// No descriptor left.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used, all pointers are to locals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Lets the kernel reap children of this process by itself (true), or leaves them to `waitpid`.
pub(crate) fn ignore_children(ignore: bool) {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours.
    unsafe {
        libc::signal(libc::SIGCHLD, action);
    }
}

/// Gives free heap pages back to the kernel.
pub(crate) fn trim_heap() {
    // SAFETY: malloc_trim may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the pages of this program's code, and gives free heap back: what runs once, at the start, does not stay
/// in a process that then waits for years. What runs again is mapped again from the page cache at its next call.
///
/// # Errors
/// /proc cannot be read, or the kernel refuses.
pub fn let_go_of_code() -> io::Result<()> {
    trim_heap();
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for (start, end) in program.to_str().into_iter().flat_map(|program| code(&maps, program)) {
        // SAFETY: the range is code of this program, as the kernel has just said: a private mapping of a file that
        // nobody can write to while it runs, and that was never written to itself, so that each page comes back
        // from the file as it was.
        let result =
            unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Where the code of a program is mapped: `5560a-5570f r-xp 0001a000 fe:00 1234   /usr/bin/rswarm`.
fn code<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    maps.lines().filter_map(move |line| {
        let (range, rest) = line.split_once(' ')?;
        let rest = rest.strip_prefix("r-xp ")?;
        let path = rest.splitn(4, ' ').nth(3)?.trim_start();
        let (start, end) = range.split_once('-')?;
        let range = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (path == program && range.0 < range.1).then_some(range)
    })
}

/// What `ps` shows of this process and its copies from now on: written over the words that it was
/// started with, so that no capability is needed, and cut to their length. For processes of one thread
/// that do not look at those words any more.
pub(crate) fn set_title(words: &[&str]) {
    use std::sync::OnceLock;
    static AREA: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    // A title is for people only: without one everything goes on as it was.
    let Some((start, end)) = *AREA.get_or_init(title_area) else { return };
    let text = words.join("\0");
    let room = end - start;
    // The last byte stays 0: after any other the kernel would go on into the environment.
    let length = text.len().min(room - 1);
    // SAFETY: the kernel says that this range holds the arguments; it is part of the stack's mapping,
    // writable, and no reference into it exists: std copies arguments when it is asked for them.
    unsafe {
        let area = std::ptr::with_exposed_provenance_mut::<u8>(start);
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(text.as_ptr(), area, length);
    }
}

/// Where the words lie that this process was started with (proc_pid_stat(5), fields 48 and 49).
fn title_area() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ').skip(48 - 3);
    let mut next = || fields.next()?.parse::<usize>().ok();
    let (start, end) = (next()?, next()?);
    (start > 0 && start < end).then_some((start, end))
}

/// Takes a descriptor that this process was started with, by number.
///
/// # Errors
/// It is not open.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a descriptor of our own; the original stays open as it was.
    unsafe {
        match libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Sends a signal, real-time ones too, to a child that was not reaped yet (so that its number can't
/// be another process's).
///
/// # Errors
/// No such process, no such signal.
pub(crate) fn kill(pid: i32, number: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill(2) touches no memory of ours; pid is one process, not a group.
    match unsafe { libc::kill(pid, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this process a copy of its mount namespace.
///
/// # Errors
/// Not allowed.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a mount namespace changes what paths mean, not memory.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this thread its own working folder and root, which a thread needs before it may change
/// namespaces.
///
/// # Errors
/// Not allowed.
#[cfg(test)]
pub(crate) fn unshare_fs() -> io::Result<()> {
    // SAFETY: as above.
    match unsafe { libc::unshare(libc::CLONE_FS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets tokio wait for a descriptor.
///
/// # Errors
/// The runtime can't wait for it.
pub(crate) fn wait_on(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps its descriptor open and the same for its whole life.
    unsafe { tokio::io::unix::AsyncFd::register(fd) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn code_is_what_is_mapped_to_be_run_and_nothing_else() {
        let maps = "\
5000-6000 r--p 00000000 fe:00 77                         /usr/bin/a program
6000-9000 r-xp 00001000 fe:00 77                         /usr/bin/a program
9000-a000 rw-p 00004000 fe:00 77                         /usr/bin/a program
b000-c000 rwxp 00000000 00:00 0
c000-d000 r-xp 00000000 fe:00 78                         /usr/lib/libc.so.6
e000-f000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(code(maps, "/usr/bin/a program").collect::<Vec<_>>(), [(0x6000, 0x9000)]);
    }

    #[test]
    fn code_that_was_let_go_of_runs_again() {
        for _ in 0..3 {
            let_go_of_code().unwrap();
            assert_eq!(format!("{:?}", [1.5, 2.5]), "[1.5, 2.5]");
        }
    }
}
