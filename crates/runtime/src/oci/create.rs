//! `create` and `run`.

use super::args::{Args, Flag};
use super::foreground;
use super::lifecycle::destroy;
use super::state::{self, Container, Record};
use super::{Error, Global};
use crate::container::{self, CreateOptions, Created, Gate, Rootfs, Stdio};
use oci_spec::runtime::Spec;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const FLAGS: [Flag; 10] = [
    ("bundle", "b", true),
    ("console-socket", "", true),
    ("pid-file", "", true),
    ("preserve-fds", "", true),
    ("no-pivot", "", false),
    ("no-new-keyring", "", false),
    ("detach", "d", false),
    ("keep", "", false),
    ("pidfd-socket", "", true),
    ("no-subreaper", "", false),
];

/// A bundle that was read, and its folder among the states.
struct Bundle {
    id: String,
    path: PathBuf,
    config: Vec<u8>,
    spec: Spec,
    folder: PathBuf,
}

impl Bundle {
    fn read(global: &Global, args: &Args) -> Result<Self, Error> {
        let id = args.id()?.to_owned();
        let given = args.last("bundle").unwrap_or(".");
        let path = std::fs::canonicalize(given).map_err(|error| Error::io(format!("open bundle {given}"), error))?;
        let file = path.join("config.json");
        let config = std::fs::read(&file).map_err(|error| Error::io(format!("read {}", file.display()), error))?;
        let spec: Spec =
            serde_json::from_slice(&config).map_err(|error| Error::new(&file.display().to_string(), error))?;
        let folder = state::reserve(global, &id)?;
        let bundle = Self { id, path, config, spec, folder };
        state::note_cgroup(&bundle.folder, &bundle.cgroup()).inspect_err(|_| bundle.abandon(None))?;
        Ok(bundle)
    }

    fn rootfs(&self) -> PathBuf {
        let root = self.spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path().as_path());
        self.path.join(root)
    }

    fn cgroup(&self) -> String {
        let path = self.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        path.map_or_else(|| format!("/rswarm/{}", self.id), |path| path.to_string_lossy().into_owned())
    }

    fn wants_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
    }

    fn create(&self, args: &Args, gate: Gate) -> Result<Created, Error> {
        let stdio = if self.wants_terminal() { Stdio::Terminal { size: self.size() } } else { Stdio::Inherit };
        let options = CreateOptions {
            gate,
            preserve_fds: preserve_fds(args)?,
            new_keyring: !args.has("no-new-keyring"),
            no_pivot: args.has("no-pivot"),
            ..CreateOptions::new(&self.id, &self.path, &self.spec, Rootfs::Path(self.rootfs()), stdio)
        };
        container::create(options)
    }

    fn size(&self) -> Option<(u16, u16)> {
        let size = self.spec.process().as_ref()?.console_size()?;
        let number = |value: u64| u16::try_from(value).ok();
        Some((number(size.height())?, number(size.width())?))
    }

    /// Writes down what was created, and hands over its terminal and pid.
    fn publish(&self, args: &Args, created: &mut Created) -> Result<Container, Error> {
        for warning in &created.warnings {
            tracing::warn!("{warning}");
        }
        let pid = created.pid.as_raw_nonzero().get();
        let started = state::start_time(pid).ok_or_else(|| Error::text("the container's process is gone"))?;
        let record = Record {
            id: self.id.clone(),
            bundle: self.path.clone(),
            rootfs: self.rootfs(),
            pid,
            started,
            created: jiff::Timestamp::now().to_string(),
            cgroup: created.cgroup.path().to_owned(),
        };
        let container = Container { folder: self.folder.clone(), record };
        container.save(&self.config)?;
        if let Some(socket) = args.last("console-socket") {
            let console = created
                .console
                .take()
                .ok_or_else(|| Error::text("--console-socket is for containers with a terminal (process.terminal)"))?;
            foreground::hand_over(console, Path::new(socket))?;
        }
        if let Some(path) = args.last("pid-file") {
            write_pid(Path::new(path), pid)?;
        }
        Ok(container)
    }

    /// After a failure: nothing is left.
    fn abandon(&self, created: Option<Created>) {
        if let Some(created) = created {
            // Init dies with its end of the socket; the reason for the failure matters more than
            // one of cleaning up.
            let cgroup = created.cgroup.clone();
            let _ = cgroup.kill_all();
            drop(created);
            let _ = cgroup.delete();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Descriptors that stay open; those of socket activation are counted too.
pub(super) fn preserve_fds(args: &Args) -> Result<u32, Error> {
    let listen = std::env::var("LISTEN_FDS").ok().and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    Ok(args.number("preserve-fds")?.unwrap_or(0) + listen)
}

/// Writes a pid file, whole or not at all.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let failed = |error| Error::io(format!("write {}", path.display()), error);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    std::fs::write(&temporary, pid.to_string()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// Listens where `start` will connect.
fn listen(path: &Path) -> Result<OwnedFd, Error> {
    let listen = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(socket)
    };
    listen().map_err(|error: rustix::io::Errno| Error::io(format!("listen at {}", path.display()), error))
}

/// `create`.
pub(super) fn create(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &FLAGS, false)?;
    let bundle = Bundle::read(global, &args)?;
    if bundle.wants_terminal() && args.last("console-socket").is_none() {
        bundle.abandon(None);
        return Err(Error::text("cannot allocate tty if runc will detach without setting console socket"));
    }
    create_waiting(&bundle, &args).map(|_| 0)
}

fn create_waiting(bundle: &Bundle, args: &Args) -> Result<Container, Error> {
    let created = listen(&state::gate(&bundle.folder)).and_then(|gate| bundle.create(args, Gate::Listener(gate)));
    let mut created = created.inspect_err(|_| bundle.abandon(None))?;
    match bundle.publish(args, &mut created) {
        Ok(container) => created.release().map(|()| container),
        Err(error) => {
            bundle.abandon(Some(created));
            Err(error)
        }
    }
}

/// `run`.
pub(super) fn run(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &FLAGS, false)?;
    let bundle = Bundle::read(global, &args)?;
    let detach = args.has("detach");
    if detach && bundle.wants_terminal() && args.last("console-socket").is_none() {
        bundle.abandon(None);
        return Err(Error::text("cannot allocate tty if runc will detach without setting console socket"));
    }
    let mut created = bundle.create(&args, Gate::Handle).inspect_err(|_| bundle.abandon(None))?;
    let container = match bundle.publish(&args, &mut created) {
        Ok(container) => container,
        Err(error) => {
            bundle.abandon(Some(created));
            return Err(error);
        }
    };
    match created.start() {
        Ok(None) => {}
        Ok(Some(warning)) => tracing::warn!("{warning}"),
        Err(error) => {
            bundle.abandon(Some(created));
            return Err(error);
        }
    }
    if detach {
        return Ok(0);
    }
    let code = foreground::attend(created.pid, &created.pidfd, created.console.take())?;
    if !args.has("keep") {
        destroy(&container)?;
    }
    Ok(code)
}
