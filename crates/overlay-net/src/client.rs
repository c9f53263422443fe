//! The daemon's side: find, start and talk to `netd`.

use crate::mesh::PeerStatus;
use crate::names;
use crate::report::Applied;
use crate::wire::{self, Request, Response, VERSION};
use model::{HostNet, NodeId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// How long `netd` may take to open its socket: milliseconds in truth, more on a machine under load.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// Why `netd` could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("start netd with {program}")]
    Start {
        /// The program tried.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It runs, or should, but no longer answers.
    #[error("talk to netd at {socket}")]
    Talk {
        /// Its socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ended before its socket was open; its log says why.
    #[error("netd ended at once ({status}); see {log}")]
    Ended {
        /// Exit status.
        status: String,
        /// Where it logs.
        log: PathBuf,
    },
    /// It understood, but could not.
    #[error("netd: {0}")]
    Refused(String),
}

/// How to start `netd`: the program and what comes before and after it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additional environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// `EXE --run-root RUN --data-root DATA netd`.
    pub fn of_binary(exe: &Path, run_root: &Path, data_root: &Path) -> Launch {
        let args =
            [OsString::from("--run-root"), run_root.into(), "--data-root".into(), data_root.into(), "netd".into()];
        Launch { program: exe.to_owned(), args: args.into(), env: Vec::new() }
    }
}

/// A handle on the `netd` of one run root. It starts the process when there is none, and again when it
/// has died; what `netd` did stays in the kernel meanwhile.
///
/// Calls need `&mut`: they are serialised. Across several handles the newest `apply` wins, and an older
/// one that was not begun yet gets the newest one's report.
#[derive(Debug)]
pub struct Netd {
    run_root: PathBuf,
    launch: Option<Launch>,
    stream: Option<UnixStream>,
}

impl Netd {
    /// Connects to a running `netd`; never starts one.
    pub async fn connect(run_root: &Path) -> Result<Netd, Error> {
        let mut netd = Netd { run_root: run_root.to_owned(), launch: None, stream: None };
        netd.ensure_running().await?;
        Ok(netd)
    }

    /// Connects to the `netd` of a run root and starts it if there is none.
    pub async fn spawn(run_root: &Path, data_root: &Path, exe: &Path) -> Result<Netd, Error> {
        Netd::launch(run_root, Launch::of_binary(exe, run_root, data_root)).await
    }

    /// The same with a command line of the caller's choice.
    pub async fn launch(run_root: &Path, launch: Launch) -> Result<Netd, Error> {
        let mut netd = Netd { run_root: run_root.to_owned(), launch: Some(launch), stream: None };
        netd.ensure_running().await?;
        Ok(netd)
    }

    /// Makes the kernel agree with the whole value and says what could not be done. If `netd` dies
    /// meanwhile, it is started again and asked once more: the same value twice changes nothing.
    pub async fn apply(&mut self, net: &HostNet) -> Result<Applied, Error> {
        self.ask_apply(net, false).await
    }

    /// The same, but `netd` looks at the kernel first and heals what others have broken.
    pub async fn verify(&mut self, net: &HostNet) -> Result<Applied, Error> {
        self.ask_apply(net, true).await
    }

    /// How the other nodes of the mesh look from here.
    pub async fn mesh(&mut self) -> Result<BTreeMap<NodeId, PeerStatus>, Error> {
        match self.ask(&Request::Mesh).await? {
            Response::Mesh(peers) => Ok(peers),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask_apply(&mut self, net: &HostNet, verify: bool) -> Result<Applied, Error> {
        let request = Request::Apply { net: Box::new(net.clone()), verify };
        let answer = match self.ask(&request).await {
            Err(Error::Talk { .. }) => {
                self.ensure_running().await?;
                self.ask(&request).await
            }
            other => other,
        };
        match answer? {
            Response::Applied(applied) => Ok(applied),
            other => Err(unexpected(&other)),
        }
    }

    /// Connects, or starts `netd` and connects; replaces one of another version.
    pub async fn ensure_running(&mut self) -> Result<(), Error> {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            match self.greet().await {
                // A netd that is just dying still takes connections, and drops them.
                Err(Error::Talk { .. }) if self.launch.is_some() && Instant::now() < until => {
                    tokio::time::sleep(POLL).await;
                }
                other => return other,
            }
        }
    }

    async fn greet(&mut self) -> Result<(), Error> {
        if self.stream.is_none() {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(_) if self.launch.is_some() => self.start().await?,
                Err(source) => return Err(self.talk(source)),
            }
        }
        match self.ask(&Request::Hello).await? {
            Response::Hello { version: VERSION, .. } => Ok(()),
            Response::Hello { version, .. } if self.launch.is_some() => {
                tracing::info!(version, "replace a netd of another version");
                self.shutdown().await?;
                self.start().await
            }
            Response::Hello { version, .. } => {
                Err(Error::Refused(format!("it speaks version {version}, not {VERSION}")))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The process id of the running `netd`.
    pub async fn pid(&mut self) -> Result<u32, Error> {
        match self.ask(&Request::Hello).await? {
            Response::Hello { pid, .. } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends `netd`; networks and namespaces stay, DNS and reserved ports end with it.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        if self.stream.is_none() {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(_) => return Ok(()),
            }
        }
        let answer = self.ask(&Request::Shutdown).await;
        self.stream = None;
        answer.map(|_| ())
    }

    async fn open(&self) -> io::Result<UnixStream> {
        UnixStream::connect(names::socket_path(&self.run_root)).await
    }

    async fn start(&mut self) -> Result<(), Error> {
        let Some(launch) = &self.launch else { return Ok(()) };
        let failed = |source| Error::Start { program: launch.program.clone(), source };
        std::fs::create_dir_all(&self.run_root).map_err(failed)?;
        let log_path = self.run_root.join("netd.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path).map_err(failed)?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).envs(launch.env.iter().map(|(k, v)| (k, v)));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        detach(&mut command);
        let mut child = command.spawn().map_err(failed)?;
        let until = Instant::now() + START_TIMEOUT;
        loop {
            match self.open().await {
                Ok(stream) => {
                    self.stream = Some(stream);
                    // Reaps the child whenever it ends; the thread sleeps in the kernel.
                    let reaper = std::thread::Builder::new().name("netd-reaper".into()).stack_size(64 << 10);
                    let _detached = reaper.spawn(move || child.wait());
                    return Ok(());
                }
                Err(source) if Instant::now() > until => return Err(self.talk(source)),
                Err(_) => {}
            }
            if let Ok(Some(status)) = child.try_wait() {
                // Another caller's netd may have won the race for the lock.
                return match self.open().await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        Ok(())
                    }
                    Err(_) => Err(Error::Ended { status: status.to_string(), log: log_path }),
                };
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await.map_err(|source| self.talk(source))?,
        };
        // The stream is put back only after a whole exchange: a cancelled call must not leave its answer
        // behind for the next one.
        let (stream, response) = exchange(stream, request).await.map_err(|source| self.talk(source))?;
        self.stream = Some(stream);
        match response {
            Response::Failed(reason) => Err(Error::Refused(reason)),
            response => Ok(response),
        }
    }

    fn talk(&self, source: io::Error) -> Error {
        Error::Talk { socket: names::socket_path(&self.run_root), source }
    }
}

/// Returns when the `netd` of this run root has ended; at once if none answers.
pub async fn ended(run_root: &Path) {
    use tokio::io::AsyncReadExt as _;
    if let Ok(mut stream) = UnixStream::connect(names::socket_path(run_root)).await {
        // It says nothing unasked: whatever comes is the end.
        let _end = stream.read(&mut [0]).await;
    }
}

async fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<(UnixStream, Response)> {
    wire::write(&mut stream, request).await?;
    let response = wire::read(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((stream, response))
}

fn unexpected(response: &Response) -> Error {
    Error::Refused(format!("unexpected answer {response:?}"))
}

/// A session of its own: a signal to the daemon's group, or the end of its terminal, is not for `netd`.
#[expect(unsafe_code, reason = "the only way to run setsid between fork and exec")]
fn detach(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(io::Error::from));
    }
}
