//! Follows sources: one task for each, on whichever daemon leads. What it finds goes to the manager as a
//! request; what becomes of that is decided and remembered there, so that this part can be killed at any
//! moment, and another node can go on with it. Files of another node are read there ([`elsewhere`]).

mod elsewhere;
mod fetch;
mod follow;
pub(crate) mod webhook;

pub(crate) use elsewhere::read_here;

use crate::api_server::Scope;
use crate::cluster::Leader;
use crate::shared::Daemon;
use crate::{clock, failure, pin, relay};
use ::gitops::git::Git;
use api::{ApiError, Call, Reply};
use model::{Commit, NodeId, Request, Response, Source, StackPlan, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Changes of the state that come this close together are looked at once.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a follower may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

/// Look now.
#[derive(Debug)]
pub(crate) struct Nudge {
    /// A person asks: also for a commit that is not tried again by itself.
    asked: bool,
    /// Told when it is done.
    done: Option<oneshot::Sender<()>>,
}

/// One source that this node fetches.
#[derive(Debug)]
struct Worker {
    source: watch::Sender<Arc<Source>>,
    nudges: mpsc::UnboundedSender<Nudge>,
    abort: tokio::task::AbortHandle,
}

/// The followers of this node.
#[derive(Debug)]
pub(crate) struct Gitops {
    data: PathBuf,
    run: PathBuf,
    git: OnceLock<Git>,
    /// Sources that were ours when it was looked last.
    kept: Mutex<Option<BTreeSet<String>>>,
    workers: Mutex<BTreeMap<String, Worker>>,
}

impl Gitops {
    pub(crate) fn new(data: PathBuf, run: PathBuf) -> Gitops {
        Gitops { data, run, git: OnceLock::new(), kept: Mutex::default(), workers: Mutex::default() }
    }

    /// Git; its folders are made when they are needed first.
    fn git(&self) -> Result<&Git, ApiError> {
        if let Some(git) = self.git.get() {
            return Ok(git);
        }
        let git = Git::open(self.data.join("gitops"), self.run.join("gitops"));
        let git = git.map_err(|error| failure::failed(failure::chain(&error)))?;
        Ok(self.git.get_or_init(|| git))
    }

    /// Forgets what was fetched of sources that are not ours; also what an earlier daemon has left.
    fn clear(&self, ours: &BTreeMap<String, Arc<Source>>) {
        let names: BTreeSet<String> = ours.keys().cloned().collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref() != Some(&names) && self.data.join("gitops").exists() {
            Git::at(self.data.join("gitops"), self.run.join("gitops")).keep(&names);
        }
        *kept = Some(names);
    }

    /// Tells the follower of a source; false when there is none that knows this version of it.
    fn nudge(&self, source: &Source, nudge: Nudge) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = workers.get(&source.spec.name);
        let worker = worker.filter(|worker| worker.source.borrow().version >= source.version);
        worker.is_some_and(|worker| worker.nudges.send(nudge).is_ok())
    }
}

