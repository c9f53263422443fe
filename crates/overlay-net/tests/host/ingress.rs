//! Published ports that every host answers, whichever runs the container: over IPv6, and when one client comes by way
//! of several hosts at once.

use crate::hosts::*;
use crate::lab::*;
use model::*;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// A network on all, and on the second host a container behind ports 8080 (TCP) and 8053 (UDP) of every host.
fn published(hosts: &mut [Host]) -> TaskId {
    let net = shared_network(hosts, 1, "10.224.1.0/24", Some("fd00:224::/64"));
    let there = hosts[1].daemon.container(3, &[net]);
    mesh(hosts);
    introduce(hosts);
    let endpoint = &hosts[1].daemon.net.endpoints[&there].attachments[0];
    let addresses: Vec<IpAddr> = endpoint.addresses().collect();
    for host in hosts.iter_mut() {
        let at = |port: u16| addresses.iter().map(|address| (*address, port)).collect::<Vec<_>>();
        host.daemon.publish(Protocol::Tcp, 8080, &at(80));
        host.daemon.publish(Protocol::Udp, 8053, &at(53));
        host.daemon.net.ports.iter_mut().for_each(|port| port.everywhere = true);
        host.daemon.net.ingress.extend(addresses.iter().map(|address| (*address, 2)));
        host.on(Daemon::apply_clean);
    }
    greeter(&hosts[1].daemon, there, 80, "there");
    greeter(&hosts[1].daemon, there, 81, "closed");
    udp_server(&hosts[1].daemon, there, 53, "answer");
    there
}

/// Connects from this port, which other connections may have too.
fn call_from(port: u16, to: SocketAddr) -> Result<TcpStream, String> {
    let (family, any): (_, SocketAddr) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, ([0, 0, 0, 0], port).into()),
        SocketAddr::V6(_) => (AddressFamily::INET6, (Ipv6Addr::UNSPECIFIED, port).into()),
    };
    let fd = socket(family, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&fd, true).unwrap();
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(SOON)).unwrap();
    bind(&fd, &any).unwrap();
    connect(&fd, &to).map_err(|error| error.to_string())?;
    Ok(TcpStream::from(fd))
}

#[test]
fn a_published_port_answers_over_ipv6_and_the_container_sees_the_client() {
    three_hosts(|mut hosts, outside| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let there = published(&mut hosts);
        let [a, b, c] = &mut hosts;
        let net = *a.daemon.net.networks.keys().next().unwrap();
        let other = a.daemon.container(4, &[net]);
        a.on(Daemon::apply_clean);
        for host in [&*a, &*b, &*c] {
            let door = |port: u16| SocketAddr::new(host.wire6(), port);
            let seen = within(&outside.path(), || call(door(8080)));
            assert_eq!(seen, Ok(format!("there {}", outside.wire6())), "by way of host {}", host.number);
            let asking = within(&outside.path(), || UdpSocket::bind("[::]:0").unwrap());
            assert_eq!(ask_udp(&asking, door(8053)).as_deref(), Some("answer"), "by way of host {}", host.number);
        }
        // From a host itself and from its containers: with the host's address in the mesh.
        let own = "there fd72:7377:6d65:7368::1".to_owned();
        let door = (a.wire6(), 8080);
        assert_eq!(a.on(|_| call(door)), Ok(own.clone()));
        let gateway: IpAddr = "fd00:224::1".parse().unwrap();
        assert_eq!(a.daemon.inside(other, || call((gateway, 8080))), Ok(own));
        // The host that runs it, by way of another: the answer must not stay where it is.
        let door = SocketAddr::new(a.wire6(), 8080);
        assert!(b.on(|_| call(door)).is_ok(), "by way of another and back");
        let door_there = (b.wire6(), 8080);
        assert!(b.on(|_| call(door_there)).is_ok(), "where it runs");

        // Nothing else may come over that link.
        let address = b.daemon.net.endpoints[&there].attachments[0].address6.unwrap();
        let next = "fe80::7273:0:2";
        run(&a.path(), &format!("ip -6 route add {address} via {next} dev {} metric 1", ri(&a.daemon)));
        assert!(a.on(|_| call((address, 81))).is_err(), "a port that is not published");
        run(&a.path(), &format!("ip -6 route del {address} via {next} dev {}", ri(&a.daemon)));

        // What others break comes back; what is not wanted any more goes.
        run(&a.path(), &format!("ip link del {}", ri(&a.daemon)));
        lose_rules(&b.path(), "-6");
        hosts.iter_mut().for_each(|host| host.on(|daemon| assert!(daemon.verify().is_clean())));
        let seen = within(&outside.path(), || call(door));
        assert_eq!(seen, Ok(format!("there {}", outside.wire6())));
        let rules = |host: &Host| run(&host.path(), "ip -6 rule").lines().count();
        assert!(hosts.each_ref().map(rules).iter().all(|count| *count > 2));
        for host in &mut hosts {
            host.daemon.net.ports.clear();
            host.daemon.net.ingress.clear();
            host.on(Daemon::apply_clean);
        }
        assert_eq!(hosts.each_ref().map(rules), [2, 2, 2]);
        finish(hosts, before);
    });
}

