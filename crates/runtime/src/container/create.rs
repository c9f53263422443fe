//! The creator's part: everything that happens outside of the container.

use super::channel::{self, FromInit, ToInit};
use super::hooks::{self, Point, State};
use super::init::{self, Init};
use super::namespaces::{self, Namespaces};
use super::prepare::{self, Prepared};
use super::seccomp::Filter;
use super::sys::{self, Forked};
use super::{Cgroup, CreateOptions, Created, Error, Gate, Rootfs, exe, extras, idmap, kernel, process};
use oci_spec::runtime::{LinuxIdMapping, Process, Spec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, pidfd_send_signal, waitpid};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Refuses to fork container processes from a binary that they could write to; and keeps what is
/// in this process's memory from those that may look at their own kind.
pub(crate) fn guard_self() -> Result<(), Error> {
    if !exe::is_sealed() {
        return Err(Error::text(
            "this process was not executed from a sealed clone of its binary (container::exe::ensure_sealed)",
        ));
    }
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop).map_err(|error| Error::io("forbid being traced", error))
}

/// See [`super::create()`].
pub(crate) fn create(mut options: CreateOptions<'_>) -> Result<Created, Error> {
    guard_self()?;
    let spec = options.spec;
    let process = spec.process().as_ref().ok_or_else(|| Error::text("the spec has no process"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::text("the spec has no linux section"))?;
    kernel::check_sysctls(spec)?;
    let namespaces = Namespaces::of(spec)?;
    let seccomp = linux.seccomp().as_ref();
    let filter = seccomp.map(Filter::of).transpose()?.flatten();
    let path = match linux.cgroups_path() {
        Some(path) => path.to_string_lossy().into_owned(),
        None => format!("/rswarm/{}", options.id),
    };
    // No word on devices still means the usual rules.
    let resources = linux.resources().clone().unwrap_or_default();
    let cgroup = Cgroup::create(&path, Some(&resources))?;
    let rootfs = std::mem::replace(&mut options.rootfs, Rootfs::Path(options.bundle.into()));
    let made = prepare::prepare(spec, options.bundle, rootfs, &cgroup).and_then(|prepared| {
        let work = Work { options: &options, process, namespaces, filter, cgroup: &cgroup };
        work.fork(prepared)
    });
    match made {
        Ok(made) => Ok(made.into_created(cgroup, &options)),
        Err(error) => {
            // The reason is worth more than a failure to clean up after it.
            let _ = cgroup.kill_all().and_then(|()| cgroup.delete());
            Err(explain(error))
        }
    }
}

/// A call that the kernel does not have at all means that it is too old.
fn explain(error: Error) -> Error {
    if error.raw_os_error() == Some(libc::ENOSYS) {
        return Error::new("the built-in runtime needs Linux 5.12 or newer", error);
    }
    error
}

struct Work<'a> {
    options: &'a CreateOptions<'a>,
    process: &'a Process,
    namespaces: Namespaces,
    filter: Option<Filter>,
    cgroup: &'a Cgroup,
}

/// A born init.
struct Born {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    console: Option<OwnedFd>,
    warnings: Vec<String>,
}

impl Work<'_> {
    fn fork(self, prepared: Prepared) -> Result<Born, Error> {
        let join = self.cgroup.join_files()?;
        let birth = self.cgroup.birth_folder()?;
        let (ours, theirs) = channel::pair().map_err(|error| Error::io("make a socket pair", error))?;
        let proc = rustix::io::fcntl_dupfd_cloexec(&prepared.proc, 3).map_err(|error| Error::io("dup", error))?;
        let new_user = self.namespaces.new_user();
        let pid_namespace = self.namespaces.join_pid.as_ref().map(AsFd::as_fd);
        let birth = birth.as_ref().map(AsFd::as_fd);
        let (pid, pidfd) = match namespaces::clone_into(pid_namespace, self.namespaces.at_birth, birth)? {
            Forked::Child => {
                // Init's copy of the other end would hide the creator's death from it.
                drop(ours);
                let (options, process) = (self.options, self.process);
                let (namespaces, filter, socket) = (self.namespaces, self.filter, theirs);
                init::run(Init { options, process, prepared, namespaces, join, filter, socket })
            }
            Forked::Parent { pid, pidfd } => (pid, pidfd),
        };
        // From here on only init holds the end of its own and what was opened for it.
        drop((theirs, prepared, join));
        let mut born = Born { pid, pidfd, socket: ours, console: None, warnings: extras::not_done(self.options.spec) };
        let set_up = Outside { options: self.options, process: self.process, proc, new_user }.attend(&mut born);
        match set_up {
            Ok(()) => Ok(born),
            Err(error) => {
                put_down(born.pid, &born.pidfd);
                Err(error)
            }
        }
    }
}

