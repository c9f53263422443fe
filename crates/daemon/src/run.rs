//! A daemon's life: configuration → build → bind → spawn → wait → drain.

use crate::agents::{self, Switchboard};
use crate::config::Roots;
use crate::drive_agent::{self, Sources};
use crate::drive_manager;
use crate::effects::Hands;
use crate::events::Events;
use crate::gitops::{self, Gitops};
use crate::identity::Membership;
use crate::images::Images;
use crate::locked::{self, Freed};
use crate::network::Network;
use crate::peers::{self, Peers};
use crate::rendezvous::Rendezvous;
use crate::shared::{Daemon, Endings};
use crate::{
    DaemonArgs, api_server, autolock, backup, calls, config, identity, metrics, node, raft_net, small_server, worker,
};
use anyhow::{Context as _, Result};
use model::Role;
use runtime::Engine;
use runtime::engine::EngineConfig;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Found, KeyFile};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the parts of a daemon may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Why a daemon has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Stopped,
    /// It is something else now: it has to begin anew, open if it was so with this key.
    Again(Option<store::KeyBytes>),
}

/// Runs a daemon until it is told to stop, or is to begin anew.
pub(crate) async fn run(args: DaemonArgs) -> Result<Ended> {
    let args = DaemonArgs { oci_runtime: args.oci_runtime.as_deref().map(find_program).transpose()?, ..args };
    let roots = Roots::open(&args)?;
    // From here on the signals are ours: none may kill us between two steps.
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    backup::finish(&roots.data)?;
    let identity = identity::settle(&roots.data)?;
    let node_id = config::node_id(&roots.data)?;
    let info = info(&args, &roots, node_id);
    let opened = tokio::select! {
        opened = open_key(&roots, &info) => opened?,
        _ = terminate.recv() => return Ok(Ended::Stopped),
        _ = interrupt.recv() => return Ok(Ended::Stopped),
    };
    // It is another daemon than the one that was locked.
    let info = api::DaemonInfo { life: life(), ..info };
    let Some(key_file) = opened else { return Ok(Ended::Again(None)) };
    let key = key_file.key();
    let membership = identity.map(|identity| Arc::new(Membership::new(roots.data.clone(), identity)));
    let peers = match &membership {
        Some(_) => Some(Peers::open(identity::certificates(&roots.data), &key, node_id)?),
        None => None,
    };
    let (agent_end, session_end) = agents::pair();
    let worker = membership.clone().filter(|membership| membership.identity().role == Role::Worker);
    let (manager, cluster, desk) = match worker {
        Some(membership) => {
            let (cluster, desk) = worker::start(membership, agent_end.said.clone())?;
            (None, cluster, Some(desk))
        }
        None => {
            let (manager, cluster) =
                drive_manager::open(&roots.data, &key, membership.as_deref().map(Membership::identity).as_deref())?;
            (Some(manager), cluster, None)
        }
    };
    let (engine, runtime_events) = Engine::open(EngineConfig {
        data_root: roots.data.clone(),
        run_root: roots.run.clone(),
        cgroup_parent: args.cgroup_parent.clone(),
        exe: args.exe.clone(),
        oci_runtime: args.oci_runtime.clone(),
    })
    .await
    .context("take over the containers of this host")?;
    let daemon = Arc::new(Daemon {
        node: node_id,
        info,
        run_root: roots.run.clone(),
        offers: node::Offers { labels: args.labels.clone(), generic: args.generic.clone() },
        cluster,
        engine,
        images: Images::open(&roots.data, &args.insecure_registries).await?,
        events: Events::new(),
        network: Network::new(roots.run.clone(), roots.data.clone(), args.exe.clone()),
        rendezvous: Rendezvous::default(),
        endings: Endings::default(),
        gitops: Gitops::new(roots.data.clone(), roots.run.clone()),
        stop: CancellationToken::new(),
        key: key_file,
        data_root: roots.data.clone(),
        membership: membership.clone(),
        peers,
        agents: Switchboard::default(),
        in_session: agent_end.session.clone(),
        again: CancellationToken::new(),
    });
    let mut manager = manager;
    // They end when the manager's thread has, so that it can hand over in its last moments.
    if let Some(drive_manager::Lines { outgoing, forwards }) = manager.as_mut().and_then(|it| it.lines.take()) {
        tokio::spawn(raft_net::send(daemon.clone(), outgoing));
        tokio::spawn(raft_net::pass_on(daemon.clone(), forwards));
    }
    let manager = manager.map(drive_manager::Prepared::start).transpose()?;
    let guard = tokio::spawn(daemon.network.clone().guard(daemon.stop.clone()));
    let hands = Hands::new(daemon.clone());
    let sessions = tokio::spawn(agents::run(daemon.clone(), session_end));
    let places =
        (membership.is_some() && manager.is_some()).then(|| tokio::spawn(agents::place::watch(daemon.clone())));
    let mut agent = tokio::spawn(drive_agent::drive(
        daemon.clone(),
        hands,
        Sources { session: agent_end, desk, runtime: runtime_events },
        store::Ledger::new(roots.data.join("agent-ledger"), key),
    ));
    let followers = tokio::spawn(gitops::run(daemon.clone()));
    let hooks = match args.webhook {
        Some(address) => {
            Some(tokio::spawn(gitops::webhook::serve(daemon.clone(), small_server::bind(address, "webhooks").await?)))
        }
        None => None,
    };
    if let Some(address) = args.metrics {
        tokio::spawn(metrics::serve(daemon.clone(), small_server::bind(address, "metrics").await?));
    }
    let identity = membership.as_ref().map(|membership| membership.identity());
    let port = match identity.filter(|identity| identity.role == Role::Manager) {
        Some(identity) => Some(tokio::spawn(peers::serve(daemon.clone(), peers::bind(identity.listen).await?))),
        None => None,
    };
    let renewal = tokio::spawn(peers::renew::run(daemon.clone()));
    let learning = tokio::spawn(crate::learn::run(daemon.clone()));
    tokio::spawn(autolock::keep(daemon.clone()));
    let listener = api_server::bind(&roots.socket())?;
    let server = tokio::spawn(api_server::serve(daemon.clone(), listener));
    tokio::spawn({
        let daemon = daemon.clone();
        async move {
            match calls::cluster::finish_init(&daemon).await {
                Ok(true) => daemon.again.cancel(),
                Ok(false) => {}
                Err(error) => tracing::error!("finish what `init` has begun: {error}"),
            }
        }
    });
    daemon.events.emit("daemon", "start", node_id.to_string(), &[("name", "rswarm")]);
    tracing::info!(pid = std::process::id(), node = %node_id.short(), socket = %roots.socket().display(), "ready");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Nothing is read again on SIGHUP; it must not kill us either.
            _ = hangup.recv() => tracing::debug!("SIGHUP: nothing to do"),
            () = daemon.again.cancelled() => break,
            ended = &mut agent => {
                ended.context("drive the agent of this node")??;
                anyhow::bail!("the agent of this node ended: restart the daemon");
            }
            () = ended(manager.as_ref()) => anyhow::bail!("the manager ended: see the log above; restart the daemon"),
        }
    }
    tracing::info!("stopping; containers go on running");
    daemon.cluster.retire(GRACE).await;
    daemon.stop.cancel();
    let _removed_already = std::fs::remove_file(roots.socket());
    let ended = async {
        let _server = server.await;
        let _agent = agent.await;
        let _guard = guard.await;
        let _followers = followers.await;
        let _renewal = renewal.await;
        let _learning = learning.await;
        if let Some(port) = port {
            let _port = port.await;
        }
        let _sessions = sessions.await;
        if let Some(places) = places {
            let _places = places.await;
        }
        if let Some(hooks) = hooks {
            let _hooks = hooks.await;
        }
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!("effects that are still under way are left; the next start looks at what they did");
    }
    daemon.cluster.stop(GRACE).await;
    Ok(if daemon.again.is_cancelled() { Ended::Again(daemon.key.lock()) } else { Ended::Stopped })
}

