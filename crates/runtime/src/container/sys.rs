//! The system calls that no crate wraps, each as a safe function that owns its descriptors.
#![expect(unsafe_code, reason = "raw system calls; each call states why it is sound")]

use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct clone_args`, version 2 (`CLONE_ARGS_SIZE_VER2`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which of the two processes returned from [`clone3`].
pub(crate) enum Forked {
    /// The new one.
    Child,
    /// The caller.
    Parent {
        /// The child in the caller's pid namespace.
        pid: Pid,
        /// The same, close-on-exec.
        pidfd: OwnedFd,
    },
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        // SAFETY: reads the calling thread's errno.
        let errno = unsafe { *libc::__errno_location() };
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(result)
}

/// Forks with new namespaces (`CLONE_NEW*` bits), born in the cgroup of `cgroup` (version 2) if
/// given. The child runs on a copy of the caller's memory, as after fork.
pub(crate) fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: neither CLONE_VM nor a stack is asked for, so the child goes on with a copy of this
    // stack as after fork(2); `args` and `pidfd` outlive the call. The module's contract that the
    // process has one thread makes allocation in the child sound.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match check(result)? {
        0 => Ok(Forked::Child),
        pid => {
            let pid = Pid::from_raw(pid as i32).ok_or(Errno::SRCH)?;
            // SAFETY: the kernel stored a new descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent { pid, pidfd })
        }
    }
}

/// Ends this process without running destructors or exit handlers of the copied parent.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0.
    pub(crate) propagation: u64,
    /// User namespace for `MOUNT_ATTR_IDMAP`.
    pub(crate) userns_fd: u64,
}

/// Changes the mount whose root `mount` is; with `recursive` those below it too.
pub(crate) fn mount_setattr(mount: impl AsFd, recursive: bool, attr: &MountAttr) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static C string, `attr` is a valid struct of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    check(result).map(|_| ())
}

/// Marks all descriptors from `first` on close-on-exec.
pub(crate) fn cloexec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers; descriptors stay open, so no owner is surprised.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result).map(|_| ())
}

/// Leaves some namespaces (`CLONE_NEW*`) of the single-threaded caller.
pub(crate) fn unshare(namespaces: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointers; CLONE_FILES and CLONE_VM are never passed.
    check(unsafe { libc::unshare(namespaces) }.into()).map(|_| ())
}

/// Joins the namespaces `namespaces` of the process of a pidfd, or the one of a namespace file.
pub(crate) fn setns(fd: impl AsFd, namespaces: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setns(fd.as_fd().as_raw_fd(), namespaces) }.into()).map(|_| ())
}

/// prctl with up to two numbers.
pub(crate) fn prctl(option: i32, first: u64, second: u64) -> Result<i32, Errno> {
    // SAFETY: only called with options whose arguments are numbers.
    check(unsafe { libc::prctl(option, first, second, 0u64, 0u64) }.into()).map(|result| result as i32)
}

/// Gives the process a new anonymous session keyring.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    check(result).map(|_| ())
}

/// Sets the three capability sets of this process, bit N for capability N.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data: [[u32; 3]; 2] =
        [[low(effective), low(permitted), low(inheritable)], [high(effective), high(permitted), high(inheritable)]];
    // SAFETY: version 3 of the interface reads one header and two triples, which is what is passed.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(result).map(|_| ())
}

/// One instruction of a seccomp or cgroup filter, `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SockFilter {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// Installs a seccomp filter; gives the listener for `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub(crate) fn seccomp_load(program: &[SockFilter], flags: u64) -> Result<Option<OwnedFd>, Errno> {
    #[repr(C)]
    struct Program {
        len: libc::c_ushort,
        filter: *const SockFilter,
    }
    let len = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    // SAFETY: `program` points at `len` instructions that live across the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let fd = check(result)?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the result is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// bpf(2) with an attribute block of plain numbers.
pub(crate) fn bpf(command: i32, attributes: &[u64]) -> Result<i32, Errno> {
    // SAFETY: pointers within `attributes` are kept alive by the caller for the call; the kernel
    // reads no more than the size given.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), std::mem::size_of_val(attributes)) };
    check(result).map(|result| result as i32)
}

/// Takes over a descriptor that a system call just made.
pub(crate) fn own_fd(raw: i32) -> OwnedFd {
    // SAFETY: callers pass the result of a system call that returned a new descriptor.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// A descriptor by its number, for those that were inherited.
pub(crate) fn borrow_fd(raw: i32) -> BorrowedFd<'static> {
    // SAFETY: used for 0, 1 and 2 only, which live as long as the process.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// A null-terminated list for execve.
pub(crate) struct Strings {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Strings {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { pointers, _strings: strings }
    }
}

/// execve; returns only if it failed.
pub(crate) fn execve(path: &CStr, argv: &Strings, env: &Strings) -> Errno {
    // SAFETY: all three point at null-terminated strings and lists that live across the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    // SAFETY: reads the calling thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// execveat of the file that a descriptor stands for; returns only if it failed.
pub(crate) fn fexecve(fd: impl AsFd, argv: &Strings, env: &Strings) -> Errno {
    // SAFETY: as for `execve`; the path is a static empty string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    // SAFETY: reads the calling thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Sets a resource limit of another process, or of this one for `None`.
pub(crate) fn prlimit(pid: Option<Pid>, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: `limit` lives across the call; no old limit is asked for.
    let result = unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null_mut::<libc::rlimit64>())
    };
    check(result).map(|_| ())
}

/// Lets every signal do what it does by default and blocks none, as a new program expects. Rust's
/// runtime ignores SIGPIPE, and a caller may block signals to read them from a descriptor.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; numbers that can't be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero signal set is an empty one.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` lives across the call.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

/// Sets the NIS domain name of this process's UTS namespace.
pub(crate) fn setdomainname(name: &str) -> Result<(), Errno> {
    // SAFETY: pointer and length describe `name`.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    check(result.into()).map(|_| ())
}

/// Sends any signal to the process of a pidfd.
pub(crate) fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: no siginfo is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(|_| ())
}

/// Sends any signal to a process by its number.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(|_| ())
}

/// Blocks all signals and gives a descriptor to read them from.
pub(crate) fn signalfd_of_all() -> Result<OwnedFd, Errno> {
    // SAFETY: an all-zero signal set is a valid one, which sigfillset fills.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` lives across the calls.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    // SAFETY: `all` lives across the call; a new descriptor is asked for.
    let fd = check(unsafe { libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC) }.into())?;
    Ok(own_fd(fd as i32))
}

/// Sets the execution domain of this process.
pub(crate) fn personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::personality(domain.into()) }.into()).map(|_| ())
}

/// Sets class and level of this process's I/O.
pub(crate) fn ioprio_set(class: u16, level: u16) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    let priority = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) }).map(|_| ())
}
