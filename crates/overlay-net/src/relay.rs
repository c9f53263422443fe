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
use model::{Endpoint, HostNet, Protocol, PublishedPort};
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
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a container may take to answer before its client is refused.
const CONNECT: Duration = Duration::from_secs(10);
/// After so much silence it is asked whether a side is still there, and again at as long a pause; one that does not
/// answer for some minutes is gone. What goes by rules is the kernel's to forget.
const SILENCE: Duration = Duration::from_secs(30);
/// The most conversations of a port, so that whoever floods one keeps nobody from the others. Each has two sockets at
/// most; where few may be open there is room for less.
const MOST: u64 = 4096;
/// What is held of a conversation in each direction, in bytes.
const BUFFER: usize = 16 << 10;

/// All relays of a host.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    runtime: Option<Runtime>,
    running: BTreeMap<Key, Relay>,
}

#[derive(Debug)]
struct Relay {
    targets: Arc<Targets>,
    task: JoinHandle<()>,
}

impl Drop for Relays {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Relays {
    /// Answers no more at ports that are not among these, or that nobody here is behind: their sockets are closed when
    /// this returns. Connections go on, as they do where rules lead.
    pub(crate) fn leave(&mut self, net: &HostNet) {
        let wanted: BTreeMap<Key, &PublishedPort> = net.ports.iter().map(|port| (key(port), port)).collect();
        let is_left = |key: &Key| wanted.get(key).is_none_or(|port| targets(port, net).is_empty());
        let left: Vec<Relay> = self.running.extract_if(.., |key, _| is_left(key)).map(|(_, relay)| relay).collect();
        let Some(runtime) = &self.runtime else { return };
        for Relay { task, .. } in left {
            task.abort();
            let _aborted = runtime.block_on(task);
        }
    }

    /// Answers at these ports, at those that somebody is behind. What can't be is told in the log: over IPv4 the port
    /// works. [`Relays::leave`] comes first.
    pub(crate) fn sync(&mut self, held: &[&PublishedPort], reserved: &Reserved, net: &HostNet) {
        for port in held {
            let (key, all) = (key(port), targets(port, net));
            if let Some(relay) = self.running.get(&key) {
                relay.targets.set(all);
                continue;
            }
            let Some(socket) = (!all.is_empty()).then(|| reserved.over_ipv6(&key)).flatten() else { continue };
            match socket.and_then(|socket| self.begin(key.0, socket, all)) {
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
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST * 8);
        let room = usize::try_from(MOST.min(limit / 8)).unwrap_or_default();
        let task = match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(StdListener::from(socket))?;
                runtime.spawn(listen(listener, targets.clone(), Arc::new(Semaphore::new(room))))
            }
            Protocol::Udp => {
                destination::tell(&socket)?;
                // What came while nobody was there to take it is too old. Who sends without end ends this nevertheless.
                for _ in 0..MOST {
                    if destination::receive(&socket, &mut []).is_err() {
                        break;
                    }
                }
                let socket = UdpSocket::from_std(StdSocket::from(socket))?;
                runtime.spawn(datagrams::serve(Arc::new(socket), targets.clone(), room))
            }
        };
        Ok(Relay { targets, task })
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

    fn has(&self, target: SocketAddr) -> bool {
        self.all.read().unwrap_or_else(PoisonError::into_inner).contains(&target)
    }

    fn next(&self) -> Option<SocketAddr> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(all.len())?;
        all.get(turn).copied()
    }
}

/// At a port's IPv4 address rules know the way to every node. A port of one IPv6 address has none there: of its
/// containers those on this host are reached, since only rules tell a connection to another node from others.
fn targets(port: &PublishedPort, net: &HostNet) -> Vec<SocketAddr> {
    if !is_relayed(port) {
        return Vec::new();
    }
    if port.host_ip.is_none() && port.backends.iter().any(|(address, _)| address.is_ipv4()) {
        return vec![(Ipv4Addr::LOCALHOST, port.host_port).into()];
    }
    let own = || net.endpoints.values().flat_map(|it| &it.attachments).flat_map(Endpoint::addresses);
    port.backends.iter().filter(|(address, _)| own().any(|it| it == *address)).copied().map(SocketAddr::from).collect()
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
        let mut net = HostNet::default();
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let network = model::NetworkId(1);
        let endpoint = |last| Endpoint {
            network,
            address: address(last),
            address6: None,
            mac: None,
            aliases: vec![],
            interface: None,
        };
        let attachments = vec![endpoint(2), endpoint(3), Endpoint { address6: "fd00::2".parse().ok(), ..endpoint(9) }];
        let endpoint = model::HostEndpoint { attachments, ..Default::default() };
        net.endpoints.insert(model::TaskId(1), endpoint);
        let shown = |port| targets(&port, &net).iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(shown(port(None, &["10.0.0.2", "fd00::2"])), ["127.0.0.1:8080"]);
        assert_eq!(shown(port(None, &["fd00::2"])), ["[fd00::2]:80"]);
        // 10.0.0.4 is on another node.
        assert_eq!(shown(port(Some("::1"), &["10.0.0.2", "10.0.0.3", "10.0.0.4"])), ["10.0.0.2:80", "10.0.0.3:80"]);
        for other in [port(Some("10.1.1.1"), &["10.0.0.2"]), port(Some("0.0.0.0"), &["10.0.0.2"]), port(None, &[])] {
            assert!(shown(other).is_empty());
        }
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
