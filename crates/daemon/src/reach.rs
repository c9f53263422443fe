//! Other nodes as this one reaches them.
//!
//! A node is reached over a connection that it makes itself, when the leader asks it to over its session: it
//! may be where nobody can dial it. Managers that do not lead go through the leader.

use crate::agents::Io;
use crate::api_server::Body;
use crate::cluster::Leader;
use crate::failure;
use crate::shared::Daemon;
use anyhow::Context as _;
use api::ApiError;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use model::NodeId;
use std::sync::Arc;

/// A connection to the cluster port of a node, upgraded at this path.
///
/// # Errors
/// It cannot be reached, is another node than expected, or refuses.
pub(crate) async fn upgrade(
    daemon: &Arc<Daemon>,
    address: &str,
    node: Option<NodeId>,
    path: &str,
) -> anyhow::Result<Io> {
    let peers = daemon.peers.as_ref().with_context(|| format!("dial {address}: this machine is part of no cluster"))?;
    peers.upgrade(address, node, path).await
}

/// Sends a request to the API of a node.
///
/// # Errors
/// It cannot be reached.
pub(crate) async fn send(
    daemon: &Arc<Daemon>,
    node: NodeId,
    request: Request<Body>,
) -> Result<Response<Incoming>, ApiError> {
    let broken =
        |error: hyper::Error| failure::failed(format!("ask node {}: {}", node.short(), failure::chain(&error)));
    let stream = connect(daemon, node).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(broken)
}

/// A connection on which the API of a node is served, be it through the leader.
async fn connect(daemon: &Arc<Daemon>, node: NodeId) -> Result<Io, ApiError> {
    let leader = daemon.cluster.group().borrow().leader;
    let member = match leader {
        Leader::Me => return daemon.agents.dial(node).await,
        Leader::Member(member) => member,
        Leader::Unknown => {
            let error =
                failure::failed(format!("node {} cannot be reached: no manager leads at this moment", node.short()));
            return Err(failure::hint(error, "try again in a moment"));
        }
    };
    let manager = daemon.agents.places.borrow().manager(member).cloned();
    let manager = manager.ok_or_else(|| failure::failed("where the leader is reached is not known yet"))?;
    dial(daemon, &manager.address, manager.node).await
}

/// A connection to the API on the cluster port of a manager.
async fn dial(daemon: &Arc<Daemon>, address: &str, node: NodeId) -> Result<Io, ApiError> {
    let alone = || failure::failed(format!("dial {address}: this machine is part of no cluster"));
    let peers = daemon.peers.as_ref().ok_or_else(alone)?;
    let stream = peers.connect(address, Some(node)).await;
    Ok(Box::new(stream.map_err(|error| failure::failed(format!("{error:#}")))?))
}
