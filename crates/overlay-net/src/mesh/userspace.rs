//! WireGuard in this process: the threads of the mesh, and what they share.

use super::peers::{Peer, Table};
use super::stop::Stop;
use super::udp::Socket;
use super::{PeerStatus, key, steer, worker};
use crate::kernel::tun::{self, Queue};
use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519::{PublicKey, StaticSecret};
use model::{Mesh, NodeId, mesh_address};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Handshakes of strangers per second above which they have to show where they are (WireGuard's cookies). Each is
/// counted twice: when it is looked at to learn whose it is, and when that peer's conversation takes it.
const HANDSHAKES: u64 = 2 * 200;
/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How many peers are greeted at once: a thousand at the same time would lose their packets.
const GREETINGS: usize = 50;
/// The largest packet of the protocol: a sealed packet of the largest size, or a handshake.
pub(super) const LARGEST: usize = 65_536 + 64;

/// What the threads share.
pub(super) struct Shared {
    /// Of one port, one for each worker.
    pub(super) sockets: Vec<Socket>,
    pub(super) private: StaticSecret,
    pub(super) public: PublicKey,
    pub(super) limiter: Arc<RateLimiter>,
    table: Mutex<Arc<Table>>,
    /// Those who are to be greeted.
    fresh: Mutex<Vec<Arc<Peer>>>,
    over: AtomicBool,
    stop: Stop,
}

impl Shared {
    /// Everybody, as of now.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until one of them can be read, or it is over.
    pub(super) fn wait(&self, a: impl AsFd, b: impl AsFd) -> io::Result<()> {
        let all = [a.as_fd(), b.as_fd(), self.stop.as_fd()];
        let mut all = all.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut all, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what is no data: to wherever the peer may be, if it begins a conversation.
    pub(super) fn send_handshake(&self, peer: &Peer, packet: &[u8]) {
        const INITIATION: u8 = 1;
        let to = match packet.first() {
            Some(&INITIATION) => peer.candidates(),
            _ => peer.endpoint().into_iter().collect(),
        };
        let Some(socket) = self.sockets.first() else { return };
        for endpoint in to {
            if let Err(error) = socket.send(endpoint, packet, packet.len()) {
                tracing::trace!(%endpoint, %error, "send a handshake");
            }
        }
    }
}

/// The mesh over boringtun.
pub(super) struct Userspace {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Userspace {
    /// Begins, in the host's network namespace of the calling thread. The interface is there.
    pub(super) fn start(data_root: &Path, run_root: &Path, mesh: &Mesh) -> io::Result<Userspace> {
        let private = key::private_key(data_root)?;
        let public = PublicKey::from(&private);
        let sockets = Socket::bind(mesh.port, worker::count())
            .map_err(|error| io::Error::new(error.kind(), format!("listen on UDP port {}: {error}", mesh.port)))?;
        let queues: Vec<Queue> = sockets.iter().map(|_| tun::queue(run_root)).collect::<io::Result<_>>()?;
        if let (Some(socket), Some(queue)) = (sockets.first(), queues.first()) {
            steer::steer(socket, &queue.fd, sockets.len());
        }
        let shared = Arc::new(Shared {
            sockets,
            limiter: Arc::new(RateLimiter::new(&public, HANDSHAKES)),
            private,
            public,
            table: Mutex::default(),
            fresh: Mutex::default(),
            over: AtomicBool::new(false),
            stop: Stop::new()?,
        });
        let mut engine = Userspace { shared: shared.clone(), threads: Vec::new() };
        engine.set(mesh);
        for (number, queue) in queues.into_iter().enumerate() {
            let shared = shared.clone();
            engine.spawn(&format!("mesh-{number}"), move || {
                shared.sockets.get(number).into_iter().for_each(|socket| worker::run(&shared, socket, &queue));
            })?;
        }
        engine.spawn("mesh-time", move || keep_time(&shared))?;
        Ok(engine)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Speaks to these from now on, and to nobody else.
    pub(super) fn set(&self, mesh: &Mesh) {
        let Shared { private, limiter, table, fresh, .. } = &*self.shared;
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, new) = table.next(mesh, private, limiter);
        *table = Arc::new(next);
        drop(table);
        fresh.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
    }

    /// How each peer looks from here.
    pub(super) fn status(&self, mesh: &Mesh) -> BTreeMap<NodeId, PeerStatus> {
        let table = self.shared.table();
        let of = |number| table.by_address(mesh_address(number)).map(|peer| peer.status());
        mesh.peers.iter().filter_map(|(node, peer)| Some((*node, of(peer.number)?))).collect()
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.stop.say();
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// Begins conversations, begins them anew with fresh keys, and gives signs of life.
fn keep_time(shared: &Shared) {
    let mut buffer = vec![0; LARGEST];
    while !shared.is_over() {
        shared.limiter.reset_count();
        let table = shared.table();
        for peer in table.all() {
            let mut tunnel = peer.tunnel();
            let packet = match tunnel.update_timers(&mut buffer) {
                TunnResult::WriteToNetwork(packet) => packet,
                // The other gave no answer for so long that the protocol gives up. We do not: it may be back.
                TunnResult::Err(_) => match tunnel.format_handshake_initiation(&mut buffer, false) {
                    TunnResult::WriteToNetwork(packet) => packet,
                    _ => continue,
                },
                _ => continue,
            };
            shared.send_handshake(peer, packet);
        }
        let greet: Vec<Arc<Peer>> = {
            let mut fresh = shared.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            let count = fresh.len().min(GREETINGS);
            fresh.drain(..count).collect()
        };
        // Those who knew an earlier life of this node would go on with its keys.
        for peer in greet {
            if let TunnResult::WriteToNetwork(packet) = peer.tunnel().format_handshake_initiation(&mut buffer, false) {
                shared.send_handshake(&peer, packet);
            }
        }
        shared.stop.within(TICK);
    }
}
