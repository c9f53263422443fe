//! Who is connected here, and the connections that nodes were asked to make.

use super::frames::ToAgent;
use super::place::{Place, Places};
use crate::failure;
use api::ApiError;
use model::NodeId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a node may take to dial back.
const DIAL: Duration = Duration::from_secs(5);

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, however it was made.
pub(crate) type Io = Box<dyn Stream>;

/// The sessions of this daemon as a manager.
pub(crate) struct Switchboard {
    last: AtomicU64,
    nodes: Mutex<BTreeMap<NodeId, (u64, mpsc::Sender<ToAgent>)>>,
    awaited: Mutex<BTreeMap<String, (NodeId, oneshot::Sender<Io>)>>,
    /// What nodes are told of the cluster.
    pub(crate) places: watch::Sender<Arc<Places>>,
    /// What this node was told last of its own place.
    pub(crate) place: watch::Sender<Option<Place>>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard").finish_non_exhaustive()
    }
}

impl Default for Switchboard {
    fn default() -> Self {
        Switchboard {
            last: AtomicU64::new(0),
            nodes: Mutex::default(),
            awaited: Mutex::default(),
            places: watch::channel(Arc::default()).0,
            place: watch::channel(None).0,
        }
    }
}

impl Switchboard {
    /// A number for a session that begins; they rise.
    pub(super) fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A node is connected; what is sent to it comes out.
    pub(crate) fn connect(&self, node: NodeId, session: u64) -> mpsc::Receiver<ToAgent> {
        let (sender, receiver) = mpsc::channel(64);
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(node, (session, sender));
        receiver
    }

    /// Its session is over.
    pub(super) fn disconnect(&self, node: NodeId, session: u64) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.get(&node).is_some_and(|(newest, _)| *newest == session) {
            nodes.remove(&node);
        }
    }

    /// Nodes with a session here.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// A connection on which a node serves its API.
    ///
    /// # Errors
    /// The node has no session here, or does not dial in time.
    pub(crate) async fn dial(&self, node: NodeId) -> Result<Io, ApiError> {
        let away =
            || failure::failed(format!("node {} is not connected: it is down, or on its way back", node.short()));
        let sender = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&node).map(|it| it.1.clone());
        let sender = sender.ok_or_else(away)?;
        let random = crate::config::random().map_err(|error| failure::failed(format!("{error:#}")))?;
        let word = format!("{:032x}", u128::from_le_bytes(random));
        let (io, dialled) = oneshot::channel();
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(word.clone(), (node, io));
        let result = async {
            sender.send(ToAgent::Dial(word.clone())).await.map_err(|_| away())?;
            match tokio::time::timeout(DIAL, dialled).await {
                Ok(Ok(io)) => Ok(io),
                _ => Err(failure::failed(format!("node {} did not answer within {DIAL:?}", node.short()))),
            }
        };
        let result = result.await;
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&word);
        result
    }

    /// The leader has told this node its place.
    pub(super) fn placed(&self, place: Place) {
        self.place.send_if_modified(|known| known.replace(place.clone()).as_ref() != Some(&place));
    }

    /// A node has dialled; `false`: nobody waits for that.
    pub(crate) fn dialled(&self, node: NodeId, word: &str, io: Io) -> bool {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        // Another node must not get to answer in its place.
        if awaited.get(word).is_none_or(|(expected, _)| *expected != node) {
            return false;
        }
        awaited.remove(word).is_some_and(|(_, waiting)| waiting.send(io).is_ok())
    }
}