/// Keeps a follower for each source while this daemon leads, until it stops.
pub(crate) async fn run(daemon: Arc<Daemon>) {
    let mut tasks = JoinSet::new();
    let mut changes = daemon.cluster.changes();
    // On a machine of its own nobody else ever leads.
    let (mut group, mut alone) = (daemon.cluster.group(), false);
    loop {
        changes.borrow_and_update();
        group.borrow_and_update();
        let Ok((leads, sources)) = daemon.cluster.sources().await else { break };
        arrange(&daemon, &mut tasks, leads, sources);
        tokio::select! {
            () = daemon.stop.cancelled() => break,
            changed = changes.changed() => {
                if changed.is_err() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            changed = group.changed(), if !alone => alone = changed.is_err(),
            Some(_ended) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
}

/// Begins, tells and ends followers.
fn arrange(daemon: &Arc<Daemon>, tasks: &mut JoinSet<()>, leads: bool, sources: Vec<Arc<Source>>) {
    let ours: BTreeMap<String, Arc<Source>> =
        sources.into_iter().filter(|_| leads).map(|source| (source.spec.name.clone(), source)).collect();
    let mut workers = daemon.gitops.workers.lock().unwrap_or_else(PoisonError::into_inner);
    workers.retain(|name, worker| {
        let stays = ours.contains_key(name) && !worker.abort.is_finished();
        if !stays {
            worker.abort.abort();
        }
        stays
    });
    daemon.gitops.clear(&ours);
    for (name, source) in ours {
        if let Some(worker) = workers.get(&name) {
            worker.source.send_if_modified(|known| {
                let changed = !Arc::ptr_eq(known, &source);
                *known = source;
                changed
            });
            continue;
        }
        let (sender, receiver) = watch::channel(source);
        let (nudges, nudged) = mpsc::unbounded_channel();
        let abort = tasks.spawn(follow::follow(daemon.clone(), receiver, nudged));
        workers.insert(name, Worker { source: sender, nudges, abort });
    }
}

/// Who follows sources.
enum Follower {
    Ours,
    Other(NodeId),
    /// Nobody leads at this moment.
    Nobody,
}

fn follower(daemon: &Daemon, leads: bool) -> Follower {
    if leads {
        return Follower::Ours;
    }
    let leader = daemon.cluster.group().borrow().leader;
    let node = match leader {
        Leader::Member(member) => daemon.agents.places.borrow().manager(member).map(|peer| peer.node),
        Leader::Me | Leader::Unknown => None,
    };
    node.filter(|node| *node != daemon.node).map_or(Follower::Nobody, Follower::Other)
}

/// The source with its credentials, and whether this member leads.
async fn find(daemon: &Daemon, name: &str) -> Result<(bool, Arc<Source>), ApiError> {
    let (leads, sources) = daemon.cluster.sources().await?;
    let found = sources.into_iter().find(|source| source.spec.name == name);
    found.map(|source| (leads, source)).ok_or_else(|| failure::not_found(format!("no such source: {name}")))
}

/// What was agreed upon before is seen here from now on.
async fn catch_up(daemon: &Daemon) -> Result<(), ApiError> {
    match daemon.membership {
        Some(_) => daemon.cluster.ask(Request::Read).await.map(|_| ()),
        None => Ok(()),
    }
}

/// `gitops sync`, done by whichever node follows the source. For a node that asks it is done here or not at all.
///
/// # Errors
/// There is no such source, or its node cannot be reached.
pub(crate) async fn sync(daemon: &Arc<Daemon>, name: &str, again: bool, scope: Scope) -> Result<(), ApiError> {
    catch_up(daemon).await?;
    // A source that was added just now has its follower in a moment, and so has one whose leader is another now.
    let deadline = tokio::time::Instant::now() + BEGIN;
    let answer = loop {
        let (leads, source) = find(daemon, name).await?;
        match follower(daemon, leads) {
            Follower::Ours => {
                let (done, answer) = oneshot::channel();
                if daemon.gitops.nudge(&source, Nudge { asked: again, done: Some(done) }) {
                    break answer;
                }
            }
            Follower::Other(node) if scope == Scope::Cluster => {
                relay::ask(daemon, node, &Call::SyncSource { name: name.to_owned(), again }).await?;
                return catch_up(daemon).await;
            }
            Follower::Other(_) | Follower::Nobody => {}
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(nobody(name));
        }
        tokio::time::sleep(PAUSE).await;
    };
    answer.await.map_err(|_| failure::failed(format!("source {name} was forgotten meanwhile")))
}

fn nobody(name: &str) -> ApiError {
    let error = failure::failed(format!("source {name} is followed by nobody at this moment"));
    failure::hint(error, "the log of the daemon that leads tells why; `rswarm node ls` shows which that is")
}

/// `gitops diff`: the newest commit against the cluster, as the node sees it that follows the source.
///
/// # Errors
/// It can't be fetched, or makes no sense.
pub(crate) async fn diff(daemon: &Arc<Daemon>, name: &str, scope: Scope) -> Result<Reply, ApiError> {
    catch_up(daemon).await?;
    let (leads, source) = find(daemon, name).await?;
    match follower(daemon, leads) {
        Follower::Other(node) if scope == Scope::Cluster => {
            relay::ask(daemon, node, &Call::DiffSource(name.to_owned())).await
        }
        // Every member can read it.
        _ => Ok(Reply::Diff(Box::new(own_diff(daemon, &source).await?))),
    }
}

async fn own_diff(daemon: &Arc<Daemon>, source: &Arc<Source>) -> Result<(Commit, Vec<StackPlan>), ApiError> {
    let found = fetch::newest(daemon, source, &mut fetch::Known::default(), true).await;
    let found = found.map_err(|trouble| failure::failed(trouble.message()))?;
    let snapshot = daemon.cluster.snapshot().await?;
    let mut plans = Vec::new();
    for mut stack in found.stacks {
        pin::as_known(daemon, &mut stack).await?;
        let (snapshot, spec) = (snapshot.clone(), &source.spec);
        let (prune, prune_volumes) = (spec.prune, spec.prune_volumes);
        let wanted = Wanted { stack, remove_orphans: prune, prune, prune_volumes, ..Wanted::default() };
        let planning = tokio::task::spawn_blocking(move || orchestrator::preview(*snapshot, &wanted, clock::steady()));
        match planning.await.map_err(failure::joined)? {
            Ok(mut plan) => {
                // It is said to people who deploy by hand what a source brings; this is what it would bring.
                plan.warnings.retain(|warning| warning.code != "RS8019");
                plans.push(plan);
            }
            Err(Response::Refused { kind, diagnostics }) => return Err(failure::refused(kind, &diagnostics)),
            Err(_) => return Err(failure::failed("the plan was answered with something else than a plan")),
        }
    }
    Ok((found.commit, plans))
}
