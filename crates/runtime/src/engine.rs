//! What the daemon calls: containers are created, started, watched and removed here. Nothing that
//! matters is only in memory: everything is found again from the folders and the shims.

mod disk;
mod entry;
mod error;
mod files;
mod follow;
mod hosts;
mod link;
mod looks;
mod nursery;
mod sessions;
mod top;
mod types;
mod usage;

pub use error::{Error, Result};
pub use types::*;

use crate::container::Cgroup;
use crate::layout::{Folder, Layout};
use crate::logs::{LogQuery, LogRecord};
use crate::record::Config;
use crate::signal::Signal;
use crate::volume::VolumeStore;
use crate::wire::{self, Reply, Request, Start};
use disk::Disk;
use entry::{Entry, Phase, Seen};
use model::{Exit, MountSource, Observed, TaskId};
use nursery::Nursery;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// How long SIGKILL may take to have its effect: more means that a process hangs in the kernel.
const KILL_WAIT: Duration = Duration::from_secs(20);

/// How long a shim that holds its lock may take until it can be reached.
const SHIM_WAIT: Duration = Duration::from_secs(10);

/// The containers of one host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    disk: Disk,
    nursery: Nursery,
    entries: Mutex<BTreeMap<TaskId, Arc<Entry>>>,
    events: mpsc::UnboundedSender<RuntimeEvent>,
    follower: follow::Watcher,
    /// Held while a start is put on disk.
    keeping: tokio::sync::Mutex<()>,
}

impl Engine {
    /// Takes over what earlier engines left: reconnects to every shim, learns of exits that happened
    /// meanwhile (said by [`Engine::list`], not as events) and clears up what was half done.
    ///
    /// # Errors
    /// The roots can't be made or read.
    pub async fn open(config: EngineConfig) -> Result<(Engine, mpsc::UnboundedReceiver<RuntimeEvent>)> {
        let (events, receiver) = mpsc::unbounded_channel();
        let layout = Layout::new(&config.data_root, &config.run_root);
        let volumes = VolumeStore::new(layout.volumes());
        let inner = Arc::new(Inner {
            disk: Disk::new(layout, volumes, config.cgroup_parent.clone()),
            nursery: Nursery::new(config.exe.clone(), config.cgroup_parent.clone()),
            entries: Mutex::new(BTreeMap::new()),
            events,
            follower: follow::Watcher::new(),
            keeping: tokio::sync::Mutex::new(()),
            config,
        });
        let engine = Engine { inner };
        let tasks = engine.block(|inner| inner.disk.open()).await?;
        let mut adoptions = tokio::task::JoinSet::new();
        for task in tasks {
            let engine = engine.clone();
            adoptions.spawn(async move { engine.adopt(task).await });
        }
        while let Some(adopted) = adoptions.join_next().await {
            match adopted {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("take over a container: {}", chain(&error)),
                Err(error) => tracing::error!("take over a container: {error}"),
            }
        }
        let prepared = engine.block(|inner| Ok(inner.nursery.prepare())).await?;
        if let Err(error) = prepared {
            // Every start tries again, and says so to whoever asked for it.
            tracing::warn!(exe = %engine.inner.config.exe.display(), "start the nursery of shims: {error}");
        }
        Ok((engine, receiver))
    }

