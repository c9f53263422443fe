//! The mesh: WireGuard between the nodes of a cluster, in `netd`.
//!
//! IP packets of the mesh's interface go sealed to the node whose address they are for, over one UDP socket in the
//! host's own namespace. The handshake, its timers and the sealing are boringtun's; what is here moves packets in
//! bulk. Threads: one from the interface to the wire, one from the wire to the interface, one for time.

mod engine;
mod gro;
mod inward;
mod key;
mod outward;
mod peers;
mod udp;
mod virtio;

pub use engine::Engine;
pub use key::own_key;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How a peer looks from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Where it is spoken to.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the last handshake; `None`: there is no session.
    pub handshake_age: Option<u64>,
    /// Bytes sent to it, as they were before sealing.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
}
