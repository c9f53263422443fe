//! Further processes in a running container.

use super::channel::{self, FromInit, ToInit};
use super::create::{guard_self, next, put_down, start};
use super::init::{become_namespace_root, die_with_creator, join_cgroups};
use super::kernel::{self, Labels};
use super::namespaces::{self, clone_into};
use super::prepare::host_proc;
use super::process::{self, Finish};
use super::seccomp::Filter;
use super::sys::{self, Forked};
use super::{Error, Execed, Running, Stdio, terminal};
use oci_spec::runtime::{LinuxNamespaceType, Process};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, OwnedFd};

/// See [`super::exec()`].
pub(crate) fn exec(target: &Running<'_>, process: &Process, stdio: Stdio, preserve_fds: u32) -> Result<Execed, Error> {
    guard_self()?;
    if target.cgroup.is_frozen()? {
        return Err(Error::text("the container is paused"));
    }
    let pidfd = pidfd_open(target.pid, PidfdFlags::empty())
        .map_err(|error| Error::io("find the container's process", error))?;
    let seccomp = target.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let guest = Guest {
        process,
        stdio,
        preserve_fds,
        filter: seccomp.map(Filter::of).transpose()?.flatten(),
        namespaces: namespaces::of_running(target.spec),
        join: target.cgroup.join_files()?,
        proc: host_proc()?,
        target: pidfd,
    };
    let birth = target.cgroup.birth_folder()?;
    let (ours, theirs) = channel::pair().map_err(|error| Error::io("make a socket pair", error))?;
    let pid_namespace = has(target, LinuxNamespaceType::Pid).then_some(guest.target.as_fd());
    let (pid, pidfd) = match clone_into(pid_namespace, 0, birth.as_ref().map(AsFd::as_fd))? {
        Forked::Child => {
            drop(ours);
            guest.run(&theirs)
        }
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(theirs);
    match attend(&guest, pid, &ours) {
        Ok(console) => Ok(Execed { pid, pidfd, console }),
        Err(error) => {
            put_down(pid, &pidfd);
            Err(error)
        }
    }
}

fn has(target: &Running<'_>, kind: LinuxNamespaceType) -> bool {
    let linux = target.spec.linux().as_ref();
    linux
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default()
        .iter()
        .any(|namespace| namespace.typ() == kind)
}

/// The creator's part; gives the master of the terminal.
fn attend(guest: &Guest<'_>, pid: Pid, socket: &OwnedFd) -> Result<Option<OwnedFd>, Error> {
    if let Some(score) = guest.process.oom_score_adj() {
        kernel::set_oom_score(&guest.proc, pid, score)?;
    }
    let mut console = None;
    loop {
        match next(socket)? {
            FromInit::Ready => break,
            FromInit::Console(master) => console = Some(master),
            FromInit::Failed(error) => return Err(error),
            FromInit::Warning(_) | FromInit::Hooks => {}
        }
    }
    process::set_rlimits(pid, guest.process)?;
    start(socket)?;
    Ok(console)
}

/// The new process.
struct Guest<'a> {
    process: &'a Process,
    stdio: Stdio,
    preserve_fds: u32,
    filter: Option<Filter>,
    namespaces: i32,
    join: Vec<OwnedFd>,
    proc: OwnedFd,
    target: OwnedFd,
}

impl Guest<'_> {
    /// Never returns.
    fn run(&self, socket: &OwnedFd) -> ! {
        let become_it = std::panic::AssertUnwindSafe(|| self.become_program(socket));
        let error = match std::panic::catch_unwind(become_it) {
            Ok(Ok(never)) => match never {},
            Ok(Err(error)) => error,
            Err(_) => Error::text("a bug: the new process panicked"),
        };
        let code = error.exit_code();
        // Nobody may be there any more to be told.
        let _ = channel::report(socket, &FromInit::Failed(error));
        sys::exit(code)
    }

    fn become_program(&self, socket: &OwnedFd) -> Result<std::convert::Infallible, Error> {
        die_with_creator(true)?;
        join_cgroups(&self.join)?;
        rustix::process::setsid().map_err(|error| Error::io("make a session", error))?;
        sys::setns(&self.target, self.namespaces)
            .map_err(|error| Error::io("join the container's namespaces", error))?;
        if self.namespaces & libc::CLONE_NEWUSER != 0 {
            become_namespace_root()?;
        }
        self.set_streams(socket)?;
        channel::report(socket, &FromInit::Ready).map_err(|error| Error::io("tell the creator", error))?;
        channel::await_word(socket, ToInit::Start).map_err(|error| Error::io("wait for the creator", error))?;
        kernel::set_labels(&self.proc, self.process, Labels::of(&self.proc, self.process))?;
        die_with_creator(false)?;
        Err(process::finish(&Finish {
            process: self.process,
            filter: self.filter.as_ref(),
            preserve_fds: self.preserve_fds,
            new_keyring: true,
        }))
    }

    fn set_streams(&self, socket: &OwnedFd) -> Result<(), Error> {
        let failed = |error: Errno| Error::io("set the standard streams", error);
        match &self.stdio {
            Stdio::Inherit => Ok(()),
            Stdio::Pipes { stdin, stdout, stderr } => {
                process::set_streams([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(failed)
            }
            Stdio::Terminal { size } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = fs::open("/", flags, Mode::empty()).map_err(failed)?;
                let ends = terminal::open(&root, *size, self.process.user().uid())?;
                process::set_terminal(&ends.slave).map_err(failed)?;
                channel::report(socket, &FromInit::Console(ends.master)).map_err(failed)
            }
        }
    }
}
