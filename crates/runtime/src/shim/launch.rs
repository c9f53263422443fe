//! From the folder of a container to its running process.

use super::backend::{self, Running};
use super::job::Streams;
use super::{guests, reap};
use crate::engine::{CreateContainer, NetMode};
use crate::layout::Folder;
use crate::logs::{LogWriter, Policy, Subject};
use crate::record::{self, Config, Durable, Run};
use crate::rootfs::{self, Overlay};
use crate::spec::{self, Host, Inputs};
use crate::users::Accounts;
use crate::volume::VolumeStore;
use crate::wire::{Reply, Start};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a start waits for the shim before it, which is on its way out.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// A container that runs.
pub(super) struct Born {
    pub(super) pid: i32,
    pub(super) running: Running,
    pub(super) streams: Streams,
    pub(super) log: Option<LogWriter>,
    pub(super) stdin: bool,
    pub(super) auto_remove: bool,
    pub(super) run: Run,
    /// Volumes to let go at its end.
    pub(super) held: Vec<guests::Held>,
}

/// What the host is like.
pub(super) fn host() -> Host {
    let last_cap = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let last_cap = last_cap.and_then(|text| text.trim().parse().ok()).unwrap_or(37);
    Host { last_cap, architecture: std::env::consts::ARCH }
}

/// Touches in the nursery what every shim is going to need, so that they share it.
pub(super) fn warm_up() {
    let host = host();
    crate::container::warm_up(&spec::usual_filter(&host));
}

/// So that people can tell shims apart: `shim` and the short id where the kernel has 15 bytes only,
/// `rswarm shim ID NAME` in `ps -f`.
pub(super) fn title(task: model::TaskId, name: Option<&str>) {
    let id = task.to_string();
    let comm = format!("shim {}", task.short());
    let _named = std::ffi::CString::new(comm).map(|comm| rustix::thread::set_name(&comm));
    let words = ["rswarm", "shim", &id].into_iter().chain(name);
    crate::sys::set_title(&words.collect::<Vec<_>>());
}

/// Makes this shim the one of its container. One that was born for a daemon that has died meanwhile
/// gives up: whoever comes next is not to be met by a container that nobody wanted.
pub(super) fn lock(folder: &Folder, engine: &UnixStream) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = rustix::fs::open(folder.lock(), flags, Mode::RUSR | Mode::WUSR)?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut poll = [rustix::event::PollFd::new(engine, rustix::event::PollFlags::RDHUP)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut poll, Some(&now))? > 0 {
        return Err(io::Error::other("the daemon has gone"));
    }
    Ok(lock)
}