    /// Does file work on a thread where that may take its time.
    async fn block<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) => Err(Error::Io {
                what: "work on the files of",
                path: self.inner.config.data_root.clone(),
                source: std::io::Error::other(error),
            }),
        }
    }

    fn entry(&self, task: TaskId) -> Option<Arc<Entry>> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }

    fn entry_or_new(&self, task: TaskId) -> Arc<Entry> {
        let mut entries = self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.entry(task).or_insert_with(|| Arc::new(Entry::absent(task))).clone()
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The entry of a container that is there.
    fn known(&self, task: TaskId) -> Result<Arc<Entry>> {
        self.entry(task).filter(|entry| entry.phase() != Phase::Absent).ok_or(Error::NotFound(task))
    }

    fn running(&self, task: TaskId) -> Result<Arc<Entry>> {
        let entry = self.known(task).map_err(|_| Error::NotRunning(task))?;
        match entry.phase() {
            Phase::Running { .. } => Ok(entry),
            _ => Err(Error::NotRunning(task)),
        }
    }

    fn folder(&self, task: TaskId) -> Folder {
        self.inner.disk.layout.container(task)
    }

    /// Finds out what a container that an earlier engine made has come to.
    async fn adopt(&self, task: TaskId) -> Result<()> {
        let config = self.block(move |inner| inner.disk.config(&inner.disk.layout.container(task))).await?;
        let until = Instant::now() + SHIM_WAIT;
        let (seen, stream) = loop {
            if let Some(seen) = self.block(move |inner| inner.disk.settle(task)).await? {
                break (seen, None);
            }
            match self.watch(task).await {
                Ok((seen, stream)) => break (seen, Some(stream)),
                // It is being born, or on its way out.
                Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return Err(Error::Shim { task, message: format!("it can't be reached: {error}") }),
            }
        };
        let entry = Arc::new(Entry::new(task, seen, config));
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(task, entry.clone());
        if let Some(stream) = stream {
            tokio::spawn(listen(Arc::downgrade(&self.inner), entry, stream));
        }
        Ok(())
    }

    /// Asks a shim to tell of everything.
    async fn watch(&self, task: TaskId) -> std::io::Result<(Seen, UnixStream)> {
        let mut stream = link::connect(&self.folder(task)).await?;
        stream.write_all(&wire::call(&Request::Watch)).await?;
        match link::read_reply(&mut stream).await? {
            Some(Reply::State { pid, started_at, attempt, restarts }) => {
                let paused = self.is_frozen(task).await;
                let phase = Phase::Running { pid, started_at, paused };
                Ok((Seen { phase, attempt, restarts }, stream))
            }
            other => Err(std::io::Error::other(format!("the shim answers {other:?}"))),
        }
    }

    async fn is_frozen(&self, task: TaskId) -> bool {
        let frozen = self.block(move |inner| {
            Ok(Cgroup::open(&inner.disk.cgroup(task)).and_then(|cgroup| cgroup.is_frozen()).unwrap_or(false))
        });
        frozen.await.unwrap_or(false)
    }

    fn ended(&self, entry: &Entry, attempt: u32, exit: Exit) {
        entry.set_phase(Phase::Exited(exit));
        self.say(RuntimeEvent::Exited { task: entry.task, attempt, exit });
    }

    fn say(&self, event: RuntimeEvent) {
        // The daemon drops the receiver only when it stops itself.
        let _stopping = self.inner.events.send(event);
    }

    /// Every container on the host, also one whose creation was cut short (as `Created` that has to
    /// be removed or started).
    pub async fn list(&self) -> Vec<Observed> {
        self.entries().iter().filter_map(|entry| entry.observed()).collect()
    }

    /// Makes the container's files. Starts nothing. A container of that id that never ran is replaced.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Rejected`] for a mount or user that makes no sense; files.
    pub async fn create(&self, create: CreateContainer) -> Result<()> {
        let entry = self.entry_or_new(create.task);
        let _operation = entry.operation.lock().await;
        self.create_locked(&entry, create).await
    }

    async fn create_locked(&self, entry: &Entry, create: CreateContainer) -> Result<()> {
        match entry.phase() {
            Phase::Absent | Phase::Created => {}
            Phase::Running { .. } | Phase::Exited(_) => return Err(Error::Exists(entry.task)),
        }
        let rejected = |message| Error::Rejected { exit_code: 125, message };
        crate::logs::Policy::parse(&create.spec.container.logging).map_err(rejected)?;
        crate::spec::arguments(&create).map_err(rejected)?;
        let config = self.block(move |inner| inner.disk.create(create)).await?;
        entry.set_config(Some(Arc::new(config)));
        entry.set_phase(Phase::Created);
        Ok(())
    }

    /// Starts it, for the first time or again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Running`], [`Error::FilesMissing`], [`Error::Rejected`].
    pub async fn start(&self, task: TaskId, options: StartOptions) -> Result<Started> {
        let entry = self.known(task)?;
        let _operation = entry.operation.lock().await;
        self.start_locked(&entry, options).await
    }

    /// Both, with fewer steps.
    ///
    /// # Errors
    /// Those of both; what `create` made stays then, to be removed.
    pub async fn create_and_start(&self, mut create: CreateContainer, mut options: StartOptions) -> Result<Started> {
        let entry = self.entry_or_new(create.task);
        let _operation = entry.operation.lock().await;
        if let Some(files) = options.files.take() {
            create.files = files;
        }
        self.create_locked(&entry, create).await?;
        self.start_locked(&entry, options).await
    }

    async fn start_locked(&self, entry: &Arc<Entry>, options: StartOptions) -> Result<Started> {
        let task = entry.task;
        if let Phase::Running { .. } = entry.phase() {
            let ended = link::connect(&self.folder(task)).await.is_err();
            // Whoever saw its last output may be faster than the word of its end.
            if !ended || ending(entry, SHIM_WAIT).await.is_none() {
                return Err(Error::Running(task));
            }
        }
        if entry.phase() == Phase::Absent {
            return Err(Error::NotFound(task));
        }
        let config = entry.config().ok_or(Error::NotFound(task))?;
        let config = self.readdress(entry, config, options.net, options.hosts).await?;
        let config = self.refresh(entry, config, options.files).await?;
        let request = Request::Start(Box::new(Start {
            task,
            data_root: self.inner.config.data_root.clone(),
            run_root: self.inner.config.run_root.clone(),
            cgroup: self.inner.disk.cgroup(task),
            oci_runtime: self.inner.config.oci_runtime.clone(),
            attempt: options.attempt,
            restarts: options.restarts,
            net: config.create.net.clone(),
            size: options.size,
        }));
        let broken = |error: std::io::Error| Error::Shim { task, message: error.to_string() };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(broken)?;
        ours.set_nonblocking(true).map_err(broken)?;
        let mut stream = UnixStream::from_std(ours).map_err(broken)?;
        stream.write_all(&wire::call(&request)).await.map_err(broken)?;
        let sessions = entry.take_waiting();
        let asked = self.block(move |inner| {
            let mut fds = vec![theirs.as_fd()];
            fds.extend(sessions.iter().map(|session| session.as_fd()));
            Ok(inner.nursery.request(&fds))
        });
        asked.await?.map_err(broken)?;
        let seen = |phase| Seen { phase, attempt: options.attempt, restarts: options.restarts };
        match link::read_reply(&mut stream).await.map_err(broken)? {
            Some(Reply::Started { pid, started_at }) => {
                entry.seen.send_replace(seen(Phase::Running { pid, started_at, paused: false }));
                tokio::spawn(listen(Arc::downgrade(&self.inner), entry.clone(), stream));
                if !config.create.spec.container.auto_remove {
                    self.keep_start(task);
                }
                Ok(Started { pid, started_at })
            }
            Some(Reply::Refused { exit_code, message }) => Err(Error::Rejected { exit_code, message }),
            Some(Reply::Failed { message }) => Err(Error::Shim { task, message }),
            Some(other) => Err(Error::Shim { task, message: format!("it answers {other:?} to a start") }),
            None => {
                // It was killed on the way: nothing of this start may go on.
                let settled = self.block(move |inner| inner.disk.settle(task)).await?;
                if let Some(settled) = settled {
                    entry.seen.send_replace(settled);
                }
                Err(Error::Shim { task, message: "it ended before the container ran".to_owned() })
            }
        }
    }

    /// Begins to put a start on disk, one after the other: that many at once would only get in each
    /// other's way.
    fn keep_start(&self, task: TaskId) {
        let engine = self.clone();
        tokio::spawn(async move {
            let _turn = engine.inner.keeping.lock().await;
            let kept = engine.block(move |inner| Ok(inner.disk.keep_start(task))).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(%task, "put the start on disk: {error}");
            }
        });
    }

    /// Contents as this start wants them.
    async fn refresh(
        &self,
        entry: &Entry,
        config: Arc<Config>,
        files: Option<Vec<ContentFile>>,
    ) -> Result<Arc<Config>> {
        let task = entry.task;
        if config.create.files.is_empty() && files.as_ref().is_none_or(Vec::is_empty) {
            return Ok(config);
        }
        let create = config.clone();
        let there = self.block(move |inner| {
            let folder = inner.disk.layout.container(task);
            match files {
                // In the order in which it was made, whatever the order is now.
                Some(files) => {
                    let wanted = create
                        .create
                        .files
                        .iter()
                        .map(|known| files.iter().find(|file| file.target == known.target).cloned());
                    match wanted.collect::<Option<Vec<_>>>() {
                        Some(files) => inner.disk.write_files(&folder, &files).map(|()| true),
                        None => Ok(false),
                    }
                }
                None => Ok(inner.disk.has_files(&folder, &create.create)),
            }
        });
        if there.await? { Ok(config) } else { Err(Error::FilesMissing(task)) }
    }

    /// Sends the signal, after `grace` SIGKILL, and returns when the container has ended. Thaws it
    /// first. One that does not run any more: its last exit.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotRunning`] if it never ran.
    pub async fn stop(&self, task: TaskId, signal: Signal, grace: Duration) -> Result<Exit> {
        let entry = self.known(task)?;
        match entry.phase() {
            Phase::Absent => return Err(Error::NotFound(task)),
            Phase::Created => return Err(Error::NotRunning(task)),
            Phase::Exited(exit) => return Ok(exit),
            Phase::Running { .. } => {}
        }
        self.signal(&entry, signal).await?;
        self.thaw(&entry).await?;
        if let Some(exit) = ending(&entry, grace).await {
            return Ok(exit);
        }
        self.finish(&entry).await
    }

    /// Kills it and waits for its end.
    async fn finish(&self, entry: &Entry) -> Result<Exit> {
        let task = entry.task;
        self.signal(entry, Signal::KILL).await?;
        // On version 1 the frozen do not die.
        self.thaw(entry).await?;
        match ending(entry, KILL_WAIT).await {
            Some(exit) => Ok(exit),
            None => Err(Error::Shim {
                task,
                message: format!("the container does not die within {} s of SIGKILL", KILL_WAIT.as_secs()),
            }),
        }
    }

    /// Sends a signal; one that ends at this moment needs none.
    async fn signal(&self, entry: &Entry, signal: Signal) -> Result<()> {
        let request = Request::Signal { number: signal.0 };
        match link::ask(&self.folder(entry.task), &request, Duration::ZERO).await {
            Ok(Reply::Failed { message }) => Err(Error::Shim { task: entry.task, message }),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(Error::Shim { task: entry.task, message: error.to_string() })
            }
            Err(_) => Ok(()),
        }
    }

    async fn thaw(&self, entry: &Entry) -> Result<()> {
        match entry.phase() {
            Phase::Running { paused: true, .. } => self.freeze(entry, false).await,
            _ => Ok(()),
        }
    }

    /// Sends a signal to its init.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn kill(&self, task: TaskId, signal: Signal) -> Result<()> {
        let entry = self.running(task)?;
        self.signal(&entry, signal).await?;
        if signal == Signal::KILL { self.thaw(&entry).await } else { Ok(()) }
    }

    /// Freezes it.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn pause(&self, task: TaskId) -> Result<()> {
        let entry = self.running(task)?;
        self.freeze(&entry, true).await
    }

    /// Thaws it.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn unpause(&self, task: TaskId) -> Result<()> {
        let entry = self.running(task)?;
        self.freeze(&entry, false).await
    }

    async fn freeze(&self, entry: &Entry, frozen: bool) -> Result<()> {
        let task = entry.task;
        let done = self.block(move |inner| {
            let frozen = Cgroup::open(&inner.disk.cgroup(task)).and_then(|cgroup| cgroup.freeze(frozen));
            frozen.map_err(|error| Error::Shim { task, message: error.to_string() })
        });
        match done.await {
            // One that has ended meanwhile has no cgroup any more.
            Err(_) if !matches!(entry.phase(), Phase::Running { .. }) => return Err(Error::NotRunning(task)),
            other => other?,
        }
        let changed = entry.seen.send_if_modified(|seen| match &mut seen.phase {
            Phase::Running { paused, .. } if *paused != frozen => {
                *paused = frozen;
                true
            }
            _ => false,
        });
        if changed {
            self.say(RuntimeEvent::Paused { task, paused: frozen });
        }
        Ok(())
    }

    /// Removes all that is left of it; killed first if it runs. Gone already is no error.
    /// `volumes`: its anonymous ones too.
    ///
    /// # Errors
    /// Files that could not be removed; calling again goes on.
    pub async fn remove(&self, task: TaskId, volumes: bool) -> Result<()> {
        let entry = self.entry_or_new(task);
        let _operation = entry.operation.lock().await;
        if let Phase::Running { .. } = entry.phase() {
            self.finish(&entry).await?;
        }
        self.block(move |inner| inner.disk.remove(task, volumes)).await?;
        entry.set_phase(Phase::Absent);
        entry.set_config(None);
        drop(entry.take_waiting());
        let mut entries = self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&task);
        Ok(())
    }

    /// The volumes of this host. Remove through [`Engine::remove_volume`], which knows who uses them.
    pub fn volumes(&self) -> &VolumeStore {
        &self.inner.disk.volumes
    }

    /// Containers that mount the volume, running or not.
    pub async fn volume_users(&self, name: &str) -> Vec<TaskId> {
        let uses = |config: &Config| {
            let by_name = config.create.spec.container.mounts.iter().any(|mount| match &mount.source {
                MountSource::Volume { name: known, .. } => known == name,
                _ => false,
            });
            by_name || config.anonymous.values().any(|known| known == name)
        };
        let entries = self.entries();
        let users = entries.iter().filter(|entry| entry.config().is_some_and(|config| uses(&config)));
        users.map(|entry| entry.task).collect()
    }

    /// Removes a volume and its data. Gone already is no error.
    ///
    /// # Errors
    /// [`Error::VolumeInUse`].
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let users = self.volume_users(name).await;
        if !users.is_empty() {
            return Err(Error::VolumeInUse { name: name.to_owned(), users });
        }
        let named = name.to_owned();
        match self.block(move |inner| inner.disk.remove_volume(&named)).await? {
            users if users.is_empty() => Ok(()),
            users => Err(Error::VolumeInUse { name: name.to_owned(), users }),
        }
    }

    /// The configuration that it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }
}

