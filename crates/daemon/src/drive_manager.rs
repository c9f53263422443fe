//! The manager's driver: consensus, the log on disk and the manager on one thread of their own, for
//! the disk's sake: an fsync blocks nobody else, and what comes in meanwhile shares the next one.

mod core;
mod group;

use crate::cluster::{Cluster, Message};
use crate::config;
use crate::identity::Identity;
use crate::raft_net::{Forwards, Outgoing};
use anyhow::{Context as _, Result};
use consensus::{Member, Members, Raft, Stable};
use core::Core;
use group::Others;
use orchestrator::Manager;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use store::{NodeKey, Store};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// This member's number in its group of one, which it keeps when that grows.
const FIRST: Member = Member(1);

/// Messages to other members that may wait; what comes on top is said again.
const OUTGOING: usize = 4096;

/// A manager that is ready to run.
pub(crate) struct Prepared {
    core: Core,
    inbox: std_mpsc::Receiver<Message>,
    /// What is to be sent to the other managers, and passed on to the one that leads; `None` on a machine of
    /// its own.
    pub(crate) lines: Option<Lines>,
}

/// What leaves the manager's thread for other managers.
pub(crate) struct Lines {
    pub(crate) outgoing: mpsc::Receiver<Outgoing>,
    pub(crate) forwards: Forwards,
}

/// The manager's thread as its daemon sees it.
#[derive(Debug)]
pub(crate) struct Running {
    ended: CancellationToken,
}

impl Running {
    /// Returns when the thread has ended, for whatever reason.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Reads the log. `identity`: the place in a cluster, if the machine is no longer one of its own.
///
/// # Errors
/// The log is damaged, of a newer format, or in use.
pub(crate) fn open(data_root: &Path, key: &NodeKey, identity: Option<&Identity>) -> Result<(Prepared, Cluster)> {
    let folder = Identity::log_folder(data_root, identity);
    let member = identity.and_then(|identity| identity.member).map_or(FIRST, Member);
    let (mut store, recovered) =
        Store::open(&folder, key).with_context(|| format!("read the log of the cluster in {}", folder.display()))?;
    let stable = match recovered.into_stable() {
        Some(stable) => stable,
        None => {
            let stable = match member {
                FIRST => Stable::bootstrap(Members::of([FIRST])),
                _ => Stable::joining(),
            };
            store.bootstrap(&stable).context("begin the log of the cluster")?;
            stable
        }
    };
    let seed = u64::from_le_bytes(config::random()?);
    let mut manager = Manager::new(seed);
    if !stable.snapshot.data.is_empty() {
        let snapshot = serde_json::from_slice(&stable.snapshot.data).context("read the snapshot of the cluster")?;
        manager.restore(snapshot);
    }
    let config = group::config(member, seed);
    let raft = Raft::new(config, stable).context("start consensus")?;
    let (sender, inbox) = std_mpsc::channel();
    let (changed, changes) = watch::channel(0);
    let (groups, seen) = watch::channel(group::group(raft.members()));
    let mut cluster = Cluster::new(sender, changes, seen);
    cluster.has_log(store.timings());
    let mut lines = None;
    let mut send = None;
    if identity.is_some() {
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        send = Some(sender);
        lines = Some(Lines { outgoing, forwards: cluster.forwards() });
    }
    let core = Core::new(store, raft, manager, changed, groups, Others::new(config, send));
    Ok((Prepared { core, inbox, lines }, cluster))
}

impl Prepared {
    /// Replays the log, then runs until told to stop.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(self) -> Result<Running> {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        std::thread::Builder::new()
            .name("manager".to_owned())
            .spawn(move || {
                let Prepared { mut core, inbox, lines: _ } = self;
                if let Err(error) = core.run(&inbox) {
                    tracing::error!("the manager ends: {error:#}");
                }
                // The log is let go of before anybody is told.
                drop(core);
                drop(guard);
            })
            .context("start the manager's thread")?;
        Ok(Running { ended })
    }
}

#[cfg(test)]
mod tests;
