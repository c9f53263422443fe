//! Published ports. The client outside is a container of another daemon on the same machine: for this
//! one it comes in by a foreign interface.

use crate::lab::*;
use model::Protocol;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

#[test]
fn tcp_and_udp_from_everywhere() {
    on_a_host(|| {
        let (mut daemon, mut other) = (Daemon::new(), Daemon::new());
        let net = daemon.network(1, "10.220.1.0/24", false);
        let vault = daemon.network(2, "10.220.2.0/24", true);
        let (a, b, c) = (daemon.container(2, &[net]), daemon.container(3, &[net]), daemon.container(4, &[net]));
        let locked = daemon.container(5, &[vault]);
        let (ip_a, ip_b) = (daemon.address(a), daemon.address(b));
        daemon.publish(Protocol::Tcp, 8080, &[(ip_a, 80), (ip_b, 80)]);
        daemon.publish(Protocol::Tcp, 8081, &[(ip_a, 80)]);
        daemon.publish(Protocol::Udp, 5300, &[(ip_a, 53)]);
        daemon.publish(Protocol::Tcp, 8082, &[]);
        daemon.apply_clean();
        greeter(&daemon, a, 80, "a");
        greeter(&daemon, b, 80, "b");
        udp_server(&daemon, a, 53, "from a");
        udp_server(&daemon, b, 53, "from b");

        let abroad = other.network(1, "10.221.1.0/24", false);
        let outside = other.container(2, &[abroad]);
        other.apply_clean();
        let host: IpAddr = "10.221.1.1".parse().unwrap();

        let mut heard: BTreeMap<String, u32> = BTreeMap::new();
        other.inside(outside, || {
            for _ in 0..10 {
                *heard.entry(call((host, 8080)).unwrap()[..1].to_owned()).or_default() += 1;
            }
        });
        assert_eq!(heard, BTreeMap::from([("a".to_owned(), 5), ("b".to_owned(), 5)]));
        assert!(other.inside(outside, || call((host, 8081))).is_ok());
        assert!(other.inside(outside, || call((ip_a, 80))).is_err(), "not published, so not to be reached");
        assert_eq!(other.inside(outside, || call((host, 8082))), Err("connection refused".to_owned()));
        let udp = other.inside(outside, || UdpSocket::bind("0.0.0.0:0").unwrap());
        assert_eq!(ask_udp(&udp, (host, 5300).into()).as_deref(), Some("from a"));

        assert_eq!(call((Ipv4Addr::LOCALHOST, 8081)), Ok("a 10.220.1.1".to_owned()));
        assert_eq!(call((host, 8081)).map(|text| text[..1].to_owned()), Ok("a".to_owned()));
        let gateway: IpAddr = "10.220.1.1".parse().unwrap();
        assert_eq!(daemon.inside(c, || call((gateway, 8081))), Ok("a 10.220.1.1".to_owned()), "hairpin");
        assert_eq!(daemon.inside(a, || call((gateway, 8081))), Ok("a 10.220.1.1".to_owned()), "to oneself");
        let vault_gateway: IpAddr = "10.220.2.1".parse().unwrap();
        assert!(daemon.inside(locked, || call((vault_gateway, 8081))).is_err(), "no way out of an internal network");

        // The way out, and what the world sees then.
        other.publish(Protocol::Tcp, 9000, &[("10.221.1.2".parse().unwrap(), 80)]);
        other.apply_clean();
        greeter(&other, outside, 80, "world");
        assert_eq!(daemon.inside(a, || call((host, 9000))), Ok("world 10.221.1.1".to_owned()));

        // A backend that moves takes along clients that never say goodbye.
        daemon.net.ports[2].backends = [(ip_b, 53)].into();
        daemon.apply_clean();
        assert_eq!(ask_udp(&udp, (host, 5300).into()).as_deref(), Some("from b"));
        daemon.finish();
        other.finish();
    });
}

#[test]
fn loopback_of_the_host_stays_closed() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.222.1.0/24", false);
        let a = daemon.container(2, &[net]);
        daemon.apply_clean();
        let secret = UdpSocket::bind("127.0.0.1:7000").unwrap();
        secret.set_read_timeout(Some(SOON)).unwrap();
        daemon.inside(a, || {
            // A malicious container: lo down, and 127.0.0.1 by way of the gateway.
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            rtnetlink(16, &[0, 1], "lo");
            let socket = UdpSocket::bind("10.222.1.2:0").unwrap();
            let _refused = socket.send_to(b"x", "127.0.0.1:7000");
        });
        assert!(secret.recv_from(&mut [0; 8]).is_err());
        daemon.finish();
    });
}