/// Kills and reaps a child that is of no use any more.
pub(crate) fn put_down(pid: Pid, pidfd: &OwnedFd) {
    // Both fail only when it is gone already.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// What is done for init from outside while it sets itself up.
struct Outside<'a> {
    options: &'a CreateOptions<'a>,
    process: &'a Process,
    proc: OwnedFd,
    new_user: bool,
}

impl Outside<'_> {
    fn attend(&self, born: &mut Born) -> Result<(), Error> {
        if self.new_user {
            let (uids, gids) = mappings(self.options.spec);
            idmap::write_maps(&self.proc, born.pid, uids, gids)?;
            tell(&born.socket, ToInit::Go)?;
        }
        if let Some(score) = self.process.oom_score_adj() {
            kernel::set_oom_score(&self.proc, born.pid, score)?;
        }
        loop {
            match next(&born.socket)? {
                FromInit::Ready => break,
                FromInit::Warning(text) => born.warnings.push(text),
                FromInit::Console(master) => born.console = Some(master),
                FromInit::Failed(error) => return Err(error),
                FromInit::Hooks => {
                    self.run_hooks(born.pid)?;
                    tell(&born.socket, ToInit::Go)?;
                }
            }
        }
        process::set_rlimits(born.pid, self.process)
    }

    fn run_hooks(&self, pid: Pid) -> Result<(), Error> {
        let (id, bundle) = (self.options.id, self.options.bundle);
        let state = State { id, status: "creating", pid: pid.as_raw_nonzero().get(), bundle };
        hooks::run(self.options.spec, Point::Prestart, &state)?;
        hooks::run(self.options.spec, Point::CreateRuntime, &state)
    }
}

/// The next message of a process that has not yet executed its program.
pub(crate) fn next(socket: &OwnedFd) -> Result<FromInit, Error> {
    match channel::receive(socket).map_err(|error| Error::io("hear from the new process", error))? {
        Some(message) => Ok(message),
        None => Err(Error::text("the new process was killed while it was being set up (out of memory?)")),
    }
}

/// Says a word to a process that has not yet executed its program.
pub(crate) fn tell(socket: &OwnedFd, word: ToInit) -> Result<(), Error> {
    channel::tell(socket, word).map_err(|error| Error::io("talk to the new process", error))
}

/// Lets a process outlive its creator, and waits until it does.
pub(crate) fn release(socket: &OwnedFd) -> Result<(), Error> {
    tell(socket, ToInit::Keep)?;
    match next(socket)? {
        FromInit::Failed(error) => Err(error),
        _ => Ok(()),
    }
}

/// Says start, and waits until the program runs (end-of-file) or can't.
pub(crate) fn start(socket: &OwnedFd) -> Result<(), Error> {
    match channel::tell(socket, ToInit::Start) {
        Ok(()) => {}
        Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::text("the container's process is gone")),
        Err(error) => return Err(Error::io("talk to the container's process", error)),
    }
    loop {
        match channel::receive(socket).map_err(|error| Error::io("hear from the container's process", error))? {
            None => return Ok(()),
            Some(FromInit::Failed(error)) => return Err(error),
            Some(_) => {}
        }
    }
}

fn mappings(spec: &Spec) -> (&[LinuxIdMapping], &[LinuxIdMapping]) {
    let Some(linux) = spec.linux() else { return (&[], &[]) };
    (linux.uid_mappings().as_deref().unwrap_or_default(), linux.gid_mappings().as_deref().unwrap_or_default())
}

impl Born {
    fn into_created(self, cgroup: Cgroup, options: &CreateOptions<'_>) -> Created {
        let poststart = !hooks::at(options.spec, Point::Poststart).is_empty();
        Created {
            pid: self.pid,
            pidfd: self.pidfd,
            console: self.console,
            cgroup,
            warnings: self.warnings,
            socket: self.socket,
            released_by: matches!(options.gate, Gate::Listener(_)),
            after: poststart.then(|| Box::new(After::of(options))),
        }
    }
}

/// What is left to run once the program runs.
#[derive(Debug)]
pub(crate) struct After {
    id: String,
    bundle: std::path::PathBuf,
    spec: Spec,
}

impl After {
    fn of(options: &CreateOptions<'_>) -> Self {
        Self { id: options.id.to_owned(), bundle: options.bundle.to_owned(), spec: options.spec.clone() }
    }

    /// Runs the poststart hooks; by the spec a failure is only warned about.
    pub(crate) fn run(&self, pid: Pid) -> Option<String> {
        let state = State { id: &self.id, status: "running", pid: pid.as_raw_nonzero().get(), bundle: &self.bundle };
        hooks::run(&self.spec, Point::Poststart, &state).err().map(|error| error.to_string())
    }
}

/// Starts a container that was created with `Gate::Listener` on the socket at `path`.
pub fn start_at(path: &Path) -> Result<(), Error> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let failed = |error: Errno| Error::io("reach the created container", error);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    start(&socket)
}