/// Opens the socket by which engines find this shim, and turns standard error to a file there.
pub(super) fn listen(folder: &Folder) -> io::Result<UnixListener> {
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&folder.run)?;
    let place = rustix::fs::open(&folder.run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // The name of a socket may have 107 bytes only, so it is made short.
    let path = format!("/proc/self/fd/{}/{}", place.as_raw_fd(), Folder::SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    let log = rustix::fs::openat(&place, "shim.log", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(listener)
}

/// Why there is no container, by what the engine may do about it.
pub(super) fn refused(message: impl Into<String>) -> Reply {
    Reply::Refused { exit_code: 125, message: message.into() }
}

fn failed(what: &str, error: impl std::fmt::Display) -> Reply {
    Reply::Failed { message: format!("{what}: {error}") }
}

/// Starts the container. On an error nothing of it is left but its folders.
pub(super) fn launch(start: &Start, folder: &Folder) -> Result<Born, Reply> {
    let config = record::read::<Config>(&folder.config()).map_err(|error| failed("read config.json", error))?;
    let config = config.ok_or_else(|| failed("read config.json", "it is not there"))?;
    let create = &config.create;
    title(start.task, Some(&create.name));
    let policy = Policy::parse(&create.spec.container.logging).map_err(refused)?;
    let last = record::read::<Run>(&folder.last_run()).map_err(|error| failed("read run.json", error))?;
    let run = Run {
        run: last.as_ref().map_or(0, |last| last.run) + 1,
        attempt: start.attempt,
        restarts: start.restarts,
        started_at: record::now(),
    };
    let root = mount_root(create, folder)?;
    let host = host();
    let mut held = Vec::new();
    let spec = make_spec(start, folder, &config, &root, &host, &mut held)?;
    let log = match policy {
        Policy::Nothing => None,
        Policy::Keep(options, attrs) => {
            let attrs = attrs.of(|| subject(create));
            Some(LogWriter::open(&folder.log(), options, attrs).map_err(|error| failed("open the log", error))?)
        }
    };
    let (container, auto_remove) = (&create.spec.container, create.spec.container.auto_remove);
    let (stdin, tty) = (container.stdin_open, container.tty);
    let (stdio, mut streams) = match tty {
        true => (crate::container::Stdio::Terminal { size: start.size }, Streams::default()),
        false => backend::pipes(stdin, true).map_err(|error| failed("make pipes", error))?,
    };
    // From here on the container has been started, whatever becomes of it.
    record::write(&folder.last_run(), &run, Durable::No).map_err(|error| failed("write run.json", error))?;
    let begun = backend::begin(start, folder, config.create, spec, host, root, stdio);
    let (running, console) = match begun {
        Ok(begun) => begun,
        Err(reply) => {
            restore(folder, last.as_ref());
            // A runtime that is a program may have complained where the container would.
            let said = start.oci_runtime.as_ref().and_then(|_| backend::last_words(&streams));
            return Err(match (reply, said) {
                (Reply::Refused { exit_code: 125, .. }, Some(said)) => backend::refusal(said),
                (reply, _) => reply,
            });
        }
    };
    streams.console = console;
    // Its time of start is the one that was written: by that others tell runs apart.
    Ok(Born { pid: running.pid(), running, streams, log, stdin, auto_remove, run, held })
}

/// What the attributes of a log are taken from.
fn subject(create: &CreateContainer) -> Subject<'_> {
    let (variables, _) = crate::spec::environment(create);
    let pair = |variable: &String| variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Subject {
        id: create.task.to_string(),
        name: &create.name,
        image: &create.spec.container.image,
        image_id: &create.image.id,
        labels: create.labels.clone(),
        env: variables.iter().filter_map(pair).collect(),
    }
}

/// A start that came to nothing leaves the container as it was.
fn restore(folder: &Folder, last: Option<&Run>) {
    // Init may have lived for a moment.
    while reap::next().is_some() {}
    let restored = match last {
        Some(last) => record::write(&folder.last_run(), last, Durable::No),
        None => record::remove_all(&folder.last_run()),
    };
    if let Err(error) = restored {
        super::complain(&format!("restore run.json: {error}"));
    }
}

fn mount_root(create: &CreateContainer, folder: &Folder) -> Result<OwnedFd, Reply> {
    let overlay = Overlay::of(create, folder).map_err(|error| failed("make a folder", error))?;
    rootfs::mount(&overlay).map_err(|error| failed("mount the root file system", error))
}

fn make_spec(
    start: &Start,
    folder: &Folder,
    config: &Config,
    root: &OwnedFd,
    host: &Host,
    held: &mut Vec<guests::Held>,
) -> Result<oci_spec::runtime::Spec, Reply> {
    let create = &config.create;
    let container = &create.spec.container;
    let wanted = container.user.as_deref().unwrap_or(&create.image.config.user);
    let accounts = Accounts::read(root);
    let user = accounts.find(wanted, &container.group_add).map_err(refused)?;
    let folder_inside = spec::working_dir(create);
    make_folder(root, Path::new(&folder_inside))
        .map_err(|error| refused(format!("make working directory {folder_inside}: {error}")))?;
    let store = VolumeStore::new(crate::layout::Layout::new(&start.data_root, &start.run_root).volumes());
    let guests = guests::resolve(config, folder, &store, root, held)?;
    let devices = guests::devices(container).map_err(refused)?;
    let init = match container.init {
        true => Some(init_program(&start.run_root).map_err(|error| failed("write the init program", error))?),
        false => None,
    };
    let net: &NetMode = &start.net;
    let inputs = Inputs {
        create,
        folder,
        host,
        net,
        user: &user,
        cgroup: &start.cgroup,
        guests,
        devices,
        init: init.as_deref(),
        size: start.size,
    };
    spec::build(&inputs).map_err(refused)
}

/// Makes a folder inside the root, with those above it, never leaving it.
fn make_folder(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::openat2(root, path, flags, Mode::empty(), inside);
    let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
    match open(path) {
        Err(Errno::NOENT) => {}
        other => return Ok(other.map(drop)?),
    }
    let mut so_far = PathBuf::from("/");
    for part in path.components() {
        let above = open(&so_far)?;
        so_far.push(part);
        if let (std::path::Component::Normal(name), Err(Errno::NOENT)) = (part, open(&so_far)) {
            rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
        }
    }
    open(path).map(drop)?;
    Ok(())
}

/// The program for `init: true`, in a file that containers can only read.
fn init_program(run_root: &Path) -> io::Result<PathBuf> {
    let path = run_root.join("init");
    if !path.exists() {
        let fresh = run_root.join(format!("init.{}", std::process::id()));
        std::fs::write(&fresh, super::init::PROGRAM)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        std::fs::set_permissions(&fresh, mode)?;
        std::fs::rename(&fresh, &path)?;
    }
    Ok(path)
}
