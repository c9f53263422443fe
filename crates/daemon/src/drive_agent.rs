//! The agent's driver: inputs in, outputs out. Effects run at the same time as each other; the agent
//! itself sees to it that one task has one in flight.

use crate::agents::{AgentEnd, Said};
use crate::effects::Hands;
use crate::shared::Daemon;
use crate::{clock, config, network, node, worker};
use anyhow::Context as _;
use model::{AgentReport, MeshOffer, Node, PowerAction, Request, Role, State, TaskId, Verdict};
use node_agent::{Agent, AgentInput, AgentOutput, Effect, EffectError, EffectId, Ledger, Machine, Outcome};
use runtime::engine::RuntimeEvent;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How often the routes of the host are compared with what the cluster knows of them.
const ROUTES: Duration = Duration::from_secs(10);
/// Before a ledger that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where an agent gets its inputs from.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) session: AgentEnd,
    /// On a worker: those who look at what it does.
    pub(crate) desk: Option<worker::Desk>,
    pub(crate) runtime: mpsc::UnboundedReceiver<RuntimeEvent>,
}

/// Something that was begun has ended.
enum Landed {
    Effect(EffectId, Result<Outcome, EffectError>),
    Ledger(u64),
}

/// Drives this node's agent until the daemon stops. Effects under way are given up then: each can be
/// done again.
///
/// # Errors
/// The agent's memory is damaged: acting without it could stop what should run.
pub(crate) async fn drive(
    daemon: Arc<Daemon>,
    hands: Hands,
    sources: Sources,
    ledger: store::Ledger,
) -> anyhow::Result<()> {
    let Sources { session: AgentEnd { mut session, mut assignment, said }, mut desk, mut runtime } = sources;
    let remembered = read(&ledger).context("read what the agent of this node remembers")?;
    let mut described = describe(&daemon);
    let machine = Machine { hostname: described.hostname.clone(), platform: described.platform.clone() };
    let mut driver = Driver {
        agent: Agent::new(daemon.node, u64::from_le_bytes(config::random()?)).on(machine),
        hands: Arc::new(hands),
        ledger: Arc::new(ledger),
        landed: JoinSet::new(),
        writing: false,
        unwritten: None,
        verdicts: BTreeMap::new(),
        said,
        daemon,
    };
    let observed = driver.daemon.engine.list().await;
    driver.tell(AgentInput::Found { observed, ledger: remembered.map(Box::new) });
    let mut certificate = driver.daemon.peers.as_ref().map(|peers| peers.changes());
    described.trust = driver.daemon.peers.as_ref().map(|peers| peers.told()).unwrap_or_default();
    driver.say(Said::Describe(Box::new(described.clone())));
    let stop = driver.daemon.stop.clone();
    tokio::spawn(node::stay_small(stop.clone()));
    let mut routes = tokio::time::interval(ROUTES);
    routes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut revision, mut changed) = (0, true);
    loop {
        driver.settle();
        if let Some(desk) = desk.as_ref().filter(|_| std::mem::take(&mut changed)) {
            desk.changed();
        }
        let input = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(event) = runtime.recv() => driver.event(event),
            Some(landed) = driver.landed.join_next(), if !driver.landed.is_empty() => driver.land(landed),
            Ok(()) = session.changed() => Some(match *session.borrow_and_update() {
                Some(_) => AgentInput::SessionUp,
                None => AgentInput::SessionLost,
            }),
            Ok(()) = assignment.changed() => {
                let newest = assignment.borrow_and_update().clone();
                newest.map(|newest| AgentInput::Assignment(Box::new((*newest).clone())))
            }
            Some(client) = look(&mut desk) => {
                revision += 1;
                let _left = client.send(Arc::new(worker::state(&driver.agent, &described, revision)));
                None
            }
            () = turned(&mut certificate) => {
                described.trust = driver.daemon.peers.as_ref().map(|peers| peers.told()).unwrap_or_default();
                driver.say(Said::Describe(Box::new(described.clone())));
                None
            }
            () = sleep(driver.agent.next_wake()) => Some(AgentInput::Tick),
            _ = routes.tick() => {
                let routes = network::routes_changed(&described, &driver.daemon.run_root);
                let (mut changed, mesh) = (routes.is_some(), offer(&driver.daemon));
                described = routes.unwrap_or(described);
                if mesh.is_some() && mesh != described.mesh {
                    (described.mesh, changed) = (mesh, true);
                }
                if changed {
                    driver.say(Said::Describe(Box::new(described.clone())));
                }
                None
            }
        };
        if let Some(input) = input {
            driver.tell(input);
            changed = true;
        }
    }
}

