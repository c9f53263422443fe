//! What every part of the daemon can reach.

use crate::agents::Switchboard;
use crate::cluster::Cluster;
use crate::events::Events;
use crate::gitops::Gitops;
use crate::identity::Membership;
use crate::images::Images;
use crate::network::Network;
use crate::peers::Peers;
use crate::rendezvous::Rendezvous;
use model::{Exit, NodeId, Task, TaskId};
use runtime::Engine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// One daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) node: NodeId,
    pub(crate) info: api::DaemonInfo,
    pub(crate) run_root: std::path::PathBuf,
    /// What it was told to say of its machine.
    pub(crate) offers: crate::node::Offers,
    pub(crate) cluster: Cluster,
    pub(crate) engine: Engine,
    pub(crate) network: Network,
    pub(crate) images: Images,
    pub(crate) events: Events,
    pub(crate) rendezvous: Rendezvous,
    pub(crate) endings: Endings,
    pub(crate) gitops: Gitops,
    pub(crate) stop: CancellationToken,
    /// What everything of this node is sealed with.
    pub(crate) key: store::KeyFile,
    /// Where what outlives a boot is.
    pub(crate) data_root: std::path::PathBuf,
    /// Its place in a cluster, if it has one.
    pub(crate) membership: Option<std::sync::Arc<Membership>>,
    /// The other machines of it, then.
    pub(crate) peers: Option<std::sync::Arc<Peers>>,
    /// Who is connected to this daemon.
    pub(crate) agents: Switchboard,
    /// The session of this node's agent with a manager, while there is one.
    pub(crate) in_session: tokio::sync::watch::Receiver<Option<u64>>,
    /// Cancelled by whoever has changed what this daemon is: it stops in order and begins anew.
    pub(crate) again: CancellationToken,
}

/// An answer is on its way before the daemon begins anew.
const ANSWERED: std::time::Duration = std::time::Duration::from_millis(100);

impl Daemon {
    /// Begins anew as what it was made meanwhile, once whoever asked for that has the answer.
    pub(crate) fn begin_anew(&self) {
        let again = self.again.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ANSWERED).await;
            again.cancel();
        });
    }

    /// Tells of something that happened to a container.
    pub(crate) fn container_event(&self, task: &Task, action: impl Into<String>, more: &[(&str, String)]) {
        let mut attributes = task.spec.container.labels.clone();
        attributes.insert("name".to_owned(), task.name());
        attributes.insert("image".to_owned(), task.spec.container.image.clone());
        attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.events.emit_map("container", action, task.id.to_string(), attributes);
    }

    /// The same for one of which only the id is known here.
    pub(crate) async fn container_event_by_id(&self, task: TaskId, action: impl Into<String>, more: &[(&str, String)]) {
        let state = self.cluster.state().await.ok();
        match state.as_ref().and_then(|state| state.tasks.iter().find(|candidate| candidate.id == task)) {
            Some(task) => self.container_event(task, action, more),
            None => {
                let attributes = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                self.events.emit_map("container", action, task.to_string(), attributes);
            }
        }
    }
}

/// Endings remembered for those who `wait` on a container that is gone by the time they look.
const ENDINGS_KEPT: usize = 1024;

/// How containers ended lately, and which were signalled by hand so that their end is meant.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    inner: Mutex<EndingsInner>,
}

#[derive(Debug, Default)]
struct EndingsInner {
    codes: BTreeMap<TaskId, i32>,
    order: VecDeque<TaskId>,
    meant: BTreeSet<TaskId>,
}

impl Endings {
    /// It ended. Was that meant by whoever signalled it?
    pub(crate) fn ended(&self, task: TaskId, exit: &Exit) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.codes.insert(task, exit.code).is_none() {
            inner.order.push_back(task);
        }
        if inner.order.len() > ENDINGS_KEPT
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.codes.remove(&oldest);
        }
        inner.meant.remove(&task)
    }

    /// Its next end is to be a stop by hand.
    pub(crate) fn mean(&self, task: TaskId) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).meant.insert(task);
    }

    /// How it ended last.
    pub(crate) fn code(&self, task: TaskId) -> Option<i32> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).codes.get(&task).copied()
    }
}
