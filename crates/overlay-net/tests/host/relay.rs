//! Published ports over IPv6 of containers that have IPv4 addresses only, and at `::1`.

use crate::lab::*;
use model::Protocol;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const HERE: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// A question from one address and port to another; what came, and from where.
fn ask_from(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    // Connected, it hears answers from that address only.
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(b"?").unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[test]
fn ports_of_containers_with_ipv4_addresses_answer_over_ipv6() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let old = daemon.network(1, "10.231.1.0/24", false);
        let new = daemon.network6(2, "10.231.2.0/24", Some("fd00:231::/64"), false);
        let vault = daemon.network6(3, "10.231.3.0/24", Some("fd00:232::/64"), true);
        let (a, b) = (daemon.container(2, &[old]), daemon.container(3, &[old]));
        let (both, locked) = (daemon.container(4, &[new]), daemon.container(5, &[vault]));
        let (ip_a, ip_b, ip_both) = (daemon.address(a), daemon.address(b), daemon.address(both));
        let both6: IpAddr = "fd00:231::4".parse().unwrap();
        daemon.publish(Protocol::Tcp, 8080, &[(ip_a, 80)]);
        daemon.publish(Protocol::Tcp, 8081, &[(ip_both, 80), (both6, 80)]);
        daemon.publish(Protocol::Tcp, 8082, &[]);
        daemon.publish(Protocol::Tcp, 8083, &[(ip_a, 80)]);
        daemon.net.ports[3].host_ip = Some(HERE.into());
        daemon.publish(Protocol::Udp, 5300, &[(ip_a, 53)]);
        daemon.publish(Protocol::Udp, 5301, &[]);
        // Of IPv4, and of IPv6.
        daemon.publish(Protocol::Tcp, 8084, &[(ip_a, 80)]);
        daemon.net.ports[6].host_ip = Some("0.0.0.0".parse().unwrap());
        daemon.publish(Protocol::Tcp, 8085, &[(ip_a, 80), ("10.231.1.99".parse().unwrap(), 80)]);
        daemon.net.ports[7].host_ip = Some("::".parse().unwrap());
        daemon.apply_clean();
        greeter(&daemon, a, 80, "a");
        greeter(&daemon, b, 80, "b");
        greeter(&daemon, both, 80, "both");
        udp_server(&daemon, a, 53, "from a");
        udp_server(&daemon, b, 53, "from b");

        let host: IpAddr = "fd00:231::1".parse().unwrap();
        for address in [HERE.into(), host] {
            assert_eq!(call((address, 8080)), Ok("a 10.231.1.1".to_owned()), "{address}");
            let socket = UdpSocket::bind("[::]:0").unwrap();
            assert_eq!(ask_from(&socket, (address, 5300).into()).as_deref(), Some("from a"), "{address}");
        }
        assert_eq!(call((HERE, 8081)), Ok("both 10.231.2.1".to_owned()));
        assert_eq!(call((host, 8081)), Ok("both fd00:231::1".to_owned()), "rules lead there");
        assert_eq!(call((HERE, 8082)), Err("connection refused".to_owned()), "nobody is behind it");
        assert_eq!(call((HERE, 8083)), Ok("a 10.231.1.1".to_owned()));
        assert_eq!(call((host, 8083)), Err("connection refused".to_owned()), "at the other address only");
        assert_eq!(call((HERE, 8084)), Err("connection refused".to_owned()), "another family");
        assert_eq!(call((Ipv4Addr::LOCALHOST, 8084)), Ok("a 10.231.1.1".to_owned()));
        assert_eq!(call((Ipv4Addr::LOCALHOST, 8085)), Err("connection refused".to_owned()), "another family");
        for _ in 0..2 {
            assert_eq!(call((HERE, 8085)), Ok("a 10.231.1.1".to_owned()), "the other is elsewhere");
        }
        assert_eq!(daemon.inside(both, || call((host, 8080))), Ok("a 10.231.1.1".to_owned()), "from a container");
        let vaults: IpAddr = "fd00:232::1".parse().unwrap();
        assert!(daemon.inside(locked, || call((vaults, 8080))).is_err(), "no way out of an internal network");
        let socket = daemon.inside(locked, || UdpSocket::bind("[::]:0").unwrap());
        assert_eq!(ask_from(&socket, (vaults, 5300).into()), None);

        // Who is behind it changes, and what is under way goes on.
        let socket = UdpSocket::bind("[::]:0").unwrap();
        assert_eq!(ask_from(&socket, (host, 5300).into()).as_deref(), Some("from a"));
        let mut stays = TcpStream::connect((HERE, 8080)).unwrap();
        assert_eq!(hear(&stays), Ok("a 10.231.1.1".to_owned()));
        daemon.net.ports[0].backends = [(ip_b, 80)].into();
        daemon.net.ports[4].backends = [(ip_b, 53)].into();
        daemon.apply_clean();
        assert_eq!(call((HERE, 8080)), Ok("b 10.231.1.1".to_owned()));
        assert_eq!(ask_from(&socket, (host, 5300).into()).as_deref(), Some("from b"), "a client that says no goodbye");
        // What came while nobody was there is not passed on to whoever comes later.
        let early = UdpSocket::bind("[::]:0").unwrap();
        assert_eq!(ask_from(&early, (host, 5301).into()), None);
        daemon.net.ports[5].backends = [(ip_a, 53)].into();
        daemon.net.ports[0].backends.clear();
        daemon.apply_clean();
        early.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(early.recv(&mut [0; 64]).is_err());
        assert_eq!(ask_from(&early, (host, 5301).into()).as_deref(), Some("from a"));
        assert_eq!(call((HERE, 8080)), Err("connection refused".to_owned()), "nobody is behind it any more");
        assert!(TcpListener::bind((HERE, 8080)).is_err(), "and it is still held");
        stays.write_all(b"well\n").unwrap();
        assert_eq!(hear(&stays), Ok("well".to_owned()));
        stays.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(hear(&stays).unwrap_err().contains("Ok(0)"), "the end is passed on");

        daemon.net.ports[0].backends = [(ip_a, 80)].into();
        daemon.apply_clean();
        assert_eq!(call((HERE, 8080)), Ok("a 10.231.1.1".to_owned()));
        // A new netd takes over at once, whatever is left of conversations.
        let _open = TcpStream::connect((HERE, 8080)).unwrap();
        daemon.kill();
        daemon.start();
        daemon.apply_clean();
        assert_eq!(call((HERE, 8080)), Ok("a 10.231.1.1".to_owned()));
        daemon.finish();
    });
}
