//! The mesh: WireGuard between the nodes of a cluster.
//!
//! Where the kernel has it, it is the kernel's (`device`), and what is here only tells it who there is. Where not, it
//! is boringtun's, in `netd` (`userspace`): IP packets of the mesh's interface go sealed to the node whose address they
//! are for, over one UDP socket in the host's own namespace. The handshake, its timers and the sealing are boringtun's;
//! what is here moves packets in bulk (`worker`). Both speak the same protocol, so that nodes of either kind are in one mesh.

mod ack;
mod device;
mod gro;
mod inward;
mod key;
pub mod offload;
mod outward;
mod peers;
mod steer;
mod stop;
mod sum;
mod udp;
mod userspace;
mod virtio;
mod worker;

pub use key::own_key;

use crate::kernel::netlink::Socket;
use crate::kernel::{link, netns, wireguard};
use crate::names;
use device::Device;
use model::{Mesh, NodeId};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use userspace::Userspace;

/// This host's end of the mesh, at work.
pub struct Engine {
    port: u16,
    carrier: Carrier,
}

enum Carrier {
    Kernel(Device),
    Process(Userspace),
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins, in the host's network namespace of the calling thread. The interface is there, and its kind decides.
    ///
    /// # Errors
    /// There is no key, the port is taken, or the interface can't be opened.
    pub fn start(data_root: &Path, run_root: &Path, mesh: &Mesh) -> io::Result<Engine> {
        let links = netns::within(netns::open_mesh(run_root)?, || link::links(&Socket::route()?))?;
        let kernel = links.iter().any(|link| link.name == names::MESH_LINK && link.kind == wireguard::KIND);
        let carrier = match kernel {
            true => Carrier::Kernel(Device::start(data_root, run_root, mesh)?),
            false => Carrier::Process(Userspace::start(data_root, run_root, mesh)?),
        };
        Ok(Engine { port: mesh.port, carrier })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Speaks to these from now on, and to nobody else.
    ///
    /// # Errors
    /// The kernel can't be told; it may speak to those of before.
    pub fn set(&self, mesh: &Mesh) -> io::Result<()> {
        match &self.carrier {
            Carrier::Kernel(device) => device.set(mesh),
            Carrier::Process(userspace) => {
                userspace.set(mesh);
                Ok(())
            }
        }
    }

    /// How each peer looks from here.
    pub fn status(&self, mesh: &Mesh) -> BTreeMap<NodeId, PeerStatus> {
        let mut all = match &self.carrier {
            Carrier::Kernel(device) => device.status(mesh),
            Carrier::Process(userspace) => userspace.status(mesh),
        };
        for peer in all.values_mut() {
            peer.path_mtu = peer.endpoint.and_then(path_mtu);
        }
        all
    }
}

/// The largest IP packet, in bytes, that goes from the calling thread's network namespace to this address in one piece,
/// as far as the kernel has been told; `None`: no way leads there.
fn path_mtu(to: SocketAddr) -> Option<u32> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    if to.is_ipv4() { sockopt::ip_mtu(&socket).ok() } else { sockopt::ipv6_mtu(&socket).ok() }
}

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
    /// The largest IP packet that reaches it in one piece, in bytes, as the host knows; `None`: no way leads there.
    #[serde(default)]
    pub path_mtu: Option<u32>,
}
