//! From the interface to the wire.

use super::peers::{Peer, Table};
use super::udp::{self, Socket};
use super::userspace::Shared;
use super::virtio::{self, FRONT, Header};
use boringtun::noise::{Tunn, TunnResult};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// What sealing adds, in bytes.
const SEAL: usize = 32;
/// The most packets that are taken off the interface before what there is goes out.
const READS: usize = 8;

/// What one worker needs for it.
pub(super) struct Outward {
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    batch: Batch,
}

impl Outward {
    pub(super) fn new() -> Outward {
        let batch = Batch { bytes: vec![0; udp::LARGEST + 2048], used: 0, size: 0, count: 0, to: None };
        Outward { buffer: vec![0; FRONT + 65_536], scratch: vec![0; 1024], batch }
    }

    /// Sends what there is, up to a measure: the bytes that were read.
    ///
    /// # Errors
    /// The interface is gone.
    pub(super) fn turn(
        &mut self,
        shared: &Shared,
        socket: &Socket,
        table: &Table,
        device: &OwnedFd,
    ) -> rustix::io::Result<usize> {
        let Outward { buffer, scratch, batch } = self;
        let mut out = Out { shared, socket, table, batch };
        let (mut reads, mut bytes) = (0, 0);
        while reads < READS {
            match rustix::io::read(device, &mut *buffer) {
                Ok(length) => {
                    bytes += length;
                    out.packet(buffer.get_mut(..length).unwrap_or_default(), scratch);
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            reads += 1;
        }
        batch.flush(socket);
        Ok(bytes)
    }
}

/// One turn.
struct Out<'a> {
    shared: &'a Shared,
    socket: &'a Socket,
    table: &'a Table,
    batch: &'a mut Batch,
}

impl Out<'_> {
    fn packet(&mut self, bytes: &mut [u8], scratch: &mut [u8]) {
        let Some((front, packet)) = bytes.split_first_chunk_mut() else { return };
        let Some(header) = Header::read(front) else { return };
        let Some(IpAddr::V4(to)) = Tunn::dst_address(packet) else { return };
        let Some(peer) = self.table.by_address(to) else { return };
        let endpoint = peer.endpoint();
        let mut tunnel = peer.tunnel();
        virtio::split(&header, packet, scratch, |packet| self.seal(peer, endpoint, &mut tunnel, packet));
    }

    fn seal(&mut self, peer: &Peer, to: Option<SocketAddr>, tunnel: &mut Tunn, packet: &[u8]) {
        let length = packet.len() + SEAL;
        if !self.batch.fits(to, length) {
            self.batch.flush(self.socket);
        }
        let Some(space) = self.batch.space(length) else { return };
        if let TunnResult::WriteToNetwork(sealed) = tunnel.encapsulate(packet, space) {
            const DATA: u8 = 4;
            match sealed.first() {
                Some(&DATA) => self.batch.add(to, length),
                // There is no session: the packet waits, and this begins one.
                _ => self.shared.send_handshake(peer, sealed),
            }
        }
    }
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
    /// May a datagram follow? The last may be shorter, and then it is the last.
    fn fits(&self, to: Option<SocketAddr>, length: usize) -> bool {
        let follows = self.to == to && length <= self.size && self.used == self.size * self.count;
        self.count == 0 || follows && self.count < udp::MOST && self.used + length <= udp::LARGEST
    }

    /// Where the next one goes.
    fn space(&mut self, length: usize) -> Option<&mut [u8]> {
        // A handshake may come in its place.
        self.bytes.get_mut(self.used..).filter(|space| space.len() >= length.max(148))
    }

    fn add(&mut self, to: Option<SocketAddr>, length: usize) {
        if self.count == 0 {
            (self.size, self.to) = (length, to);
        }
        self.used += length;
        self.count += 1;
    }

    fn flush(&mut self, socket: &Socket) {
        if let (Some(to), Some(bytes), true) = (self.to, self.bytes.get(..self.used), self.count > 0)
            && let Err(error) = socket.send(to, bytes, self.size)
        {
            match error.raw_os_error() {
                // A link that can't cut them, or a way that is too small for them (EMSGSIZE since Linux 6.14), where the
                // kernel sends each in fragments.
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if self.count > 1 => {
                    for datagram in bytes.chunks(self.size) {
                        let _lost = socket.send(to, datagram, datagram.len());
                    }
                }
                // What is full drops, as every wire does; the one who sends slows down.
                _ => tracing::trace!(%to, %error, "send"),
            }
        }
        (self.used, self.count) = (0, 0);
    }
}
