//! Published ports are held by bound sockets: no other process of the host can take one, and if one
//! has it already, we can say who. Rules send traffic to containers; what they can't send reaches the sockets of IPv6
//! (`relay`).

use crate::rules::protocol;
use model::{Protocol, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// What tells published ports apart.
pub(crate) type Key = (Protocol, Option<IpAddr>, u16);

/// The ports held by this process.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    sockets: BTreeMap<Key, Vec<Held>>,
}

/// A socket that nobody listens on.
#[derive(Debug)]
struct Held {
    address: SocketAddr,
    socket: OwnedFd,
}

impl Reserved {
    /// Lets go of what is not wanted and takes what is missing. Gives the ports held, and the others
    /// with the reason.
    pub(crate) fn sync<'a>(
        &mut self,
        ports: &'a [PublishedPort],
    ) -> (Vec<&'a PublishedPort>, Vec<(PublishedPort, String)>) {
        let mut owners: BTreeMap<Key, &PublishedPort> = BTreeMap::new();
        let (mut held, mut errors) = (Vec::new(), Vec::new());
        for port in ports {
            if let Some(other) = owners.values().find(|other| clash(port, other)) {
                errors
                    .push((port.clone(), format!("{} is published by service {} already", shown(port), other.service)));
            } else {
                owners.insert(key(port), port);
            }
        }
        self.sockets.retain(|key, _| owners.contains_key(key));
        for (key, port) in owners {
            if let Entry::Vacant(vacant) = self.sockets.entry(key) {
                match take(port) {
                    Ok(sockets) => drop(vacant.insert(sockets)),
                    Err(reason) => {
                        errors.push((port.clone(), reason));
                        continue;
                    }
                }
            }
            held.push(port);
        }
        (held, errors)
    }

    /// A socket that takes what comes over IPv6 to a port that is held; of TCP one that listens. `None`: it is not held
    /// there.
    pub(crate) fn over_ipv6(&self, key: &Key) -> Option<io::Result<OwnedFd>> {
        let held = self.sockets.get(key)?.iter().find(|held| held.address.is_ipv6())?;
        Some(match key.0 {
            Protocol::Tcp => held.listening(),
            Protocol::Udp => held.socket.try_clone(),
        })
    }
}

impl Held {
    /// Another socket beside this one, which goes on holding the port when the other is closed.
    fn listening(&self) -> io::Result<OwnedFd> {
        /// As many as the kernel lets wait unless it is told otherwise (`net.core.somaxconn`).
        const BACKLOG: i32 = 4096;
        // Both have to allow it, this one until the other listens, which shuts everybody else out.
        sockopt::set_socket_reuseaddr(&self.socket, true)?;
        let listening = bound(Protocol::Tcp, self.address).and_then(|socket| listen(&socket, BACKLOG).map(|()| socket));
        sockopt::set_socket_reuseaddr(&self.socket, false)?;
        Ok(listening?)
    }
}

pub(crate) fn key(port: &PublishedPort) -> Key {
    (port.protocol, port.host_ip, port.host_port)
}

/// Would the two need the same socket address?
fn clash(a: &PublishedPort, b: &PublishedPort) -> bool {
    let covers = |a: Option<IpAddr>, b: Option<IpAddr>| match (a, b) {
        (None, _) => true,
        (Some(a), Some(b)) => a == b || a.is_unspecified() && a.is_ipv4() == b.is_ipv4(),
        (Some(_), None) => false,
    };
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && (covers(a.host_ip, b.host_ip) || covers(b.host_ip, a.host_ip))
}

fn shown(port: &PublishedPort) -> String {
    let ip = port.host_ip.map(|ip| SocketAddr::new(ip, port.host_port).to_string());
    format!("port {}/{}", ip.unwrap_or_else(|| port.host_port.to_string()), protocol(port.protocol))
}

fn take(port: &PublishedPort) -> Result<Vec<Held>, String> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let mut sockets = Vec::new();
    for ip in port.host_ip.map_or(everywhere.to_vec(), |ip| vec![ip]) {
        let address = SocketAddr::new(ip, port.host_port);
        match hold(port.protocol, address) {
            Ok(socket) => sockets.push(Held { address, socket }),
            // A host without IPv6 cannot lose an IPv6 port to anyone.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if port.host_ip.is_none() && ip.is_ipv6() => {}
            Err(Errno::ADDRINUSE) => {
                let by = holder(port.protocol, port.host_port).unwrap_or_else(|| "another process".to_owned());
                return Err(format!("{} is taken by {by}", shown(port)));
            }
            Err(Errno::ADDRNOTAVAIL) => return Err(format!("{}: this host has no such address", shown(port))),
            Err(error) => return Err(format!("{} cannot be reserved: {error}", shown(port))),
        }
    }
    Ok(sockets)
}