/// Returns when the manager's thread has ended; on a worker there is none.
async fn ended(manager: Option<&drive_manager::Running>) {
    match manager {
        Some(manager) => manager.ended().await,
        None => std::future::pending().await,
    }
}

/// The key of this node; where it is sealed, waits for whoever opens it. `None`: the node has left its cluster instead.
async fn open_key(roots: &Roots, info: &api::DaemonInfo) -> Result<Option<KeyFile>> {
    let handed = locked::handed_over();
    let locked = match KeyFile::find(&roots.data.join("node-key")).context("read the key of this node")? {
        Found::Open(file) => return Ok(Some(file)),
        Found::Locked(locked) => locked,
    };
    if let Some(file) = handed.and_then(|key| locked.unlock(&key).ok()) {
        return Ok(Some(file));
    }
    Ok(match locked::wait(roots, locked, info.clone()).await? {
        Freed::Unlocked(file) => Some(file),
        Freed::Left => None,
    })
}

/// The external OCI runtime that was asked for, by path, or by name in `PATH`.
fn find_program(name: &Path) -> Result<PathBuf> {
    let runs = |path: &Path| {
        let metadata = path.metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let found = if name.components().count() > 1 {
        std::path::absolute(name).ok().filter(|path| runs(path))
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| runs(path))
    };
    found.with_context(|| {
        format!("--oci-runtime {}: there is no such program; leave it out for the built-in runtime", name.display())
    })
}

fn info(args: &DaemonArgs, roots: &Roots, node: model::NodeId) -> api::DaemonInfo {
    api::DaemonInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        data_root: roots.data.display().to_string(),
        run_root: roots.run.display().to_string(),
        cgroup: node::cgroup_version().to_owned(),
        oci_runtime: args.oci_runtime.as_ref().map_or_else(|| "built-in".to_owned(), |path| path.display().to_string()),
        node: node.to_string(),
        life: life(),
        worker: None,
        locked: false,
    }
}

/// Tells one daemon from the next.
fn life() -> u64 {
    config::random().map_or(0, u64::from_le_bytes)
}