/// TCP asks again after a second, and does not ask who has left meanwhile.
#[test]
fn what_one_that_left_never_answered_is_asked_of_another() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.224.1.0/24", false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        let (ip_a, ip_b) = (daemon.address(a), daemon.address(b));
        daemon.publish(Protocol::Tcp, 8080, &[(ip_a, 80)]);
        daemon.apply_clean();
        greeter(&daemon, b, 80, "b");
        daemon.inside(a, || drop(nft(DEAF)));
        let came = std::thread::scope(|scope| {
            let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
            let asked = scope.spawn(move || hear(&TcpStream::connect_timeout(&port, SOON * 5).unwrap()));
            let calls = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let is_asking = || calls().contains(":1F90 02 ");
            let pause = || std::thread::sleep(std::time::Duration::from_millis(5));
            assert!((0..200).any(|_| is_asking() || (pause(), false).1));
            daemon.net.ports[0].backends = [(ip_b, 80)].into();
            let applied = daemon.apply();
            assert!(applied.is_clean() && !applied.settles.is_zero(), "it might still be answered: {applied:?}");
            asked.join().unwrap()
        });
        assert_eq!(came, Ok("b 10.224.1.1".to_owned()));
        daemon.net.ports[0].backends.insert((ip_a, 80));
        assert!(daemon.apply().settles.is_zero(), "nobody waits for an answer");
        daemon.finish();
    });
}

#[test]
fn one_address_one_owner() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.223.1.0/24", false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        let (ip_a, ip_b) = (daemon.address(a), daemon.address(b));
        daemon.publish(Protocol::Tcp, 8080, &[(ip_a, 80)]);
        daemon.publish(Protocol::Tcp, 8080, &[(ip_b, 80)]);
        daemon.publish(Protocol::Tcp, 8081, &[(ip_b, 80)]);
        daemon.net.ports[0].host_ip = Some("127.0.0.1".parse().unwrap());
        daemon.net.ports[1].host_ip = Some("10.223.1.1".parse().unwrap());
        let taken = TcpListener::bind("0.0.0.0:8081").unwrap();
        let applied = daemon.apply();
        assert_eq!(applied.port_errors.len(), 1, "{applied:?}");
        let (port, reason) = &applied.port_errors[0];
        assert_eq!(port.host_port, 8081);
        assert!(reason.contains(&format!("(pid {})", std::process::id())), "{reason}");
        greeter(&daemon, a, 80, "a");
        greeter(&daemon, b, 80, "b");
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 8080);
        assert_eq!(call(at("127.0.0.1")), Ok("a 10.223.1.1".to_owned()));
        assert_eq!(call(at("10.223.1.1")).map(|text| text[..1].to_owned()), Ok("b".to_owned()));
        assert!(TcpListener::bind("127.0.0.1:8080").is_err(), "reserved");
        drop(taken);
        // A test beside this one may just be between fork and exec, with a copy of the listener.
        let freed = (0..200).any(|_| {
            let free = TcpListener::bind("0.0.0.0:8081").is_ok();
            if !free {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            free
        });
        assert!(freed, "the port is free again");
        daemon.apply_clean();
        assert!(call((Ipv4Addr::LOCALHOST, 8081)).is_ok());
        daemon.net.ports.clear();
        daemon.apply_clean();
        assert!(TcpListener::bind("127.0.0.1:8080").is_ok(), "free again");
        daemon.finish();
    });
}

#[test]
fn a_foreign_policy_to_drop_is_passed_and_restored() {
    on_a_host(|| {
        nft("add table ip filter");
        nft("add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
        let foreign = nft("list table ip filter");
        let (mut daemon, mut other) = (Daemon::new(), Daemon::new());
        let net = daemon.network(1, "10.224.1.0/24", false);
        let a = daemon.container(2, &[net]);
        let ip_a = daemon.address(a);
        daemon.publish(Protocol::Tcp, 8080, &[(ip_a, 80)]);
        daemon.apply_clean();
        greeter(&daemon, a, 80, "a");
        let abroad = other.network(1, "10.225.1.0/24", false);
        let outside = other.container(2, &[abroad]);
        other.apply_clean();
        assert!(other.inside(outside, || call((IpAddr::from([10, 225, 1, 1]), 8080))).is_ok());
        daemon.finish();
        other.finish();
        assert_eq!(nft("list table ip filter"), foreign);
    });
}