fn hold(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = bound(protocol, address)?;
    // Once the port is ours, the option is taken back, because it would let another process listen beside us. The TCP
    // socket does not listen itself: without a backend clients are refused at once, as they should be.
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    Ok(socket)
}

/// Remains of closed TCP connections do not keep the port from it for a minute.
fn bound(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// `nginx (pid 123)`: who has a socket on the port.
fn holder(protocol: Protocol, port: u16) -> Option<String> {
    let inodes: Vec<String> = ["", "6"].iter().flat_map(|v| inodes(protocol, v, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has = |link: std::path::PathBuf| link.to_str().is_some_and(|link| wanted.iter().any(|w| w == link));
        if files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(has)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// Inodes of sockets bound to the port, from `/proc/net/{tcp,udp}{,6}`.
fn inodes(kind: Protocol, version: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let Ok(text) = std::fs::read_to_string(format!("/proc/thread-self/net/{}{version}", protocol(kind))) else {
        return Vec::new();
    };
    let wanted = format!(":{port:04X}");
    let inode = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next()?;
        let state = words.nth(1)?;
        let fits = local.ends_with(&wanted) && (kind == Protocol::Udp || state == LISTEN);
        words.nth(5).filter(|_| fits).map(str::to_owned)
    };
    text.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn port(host_ip: Option<&str>, host_port: u16, service: &str) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            backends: Default::default(),
            service: service.to_owned(),
            everywhere: false,
            admitted: Default::default(),
        }
    }

    /// A program that another test starts has what is closed here, too, until it runs.
    fn soon(mut is_so: impl FnMut() -> bool) -> bool {
        (0..200).any(|_| is_so() || (std::thread::sleep(std::time::Duration::from_millis(10)), false).1)
    }

    #[test]
    fn a_taken_port_says_by_whom() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let mut reserved = Reserved::default();
        let ports = [port(None, taken, "shop_web")];
        let (held, errors) = reserved.sync(&ports);
        assert!(held.is_empty());
        assert!(errors[0].1.contains(&format!("(pid {})", std::process::id())), "{errors:?}");
        drop(listener);
        assert!(soon(|| reserved.sync(&ports).0.len() == 1));
        assert!(TcpListener::bind(("127.0.0.1", taken)).is_err(), "it is reserved now");
        assert!(reserved.sync(&[]).1.is_empty());
        assert!(TcpListener::bind(("127.0.0.1", taken)).is_ok(), "it is free again");
    }

    #[test]
    fn a_port_can_be_listened_at_and_is_held_all_the_while() {
        let free = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
        let mut reserved = Reserved::default();
        let ports = [port(Some("::1"), free, "web")];
        assert!(reserved.sync(&ports).1.is_empty());
        let url = (Ipv6Addr::LOCALHOST, free);
        for _ in 0..2 {
            assert!(TcpStream::connect(url).is_err(), "nobody listens");
            let listener = reserved.over_ipv6(&key(&ports[0])).unwrap().unwrap();
            let conversation = TcpStream::connect(url).unwrap();
            let (accepted, _) = TcpListener::from(listener.try_clone().unwrap()).accept().unwrap();
            assert!(TcpListener::bind(url).is_err(), "it listens");
            drop(listener);
            assert!(TcpListener::bind(url).is_err(), "it is held");
            // What is left of conversations does not keep the port from the next one who holds it.
            drop((accepted, conversation));
        }
        drop(reserved);
        assert!(soon(|| Reserved::default().sync(&ports).1.is_empty()));
    }

    #[test]
    fn two_services_cannot_share() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = [port(Some("127.0.0.1"), free, "a"), port(None, free, "b"), port(Some("127.0.0.2"), free, "c")];
        let mut reserved = Reserved::default();
        let (held, errors) = reserved.sync(&ports);
        assert_eq!(held.iter().map(|p| p.service.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert!(errors[0].1.contains("published by service a"), "{errors:?}");
    }
}
