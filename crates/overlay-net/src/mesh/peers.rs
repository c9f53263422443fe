//! Who is in the mesh, and how each is spoken to.

use super::key::decode;
use super::steer::{CLASSES, class};
use boringtun::noise::Tunn;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519::{PublicKey, StaticSecret};
use model::{Mesh, mesh_address};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Seconds between two signs of life, so that what translates addresses on the way does not forget us.
pub(super) const KEEPALIVE: u16 = 25;

/// As many places as the numbers on datagrams can tell apart, which count sessions too.
const MOST: u32 = 1 << 24;

/// Another node.
pub(super) struct Peer {
    /// Its place in the table; what its packets for us are numbered with.
    pub(super) slot: u32,
    /// Its address in the mesh: the only one that it may send from, and be sent to.
    pub(super) address: Ipv4Addr,
    key: [u8; 32],
    tunnel: Mutex<Tunn>,
    road: Mutex<Road>,
}

/// Where it is reached.
#[derive(Debug, Default, Clone)]
struct Road {
    /// Where it was last heard from.
    heard: Option<SocketAddr>,
    /// Where it says that it is.
    told: Vec<SocketAddr>,
}

impl Peer {
    /// The state of the conversation.
    pub(super) fn tunnel(&self) -> MutexGuard<'_, Tunn> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn road(&self) -> MutexGuard<'_, Road> {
        self.road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to send data.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        let road = self.road();
        road.heard.or(road.told.first().copied())
    }

    /// Where to try a handshake: wherever it may be.
    pub(super) fn candidates(&self) -> Vec<SocketAddr> {
        let road = self.road();
        let mut all: Vec<SocketAddr> = road.heard.into_iter().collect();
        all.extend(road.told.iter().filter(|told| Some(**told) != road.heard));
        all
    }

    /// It has proved to be there.
    pub(super) fn heard(&self, from: SocketAddr) {
        let mut road = self.road();
        if road.heard != Some(from) {
            road.heard = Some(from);
        }
    }

    /// What it looks like from here.
    pub(super) fn status(&self) -> super::PeerStatus {
        let (handshake, sent, received, ..) = self.tunnel().stats();
        super::PeerStatus {
            endpoint: self.endpoint(),
            handshake_age: handshake.map(|age| age.as_secs()),
            sent: sent as u64,
            received: received as u64,
            path_mtu: None,
        }
    }
}

/// Everybody, as of one moment.
#[derive(Default)]
pub(super) struct Table {
    /// By the number that packets for us carry.
    slots: Vec<Option<Arc<Peer>>>,
    by_address: BTreeMap<Ipv4Addr, Arc<Peer>>,
    by_key: BTreeMap<[u8; 32], Arc<Peer>>,
}

impl Table {
    /// The table for a mesh; who was there before is not disturbed. The second is who is new.
    pub(super) fn next(
        &self,
        mesh: &Mesh,
        private: &StaticSecret,
        limiter: &Arc<RateLimiter>,
    ) -> (Table, Vec<Arc<Peer>>) {
        let mut next = Table { slots: vec![None; self.slots.len()], ..Table::default() };
        let (mut fresh, mut wanted) = (Vec::new(), Vec::new());
        for peer in mesh.peers.values() {
            let Some(key) = decode(&peer.public_key) else {
                tracing::warn!(number = peer.number, "the public key of a node is no key");
                continue;
            };
            let address = mesh_address(peer.number);
            match self.by_key.get(&key).filter(|known| known.address == address) {
                Some(known) => {
                    known.road().told.clone_from(&peer.endpoints);
                    next.put(known.clone());
                }
                None => wanted.push((key, address, peer.endpoints.clone())),
            }
        }
        for (key, address, told) in wanted {
            let is_free = |slot: &u32| next.slots.get(*slot as usize).is_none_or(Option::is_none);
            let Some(slot) = (class(address)..MOST).step_by(CLASSES as usize).find(is_free) else { break };
            let tunnel =
                Tunn::new(private.clone(), PublicKey::from(key), None, Some(KEEPALIVE), slot, Some(limiter.clone()));
            let peer = Arc::new(Peer {
                slot,
                address,
                key,
                tunnel: Mutex::new(tunnel),
                road: Mutex::new(Road { heard: None, told }),
            });
            next.put(peer.clone());
            fresh.push(peer);
        }
        (next, fresh)
    }

    fn put(&mut self, peer: Arc<Peer>) {
        let slot = peer.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(peer.clone());
        }
        self.by_address.insert(peer.address, peer.clone());
        self.by_key.insert(peer.key, peer);
    }

    /// Whose number this is, as a packet carries it.
    pub(super) fn by_index(&self, index: u32) -> Option<&Arc<Peer>> {
        self.slots.get((index >> 8) as usize)?.as_ref()
    }

    pub(super) fn by_address(&self, address: Ipv4Addr) -> Option<&Arc<Peer>> {
        self.by_address.get(&address)
    }

    pub(super) fn by_key(&self, key: &[u8; 32]) -> Option<&Arc<Peer>> {
        self.by_key.get(key)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.by_address.values()
    }
}
