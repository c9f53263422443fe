//! Packets of the largest size, on ways that carry less than the links at their ends.

use crate::hosts::*;
use crate::lab::*;
use model::*;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// What the way between the two carries, in bytes.
const WAY: u32 = 1400;

/// Two hosts with two routers between them: the link between those is smaller than either host knows.
fn two_hosts_apart(test: impl FnOnce([Host; 2]) + Send) {
    on_a_host(|| {
        let (hosts, routers) = ([Host::new(1), Host::new(2)], [Host::new(0), Host::new(0)]);
        let [left, right] = &routers;
        run(&left.path(), &format!("ip link add middle type veth peer name middle netns {}", right.link()));
        for (host, router) in hosts.iter().zip(&routers) {
            let (number, other, far) = (host.number, 3 - host.number, host.link());
            run(&router.path(), &format!("ip link add door type veth peer name wire0 netns {far}"));
            run(&router.path(), &format!("ip addr add 10.99.{number}.254/24 dev door"));
            run(&router.path(), "ip link set door up");
            run(&router.path(), &format!("ip addr add 10.99.0.{number}/24 dev middle"));
            run(&router.path(), &format!("ip link set middle mtu {WAY} up"));
            run(&router.path(), &format!("ip route add 10.99.{other}.0/24 via 10.99.0.{other}"));
            run(&router.path(), "sysctl -q -w net.ipv4.ip_forward=1");
            run(&host.path(), &format!("ip addr add 10.99.{number}.{number}/24 dev wire0"));
            run(&host.path(), "ip link set wire0 up");
            run(&host.path(), &format!("ip route add default via 10.99.{number}.254"));
        }
        test(hosts);
    });
}

#[test]
fn smaller_packets_are_no_reason_to_begin_anew() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let [here, there] = meet(&mut hosts, "10.226.1.0/24");
        let [a, b] = &mut hosts;
        greeter(&b.daemon, there, 80, "there");
        let address = b.daemon.address(there);
        assert!(a.daemon.inside(here, || call((address, 80))).is_ok());
        let sent = |host: &mut Host| host.on(|daemon| daemon.mesh().values().map(|peer| peer.sent).sum::<u64>());
        let told = sent(a);
        assert!(told > 0);
        a.daemon.net.mesh.as_mut().unwrap().mtu = 1400;
        a.on(Daemon::apply_clean);
        assert!(sent(a) >= told, "keys and counts are those of before");
        assert!(a.daemon.inside(here, || call((address, 80))).is_ok());
        finish(hosts, before);
    });
}

#[test]
fn the_largest_packets_find_their_way_whatever_is_below() {
    two_hosts_apart(|mut hosts| {
        let net = shared_network(&mut hosts, 1, "10.225.1.0/24", None);
        let [a, b] = &mut hosts;
        let (here, there) = (a.daemon.container(2, &[net]), b.daemon.container(3, &[net]));
        mesh(&mut hosts);
        introduce(&mut hosts);
        for host in &mut hosts {
            for peer in host.daemon.net.mesh.iter_mut().flat_map(|mesh| mesh.peers.values_mut()) {
                let number = u8::try_from(peer.number).unwrap();
                peer.endpoints = vec![SocketAddr::from(([10, 99, number, number], 51820))];
            }
            host.on(Daemon::apply_clean);
        }
        let [a, b] = &mut hosts;
        let shown = run(&overlay_net::netns_path(a.daemon.run_root(), here), "ip -o link show eth0");
        assert!(shown.contains("mtu 1370"), "{shown}");

        // The largest datagrams, which nobody may cut, both ways.
        let open = |daemon: &Daemon, task, port: u16| {
            let socket = daemon.inside(task, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
            sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket
        };
        let (asks, answers) = (open(&a.daemon, here, 7000), open(&b.daemon, there, 7000));
        let large = [b'x'; 1370 - 28];
        let (to, began) = (SocketAddr::new(b.daemon.address(there), 7000), Instant::now());
        let mut buffer = [0; 2000];
        let answered = (0..50).any(|_| {
            asks.send_to(&large, to).unwrap();
            if let Ok((length, from)) = answers.recv_from(&mut buffer) {
                answers.send_to(&buffer[..length], from).unwrap();
            }
            asks.recv(&mut buffer).is_ok_and(|length| length == large.len())
        });
        assert!(answered, "a black hole for {} bytes", large.len());
        println!("there and back after {:?}", began.elapsed());
        // A conversation of full segments.
        greeter(&b.daemon, there, 80, "there");
        let mut stream = a.daemon.inside(here, || std::net::TcpStream::connect((to.ip(), 80)).unwrap());
        assert!(hear(&stream).is_ok());
        let mut heard = 0;
        for _ in 0..20 {
            std::io::Write::write_all(&mut stream, &[b'x'; 60_000]).unwrap();
            while heard < 60_000 {
                heard += std::io::Read::read(&mut stream, &mut buffer).unwrap();
            }
            heard -= 60_000;
        }
        // And it is told what the way carries.
        let status = a.on(Daemon::mesh);
        assert_eq!(status[&NodeId(2)].path_mtu, Some(WAY), "{status:?}");
        finish_all(hosts);
    });
}
