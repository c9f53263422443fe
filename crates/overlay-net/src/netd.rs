//! The process that owns a host's network: one socket, one writer of the kernel, the DNS servers.

use crate::dns::serve::{Directory, serve};
use crate::kernel::apply::{Engine, Outcome};
use crate::kernel::tunnel::spans;
use crate::memory;
use crate::mesh;
use crate::names;
use crate::report::Applied;
use crate::wire::{self, Request, Response, VERSION};
use model::{HostNet, TaskId};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// Where a `netd` works.
#[derive(Debug, Clone)]
pub struct NetdArgs {
    /// Holds its socket, its lock, its memory and the named network namespaces.
    pub run_root: PathBuf,
    /// The daemon's data, where the key of the mesh lies.
    pub data_root: PathBuf,
}

/// Runs until asked to stop. Everything in the kernel outlives it, and the next one takes it over; but for the programs
/// that translate at `connect`, which the next one loads anew.
pub fn main(args: NetdArgs) -> ExitCode {
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, run_root = %args.run_root.display(), "netd cannot work");
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a process, into netd.log, even if nobody set up tracing")]
fn report(error: &io::Error) {
    eprintln!("netd: {error}");
}

fn run(NetdArgs { run_root, data_root }: &NetdArgs) -> io::Result<()> {
    std::fs::create_dir_all(run_root)?;
    let _lock = lock(run_root)?;
    open_many();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(listen(run_root, data_root));
    // An apply under way finishes its step in the background and dies with the process: every step can
    // be interrupted.
    runtime.shutdown_background();
    served
}

/// As many sockets as the host allows: some for each container and each published port. What starts it may have the
/// usual limit of 1,024, which is for programs that use `select`.
fn open_many() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "ask for more open files");
    }
}

/// One netd per run root. The kernel lets go of the lock when the process ends, however it ends.
fn lock(run_root: &Path) -> io::Result<File> {
    let file = File::create(run_root.join("netd.lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::new(io::ErrorKind::AddrInUse, "another netd works here already"))?;
    Ok(file)
}

async fn listen(run_root: &Path, data_root: &Path) -> io::Result<()> {
    let socket = names::socket_path(run_root);
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let netd = Arc::new(Netd { run_root: run_root.to_owned(), data_root: data_root.to_owned(), ..Netd::default() });
    if let Some(net) = memory::kept::<HostNet>(&wanted_path(run_root)) {
        netd.want(Wanted { net: Arc::new(net), verify: true, waiting: Vec::new() });
    }
    // The mode is set before anyone could connect: the name appears only with the rename.
    let fresh = socket.with_extension("new");
    let _absent = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&fresh, &socket)?;
    let applier = tokio::spawn(netd.clone().work());
    let stopped = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(netd.clone().client(stream))),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            () = netd.stop.notified() => break Ok(()),
        }
    };
    applier.abort();
    let _gone = std::fs::remove_file(&socket);
    stopped
}

/// A value that is still to be made true, and who waits for it.
struct Wanted {
    net: Arc<HostNet>,
    verify: bool,
    waiting: Vec<oneshot::Sender<Result<Applied, String>>>,
}

/// The mesh as it works.
struct Meshed {
    engine: mesh::Engine,
    mesh: model::Mesh,
}

#[derive(Default)]
struct Netd {
    run_root: PathBuf,
    data_root: PathBuf,
    mesh: Mutex<Option<Meshed>>,
    directory: Arc<Directory>,
    next: Mutex<Option<Wanted>>,
    wake: Notify,
    stop: Notify,
}

impl Netd {
    /// The newest wins; who waited for an older one gets the newest one's report.
    fn want(&self, mut wanted: Wanted) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = next.take() {
            wanted.verify |= older.verify;
            wanted.waiting.extend(older.waiting);
        }
        *next = Some(wanted);
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Wanted> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn client(self: Arc<Self>, mut stream: UnixStream) {
        loop {
            let response = match wire::read(&mut stream).await {
                Ok(None) => return,
                Ok(Some(request)) => self.answer(request).await,
                Err(error) => Response::Failed(format!("read the request: {error}")),
            };
            let last = matches!(response, Response::Bye);
            let written = wire::write(&mut stream, &response).await;
            if last {
                self.stop.notify_one();
            }
            if last || written.is_err() || matches!(response, Response::Failed(_)) {
                return;
            }
        }
    }

