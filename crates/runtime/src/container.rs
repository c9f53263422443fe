//! The built-in OCI runtime: from a `Spec` to a running process and back to nothing.
//!
//! Everything here is synchronous and expects a process with ONE thread, since the container's init
//! is a plain copy of the caller (clone3 without execve) that goes on running Rust code:
//!
//! ```text
//! create ── Created::start ──▶ running ── exec (any number) ── Cgroup::kill ── Cgroup::delete
//! ```
//!
//! `create` does all that can fail and leaves init waiting before its execve. Until
//! `Created::start` has said go, init dies with its creator: there is nothing to clean up on the
//! host but the cgroup, which `Cgroup::open` finds again by its path.
//!
//! Init must not be reachable from inside the container as a writable file of the host
//! (`/proc/self/exe`): the calling process should have been executed from a read-only clone of the
//! binary, see [`exe`]. [`create()`] and [`exec()`] refuse to go on otherwise.
//!
//! It needs Linux 5.12 (mount_setattr); 5.14 to kill a whole cgroup at once.
//!
//! Known limit: a process that [`exec()`] sends into a container is born in its pid namespace and
//! drops its rights there. It can't be traced meanwhile, unless the container has CAP_SYS_PTRACE in
//! the host's user namespace.

mod capability;
pub mod cgroup;
mod channel;
mod copy_up;
mod create;
mod devices;
pub mod error;
pub mod exe;
mod exec;
mod extras;
pub mod hooks;
mod idmap;
mod init;
mod kernel;
mod mounts;
mod namespaces;
mod options;
mod paths;
mod prepare;
mod process;
mod seccomp;
mod sys;
mod terminal;
mod user;

pub use cgroup::Cgroup;
pub use create::start_at;
pub use error::Error;
pub(crate) use mounts::attach;
pub(crate) use paths::{Kind as TargetKind, target as mount_target};

use oci_spec::runtime::{Process, Spec};
use rustix::io::Errno;
use rustix::process::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What becomes the container's `/`.
#[derive(Debug)]
pub enum Rootfs {
    /// A folder on the host, mounted or plain.
    Path(PathBuf),
    /// A detached mount (fsmount, open_tree). It is attached in the container's own mount
    /// namespace only; the host never sees it and it goes away with the container.
    Mount(OwnedFd),
}

/// Where the three standard streams of a process lead.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's.
    Inherit,
    /// These; the caller keeps the other ends.
    Pipes {
        /// Read by the process.
        stdin: OwnedFd,
        /// Written by the process.
        stdout: OwnedFd,
        /// Written by the process; may be a duplicate of `stdout`.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own devpts; its master comes back as `console`.
    Terminal {
        /// Rows and columns, if known already.
        size: Option<(u16, u16)>,
    },
}

/// How init learns that it may execute its program.
#[derive(Debug, Default)]
pub enum Gate {
    /// By [`Created::start`] of this process; init dies with this process until then.
    #[default]
    Handle,
    /// By whoever connects to this listening stream socket (the `oci` command line, where `create`
    /// and `start` are different processes). Init outlives this process once `create` has returned
    /// and [`Created::release`] was called.
    Listener(OwnedFd),
}

/// All that makes a container. [`CreateOptions::new`] fills in what is rarely changed.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// Name of the container; given to hooks, and the last part of a default cgroup path.
    pub id: &'a str,
    /// Folder that relative paths of the spec start from.
    pub bundle: &'a Path,
    /// What to run. `linux.cgroupsPath` names the cgroup below each hierarchy's root.
    pub spec: &'a Spec,
    /// Its root file system; `spec.root.path` is not looked at, `spec.root.readonly` is.
    pub rootfs: Rootfs,
    /// Its standard streams.
    pub stdio: Stdio,
    /// How it is told to start.
    pub gate: Gate,
    /// Descriptors 3 to 2+N are left open in the container.
    pub preserve_fds: u32,
    /// Give it a session keyring of its own.
    pub new_keyring: bool,
    /// Use chroot in place of pivot_root, for hosts whose root is the initramfs. Less isolated.
    pub no_pivot: bool,
}

