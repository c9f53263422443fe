//! Published ports over IPv6 where no rule leads to a container: those of containers that have IPv4 addresses only, and
//! all of them at `::1`, from where the kernel sends nothing further. `netd` takes what comes there itself and passes on
//! what both sides say, as Docker's `docker-proxy` does; the container sees an address of the host.
//!
//! It is a thread of its own, so that much traffic does not keep names and the mesh waiting, and there is none before
//! it is needed. Conversations end with `netd`.

mod datagrams;
mod destination;

use crate::ports::{Key, Reserved, key};
use crate::rules::is_relayed;
use model::{Protocol, PublishedPort};
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long a container may take to answer before its client is refused.
const CONNECT: Duration = Duration::from_secs(10);
/// After so much silence it is asked whether a side is still there, and again at as long a pause; one that does not
/// answer for some minutes is gone. What goes by rules is the kernel's to forget.
const SILENCE: Duration = Duration::from_secs(30);
/// The most conversations of all ports together; one more waits until another ends. Each has up to two sockets.
const MOST: u64 = 16_384;
/// What is held of a conversation in each direction, in bytes.
const BUFFER: usize = 16 << 10;

/// All relays of a host.
#[derive(Debug)]
pub(crate) struct Relays {
    runtime: Option<Runtime>,
    running: BTreeMap<Key, Relay>,
    /// For how many more conversations there is room.
    room: Arc<Semaphore>,
}

impl Default for Relays {
    fn default() -> Relays {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST * 4);
        // Half of what may be open is left to all else that `netd` does.
        let room = usize::try_from(MOST.min(limit / 4)).unwrap_or_default();
        Relays { runtime: None, running: BTreeMap::new(), room: Arc::new(Semaphore::new(room)) }
    }
}

#[derive(Debug)]
struct Relay {
    targets: Arc<Targets>,
    task: AbortHandle,
}

impl Drop for Relay {
    /// Conversations go on, as they do where rules lead.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Relays {
    /// Answers at these ports, at those that somebody is behind. What can't be is told in the log: over IPv4 the port
    /// works.
    pub(crate) fn sync(&mut self, held: &[&PublishedPort], reserved: &Reserved) {
        let wanted: BTreeMap<Key, &PublishedPort> =
            held.iter().filter(|port| is_relayed(port)).map(|port| (key(port), *port)).collect();
        self.running.retain(|key, _| wanted.contains_key(key));
        for (key, port) in wanted {
            if let Some(relay) = self.running.get(&key) {
                relay.targets.set(targets(port));
                continue;
            }
            let Some(socket) = reserved.over_ipv6(&key) else { continue };
            match socket.and_then(|socket| self.begin(key.0, socket, targets(port))) {
                Ok(relay) => drop(self.running.insert(key, relay)),
                Err(error) => tracing::warn!(port = key.2, %error, "a published port is not answered over IPv6"),
            }
        }
    }

    fn begin(&mut self, protocol: Protocol, socket: OwnedFd, all: Vec<SocketAddr>) -> io::Result<Relay> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => Builder::new_multi_thread().worker_threads(1).thread_name("relay").enable_all().build()?,
        };
        let runtime = self.runtime.insert(runtime);
        let _within = runtime.enter();
        rustix::io::ioctl_fionbio(&socket, true)?;
        let targets = Arc::new(Targets { all: RwLock::new(all), next: AtomicUsize::new(0) });
        let task = match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(StdListener::from(socket))?;
                runtime.spawn(listen(listener, targets.clone(), self.room.clone()))
            }
            Protocol::Udp => {
                destination::tell(&socket)?;
                let socket = UdpSocket::from_std(StdSocket::from(socket))?;
                runtime.spawn(datagrams::serve(Arc::new(socket), targets.clone(), self.room.clone()))
            }
        };
        Ok(Relay { targets, task: task.abort_handle() })
    }
}

/// Where conversations of a port go, in turns.
#[derive(Debug)]
struct Targets {
    all: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Targets {
    fn set(&self, all: Vec<SocketAddr>) {
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn next(&self) -> Option<SocketAddr> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(all.len())?;
        all.get(turn).copied()
    }
}

/// At the port's IPv4 address rules know the way to every node; a port of one IPv6 address has none there, and its
/// containers are on this host.
fn targets(port: &PublishedPort) -> Vec<SocketAddr> {
    match port.host_ip {
        None if port.backends.iter().any(|(address, _)| address.is_ipv4()) => {
            vec![(Ipv4Addr::LOCALHOST, port.host_port).into()]
        }
        _ => port.backends.iter().copied().map(SocketAddr::from).collect(),
    }
}

async fn listen(listener: TcpListener, targets: Arc<Targets>, room: Arc<Semaphore>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let Ok(place) = room.clone().acquire_owned().await else { return };
                let target = targets.next();
                tokio::spawn(async move {
                    converse(client, target).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most often there are too many conversations for the limits of the process.
                tracing::warn!(%error, "take a connection to a published port");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Passes on what both say until both have said all, or one is cut off: so is the other then.
async fn converse(mut client: TcpStream, target: Option<SocketAddr>) {
    let connected = match target {
        Some(target) => timeout(CONNECT, TcpStream::connect(target)).await,
        None => return cut(&client),
    };
    let Ok(Ok(mut server)) = connected else { return cut(&client) };
    for side in [&client, &server] {
        let _as_it_came = side.set_nodelay(true);
        let _or_it_stays = sockopt::set_socket_keepalive(side, true)
            .and_then(|()| sockopt::set_tcp_keepidle(side, SILENCE))
            .and_then(|()| sockopt::set_tcp_keepintvl(side, SILENCE));
    }
    if tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await.is_err() {
        cut(&client);
        cut(&server);
    }
}

/// Closes with a reset.
fn cut(side: &TcpStream) {
    let _closed_anyway = side.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn port(host_ip: Option<&str>, backends: &[&str]) -> PublishedPort {
        let backends = backends.iter().map(|ip| (ip.parse::<IpAddr>().unwrap(), 80)).collect();
        let (protocol, host_ip) = (Protocol::Tcp, host_ip.map(|ip| ip.parse().unwrap()));
        let (service, admitted) = (String::new(), Default::default());
        PublishedPort { protocol, host_ip, host_port: 8080, backends, service, everywhere: false, admitted }
    }

    #[test]
    fn a_port_leads_to_its_address_on_the_host_or_to_its_containers() {
        let shown = |port| targets(&port).iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(shown(port(None, &["10.0.0.2", "fd00::2"])), ["127.0.0.1:8080"]);
        assert_eq!(shown(port(None, &["fd00::2"])), ["[fd00::2]:80"]);
        assert_eq!(shown(port(Some("::1"), &["10.0.0.2", "10.0.0.3"])), ["10.0.0.2:80", "10.0.0.3:80"]);
        assert!(!is_relayed(&port(Some("10.1.1.1"), &["10.0.0.2"])) && !is_relayed(&port(None, &[])));
    }

    #[test]
    fn containers_take_turns() {
        let (a, b) = ("10.0.0.2:80".parse().unwrap(), "10.0.0.3:80".parse().unwrap());
        let targets = Targets { all: RwLock::new(vec![a, b]), next: AtomicUsize::new(0) };
        assert_eq!([(); 3].map(|()| targets.next()), [Some(a), Some(b), Some(a)]);
        targets.set(Vec::new());
        assert_eq!(targets.next(), None);
    }
}
