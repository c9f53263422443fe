//! What the agent asks for, done: effects through the engine, the image store and `netd`. Each may be
//! done twice.

use crate::rendezvous::{Awaited, Host, Meeting};
use crate::shared::Daemon;
use crate::{clock, failure, images};
use api::ApiError;
use model::{HealthTest, HostLines, HostNet, MountSource, ObservedState, PullPolicy, TaskId, VolumeSpec};
use node_agent::{Effect, EffectError, EffectErrorKind, Hosts, Launch, Net, NetFault, Outcome, Prepare};
use overlay_net::Pending;
use runtime::engine::{ContentFile, CreateContainer, Error as EngineError, NetMode, Session, StartOptions};
use runtime::signal::Signal;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Containers that are made or removed at the same time: the kernel's own locks (mounts, namespaces,
/// cgroups) make more of them slower, not faster.
const AT_ONCE: usize = 12;

/// Longest time that a container's removal waits for a client that reads its last output.
const DRAIN: Duration = Duration::from_secs(10);

/// Longest time that a task which leaves gets for connections that have begun, and again for its last answers, and how
/// soon and how seldom both are looked at again.
const CONVERSATIONS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(160);

/// Performs effects.
#[derive(Debug)]
pub(crate) struct Hands {
    daemon: Arc<Daemon>,
    slots: Semaphore,
}

type Done = Result<Outcome, EffectError>;

impl Hands {
    pub(crate) fn new(daemon: Arc<Daemon>) -> Self {
        Hands { daemon, slots: Semaphore::new(AT_ONCE) }
    }

    /// Does it.
    ///
    /// # Errors
    /// As the agent wants them: what may pass, and what will not.
    pub(crate) async fn perform(&self, effect: Effect) -> Done {
        match effect {
            Effect::Prepare(prepare) => self.prepare(*prepare).await,
            Effect::EnsureNet(net) => self.ensure_net(&net).await,
            Effect::CreateAndStart(launch) => self.create_and_start(*launch).await,
            Effect::Start(launch) => self.start(*launch).await,
            Effect::Stop { task, signal, grace, receives, sends } => {
                if receives {
                    self.receive(task).await;
                }
                let stopped = self.stop(task, signal, grace).await;
                if sends {
                    self.send(task).await;
                }
                stopped
            }
            Effect::WriteHosts(write) => {
                let written = self.daemon.engine.set_hosts(write.task, lines(&write.hosts, write.net)).await;
                written.map(|()| Outcome::HostsWritten).map_err(|error| engine_error(&error))
            }
            Effect::Remove { task, volumes } => self.remove(task, volumes).await,
            Effect::Probe { task, test, timeout } => Ok(self.probe(task, test, timeout).await),
            Effect::RemoveVolume(name) => self.remove_volume(&name).await,
        }
    }

