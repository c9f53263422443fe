//! What the daemon calls: containers are created, started, watched and removed here. Nothing that
//! matters is only in memory: everything is found again from the folders and the shims.

mod error;
mod types;

pub use error::{Error, Result};
pub use types::*;

use crate::logs::{LogQuery, LogRecord};
use crate::signal::Signal;
use crate::volume::VolumeStore;
use model::{Exit, Observed, TaskId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The containers of one host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    volumes: VolumeStore,
}

impl Engine {
    /// Takes over what earlier engines left: reconnects to every shim, learns of exits that happened
    /// meanwhile (said by [`Engine::list`], not as events) and clears up what was half done.
    ///
    /// # Errors
    /// The roots can't be made or read.
    pub async fn open(config: EngineConfig) -> Result<(Engine, mpsc::UnboundedReceiver<RuntimeEvent>)> {
        let (_events, receiver) = mpsc::unbounded_channel();
        let volumes = VolumeStore::new(config.data_root.join("volumes"));
        Ok((Engine { inner: Arc::new(Inner { config, volumes }) }, receiver))
    }

    /// Every container on the host, also one whose creation was cut short (as `Created` that has to
    /// be removed or started).
    pub async fn list(&self) -> Vec<Observed> {
        Vec::new()
    }

    /// Makes the container's files. Starts nothing. A container of that id that never ran is replaced.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Rejected`] for a mount or user that makes no sense; files.
    pub async fn create(&self, create: CreateContainer) -> Result<()> {
        Err(Error::NotFound(create.task))
    }

    /// Starts it, for the first time or again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Running`], [`Error::FilesMissing`], [`Error::Rejected`].
    pub async fn start(&self, task: TaskId, options: StartOptions) -> Result<Started> {
        let _ = options;
        Err(Error::NotFound(task))
    }

    /// Both, with fewer steps.
    ///
    /// # Errors
    /// Those of both; what `create` made stays then, to be removed.
    pub async fn create_and_start(&self, create: CreateContainer, options: StartOptions) -> Result<Started> {
        let task = create.task;
        self.create(create).await?;
        self.start(task, options).await
    }

    /// Sends the signal, after `grace` SIGKILL, and returns when the container has ended. Thaws it
    /// first. One that does not run any more: its last exit.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotRunning`] if it never ran.
    pub async fn stop(&self, task: TaskId, signal: Signal, grace: Duration) -> Result<Exit> {
        let _ = (signal, grace);
        Err(Error::NotFound(task))
    }

    /// Sends a signal to its init.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn kill(&self, task: TaskId, signal: Signal) -> Result<()> {
        let _ = signal;
        Err(Error::NotRunning(task))
    }

    /// Freezes it.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn pause(&self, task: TaskId) -> Result<()> {
        Err(Error::NotRunning(task))
    }

    /// Thaws it.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn unpause(&self, task: TaskId) -> Result<()> {
        Err(Error::NotRunning(task))
    }

    /// Removes all that is left of it; killed first if it runs. Gone already is no error.
    ///
    /// # Errors
    /// Files that could not be removed; calling again goes on.
    pub async fn remove(&self, task: TaskId, volumes: bool) -> Result<()> {
        let _ = (task, volumes);
        Ok(())
    }

    /// Runs a command in a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Rejected`] with 126 or 127.
    pub async fn exec(&self, task: TaskId, command: ExecCommand) -> Result<Session> {
        let _ = command;
        Err(Error::NotRunning(task))
    }

    /// Runs a health probe: no input, output kept, everything that it started killed at the timeout.
    pub async fn probe(&self, task: TaskId, argv: Vec<String>, timeout: Duration) -> ProbeResult {
        let _ = (task, argv, timeout);
        ProbeResult { exit_code: -1, output: String::new(), timed_out: false }
    }

    /// Connects to the container's own process. Before the container was started (or even created)
    /// the session waits for the start and then sees everything from the first byte.
    ///
    /// # Errors
    /// [`Error::NotRunning`] for one that has ended.
    pub async fn attach(&self, task: TaskId) -> Result<Session> {
        Err(Error::NotRunning(task))
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn resize(&self, task: TaskId, rows: u16, columns: u16) -> Result<()> {
        let _ = (rows, columns);
        Err(Error::NotRunning(task))
    }

    /// Lines of its log, oldest first. Following ends when the container is removed, or once it has
    /// ended and all is read.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Rejected`] for a log driver that keeps nothing.
    pub async fn logs(&self, task: TaskId, query: LogQuery) -> Result<mpsc::Receiver<LogRecord>> {
        let _ = query;
        Err(Error::NotFound(task))
    }

    /// Reads its counters.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn stats(&self, task: TaskId) -> Result<Stats> {
        Err(Error::NotRunning(task))
    }

    /// Its processes.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn top(&self, task: TaskId) -> Result<Vec<Process>> {
        Err(Error::NotRunning(task))
    }

    /// Paths and facts.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn inspect(&self, task: TaskId) -> Result<Inspect> {
        Err(Error::NotFound(task))
    }

    /// The volumes of this host. Remove through [`Engine::remove_volume`], which knows who uses them.
    pub fn volumes(&self) -> &VolumeStore {
        &self.inner.volumes
    }

    /// Containers that mount the volume, running or not.
    pub async fn volume_users(&self, name: &str) -> Vec<TaskId> {
        let _ = name;
        Vec::new()
    }

    /// Removes a volume and its data. Gone already is no error.
    ///
    /// # Errors
    /// [`Error::VolumeInUse`].
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// The configuration that it was opened with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }
}
