//! The last steps of every process in a container, between the go and its execve: streams, user,
//! capabilities, seccomp. The same for init and for exec.

use super::capability::{self, Sets};
use super::seccomp::Filter;
use super::sys::{self, Strings};
use super::{Error, user};
use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::fs::{self, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the last steps need beside the process itself.
pub(crate) struct Finish<'a> {
    /// The process.
    pub(crate) process: &'a Process,
    /// Its seccomp filter.
    pub(crate) filter: Option<&'a Filter>,
    /// Descriptors from 3 that stay open.
    pub(crate) preserve_fds: u32,
    /// A session keyring of its own.
    pub(crate) new_keyring: bool,
}

/// Environment in which programs are looked up if the process has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes `fds` the standard streams of this process.
pub(crate) fn set_streams(fds: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    // First away from the low numbers, so that none of them is overwritten before it was copied.
    let copies = fds.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
    for (number, copy) in copies.into_iter().enumerate() {
        let copy = copy?;
        match number {
            0 => rustix::stdio::dup2_stdin(&copy)?,
            1 => rustix::stdio::dup2_stdout(&copy)?,
            _ => rustix::stdio::dup2_stderr(&copy)?,
        }
    }
    Ok(())
}

/// Makes a terminal the controlling one and the three streams.
pub(crate) fn set_terminal(slave: impl AsFd) -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(&slave)?;
    set_streams([slave.as_fd(); 3])
}

/// Lets the process's user open its own streams again through /proc/self/fd, as programs that log
/// to /dev/stderr do.
fn own_streams(uid: u32) {
    for number in 0..3 {
        let stream = sys::borrow_fd(number);
        let Ok(stat) = fs::fstat(stream) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Only what was made for this process: pipes, sockets, its terminal. Files and devices of
        // the host keep their owner.
        let pts = kind == FileType::CharacterDevice && fs::major(stat.st_rdev) == 136;
        if stat.st_uid != uid && (matches!(kind, FileType::Fifo | FileType::Socket) || pts) {
            // A stream whose owner can't be changed still works as it is.
            let _ = fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
}

/// Sets the limits of the process `pid`, which may not have the right to do so itself.
pub(crate) fn set_rlimits(pid: Pid, process: &Process) -> Result<(), Error> {
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let resource = match limit.typ() {
            PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
            PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
            PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
            PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
            PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
            PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
            PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
            PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
            PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
            PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
            PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
            PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
            PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
            PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
            PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
            PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
        };
        sys::prlimit(Some(pid), resource, limit.soft(), limit.hard())
            .map_err(|error| Error::io(format!("set {} to {}:{}", limit.typ(), limit.soft(), limit.hard()), error))?;
    }
    Ok(())
}

/// Becomes the process; returns only the reason why not.
pub(crate) fn finish(finish: &Finish<'_>) -> Error {
    match become_it(finish) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn become_it(finish: &Finish<'_>) -> Result<std::convert::Infallible, Error> {
    let process = finish.process;
    let program = Program::new(process)?;
    if finish.new_keyring {
        match sys::new_session_keyring() {
            // A kernel without keyrings, or a quota of keys used up by other containers of this
            // user: the old session is left all the same, as runc and crun do.
            Ok(()) | Err(Errno::NOSYS | Errno::DQUOT) => {}
            Err(error) => return Err(Error::io("make a session keyring", error)),
        }
    }
    sys::cloexec_from(3 + finish.preserve_fds).map_err(|error| Error::io("close descriptors", error))?;
    own_streams(process.user().uid());
    let entered = enter_working_folder(process.cwd())?;
    become_user(finish)?;
    check_working_folder(process.cwd(), entered)?;
    sys::reset_signals();
    if let (Some(filter), true) = (finish.filter, no_new_privileges(process)) {
        filter.load()?;
    }
    Err(program.execute())
}

fn no_new_privileges(process: &Process) -> bool {
    process.no_new_privileges().unwrap_or(false)
}

fn become_user(finish: &Finish<'_>) -> Result<(), Error> {
    let process = finish.process;
    let sets = Sets::of(process.capabilities().as_ref()).limited_to(capability::own_bounding());
    if no_new_privileges(process) {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(|error| Error::io("set no_new_privs", error))?;
    }
    let failed = |what: &str| {
        let what = format!("set {what}");
        move |error: Errno| Error::io(what, error)
    };
    capability::drop_bounding(sets.bounding).map_err(failed("the bounding capabilities"))?;
    // Without no_new_privs a filter takes CAP_SYS_ADMIN to load, so it comes before they go and
    // has to allow what is left to do, as with every other runtime.
    if let (Some(filter), false) = (finish.filter, no_new_privileges(process)) {
        filter.load()?;
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).map_err(failed("keepcaps"))?;
    user::set(process.user())?;
    capability::apply(&sets).map_err(failed("capabilities"))?;
    if let Some(umask) = process.user().umask() {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    Ok(())
}

/// Whether it could be entered as root, without whom the way there may be closed.
fn enter_working_folder(cwd: &Path) -> Result<bool, Error> {
    match rustix::process::chdir(or_root(cwd)) {
        Ok(()) => Ok(true),
        // The user may be allowed where root without CAP_DAC_OVERRIDE is not (NFS).
        Err(Errno::ACCESS) => Ok(false),
        Err(error) => Err(working_folder(cwd, error)),
    }
}

/// A working folder that leads out of the root (by a descriptor of the host under /proc/self/fd,
/// say) has no path that starts with a slash (CVE-2024-21626).
fn check_working_folder(cwd: &Path, entered: bool) -> Result<(), Error> {
    let failed = |error| working_folder(cwd, error);
    if !entered {
        rustix::process::chdir(or_root(cwd)).map_err(failed)?;
    }
    let here = rustix::process::getcwd(Vec::new()).map_err(failed)?;
    if here.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Error::text(format!("working folder {} is outside of the container", cwd.display())))
    }
}

fn or_root(cwd: &Path) -> &Path {
    if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd }
}