/// Hears what a shim tells until it has gone, or the engine has.
async fn listen(inner: Weak<Inner>, entry: Arc<Entry>, mut stream: UnixStream) {
    let task = entry.task;
    let engine = || inner.upgrade().map(|inner| Engine { inner });
    loop {
        let reply = link::read_reply(&mut stream).await;
        let Some(engine) = engine() else { return };
        match reply {
            Ok(Some(Reply::Oom)) => engine.say(RuntimeEvent::Oom { task }),
            Ok(Some(Reply::Exited { attempt, exit })) => return engine.ended(&entry, attempt, exit),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    // The shim was killed. Whatever it has left is ended and written down.
    let attempt = entry.seen.borrow().attempt;
    while let Some(engine) = engine() {
        match engine.block(move |inner| inner.disk.settle(task)).await {
            Ok(Some(Seen { phase: Phase::Exited(exit), .. })) => return engine.ended(&entry, attempt, exit),
            Ok(Some(_)) => return entry.set_phase(Phase::Created),
            Ok(None) => {}
            Err(error) => tracing::error!(%task, "clear up after a shim that was killed: {}", chain(&error)),
        }
        drop(engine);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for its end.
async fn ending(entry: &Entry, timeout: Duration) -> Option<Exit> {
    let mut seen = entry.seen.subscribe();
    let ended = seen.wait_for(|seen| !matches!(seen.phase, Phase::Running { .. }));
    match tokio::time::timeout(timeout, ended).await {
        Ok(Ok(seen)) => match seen.phase {
            Phase::Exited(exit) => Some(exit),
            _ => None,
        },
        _ => None,
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
