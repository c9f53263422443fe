//! The mesh over the kernel's WireGuard: it is told who there is, and where else to look for those who do not answer.

use super::peers::KEEPALIVE;
use super::stop::Stop;
use super::{PeerStatus, key};
use crate::kernel::netns;
use crate::kernel::wireguard::{Control, Key, Say, Seen};
use crate::names;
use model::{Mesh, NodeId, mesh_address};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a session lasts: without a handshake for longer there is none (WireGuard's `Reject-After-Time`).
const SESSION: Duration = Duration::from_secs(180);
/// How often those without one are sought elsewhere.
const TICK: Duration = Duration::from_secs(5);

/// The link, and who watches it.
pub(super) struct Device {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    namespace: OwnedFd,
    mesh: Mutex<Mesh>,
    stop: Stop,
}

impl Device {
    /// Takes the link of the mesh over. What goes on over it goes on.
    pub(super) fn start(data_root: &Path, run_root: &Path, mesh: &Mesh) -> io::Result<Device> {
        let private = key::private_key(data_root)?;
        let shared = Arc::new(Shared {
            namespace: netns::open_mesh(run_root)?,
            mesh: Mutex::new(mesh.clone()),
            stop: Stop::new()?,
        });
        netns::within(&shared.namespace, || {
            let control = Control::open()?;
            control
                .identify(names::MESH_LINK, &private.to_bytes(), mesh.port)
                .map_err(|error| io::Error::new(error.kind(), format!("listen on UDP port {}: {error}", mesh.port)))?;
            let said = news(mesh, &control.peers(names::MESH_LINK)?);
            control.say(names::MESH_LINK, &said)
        })?;
        let watched = shared.clone();
        let thread = std::thread::Builder::new().name("mesh-time".to_owned()).spawn(move || watched.watch())?;
        Ok(Device { shared, thread: Some(thread) })
    }

    /// Speaks to these from now on, and to nobody else.
    pub(super) fn set(&self, mesh: &Mesh) -> io::Result<()> {
        *self.shared.mesh() = mesh.clone();
        self.shared.there(|control| control.say(names::MESH_LINK, &news(mesh, &control.peers(names::MESH_LINK)?)))
    }

    /// How each peer looks from here.
    pub(super) fn status(&self, mesh: &Mesh) -> BTreeMap<NodeId, PeerStatus> {
        let seen = self.shared.there(|control| control.peers(names::MESH_LINK)).unwrap_or_default();
        let by_key: BTreeMap<Key, Seen> = seen.into_iter().map(|peer| (peer.key, peer)).collect();
        let of = |key: &str| key::decode(key).and_then(|key| by_key.get(&key)).map(status);
        mesh.peers.iter().filter_map(|(node, peer)| Some((*node, of(&peer.public_key)?))).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.stop.say();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn status(peer: &Seen) -> PeerStatus {
    PeerStatus {
        endpoint: peer.endpoint,
        handshake_age: peer
            .handshake
            .map(|at| now().saturating_sub(at))
            .filter(|age| *age < SESSION)
            .map(|age| age.as_secs()),
        sent: peer.sent,
        received: peer.received,
        path_mtu: None,
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Shared {
    fn mesh(&self) -> MutexGuard<'_, Mesh> {
        self.mesh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there<T: Send>(&self, work: impl FnOnce(&Control) -> io::Result<T> + Send) -> io::Result<T> {
        netns::within(&self.namespace, || work(&Control::open()?))
    }

    fn watch(&self) {
        if let Err(error) = netns::enter(&self.namespace) {
            return tracing::error!(%error, "enter the namespace of the mesh");
        }
        while !self.stop.within(TICK) {
            let looked = Control::open().and_then(|control| {
                let moves = elsewhere(&self.mesh(), &control.peers(names::MESH_LINK)?, now());
                control.say(names::MESH_LINK, &moves)
            });
            if let Err(error) = looked {
                tracing::debug!(%error, "look after the mesh");
            }
        }
    }
}

/// Has the kernel seek a peer there, at once.
fn greet(key: Key, endpoint: Option<SocketAddr>) -> [Say; 2] {
    [Say::At { key, endpoint, keepalive: 0 }, Say::At { key, endpoint: None, keepalive: KEEPALIVE }]
}

/// What has to be said so that the kernel knows those of the mesh and nobody else.
fn news(mesh: &Mesh, seen: &[Seen]) -> Vec<Say> {
    let keys = mesh.peers.values().filter_map(|peer| Some((key::decode(&peer.public_key)?, peer)));
    let wanted: BTreeMap<Key, _> = keys.collect();
    let known: BTreeSet<Key> = seen.iter().map(|peer| peer.key).collect();
    // First who goes: the address may be another's from now on.
    let gone = known.iter().filter(|key| !wanted.contains_key(*key)).map(|key| Say::Gone { key: *key });
    let mut all: Vec<Say> = gone.collect();
    // An address that is said again is the same, or one that has moved to this peer.
    all.extend(wanted.iter().map(|(key, peer)| Say::Known { key: *key, address: mesh_address(peer.number) }));
    let fresh = wanted.iter().filter(|(key, _)| !known.contains(*key));
    all.extend(fresh.flat_map(|(key, peer)| greet(*key, peer.endpoints.first().copied())));
    all
}

/// Where else to seek those who have not answered for so long that there is no session.
fn elsewhere(mesh: &Mesh, seen: &[Seen], now: Duration) -> Vec<Say> {
    let by_key: BTreeMap<Key, &Seen> = seen.iter().map(|peer| (peer.key, peer)).collect();
    let mut all = Vec::new();
    for peer in mesh.peers.values() {
        let Some(seen) = key::decode(&peer.public_key).and_then(|key| by_key.get(&key)) else { continue };
        if seen.handshake.is_some_and(|at| now.saturating_sub(at) < SESSION) {
            continue;
        }
        let place = peer.endpoints.iter().position(|told| Some(*told) == seen.endpoint);
        let next = place.map_or(0, |place| (place + 1) % peer.endpoints.len());
        all.extend(greet(seen.key, peer.endpoints.get(next).copied()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use model::MeshPeer;

    fn mesh(peers: &[(u8, &[&str])]) -> Mesh {
        let peer = |(number, endpoints): &(u8, &[&str])| {
            let endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
            let peer = MeshPeer { number: (*number).into(), public_key: STANDARD.encode([*number; 32]), endpoints };
            (NodeId(u128::from(*number)), peer)
        };
        Mesh { number: 99, port: 1, mtu: 1420, peers: peers.iter().map(peer).collect() }
    }

    fn seen(number: u8, endpoint: &str, handshake: Option<u64>) -> Seen {
        let handshake = handshake.map(Duration::from_secs);
        Seen { key: [number; 32], endpoint: endpoint.parse().ok(), handshake, received: 0, sent: 0 }
    }

    #[test]
    fn those_that_left_are_cut_off_before_others_come() {
        let said = news(&mesh(&[(1, &["10.0.0.1:5"]), (2, &[])]), &[seen(2, "", None), seen(3, "", None)]);
        let known = |number: u8| Say::Known { key: [number; 32], address: mesh_address(number.into()) };
        let [zero, again] = greet([1; 32], Some("10.0.0.1:5".parse().unwrap()));
        assert_eq!(said, [Say::Gone { key: [3; 32] }, known(1), known(2), zero, again]);
    }

    #[test]
    fn who_does_not_answer_is_sought_everywhere() {
        let mesh = mesh(&[(1, &["10.0.0.1:5", "10.0.0.2:5"])]);
        let next = |at: &str, handshake| match elsewhere(&mesh, &[seen(1, at, handshake)], Duration::from_secs(1000))
            .first()
        {
            Some(Say::At { endpoint, keepalive: 0, .. }) => endpoint.map(|it| it.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(next("10.0.0.1:5", None).as_deref(), Some("10.0.0.2:5"));
        assert_eq!(next("10.0.0.2:5", Some(800)).as_deref(), Some("10.0.0.1:5"));
        // Where it was heard from last, which nobody has told.
        assert_eq!(next("10.9.9.9:5", Some(800)).as_deref(), Some("10.0.0.1:5"));
        assert_eq!(elsewhere(&mesh, &[seen(1, "10.9.9.9:5", Some(900))], Duration::from_secs(1000)), []);
    }
}
