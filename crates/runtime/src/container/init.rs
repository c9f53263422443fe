//! The container's first process, from its birth to its execve.

use super::channel::{self, FromInit, ToInit};
use super::hooks::{self, Point, State};
use super::kernel::{self, Labels};
use super::mounts::{self, Masks};
use super::namespaces::Namespaces;
use super::paths::{self, Kind};
use super::prepare::{Prepared, Tree};
use super::process::{self, Finish};
use super::seccomp::Filter;
use super::terminal::Terminal;
use super::{CreateOptions, Error, Gate, Stdio, devices, extras, sys, terminal};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// All that init works with.
pub(crate) struct Init<'a> {
    pub(crate) options: &'a CreateOptions<'a>,
    pub(crate) process: &'a Process,
    pub(crate) prepared: Prepared,
    pub(crate) namespaces: Namespaces,
    pub(crate) join: Vec<OwnedFd>,
    pub(crate) filter: Option<Filter>,
    pub(crate) socket: OwnedFd,
}

/// Whoever is told of success and failure: the creator, later the one who starts.
struct Listener(OwnedFd);

/// Is init. Never returns: into the copied stack of the creator it must not.
pub(crate) fn run(mut init: Init<'_>) -> ! {
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(&init.socket, 3) else { sys::exit(125) };
    let mut listener = Listener(socket);
    let listened = std::panic::AssertUnwindSafe(|| init.become_program(&mut listener));
    let error = match std::panic::catch_unwind(listened) {
        Ok(Ok(never)) => match never {},
        Ok(Err(error)) => error,
        Err(_) => Error::text("a bug: init panicked"),
    };
    let code = error.exit_code();
    // Nobody may be there any more to be told.
    let _ = channel::report(&listener.0, &FromInit::Failed(error));
    sys::exit(code)
}

/// Ties this process to the life of its creator.
pub(crate) fn die_with_creator(yes: bool) -> Result<(), Error> {
    let signal = if yes { libc::SIGKILL as u64 } else { 0 };
    sys::prctl(libc::PR_SET_PDEATHSIG, signal, 0)
        .map(drop)
        .map_err(|error| Error::io("set the parent death signal", error))
}

/// Joins the cgroups of version 1; see the module `cgroup` for why in this way.
pub(crate) fn join_cgroups(files: &[OwnedFd]) -> Result<(), Error> {
    files
        .iter()
        .try_for_each(|file| rustix::io::write(file, b"0").map(drop))
        .map_err(|error| Error::io("join the cgroup", error))
}

/// Becomes root of the user namespace that was just entered.
pub(crate) fn become_namespace_root() -> Result<(), Error> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let failed = |error| Error::io("become root of the user namespace", error);
    match set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(failed(error)),
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(failed)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(failed)?;
    // The change of user has undone both.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map_err(failed)?;
    die_with_creator(true)
}

