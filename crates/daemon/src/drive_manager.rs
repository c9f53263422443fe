//! The manager's driver: consensus, the log on disk and the manager on one thread of their own, for
//! the disk's sake: an fsync blocks nobody else, and what comes in meanwhile shares the next one.

mod core;

use crate::cluster::{Cluster, Message};
use crate::config;
use anyhow::{Context as _, Result};
use consensus::{Config, Member, Members, Raft, Stable};
use core::Core;
use orchestrator::Manager;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use store::{NodeKey, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// This member's number in its group of one.
const SELF: Member = Member(1);

/// A manager that is ready to run.
pub(crate) struct Prepared {
    core: Core,
    inbox: std_mpsc::Receiver<Message>,
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

/// Reads the log.
///
/// # Errors
/// The log is damaged, of a newer format, or in use.
pub(crate) fn open(data_root: &Path, key: &NodeKey) -> Result<(Prepared, Cluster)> {
    let folder = data_root.join("raft");
    let (mut store, recovered) =
        Store::open(&folder, key).with_context(|| format!("read the log of the cluster in {}", folder.display()))?;
    let stable = match recovered.into_stable() {
        Some(stable) => stable,
        None => {
            let stable = Stable::bootstrap(Members::of([SELF]));
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
    let raft = Raft::new(Config::new(SELF, seed), stable).context("start consensus")?;
    let (sender, inbox) = std_mpsc::channel();
    let (changed, changes) = watch::channel(0);
    let (group, groups) = watch::channel(core::group(raft.members()));
    let core = Core::new(store, raft, manager, changed, group);
    Ok((Prepared { core, inbox }, Cluster::new(sender, changes, groups)))
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
                let Prepared { mut core, inbox } = self;
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
