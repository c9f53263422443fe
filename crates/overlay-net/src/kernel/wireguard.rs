//! The kernel's own WireGuard: a link of that kind, and what it is told (generic netlink, `linux/wireguard.h`).
//!
//! The link is made by the host's namespace and lives in the mesh's: what is sealed goes through the namespace that
//! made it, as with VXLANs.

use super::link::{self, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_NET_NS_FD, RTM_NEWLINK};
use super::netlink::{Batch, F_ACK, F_CREATE, F_DUMP, F_EXCL, Socket, attr, attrs, u16_at, u64_at};
use crate::sockaddr::Address;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The kind of such links.
pub(crate) const KIND: &str = "wireguard";
/// Messages must stay below 64 KiB.
const PEERS_PER_MESSAGE: usize = 100;

const VERSION: u8 = 1;
const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;
const DEVICE_IFNAME: u16 = 2;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_LISTEN_PORT: u16 = 6;
const DEVICE_PEERS: u16 = 8;
const PEER_PUBLIC_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_RX: u16 = 7;
const PEER_TX: u16 = 8;
const PEER_ALLOWED: u16 = 9;
const FLAG_REMOVE: u32 = 1;
const FLAG_REPLACE_ALLOWED: u32 = 2;
const FLAG_UPDATE_ONLY: u32 = 4;
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_PREFIX: u16 = 3;

/// A peer's public key.
pub(crate) type Key = [u8; 32];

/// What is to be said about one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Say {
    /// It is to be spoken to, at this address of the mesh and no other.
    Known { key: Key, address: Ipv4Addr },
    /// It is to be sought there. `keepalive`: seconds between signs of life; zero and then another number has the
    /// kernel greet it.
    At { key: Key, endpoint: Option<SocketAddr>, keepalive: u16 },
    /// It is nobody any more.
    Gone { key: Key },
}

/// A peer as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Since 1970; `None`: there was none.
    pub(crate) handshake: Option<Duration>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Asks for a link, made by the namespace of the socket, in another one.
pub(crate) fn add(batch: &mut Batch, name: &str, home: BorrowedFd<'_>) {
    batch.message(RTM_NEWLINK, F_ACK | F_CREATE | F_EXCL, &link::ifinfo(0, false));
    batch.text(IFLA_IFNAME, name).attr(IFLA_NET_NS_FD, &home.as_raw_fd().to_ne_bytes());
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_KIND, KIND);
    });
}

/// A conversation with the kernel about WireGuard, in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Control {
    socket: Socket,
    family: u16,
}

impl Control {
    /// # Errors
    /// The kernel has no WireGuard.
    pub(crate) fn open() -> io::Result<Control> {
        const GET_FAMILY: [u8; 4] = [3, 1, 0, 0];
        const CONTROL: u16 = 16;
        const FAMILY_ID: u16 = 1;
        const FAMILY_NAME: u16 = 2;
        let socket = Socket::generic()?;
        let mut batch = Batch::default();
        batch.message(CONTROL, F_ACK, &GET_FAMILY).text(FAMILY_NAME, KIND);
        let replies = socket.dump(batch)?;
        let family = replies.iter().find_map(|reply| attr(reply.payload.get(4..)?, FAMILY_ID));
        let family = family.map(|value| u16_at(value, 0)).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(Control { socket, family })
    }

    fn set(&self, name: &str, inside: impl FnOnce(&mut Batch)) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.message(self.family, F_ACK, &[SET_DEVICE, VERSION, 0, 0]).text(DEVICE_IFNAME, name);
        inside(&mut batch);
        for outcome in self.socket.transact(batch)? {
            outcome?;
        }
        Ok(())
    }

    /// Gives the link its key and its port. The same again disturbs nobody.
    pub(crate) fn identify(&self, name: &str, private: &[u8; 32], port: u16) -> io::Result<()> {
        self.set(name, |b| {
            b.attr(DEVICE_PRIVATE_KEY, private).attr(DEVICE_LISTEN_PORT, &port.to_ne_bytes());
        })
    }

    /// Says all of it, in this order.
    pub(crate) fn say(&self, name: &str, all: &[Say]) -> io::Result<()> {
        for part in all.chunks(PEERS_PER_MESSAGE) {
            self.set(name, |b| {
                b.nest(DEVICE_PEERS, |b| part.iter().for_each(|say| say.put(b)));
            })?;
        }
        Ok(())
    }

    /// Everybody that the link knows.
    pub(crate) fn peers(&self, name: &str) -> io::Result<Vec<Seen>> {
        let mut batch = Batch::default();
        batch.message(self.family, F_DUMP, &[GET_DEVICE, VERSION, 0, 0]).text(DEVICE_IFNAME, name);
        let mut seen: Vec<Seen> = Vec::new();
        for reply in self.socket.dump(batch)? {
            let peers = reply.payload.get(4..).and_then(|rest| attr(rest, DEVICE_PEERS)).unwrap_or_default();
            for (_, peer) in attrs(peers) {
                // One whose addresses fill several messages comes again, with nothing else.
                seen.extend(Seen::read(peer).filter(|peer| seen.last().is_none_or(|last| last.key != peer.key)));
            }
        }
        Ok(seen)
    }
}

impl Say {
    fn put(&self, batch: &mut Batch) {
        batch.nest(0, |b| match self {
            Say::Known { key, address } => {
                b.attr(PEER_PUBLIC_KEY, key).attr(PEER_FLAGS, &FLAG_REPLACE_ALLOWED.to_ne_bytes());
                b.nest(PEER_ALLOWED, |b| {
                    b.nest(0, |b| {
                        b.attr(ALLOWED_FAMILY, &u16::from(link::AF_INET).to_ne_bytes());
                        b.attr(ALLOWED_ADDRESS, &address.octets()).attr(ALLOWED_PREFIX, &[32]);
                    });
                });
            }
            Say::At { key, endpoint, keepalive } => {
                b.attr(PEER_PUBLIC_KEY, key).attr(PEER_FLAGS, &FLAG_UPDATE_ONLY.to_ne_bytes());
                if let Some(endpoint) = endpoint {
                    b.attr(PEER_ENDPOINT, &Address::bytes(*endpoint));
                }
                b.attr(PEER_KEEPALIVE, &keepalive.to_ne_bytes());
            }
            Say::Gone { key } => {
                b.attr(PEER_PUBLIC_KEY, key).attr(PEER_FLAGS, &FLAG_REMOVE.to_ne_bytes());
            }
        });
    }
}

impl Seen {
    fn read(peer: &[u8]) -> Option<Seen> {
        let mut seen = Seen {
            key: *attr(peer, PEER_PUBLIC_KEY)?.first_chunk()?,
            endpoint: None,
            handshake: None,
            received: 0,
            sent: 0,
        };
        for (kind, value) in attrs(peer) {
            match kind {
                PEER_ENDPOINT => seen.endpoint = Address::read(value),
                PEER_LAST_HANDSHAKE => {
                    let at = Duration::new(u64_at(value, 0), u64_at(value, 8).min(999_999_999) as u32);
                    seen.handshake = (!at.is_zero()).then_some(at);
                }
                PEER_RX => seen.received = u64_at(value, 0),
                PEER_TX => seen.sent = u64_at(value, 0),
                _ => {}
            }
        }
        Some(seen)
    }
}