/// Returns when it has turned; never without one.
async fn turned(watched: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

struct Driver {
    daemon: Arc<Daemon>,
    agent: Agent,
    hands: Arc<Hands>,
    ledger: Arc<store::Ledger>,
    landed: JoinSet<Landed>,
    /// A ledger is being written; one at a time, so that the newest is the last.
    writing: bool,
    /// The newest that waits for its turn.
    unwritten: Option<(u64, Box<Ledger>)>,
    /// Health that was told last, for events.
    verdicts: BTreeMap<TaskId, Verdict>,
    /// To the managers.
    said: mpsc::UnboundedSender<Said>,
}

impl Driver {
    fn say(&self, said: Said) {
        // Whoever carries it ends with the daemon.
        let _ending = self.said.send(said);
    }

    /// Hands an input to the agent. A panic in there is our bug: it is told, and the node goes on.
    fn tell(&mut self, input: AgentInput) {
        let agent = &mut self.agent;
        if std::panic::catch_unwind(AssertUnwindSafe(|| agent.handle(clock::steady(), input))).is_err() {
            tracing::error!("the agent failed at an input; this is a bug of rswarm, please report it with this log");
        }
    }

    /// Does all that the agent asks for.
    fn settle(&mut self) {
        while let Some(output) = self.agent.poll() {
            match output {
                AgentOutput::Do(id, effect) => self.perform(id, *effect),
                AgentOutput::Report(report) => {
                    self.health_events(&report);
                    self.say(Said::Report(report));
                }
                AgentOutput::Remember(number, ledger) => self.unwritten = Some((number, ledger)),
            }
        }
        self.write();
    }

    fn perform(&mut self, id: EffectId, effect: Effect) {
        tracing::debug!(effect = id.0, "{}", said(&effect));
        let hands = self.hands.clone();
        self.landed.spawn(async move {
            // On a task of its own: an effect that panics has failed like any other.
            let result = match tokio::spawn(async move { hands.perform(effect).await }).await {
                Ok(result) => result,
                Err(error) => {
                    tracing::error!("an effect failed in a way that is a bug of rswarm, please report it: {error}");
                    Err(EffectError::transient(format!("the daemon failed: {error}")))
                }
            };
            if let Err(error) = &result {
                tracing::debug!(effect = id.0, "failed: {}", error.message);
            }
            Landed::Effect(id, result)
        });
    }

    fn write(&mut self) {
        if self.writing {
            return;
        }
        let Some((number, value)) = self.unwritten.take() else { return };
        self.writing = true;
        let ledger = self.ledger.clone();
        self.landed.spawn_blocking(move || {
            let mut told = false;
            loop {
                match serde_json::to_vec(&value).context("write it").and_then(|bytes| Ok(ledger.write(&bytes)?)) {
                    Ok(()) => return Landed::Ledger(number),
                    Err(error) => {
                        if !std::mem::replace(&mut told, true) {
                            tracing::warn!("remember the assignment of this node: {error:#}; this is tried again");
                        }
                        std::thread::sleep(RETRY);
                    }
                }
            }
        });
    }

    fn land(&mut self, landed: Result<Landed, tokio::task::JoinError>) -> Option<AgentInput> {
        match landed {
            Ok(Landed::Effect(id, result)) => Some(AgentInput::Done(id, result)),
            Ok(Landed::Ledger(number)) => {
                self.writing = false;
                Some(AgentInput::Remembered(number))
            }
            Err(error) => {
                tracing::error!("an effect ended early: {error}");
                None
            }
        }
    }

    fn event(&mut self, event: RuntimeEvent) -> Option<AgentInput> {
        match event {
            RuntimeEvent::Exited { task, attempt, exit } => {
                let meant = self.daemon.endings.ended(task, &exit);
                let daemon = self.daemon.clone();
                tokio::spawn(async move {
                    if meant {
                        let action = PowerAction::Stop { timeout: None, signal: None };
                        if let Err(error) = daemon.cluster.ask(Request::Power { task, action }).await {
                            tracing::debug!(%task, "keep it stopped: {error}");
                        }
                    }
                    daemon.container_event_by_id(task, "die", &[("exitCode", exit.code.to_string())]).await;
                });
                Some(AgentInput::Exited { task, attempt, exit })
            }
            RuntimeEvent::Oom { task } => {
                let daemon = self.daemon.clone();
                tokio::spawn(async move { daemon.container_event_by_id(task, "oom", &[]).await });
                None
            }
            RuntimeEvent::Paused { task, paused } => {
                let daemon = self.daemon.clone();
                let action = if paused { "pause" } else { "unpause" };
                tokio::spawn(async move { daemon.container_event_by_id(task, action, &[]).await });
                Some(AgentInput::Paused { task, paused })
            }
        }
    }

    fn health_events(&mut self, report: &AgentReport) {
        for told in &report.tasks {
            if told.removed {
                self.verdicts.remove(&told.task);
                continue;
            }
            let health = told.status.container.as_ref().and_then(|container| container.health.as_ref());
            let Some(verdict) = health.map(|health| health.verdict) else { continue };
            if self.verdicts.insert(told.task, verdict) == Some(verdict) || verdict == Verdict::Starting {
                continue;
            }
            let action = match verdict {
                Verdict::Healthy => "health_status: healthy",
                _ => "health_status: unhealthy",
            };
            let (daemon, task) = (self.daemon.clone(), told.task);
            tokio::spawn(async move { daemon.container_event_by_id(task, action, &[]).await });
        }
    }
}

fn read(ledger: &store::Ledger) -> anyhow::Result<Option<Ledger>> {
    match ledger.read()? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes).context("it was written by a newer version, perhaps")?)),
        None => Ok(None),
    }
}

