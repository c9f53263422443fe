//! From the interface to the wire.

use super::peers::{Peer, Table};
use super::udp;
use super::userspace::Shared;
use super::virtio::{self, FRONT, Header};
use boringtun::noise::{Tunn, TunnResult};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What sealing adds, in bytes.
const SEAL: usize = 32;
/// The most packets that are taken off the interface before what there is goes out.
const READS: usize = 64;

/// Until it is over, or the interface is gone.
pub(super) fn run(shared: &Shared, device: &OwnedFd) {
    let mut buffer = vec![0; FRONT + 65_536];
    let mut scratch = vec![0; 65_536];
    let mut batch = Batch { bytes: vec![0; udp::LARGEST + 2048], used: 0, size: 0, count: 0, to: None };
    while !shared.is_over() {
        let table = shared.table();
        let mut reads = 0;
        while reads < READS {
            match rustix::io::read(device, &mut buffer) {
                Ok(length) => {
                    packet(shared, &table, buffer.get_mut(..length).unwrap_or_default(), &mut scratch, &mut batch)
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    // `netd` opens it again when it has made it anew.
                    tracing::warn!(%error, "read from the interface of the mesh");
                    return;
                }
            }
            reads += 1;
        }
        batch.flush(shared);
        if reads == 0 && shared.wait(device).is_err() {
            return;
        }
    }
}

fn packet(shared: &Shared, table: &Table, bytes: &mut [u8], scratch: &mut [u8], batch: &mut Batch) {
    let Some((front, packet)) = bytes.split_first_chunk_mut() else { return };
    let Some(header) = Header::read(front) else { return };
    let Some(IpAddr::V4(to)) = Tunn::dst_address(packet) else { return };
    let Some(peer) = table.by_address(to) else { return };
    let endpoint = peer.endpoint();
    let mut tunnel = peer.tunnel();
    virtio::split(&header, packet, scratch, |packet| batch.seal(shared, peer, endpoint, &mut tunnel, packet));
}

/// Datagrams of one size for one peer.
struct Batch {
    bytes: Vec<u8>,
    used: usize,
    size: usize,
    count: usize,
    to: Option<SocketAddr>,
}

impl Batch {
    fn seal(&mut self, shared: &Shared, peer: &Arc<Peer>, to: Option<SocketAddr>, tunnel: &mut Tunn, packet: &[u8]) {
        let length = packet.len() + SEAL;
        // The last of a batch may be shorter, and then it is the last.
        let fits = self.count < udp::MOST
            && self.used + length <= udp::LARGEST
            && self.to == to
            && length <= self.size
            && self.used == self.size * self.count;
        if self.count > 0 && !fits {
            self.flush(shared);
        }
        let Some(space) = self.bytes.get_mut(self.used..) else { return };
        if space.len() < length.max(148) {
            return;
        }
        if let TunnResult::WriteToNetwork(sealed) = tunnel.encapsulate(packet, space) {
            const DATA: u8 = 4;
            if sealed.first() != Some(&DATA) {
                // There is no session: the packet waits, and this begins one.
                shared.send_handshake(peer, sealed);
                return;
            }
            if self.count == 0 {
                (self.size, self.to) = (length, to);
            }
            self.used += length;
            self.count += 1;
        }
    }

    fn flush(&mut self, shared: &Shared) {
        if let (Some(to), Some(bytes), true) = (self.to, self.bytes.get(..self.used), self.count > 0)
            && let Err(error) = shared.socket.send(to, bytes, self.size)
        {
            match error.raw_os_error() {
                // A link that can't cut them, or a way that is too small for them (EMSGSIZE since Linux 6.14), where the
                // kernel sends each in fragments.
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if self.count > 1 => {
                    for datagram in bytes.chunks(self.size) {
                        let _lost = shared.socket.send(to, datagram, datagram.len());
                    }
                }
                // What is full drops, as every wire does; the one who sends slows down.
                _ => tracing::trace!(%to, %error, "send"),
            }
        }
        (self.used, self.count) = (0, 0);
    }
}