impl<'a> CreateOptions<'a> {
    /// The usual: an own keyring, pivot_root, no further descriptors, started by its handle.
    pub fn new(id: &'a str, bundle: &'a Path, spec: &'a Spec, rootfs: Rootfs, stdio: Stdio) -> Self {
        Self {
            id,
            bundle,
            spec,
            rootfs,
            stdio,
            gate: Gate::Handle,
            preserve_fds: 0,
            new_keyring: true,
            no_pivot: false,
        }
    }
}

/// A container whose init waits before its execve. Dropping it lets init die.
#[derive(Debug)]
pub struct Created {
    /// Init as the host sees it. It is a child of the caller, who has to reap it.
    pub pid: Pid,
    /// The same as a descriptor; readable once init has exited.
    pub pidfd: OwnedFd,
    /// Master of the terminal, for [`Stdio::Terminal`].
    pub console: Option<OwnedFd>,
    /// Its cgroup. The caller deletes it once init is gone.
    pub cgroup: Cgroup,
    /// Things that the spec asks for and this kernel or runtime cannot give, in a sentence each.
    pub warnings: Vec<String>,
    socket: OwnedFd,
    released_by: bool,
    after: Option<Box<create::After>>,
}

impl Created {
    /// Lets init execute its program; returns once it has (or why it could not, with the exit code
    /// that Docker gives: 127 not found, 126 not executable). After an error init is gone, and has
    /// still to be reaped. Poststart hooks have run when it returns; one that failed is in the
    /// text that it gives.
    pub fn start(&self) -> Result<Option<String>, Error> {
        if self.released_by {
            return Err(Error::text("it waits at its socket, see start_at"));
        }
        create::start(&self.socket)?;
        Ok(self.after.as_ref().and_then(|after| after.run(self.pid)))
    }

    /// For [`Gate::Listener`]: lets init outlive this process, once its state is on disk.
    pub fn release(self) -> Result<(), Error> {
        create::release(&self.socket)
    }
}

/// What [`exec()`] has to know about a running container.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Its init.
    pub pid: Pid,
    /// The spec that it was created from.
    pub spec: &'a Spec,
    /// Its cgroup.
    pub cgroup: &'a Cgroup,
}

/// A further process of a container.
#[derive(Debug)]
pub struct Execed {
    /// As the host sees it. It is a child of the caller, who has to reap it.
    pub pid: Pid,
    /// The same as a descriptor; readable once it has exited.
    pub pidfd: OwnedFd,
    /// Master of its terminal, for [`Stdio::Terminal`].
    pub console: Option<OwnedFd>,
}

/// Does ahead what containers with this seccomp profile will need; for a process that forks the
/// creators of many containers, which then share it.
pub fn warm_up(profile: &oci_spec::runtime::LinuxSeccomp) {
    seccomp::warm_up(profile);
}

/// Sets up everything of a container and leaves init waiting.
///
/// On an error nothing is left behind: init is reaped, the cgroup deleted.
pub fn create(options: CreateOptions<'_>) -> Result<Created, Error> {
    create::create(options)
}

/// Runs `process` inside a running container: all of its namespaces and its cgroup, with the
/// capabilities, user, rlimits that `process` says and the seccomp filter of the spec. Returns once
/// its execve succeeded.
pub fn exec(target: &Running<'_>, process: &Process, stdio: Stdio) -> Result<Execed, Error> {
    exec::exec(target, process, stdio, 0)
}

/// As [`exec()`], leaving descriptors 3 to 2+N open in the new process.
pub fn exec_preserving(
    target: &Running<'_>,
    process: &Process,
    stdio: Stdio,
    preserve_fds: u32,
) -> Result<Execed, Error> {
    exec::exec(target, process, stdio, preserve_fds)
}

/// Sends a signal by number, real-time ones included, to the process of a pidfd.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    sys::pidfd_send_signal(pidfd, signal)
}

/// Blocks all signals that can be handed on to a process in the foreground, and gives a signalfd to
/// read them from.
pub(crate) fn foreground_signals() -> Result<OwnedFd, Errno> {
    sys::signalfd_of_all()
}