#[test]
fn one_client_port_may_come_by_way_of_several_hosts() {
    three_hosts(|mut hosts, outside| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        published(&mut hosts);
        for (v6, port) in [(false, 40_000), (true, 41_000)] {
            let wire = |host: &Host| if v6 { host.wire6() } else { host.wire() };
            let own = wire(outside);
            // Each sees its own greeting, and all go on side by side.
            let mut streams: Vec<TcpStream> = Vec::new();
            for host in &hosts {
                let to = SocketAddr::new(wire(host), 8080);
                let stream = within(&outside.path(), || call_from(port, to));
                let stream = stream.unwrap_or_else(|error| panic!("by way of host {}: {error}", host.number));
                assert_eq!(hear(&stream), Ok(format!("there {own}")), "by way of host {}", host.number);
                streams.push(stream);
            }
            for (number, stream) in streams.iter_mut().enumerate() {
                std::io::Write::write_all(stream, format!("still {number}\n").as_bytes()).unwrap();
                assert_eq!(hear(stream), Ok(format!("still {number}")));
            }
            // Whoever was asked answers.
            let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
            let asking = within(&outside.path(), || UdpSocket::bind(any).unwrap());
            asking.set_read_timeout(Some(SOON)).unwrap();
            for round in 0..3 {
                let asked: BTreeSet<SocketAddr> = hosts.iter().map(|host| SocketAddr::new(wire(host), 8053)).collect();
                asked.iter().for_each(|to| assert!(asking.send_to(b"?", to).is_ok()));
                let answer = || asking.recv_from(&mut [0; 64]).map(|(_, from)| from);
                let answered: BTreeSet<SocketAddr> = asked.iter().filter_map(|_| answer().ok()).collect();
                assert_eq!(answered, asked, "round {round}");
            }
        }
        finish(hosts, before);
    });
}

/// Says so when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The rules change with each task of whatever service, and many connections are none of theirs.
#[test]
fn whoever_talks_hears_nothing_of_changed_rules() {
    const SPEAKERS: usize = 12;
    const CHANGES: u16 = 200;
    three_hosts(|mut hosts, outside| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let there = published(&mut hosts);
        greeter(&hosts[1].daemon, there, 82, "there");
        // Hosts hear of changes one after the other.
        hosts[1].daemon.net.ports[0].admitted = [(hosts[1].daemon.address(there), 82)].into();
        let door = SocketAddr::new(hosts[0].wire(), 8080);
        let backend = hosts[1].daemon.address(there);
        let is_over = AtomicBool::new(false);
        // Some keep a connection by way of a host to one that runs it, some call anew.
        let speak = |keeps: bool| -> Result<u32, String> {
            let mut answers = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect_timeout(&door, 4 * SOON).map_err(|error| error.to_string())?;
                hear(&stream)?;
                while keeps && !is_over.load(Ordering::Relaxed) {
                    std::io::Write::write_all(&mut stream, b"word\n").map_err(|error| error.to_string())?;
                    hear(&stream)?;
                    answers += 1;
                }
                answers += 1;
            }
            Ok(answers)
        };
        let path = outside.path();
        let (speak, path) = (&speak, path.as_path());
        let answers = std::thread::scope(|scope| {
            // Whatever happens, they are told.
            let over = Over(&is_over);
            let speakers: Vec<_> =
                (0..SPEAKERS).map(|i| scope.spawn(move || within(path, move || speak(i % 4 > 0)))).collect();
            for change in 0..CHANGES {
                for host in hosts.iter_mut().take(2) {
                    let backends: Vec<_> = (0..=change % 2).map(|at| (backend, 90 + at)).collect();
                    host.daemon.net.ports.retain(|port| port.host_port != 9090);
                    host.daemon.publish(Protocol::Tcp, 9090, &backends);
                    // Theirs gets another backend, and loses it again.
                    let own = &mut host.daemon.net.ports[0].backends;
                    if change % 3 == 0 {
                        own.insert((backend, 82))
                    } else {
                        own.remove(&(backend, 82))
                    };
                    host.on(Daemon::apply_clean);
                }
            }
            drop(over);
            speakers.into_iter().map(|speaker| speaker.join().unwrap()).collect::<Result<Vec<u32>, String>>()
        });
        let answers = answers.map(|answers| answers.iter().sum::<u32>());
        assert!(answers.as_ref().is_ok_and(|answers| *answers > 1000), "{answers:?}");
        finish(hosts, before);
    });
}