/// This machine, with where it is reached and what it is.
fn describe(daemon: &Daemon) -> Node {
    let mut node = node::describe(daemon.node, &daemon.run_root, &daemon.offers);
    if let Some(membership) = &daemon.membership {
        let identity = membership.identity();
        node.address = Some(identity.advertise.clone());
        node.manager = identity.role == Role::Manager;
        node.mesh = offer(daemon);
    }
    node
}

/// What this node offers the others of its end of the mesh. Without one its containers reach nobody elsewhere, and
/// nobody them.
fn offer(daemon: &Daemon) -> Option<MeshOffer> {
    let identity = daemon.membership.as_ref()?.identity();
    let offer = identity.data_path.offer(&daemon.data_root, &daemon.run_root, &identity.advertise);
    offer.inspect_err(|error| tracing::warn!("this node can be no part of the mesh: {error}")).ok()
}

async fn look(desk: &mut Option<worker::Desk>) -> Option<oneshot::Sender<Arc<State>>> {
    match desk {
        Some(desk) => desk.look().await,
        None => std::future::pending().await,
    }
}

async fn sleep(until: Option<model::Time>) {
    match until {
        Some(until) => tokio::time::sleep(until.since(clock::steady())).await,
        None => std::future::pending().await,
    }
}

/// An effect in the log.
fn said(effect: &Effect) -> String {
    match effect {
        Effect::Prepare(prepare) => format!("prepare {}", prepare.task.short()),
        Effect::EnsureNet(net) => format!("network of {} containers", net.endpoints.len()),
        Effect::CreateAndStart(launch) => format!("create and start {}", launch.name),
        Effect::Start(launch) => format!("start {}", launch.name),
        Effect::WriteHosts(write) => format!("write the hosts file of {}", write.task.short()),
        Effect::Stop { task, .. } => format!("stop {}", task.short()),
        Effect::Remove { task, .. } => format!("remove {}", task.short()),
        Effect::Probe { task, .. } => format!("probe {}", task.short()),
        Effect::RemoveVolume(name) => format!("remove volume {name}"),
    }
}