impl Init<'_> {
    fn spec(&self) -> &Spec {
        self.options.spec
    }

    fn become_program(&mut self, listener: &mut Listener) -> Result<std::convert::Infallible, Error> {
        die_with_creator(true)?;
        let umask = rustix::process::umask(Mode::empty());
        join_cgroups(&self.join)?;
        rustix::process::setsid().map_err(|error| Error::io("make a session", error))?;
        self.enter_namespaces()?;
        self.run_runtime_hooks()?;
        let terminal = self.build_root()?;
        self.set_streams(terminal)?;
        self.set_kernel()?;
        rustix::process::umask(umask);
        channel::report(&self.socket, &FromInit::Ready).map_err(|error| Error::io("tell the creator", error))?;
        self.wait_for_start(listener)?;
        self.finish()
    }

    fn enter_namespaces(&self) -> Result<(), Error> {
        if self.namespaces.new_user() {
            // Until its ids are mapped this process is nobody.
            self.await_word(ToInit::Go)?;
        }
        self.namespaces.enter()?;
        if self.namespaces.has_user() {
            become_namespace_root()?;
        }
        if self.namespaces.new_cgroup {
            sys::unshare(libc::CLONE_NEWCGROUP).map_err(|error| Error::io("make a cgroup namespace", error))?;
        }
        Ok(())
    }

    fn await_word(&self, word: ToInit) -> Result<(), Error> {
        channel::await_word(&self.socket, word).map_err(|error| Error::io("wait for the creator", error))
    }

    /// The creator runs them, outside.
    fn run_runtime_hooks(&self) -> Result<(), Error> {
        let any =
            [Point::Prestart, Point::CreateRuntime].iter().any(|point| !hooks::at(self.spec(), *point).is_empty());
        if !any {
            return Ok(());
        }
        channel::report(&self.socket, &FromInit::Hooks).map_err(|error| Error::io("ask for hooks", error))?;
        self.await_word(ToInit::Go)
    }

    fn run_own_hooks(&self, point: Point, status: &str) -> Result<(), Error> {
        let (id, bundle) = (self.options.id, self.options.bundle);
        hooks::run(
            self.spec(),
            point,
            &State { id, status, pid: rustix::process::getpid().as_raw_nonzero().get(), bundle },
        )
    }

    /// Everything about files: the root, its mounts and devices, what is hidden; then moves in.
    fn build_root(&self) -> Result<Option<Terminal>, Error> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: Errno| Error::io(what, error)
        };
        // Nothing that happens in here may show on the host.
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(failed("cut the mounts off from the host"))?;
        let root = &self.prepared.root;
        move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed("mount the root file system"))?;
        for mount in &self.prepared.mounts {
            mounts::mount(root, mount)?;
        }
        let linux = self.spec().linux().as_ref();
        if !self.dev_is_bound() {
            devices::make(root, linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default())?;
        }
        let terminal = self.open_terminal()?;
        self.make_working_folder();
        self.run_own_hooks(Point::CreateContainer, "creating")?;
        if let Some(linux) = linux {
            for path in linux.readonly_paths().iter().flatten() {
                mounts::protect(root, Path::new(path))?;
            }
            let mut masks = Masks::new(root, &self.prepared.null);
            for path in linux.masked_paths().iter().flatten() {
                masks.hide(Path::new(path))?;
            }
        }
        self.move_in().map_err(failed("change to the root file system"))?;
        self.finish_root()?;
        Ok(terminal)
    }

    /// A /dev that comes from somewhere has what it has.
    fn dev_is_bound(&self) -> bool {
        let binds = |mount: &super::prepare::PreparedMount| matches!(mount.tree, Tree::Bind { .. });
        self.prepared.mounts.iter().any(|mount| binds(mount) && mount.target == Path::new("/dev"))
    }

    fn open_terminal(&self) -> Result<Option<Terminal>, Error> {
        let Stdio::Terminal { size } = self.options.stdio else { return Ok(None) };
        let root = &self.prepared.root;
        let terminal = terminal::open(root, size, self.process.user().uid())?;
        devices::console(root, &terminal.slave)?;
        Ok(Some(terminal))
    }

    /// As Docker does for a WORKDIR that no layer made. Where it can't be made (a read-only mount)
    /// the attempt to go there gives the better error.
    fn make_working_folder(&self) {
        let _ = paths::target(&self.prepared.root, self.process.cwd(), Kind::Folder);
    }

    fn move_in(&self) -> Result<(), Errno> {
        rustix::process::fchdir(&self.prepared.root)?;
        if self.options.no_pivot {
            rustix::process::chroot(".")?;
        } else {
            // Puts the old root over the new one, from where it is taken off again.
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
        }
        rustix::process::chdir("/")
    }

    fn finish_root(&self) -> Result<(), Error> {
        let propagation = self.spec().linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
        if let Some(word) = propagation.filter(|word| !word.is_empty()) {
            let kind = match word.strip_prefix('r').unwrap_or(word) {
                "shared" => MountPropagationFlags::SHARED,
                "slave" => MountPropagationFlags::DOWNSTREAM,
                "private" => MountPropagationFlags::PRIVATE,
                "unbindable" => MountPropagationFlags::UNBINDABLE,
                _ => return Err(Error::text(format!("rootfsPropagation {word:?} is not known"))),
            };
            mount_change("/", kind).map_err(|error| Error::io("set rootfsPropagation", error))?;
        }
        let read_only = self.spec().root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
        if read_only {
            sys::mount_setattr(&self.prepared.root, false, &super::options::READ_ONLY)
                .map_err(|error| Error::io("make the root file system read-only", error))?;
        }
        Ok(())
    }

    fn set_streams(&self, terminal: Option<Terminal>) -> Result<(), Error> {
        let failed = |error: Errno| Error::io("set the standard streams", error);
        if let Stdio::Pipes { stdin, stdout, stderr } = &self.options.stdio {
            return process::set_streams([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(failed);
        }
        let Some(Terminal { master, slave }) = terminal else { return Ok(()) };
        process::set_terminal(&slave).map_err(failed)?;
        channel::report(&self.socket, &FromInit::Console(master)).map_err(failed)
    }

    /// Host name, sysctls, time: what the kernel keeps for the namespaces.
    fn set_kernel(&self) -> Result<(), Error> {
        let spec = self.spec();
        if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
            rustix::system::sethostname(name.as_bytes())
                .map_err(|error| Error::io(format!("set host name {name}"), error))?;
        }
        if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
            sys::setdomainname(name).map_err(|error| Error::io(format!("set domain name {name}"), error))?;
        }
        if let Some(linux) = spec.linux() {
            if let Some(sysctls) = linux.sysctl() {
                kernel::set_sysctls(&self.prepared.proc, sysctls)?;
            }
            if self.namespaces.new_time {
                kernel::new_time_namespace(&self.prepared.proc, linux)?;
            }
        }
        for warning in kernel::label_warnings(&self.prepared.proc, self.process) {
            channel::report(&self.socket, &FromInit::Warning(warning))
                .map_err(|error| Error::io("tell the creator", error))?;
        }
        Ok(())
    }

    /// Until the word comes this process ends with its creator; see `Gate`.
    fn wait_for_start(&mut self, listener: &mut Listener) -> Result<(), Error> {
        let Gate::Listener(gate) = &self.options.gate else {
            return self.await_word(ToInit::Start);
        };
        self.await_word(ToInit::Keep)?;
        die_with_creator(false)?;
        // The creator ends after this, and no sooner.
        channel::report(&self.socket, &FromInit::Ready).map_err(|error| Error::io("tell the creator", error))?;
        let connection = loop {
            match accept_with(gate, SocketFlags::CLOEXEC) {
                Ok(connection) => break connection,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(Error::io("wait for the start", error)),
            }
        };
        listener.0 = connection;
        channel::await_word(&listener.0, ToInit::Start).map_err(|error| Error::io("wait for the start", error))
    }

    fn finish(&mut self) -> Result<std::convert::Infallible, Error> {
        self.run_own_hooks(Point::StartContainer, "created")?;
        die_with_creator(false)?;
        kernel::set_labels(&self.prepared.proc, self.process, Labels::of(&self.prepared.proc, self.process))?;
        extras::apply(self.spec(), self.process)?;
        Err(process::finish(&Finish {
            process: self.process,
            filter: self.filter.as_ref(),
            preserve_fds: self.options.preserve_fds,
            new_keyring: self.options.new_keyring,
        }))
    }
}