    async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Hello => Response::Hello { version: VERSION, pid: std::process::id() },
            Request::Shutdown => Response::Bye,
            Request::Mesh => {
                let meshed = self.meshed();
                Response::Mesh(meshed.as_ref().map(|it| it.engine.status(&it.mesh)).unwrap_or_default())
            }
            Request::Apply { net, verify } => {
                let (sender, receiver) = oneshot::channel();
                self.want(Wanted { net: Arc::new(*net), verify, waiting: vec![sender] });
                match receiver.await {
                    Ok(Ok(applied)) => Response::Applied(applied),
                    Ok(Err(reason)) => Response::Failed(reason),
                    Err(_) => Response::Failed("netd is stopping".to_owned()),
                }
            }
        }
    }

    /// Makes one value after the other true, on a thread that may block.
    async fn work(self: Arc<Self>) {
        let mut engine = Engine::new(&self.run_root);
        if let Some(last) = memory::kept::<HostNet>(&wanted_path(&self.run_root)) {
            engine.adopt_ports(&last.ports);
        }
        let mut servers: BTreeMap<TaskId, AbortHandle> = BTreeMap::new();
        loop {
            let Some(wanted) = self.take() else {
                self.wake.notified().await;
                continue;
            };
            servers.retain(|task, server| {
                let keep = wanted.net.endpoints.get(task).is_some_and(|endpoint| endpoint.dns);
                if !keep {
                    server.abort();
                }
                keep
            });
            if wanted.net.mesh.is_none() {
                // It holds the interface, which is about to go.
                drop(self.meshed().take());
            }
            let (run_root, net, directory) = (self.run_root.clone(), wanted.net.clone(), self.directory.clone());
            let applied = tokio::task::spawn_blocking(move || {
                // A virtual address before the names that lead to it, and names before containers: one may ask
                // for another as soon as that one has an address.
                engine.translate(&net);
                directory.replace(net.clone());
                // Before the first step: whoever comes after a crash must know what was begun.
                let outcome =
                    memory::keep(&wanted_path(&run_root), &*net).and_then(|()| engine.apply(&net, wanted.verify));
                (engine, outcome)
            });
            let result = match applied.await {
                Ok((back, outcome)) => {
                    engine = back;
                    outcome
                        .map(|outcome| self.adopt(outcome, &wanted.net, &mut servers))
                        .map_err(|error| error.to_string())
                }
                Err(panic) => {
                    engine = Engine::new(&self.run_root);
                    Err(format!("a bug in netd: {panic}"))
                }
            };
            if let Err(error) = &result {
                tracing::error!(%error, "cannot apply");
            }
            for waiting in wanted.waiting {
                // Who has hung up does not want to know.
                let _unread = waiting.send(result.clone());
            }
        }
    }

    fn meshed(&self) -> std::sync::MutexGuard<'_, Option<Meshed>> {
        self.mesh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the mesh speak to those that the value names. `fresh`: its interface is another one than before.
    fn speak(&self, net: &HostNet, fresh: bool, applied: &mut Applied) {
        let Some(mesh) = &net.mesh else { return };
        let fail = |applied: &mut Applied, what: &str, error: &io::Error| {
            tracing::error!(%error, "{what}");
            let spanning = net.networks.values().filter(|network| spans(net, network));
            spanning.for_each(|network| applied.network(network.id, format!("the mesh: {error}")));
        };
        let mut meshed = self.meshed();
        if let Some(going_on) = meshed.as_mut().filter(|it| !fresh && it.engine.port() == mesh.port) {
            if going_on.mesh != *mesh {
                match going_on.engine.set(mesh) {
                    Ok(()) => going_on.mesh = mesh.clone(),
                    // The next look tries again.
                    Err(error) => fail(applied, "tell the kernel's WireGuard who is in the mesh", &error),
                }
            }
            return;
        }
        // The port has to be free before it is taken again.
        drop(meshed.take());
        match mesh::Engine::start(&self.data_root, &self.run_root, mesh) {
            Ok(engine) => *meshed = Some(Meshed { engine, mesh: mesh.clone() }),
            Err(error) => fail(applied, "the mesh cannot work", &error),
        }
    }

    fn adopt(&self, mut outcome: Outcome, net: &HostNet, servers: &mut BTreeMap<TaskId, AbortHandle>) -> Applied {
        for (task, sockets) in outcome.dns {
            let server = tokio::spawn(serve(task, sockets, self.directory.clone()));
            if let Some(old) = servers.insert(task, server.abort_handle()) {
                old.abort();
            }
        }
        self.speak(net, outcome.remeshed, &mut outcome.applied);
        outcome.applied
    }
}

/// Where the last wanted value is.
fn wanted_path(run_root: &Path) -> PathBuf {
    run_root.join("netd.json")
}
