//! Talking with a container's processes: exec, probes, attach, terminals, logs.

use super::*;

impl Engine {
    /// Runs a command in a running container.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Rejected`] with 126 or 127.
    pub async fn exec(&self, task: TaskId, command: ExecCommand) -> Result<Session> {
        let entry = self.running(task)?;
        let detach = command.detach;
        let gone = |error: std::io::Error| match entry.phase() {
            Phase::Running { .. } => Error::Shim { task, message: error.to_string() },
            _ => Error::NotRunning(task),
        };
        let mut stream = link::connect(&self.folder(task)).await.map_err(gone)?;
        stream.write_all(&wire::call(&Request::Exec { command })).await.map_err(gone)?;
        match link::read_reply(&mut stream).await.map_err(gone)? {
            Some(Reply::Started { .. }) if detach => {
                let (input, _) = mpsc::channel(1);
                let (outputs, output) = mpsc::channel(1);
                // The one place of a new queue is free.
                let _always = outputs.try_send(Output::Exit(0));
                Ok(Session { input, output })
            }
            Some(Reply::Started { .. }) => Ok(link::session(stream)),
            Some(Reply::Refused { exit_code, message }) => Err(Error::Rejected { exit_code, message }),
            Some(Reply::Failed { message }) => Err(Error::Shim { task, message }),
            Some(other) => Err(Error::Shim { task, message: format!("it answers {other:?} to an exec") }),
            None => Err(Error::NotRunning(task)),
        }
    }

    /// Runs a health probe: no input, output kept, everything that it started killed at the timeout.
    pub async fn probe(&self, task: TaskId, argv: Vec<String>, timeout: Duration) -> ProbeResult {
        let could_not = |why: String| ProbeResult { exit_code: -1, output: why, timed_out: false };
        if let Err(error) = self.running(task) {
            return could_not(error.to_string());
        }
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        match link::ask(&self.folder(task), &Request::Probe { argv, timeout_ms }, timeout).await {
            Ok(Reply::Probed { exit_code, output, timed_out }) => ProbeResult { exit_code, output, timed_out },
            Ok(other) => could_not(format!("the shim answers {other:?} to a probe")),
            Err(error) => could_not(format!("run the probe: {error}")),
        }
    }

    /// Connects to the container's own process. Before the container was started (or even created)
    /// the session waits for the start and then sees everything from the first byte.
    ///
    /// # Errors
    /// [`Error::NotRunning`] for one that has ended.
    pub async fn attach(&self, task: TaskId) -> Result<Session> {
        let entry = self.entry_or_new(task);
        match entry.phase() {
            Phase::Absent | Phase::Created => self.attach_next(task).await,
            Phase::Exited(_) => Err(Error::NotRunning(task)),
            Phase::Running { .. } => {
                let gone = |_| Error::NotRunning(task);
                let mut stream = link::connect(&self.folder(task)).await.map_err(gone)?;
                stream.write_all(&wire::call(&Request::Attach)).await.map_err(gone)?;
                Ok(link::session(stream))
            }
        }
    }

    /// Like [`Engine::attach`], for the next start of a container that may have ended (`start -a`).
    ///
    /// # Errors
    /// Too many wait already; no descriptor left.
    pub async fn attach_next(&self, task: TaskId) -> Result<Session> {
        let broken = |error: std::io::Error| Error::Shim { task, message: error.to_string() };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(broken)?;
        ours.set_nonblocking(true).map_err(broken)?;
        let ours = UnixStream::from_std(ours).map_err(broken)?;
        if !self.entry_or_new(task).wait_for_start(theirs, nursery::MOST_SESSIONS) {
            return Err(Error::Shim { task, message: "too many sessions wait for its start".to_owned() });
        }
        Ok(link::session(ours))
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn resize(&self, task: TaskId, rows: u16, columns: u16) -> Result<()> {
        self.running(task)?;
        let asked = link::ask(&self.folder(task), &Request::Resize { rows, columns }, Duration::ZERO).await;
        asked.map(drop).map_err(|_| Error::NotRunning(task))
    }

    /// Lines of its log, oldest first. Following ends when the container is removed, or once it has
    /// ended and all is read.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Rejected`] for a log driver that keeps nothing.
    pub async fn logs(&self, task: TaskId, query: LogQuery) -> Result<mpsc::Receiver<LogRecord>> {
        let entry = self.known(task)?;
        let config = entry.config().ok_or(Error::NotFound(task))?;
        if config.create.spec.container.logging.driver.as_deref() == Some("none") {
            let message = "the log driver `none` keeps nothing that could be read".to_owned();
            return Err(Error::Rejected { exit_code: 125, message });
        }
        follow::open(self, &entry, query).await
    }
}