    async fn prepare(&self, prepare: Prepare) -> Done {
        let container = &prepare.spec.container;
        let image = match images::pinned(&self.daemon, container).await {
            Ok(image) => image,
            // Nothing is asked of a registry; another node may have it, as one that it was built or loaded on.
            Err(missing) if container.pull_policy == PullPolicy::Never => {
                let told = |error: ApiError| format!("image {}: {}", container.image, error.message);
                let fetched = images::share::fetch(&self.daemon, container).await;
                if !fetched.map_err(|error| EffectError::transient(told(error)))? {
                    return Err(EffectError::fatal(told(missing)));
                }
                images::pinned(&self.daemon, container).await.map_err(|error| EffectError::transient(error.message))?
            }
            Err(_) => {
                images::pull_pinned(&self.daemon, container, &prepare.logins).await.map_err(|error| {
                    let message = format!("image {}: {}", container.image, error.message);
                    match error.kind {
                        api::ErrorKind::Failed => EffectError::transient(message),
                        _ => EffectError::fatal(message),
                    }
                })?;
                images::pinned(&self.daemon, container).await.map_err(|error| EffectError::transient(error.message))?
            }
        };
        let specs: Vec<VolumeSpec> = container
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Volume { name, .. } => Some(name),
                _ => None,
            })
            .map(|name| {
                let plain = || VolumeSpec { name: name.clone(), ..VolumeSpec::default() };
                prepare.volumes.get(name).cloned().unwrap_or_else(plain)
            })
            .collect();
        if !specs.is_empty() {
            let engine = self.daemon.engine.clone();
            let made = tokio::task::spawn_blocking(move || -> Result<(), EngineError> {
                for spec in &specs {
                    engine.volumes().create(spec)?;
                }
                Ok(())
            });
            made.await
                .map_err(|error| EffectError::transient(error.to_string()))?
                .map_err(|error| engine_error(&error))?;
        }
        Ok(Outcome::Prepared { healthcheck: image.config.healthcheck })
    }

    async fn ensure_net(&self, net: &HostNet) -> Done {
        let applied = self.daemon.network.apply(net).await;
        let applied = applied.map_err(|error| EffectError::transient(failure::chain(&error)))?;
        let mut faults = Vec::new();
        for (port, message) in applied.port_errors {
            faults.push(NetFault::Port {
                protocol: port.protocol,
                host_port: port.host_port,
                host_ip: port.host_ip,
                message,
            });
        }
        for (network, message) in &applied.network_errors {
            tracing::warn!(%network, "set up the network: {message}");
            // Whoever is on it cannot be started as it should be.
            for (task, endpoint) in &net.endpoints {
                let on_it = endpoint.attachments.iter().any(|attachment| attachment.network == *network);
                if on_it && !applied.endpoint_errors.contains_key(task) {
                    faults.push(NetFault::Endpoint { task: *task, message: message.clone() });
                }
            }
        }
        for (task, message) in applied.endpoint_errors {
            faults.push(NetFault::Endpoint { task, message });
        }
        Ok(Outcome::Net { faults, settles: applied.settles })
    }

    async fn create_and_start(&self, launch: Launch) -> Done {
        let mut guest = self.meet(&launch);
        let create = match self.create(&launch).await {
            Ok(create) => create,
            Err(error) => return Err(refuse(guest, error)),
        };
        let first = self.daemon.engine.attach(launch.task);
        self.attach(&mut guest, launch.task, first).await;
        let options = options(&launch, guest.as_ref(), None);
        let slot = self.slots.acquire().await;
        let started = self.daemon.engine.create_and_start(create, options).await;
        drop(slot);
        self.started(guest, &launch, started, &["create", "start"]).await
    }

    async fn start(&self, launch: Launch) -> Done {
        let mut guest = self.meet(&launch);
        let next = self.daemon.engine.attach_next(launch.task);
        self.attach(&mut guest, launch.task, next).await;
        let options = options(&launch, guest.as_ref(), Some(self.net_mode(launch.net)));
        let slot = self.slots.acquire().await;
        let started = self.daemon.engine.start(launch.task, options).await;
        drop(slot);
        self.started(guest, &launch, started, &["start"]).await
    }

    /// Does a client wait for this start?
    fn meet(&self, launch: &Launch) -> Option<Guest> {
        let rendezvous = &self.daemon.rendezvous;
        let first = launch.spec.standalone && launch.attempt <= 1 && launch.restarts == 0;
        let by_name = first.then(|| rendezvous.take(&Awaited::Name(launch.spec.name.clone()))).flatten();
        let host = by_name.or_else(|| rendezvous.take(&Awaited::Task(launch.task)))?;
        Some(Guest { host, session: None })
    }

    /// Opens the client's session before the start, so that it sees the first byte.
    async fn attach(
        &self,
        guest: &mut Option<Guest>,
        task: TaskId,
        session: impl Future<Output = Result<Session, EngineError>>,
    ) {
        if let Some(guest) = guest {
            match session.await {
                Ok(session) => guest.session = Some((session, self.daemon.rendezvous.drain(task))),
                Err(error) => tracing::debug!(%task, "attach before the start: {error}"),
            }
        }
    }

    async fn started(
        &self,
        guest: Option<Guest>,
        launch: &Launch,
        started: Result<runtime::engine::Started, EngineError>,
        events: &[&str],
    ) -> Done {
        let task = launch.task;
        let outcome = match started {
            Ok(started) => Outcome::Started { pid: started.pid, started_at: started.started_at },
            // By a daemon that died before it could say so.
            Err(EngineError::Running(_)) => {
                match self.daemon.engine.inspect(task).await.map(|inspect| inspect.observed.state) {
                    Ok(ObservedState::Running { pid, started_at, .. }) => Outcome::Started { pid, started_at },
                    _ => return Err(refuse(guest, EffectError::transient("the container has ended meanwhile"))),
                }
            }
            Err(error) => return Err(refuse(guest, engine_error(&error))),
        };
        if let Some(Guest { host, session }) = guest {
            let session = match session {
                Some(session) => Ok(session),
                None => {
                    self.daemon.engine.attach(task).await.map(|session| (session, self.daemon.rendezvous.drain(task)))
                }
            };
            let meeting = match session {
                Ok((session, drain)) => Meeting::Session(session, drain),
                Err(error) => Meeting::Failed { exit_code: 125, message: failure::chain(&error) },
            };
            let _left = host.sender.send(meeting);
        }
        for event in events {
            self.container_event(launch, event);
        }
        Ok(outcome)
    }

    fn container_event(&self, launch: &Launch, action: &str) {
        let mut attributes = launch.labels.clone();
        attributes.insert("name".to_owned(), launch.name.clone());
        attributes.insert("image".to_owned(), launch.spec.container.image.clone());
        self.daemon.events.emit_map("container", action, launch.task.to_string(), attributes);
    }

    async fn create(&self, launch: &Launch) -> Result<CreateContainer, EffectError> {
        let container = &launch.spec.container;
        let image = images::pinned(&self.daemon, container)
            .await
            .map_err(|error| EffectError::transient(format!("image {}: {}", container.image, error.message)))?;
        let mut labels = image.config.labels.clone();
        labels.extend(launch.labels.clone());
        let host = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
        let resolv_conf =
            overlay_net::resolv_conf(&host, launch.dns, &container.dns, &container.dns_search, &container.dns_opt);
        Ok(CreateContainer {
            task: launch.task,
            name: launch.name.clone(),
            spec: launch.spec.clone(),
            image,
            net: self.net_mode(launch.net),
            hostname: launch.hostname.clone(),
            hosts: lines(&launch.hosts, launch.net),
            resolv_conf,
            files: content(launch),
            labels,
            volumes: launch.volumes.clone(),
            volumes_of: Some(launch.volumes_of),
        })
    }

    fn net_mode(&self, net: Net) -> NetMode {
        match net {
            Net::Host => NetMode::Host,
            Net::Task(task) => NetMode::Path(overlay_net::netns_path(&self.daemon.run_root, task)),
        }
    }

    /// Waits until a program has each connection that was begun to it; not for those that begin meanwhile.
    async fn receive(&self, task: TaskId) {
        let state = self.daemon.engine.inspect(task).await.map(|inspect| inspect.observed.state);
        if !matches!(state, Ok(ObservedState::Running { paused: false, .. })) {
            return;
        }
        let mut begun = None;
        // What turns from the one into the other while the kernel is asked is seen by the next look.
        let mut clear = 0;
        let received = self.watch(task, |now| {
            let begun = begun.get_or_insert_with(|| now.clone());
            clear = if begun.has_arrived(now) { clear + 1 } else { 0 };
            clear == 2
        });
        if !received.await {
            tracing::info!(%task, "it is told to end before it has taken all connections that were begun to it");
        }
    }

    /// Waits until what a program said last has been received.
    async fn send(&self, task: TaskId) {
        if !self.watch(task, |now| !now.is_sending()).await {
            tracing::info!(%task, "its network ends before all that it said has been received");
        }
    }

    /// Looks at the connections of a task until that is so; `false`: not in time.
    async fn watch(&self, task: TaskId, mut done: impl FnMut(&Pending) -> bool) -> bool {
        let path = overlay_net::netns_path(&self.daemon.run_root, task);
        let all = async {
            // Many may leave at once, and the kernel goes through the connections of all for each look.
            let mut pause = LOOK;
            loop {
                let path = path.clone();
                let look = tokio::task::spawn_blocking(move || Pending::of(&path));
                // Without a network there is nothing to wait for.
                let Ok(Ok(now)) = look.await else { return };
                if done(&now) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_LOOK);
            }
        };
        tokio::time::timeout(CONVERSATIONS, all).await.is_ok()
    }

    async fn stop(&self, task: TaskId, signal: Option<String>, grace: Duration) -> Done {
        let wanted = match signal {
            Some(signal) => Some(signal),
            None => {
                let inspect = self.daemon.engine.inspect(task).await.ok();
                inspect.and_then(|inspect| inspect.create.image.config.stop_signal)
            }
        };
        let signal = match wanted.as_deref().map(str::parse::<Signal>) {
            None => Signal::TERM,
            Some(Ok(signal)) => signal,
            Some(Err(error)) => {
                tracing::warn!(%task, "stop signal: {error}; SIGTERM is sent instead");
                Signal::TERM
            }
        };
        match self.daemon.engine.stop(task, signal, grace).await {
            Ok(exit) => {
                self.daemon.container_event_by_id(task, "stop", &[]).await;
                Ok(Outcome::Stopped(Some(exit)))
            }
            Err(EngineError::NotFound(_) | EngineError::NotRunning(_)) => Ok(Outcome::Stopped(None)),
            Err(error) => Err(engine_error(&error)),
        }
    }

    async fn remove(&self, task: TaskId, volumes: bool) -> Done {
        // Somebody may still read what it said last.
        if tokio::time::timeout(DRAIN, self.daemon.rendezvous.drained(task)).await.is_err() {
            tracing::info!(%task, "a client reads too slowly: its container is removed");
        }
        let known = self.daemon.engine.inspect(task).await.ok();
        let slot = self.slots.acquire().await;
        let removed = self.daemon.engine.remove(task, volumes).await;
        drop(slot);
        removed.map_err(|error| engine_error(&error))?;
        if let Some(inspect) = known {
            let mut attributes = inspect.create.labels;
            attributes.insert("name".to_owned(), inspect.create.name);
            attributes.insert("image".to_owned(), inspect.create.spec.container.image.clone());
            self.daemon.events.emit_map("container", "destroy", task.to_string(), attributes);
        }
        Ok(Outcome::Removed)
    }

    async fn probe(&self, task: TaskId, test: HealthTest, timeout: Duration) -> Outcome {
        let start = clock::now();
        let argv = match test {
            HealthTest::None => Vec::new(),
            HealthTest::Cmd(argv) => argv,
            HealthTest::CmdShell(command) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command],
        };
        let result = self.daemon.engine.probe(task, argv, timeout).await;
        let output = match result.timed_out {
            true => format!("health check took longer than {} s and was killed", timeout.as_secs_f64()),
            false => result.output,
        };
        Outcome::Probed { start, exit_code: result.exit_code, output }
    }

    async fn remove_volume(&self, name: &str) -> Done {
        match self.daemon.engine.remove_volume(name).await {
            // Whoever had it removed has told of it.
            Ok(()) => Ok(Outcome::VolumeRemoved),
            // Its containers are about to go.
            Err(error @ EngineError::VolumeInUse { .. }) => Err(EffectError::transient(error.to_string())),
            Err(error) => Err(engine_error(&error)),
        }
    }
}