fn working_folder(cwd: &Path, error: Errno) -> Error {
    Error::io(format!("chdir to cwd (\"{}\")", cwd.display()), error)
}

/// Program, arguments and environment, ready for execve.
struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: Strings,
    env: Strings,
}

impl Program {
    fn new(process: &Process) -> Result<Self, Error> {
        let args = process.args().as_deref().unwrap_or_default();
        let Some(name) = args.first().filter(|name| !name.is_empty()) else {
            return Err(Error::text("exec: no command is given").with_exit_code(127));
        };
        let c_string =
            |text: &[u8]| CString::new(text).map_err(|_| Error::text("exec: an argument or variable has a zero byte"));
        let mut env: Vec<&str> = process.env().iter().flatten().map(String::as_str).collect();
        let home = user::home_variable(&env, process.user().uid());
        env.extend(home.as_deref());
        let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let candidates = if name.contains('/') {
            vec![c_string(name.as_bytes())?]
        } else {
            let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
            folders
                .map(|folder| c_string(Path::new(folder).join(name).as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?
        };
        let list = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| c_string(text.as_bytes())).collect::<Result<Vec<_>, _>>().map(Strings::new)
        };
        let argv = list(&mut args.iter().map(String::as_str))?;
        let env = list(&mut env.iter().copied())?;
        Ok(Self { name: name.clone(), candidates, argv, env })
    }

    /// Tries each candidate as execvp does; gives the reason in Docker's words.
    fn execute(&self) -> Error {
        let mut denied = None;
        for candidate in &self.candidates {
            match sys::execve(candidate, &self.argv, &self.env) {
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => {}
                error @ (Errno::ACCESS | Errno::PERM | Errno::ISDIR) => denied = denied.or(Some(error)),
                error => return self.failed(error),
            }
        }
        match denied {
            Some(error) => self.failed(error),
            None if self.name.contains('/') => {
                Error::io(format!("exec: {:?}: stat {}", self.name, self.name), Errno::NOENT).with_exit_code(127)
            }
            None => {
                Error::text(format!("exec: {:?}: executable file not found in $PATH", self.name)).with_exit_code(127)
            }
        }
    }

    fn failed(&self, error: Errno) -> Error {
        Error::io(format!("exec: {:?}", self.name), error).with_exit_code(126)
    }
}
