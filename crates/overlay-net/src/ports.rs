//! Published ports are held by bound sockets: no other process of the host can take one, and if one
//! has it already, we can say who. Traffic never reaches the sockets; rules send it to containers.

use crate::rules::protocol;
use model::{Protocol, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

type Key = (Protocol, Option<IpAddr>, u16);

/// The ports held by this process.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    sockets: BTreeMap<Key, Vec<OwnedFd>>,
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
}

fn key(port: &PublishedPort) -> Key {
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

fn take(port: &PublishedPort) -> Result<Vec<OwnedFd>, String> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let mut sockets = Vec::new();
    for ip in port.host_ip.map_or(everywhere.to_vec(), |ip| vec![ip]) {
        match hold(port.protocol, SocketAddr::new(ip, port.host_port)) {
            Ok(socket) => sockets.push(socket),
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
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Remains of closed connections must not keep the port from us for a minute; once it is ours, the
    // option is taken back, because it would let another process listen beside us. The TCP socket does
    // not listen itself: without a backend clients are refused at once, as they should be.
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
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
    use std::net::TcpListener;

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
        assert_eq!(reserved.sync(&ports).0.len(), 1);
        assert!(TcpListener::bind(("127.0.0.1", taken)).is_err(), "it is reserved now");
        assert!(reserved.sync(&[]).1.is_empty());
        assert!(TcpListener::bind(("127.0.0.1", taken)).is_ok(), "it is free again");
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