/// A client that waits for a start, and its session once that is open.
struct Guest {
    host: Host,
    session: Option<(Session, watch::Sender<()>)>,
}

/// Tells the client that waits why there will be nothing.
fn refuse(guest: Option<Guest>, error: EffectError) -> EffectError {
    if let Some(Guest { host, .. }) = guest {
        let exit_code = error.exit_code.unwrap_or(125);
        let _left = host.sender.send(Meeting::Failed { exit_code, message: error.message.clone() });
    }
    error
}

fn options(launch: &Launch, guest: Option<&Guest>, net: Option<NetMode>) -> StartOptions {
    StartOptions {
        attempt: launch.attempt,
        restarts: launch.restarts,
        files: Some(content(launch)),
        hosts: net.is_some().then(|| lines(&launch.hosts, launch.net)),
        net,
        size: guest.and_then(|guest| guest.host.size),
    }
}

fn content(launch: &Launch) -> Vec<ContentFile> {
    let files = launch.files.iter().map(|file| ContentFile {
        target: file.target.clone(),
        data: file.data.clone(),
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        secret: file.secret,
    });
    files.collect()
}

fn engine_error(error: &EngineError) -> EffectError {
    let message = failure::chain(error);
    match error {
        EngineError::Rejected { exit_code, .. } => {
            EffectError { kind: EffectErrorKind::Fatal, message, exit_code: Some(*exit_code) }
        }
        error if error.is_transient() => EffectError::transient(message),
        _ => EffectError::fatal(message),
    }
}

/// With an address for the host where only the host knows it.
fn lines(hosts: &Hosts, net: Net) -> HostLines {
    let gateway = (!hosts.gateway.is_empty()).then(|| (host_address(net), hosts.gateway.clone()));
    hosts.lines.iter().cloned().chain(gateway).collect()
}

/// Where a container that has no bridge finds its host: the address that the host would use to reach
/// the world.
fn host_address(net: Net) -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    if net == Net::Host {
        return loopback;
    }
    // Connecting a datagram socket sends nothing, it only chooses a route (192.0.2.1: RFC 5737).
    let chosen = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    chosen.map_or(loopback, |address| address.ip())
}
