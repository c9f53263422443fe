//! From the wire to the interface.

use super::gro::Coalescer;
use super::peers::{Peer, Table};
use super::udp::Socket;
use super::userspace::{LARGEST, Shared};
use crate::kernel::tun::Takes;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, Tunn, TunnResult};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard};

/// The most calls before what there is goes up.
const CALLS: usize = 8;

/// What one worker needs for it.
pub(super) struct Inward {
    buffer: Vec<u8>,
    plain: Vec<u8>,
    up: Coalescer,
}

impl Inward {
    pub(super) fn new(takes: Takes) -> Inward {
        Inward { buffer: vec![0; 1 << 16], plain: vec![0; LARGEST], up: Coalescer::new(takes) }
    }

    /// Hands up what there is, up to a measure: the bytes that came.
    pub(super) fn turn(&mut self, shared: &Shared, socket: &Socket, table: &Table, device: &OwnedFd) -> usize {
        let Inward { buffer, plain, up } = self;
        let (mut calls, mut bytes) = (0, 0);
        while calls < CALLS {
            match socket.receive(buffer) {
                Ok((length, size, from)) => {
                    bytes += length;
                    let mut received = Received { shared, socket, table, device, from, open: None };
                    for datagram in buffer.get(..length).unwrap_or_default().chunks(size) {
                        received.datagram(datagram, plain, up);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A peer's host said that nobody listens: no reason to stop.
                Err(error) => tracing::trace!(%error, "receive"),
            }
            calls += 1;
        }
        up.flush(device);
        bytes
    }
}

/// Datagrams from one place.
struct Received<'a> {
    shared: &'a Shared,
    socket: &'a Socket,
    table: &'a Table,
    device: &'a OwnedFd,
    from: SocketAddr,
    /// Whose conversation is held open: most often one peer's datagrams follow each other.
    open: Option<(&'a Peer, MutexGuard<'a, Tunn>)>,
}

impl<'a> Received<'a> {
    fn datagram(&mut self, datagram: &[u8], plain: &mut [u8], up: &mut Coalescer) {
        const DATA: [u8; 4] = 4_u32.to_le_bytes();
        let peer = if datagram.first_chunk() == Some(&DATA) {
            let index =
                datagram.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
            index.and_then(|index| self.table.by_index(index))
        } else {
            self.handshake(datagram, plain)
        };
        let Some(peer) = peer else { return };
        if !self.open.as_ref().is_some_and(|(open, _)| std::ptr::eq(*open, &raw const **peer)) {
            // One at a time: nobody ever waits for one while holding another.
            self.open = None;
        }
        let (_, tunnel) = self.open.get_or_insert_with(|| (peer, peer.tunnel()));
        match tunnel.decapsulate(Some(self.from.ip()), datagram, plain) {
            TunnResult::WriteToTunnelV4(packet, source) => {
                peer.heard(self.from);
                // Whoever has a key may speak for itself only.
                if source == peer.address {
                    up.push(packet, self.device);
                }
            }
            TunnResult::WriteToNetwork(packet) => {
                // A cookie is for whoever asks; all else is for those who have proved who they are.
                const COOKIE: u8 = 3;
                if packet.first() != Some(&COOKIE) {
                    peer.heard(self.from);
                }
                self.shared.send_handshake(peer, packet);
                // What waited for the session.
                while let TunnResult::WriteToNetwork(packet) = tunnel.decapsulate(None, &[], plain) {
                    self.shared.send_handshake(peer, packet);
                }
            }
            TunnResult::Done => peer.heard(self.from),
            TunnResult::WriteToTunnelV6(..) => {}
            TunnResult::Err(error) => tracing::trace!(?error, from = %self.from, "a datagram was refused"),
        }
    }

    /// Whose handshake it is, once it is worth the effort: it shows that the sender knows our public key, and, when
    /// there are many, that it is where it says.
    fn handshake(&self, datagram: &[u8], reply: &mut [u8]) -> Option<&'a Arc<Peer>> {
        let Shared { limiter, private, public, .. } = self.shared;
        let packet = match limiter.verify_packet(Some(self.from.ip()), datagram, reply) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                let _lost = self.socket.send(self.from, cookie, cookie.len());
                return None;
            }
            Err(_) => return None,
        };
        match packet {
            Packet::HandshakeInit(init) => {
                let half = parse_handshake_anon(private, public, &init);
                let known = half.map(|half| self.table.by_key(&half.peer_static_public));
                known.inspect_err(|error: &WireGuardError| tracing::trace!(?error, "a handshake of nobody")).ok()?
            }
            Packet::HandshakeResponse(response) => self.table.by_index(response.receiver_idx),
            Packet::PacketCookieReply(reply) => self.table.by_index(reply.receiver_idx),
            Packet::PacketData(_) => None,
        }
    }
}
