//! Containers among themselves.

use crate::hosts::*;
use crate::lab::*;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn containers_of_a_network_reach_each_other_and_no_others() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let before = inventory(daemon.run_root());
        let front = daemon.network(1, "10.210.1.0/24", false);
        let back = daemon.network(2, "10.210.2.0/24", false);
        let vault = daemon.network(3, "10.210.3.0/24", true);
        let a = daemon.container(2, &[front]);
        let b = daemon.container(3, &[front]);
        let c = daemon.container(4, &[back]);
        let d = daemon.container(5, &[vault]);
        let e = daemon.container(6, &[vault, back]);
        let alone = daemon.container(7, &[]);
        daemon.apply_clean();
        for (task, name) in [(b, "b"), (c, "c"), (d, "d"), (e, "e"), (alone, "alone")] {
            greeter(&daemon, task, 80, name);
        }
        let ip = |n: u8, host: u8| std::net::IpAddr::from([10, 210, n, host]);
        assert_eq!(daemon.inside(a, || call((ip(1, 3), 80))), Ok("b 10.210.1.2".to_owned()));
        assert!(daemon.inside(a, || call((ip(2, 4), 80))).is_err(), "two networks");
        assert!(daemon.inside(a, || call((ip(3, 5), 80))).is_err(), "into an internal network");
        assert!(daemon.inside(d, || call((ip(1, 3), 80))).is_err(), "out of an internal network");
        assert_eq!(daemon.inside(e, || call((ip(3, 5), 80))), Ok("d 10.210.3.6".to_owned()));
        assert_eq!(daemon.inside(e, || call((ip(2, 4), 80))), Ok("c 10.210.2.6".to_owned()));
        assert_eq!(call((ip(1, 3), 80)), Ok("b 10.210.1.1".to_owned()), "the host reaches its containers");
        assert_eq!(daemon.inside(alone, || call(([127, 0, 0, 1], 80))), Ok("alone 127.0.0.1".to_owned()));
        let routes = |task| daemon.inside(task, || std::fs::read_to_string("/proc/thread-self/net/route").unwrap());
        assert!(routes(a).contains("eth0\t00000000\t0101D20A"), "{}", routes(a));
        assert!(routes(e).contains("eth1\t00000000\t0102D20A"), "the first network with a way out: {}", routes(e));
        assert!(!routes(d).contains("\t00000000\t01"), "{}", routes(d));
        daemon.apply_clean();
        let root = daemon.run_root().to_owned();
        daemon.finish();
        assert_eq!(inventory(&root), before);
    });
}

#[test]
fn ipv6_works_too() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network6(1, "10.211.1.0/24", Some("fd00:211::/64"), false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        daemon.apply_clean();
        greeter(&daemon, b, 80, "b");
        let b6: std::net::IpAddr = "fd00:211::3".parse().unwrap();
        assert_eq!(daemon.inside(a, || call((b6, 80))), Ok("b fd00:211::2".to_owned()));
        daemon.publish(model::Protocol::Tcp, 8086, &[("10.211.1.3".parse().unwrap(), 80), (b6, 80)]);
        daemon.apply_clean();
        assert_eq!(call((std::net::Ipv4Addr::LOCALHOST, 8086)), Ok("b 10.211.1.1".to_owned()));
        let gateway: std::net::IpAddr = "fd00:211::1".parse().unwrap();
        assert_eq!(daemon.inside(a, || call((gateway, 8086))), Ok("b fd00:211::1".to_owned()), "hairpin");
        assert_eq!(call((b6, 80)), Ok("b fd00:211::1".to_owned()), "from the host");
        assert_eq!(call((gateway, 8086)), Ok("b fd00:211::1".to_owned()), "published, from the host");
        assert_eq!(daemon.inside(b, || call((gateway, 8086))), Ok("b fd00:211::1".to_owned()), "to oneself");
        daemon.finish();
    });
}

#[test]
fn sysctls_macs_and_bad_endpoints() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.212.1.0/24", false);
        let good = daemon.container(2, &[net]);
        let bad = daemon.container(3, &[net]);
        let endpoint = daemon.net.endpoints.get_mut(&good).unwrap();
        endpoint.attachments[0].mac = Some("02:42:00:00:00:99".to_owned());
        endpoint.sysctls.insert("net.core.somaxconn".to_owned(), "321".to_owned());
        endpoint.sysctls.insert("net.ipv4.conf.eth0.rp_filter".to_owned(), "2".to_owned());
        daemon.net.endpoints.get_mut(&bad).unwrap().sysctls.insert("net.no.such".to_owned(), "1".to_owned());
        let applied = daemon.apply();
        assert_eq!(applied.endpoint_errors.keys().collect::<Vec<_>>(), [&bad]);
        assert!(applied.endpoint_errors[&bad].contains("net.no.such=1"), "{applied:?}");
        let read = |path: &str| daemon.inside(good, || std::fs::read_to_string(path).unwrap());
        assert_eq!(read("/proc/sys/net/core/somaxconn"), "321\n");
        assert_eq!(read("/proc/sys/net/ipv4/conf/eth0/rp_filter"), "2\n");
        assert_eq!(read("/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
        daemon.net.endpoints.remove(&bad);
        daemon.apply_clean();
        assert!(!overlay_net::netns_path(daemon.run_root(), bad).exists());
        daemon.finish();
    });
}

#[test]
fn a_hundred_containers_come_and_go() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let before = inventory(daemon.run_root());
        daemon.start();
        let net = daemon.network(1, "10.213.0.0/16", false);
        let tasks: Vec<_> = (2..102).map(|n| daemon.container(n, &[net])).collect();
        let start = Instant::now();
        daemon.apply_clean();
        let up = start.elapsed();
        let cpu = cpu_of(daemon.pid());
        greeter(&daemon, tasks[99], 80, "last");
        let last = daemon.address(tasks[99]);
        assert!(daemon.inside(tasks[0], || call((last, 80))).is_ok());
        let start = Instant::now();
        daemon.verify();
        let verify = start.elapsed();
        daemon.net = Default::default();
        let start = Instant::now();
        daemon.apply_clean();
        println!("100 endpoints: up {up:?} (cpu {cpu:?}), verify {verify:?}, down {:?}", start.elapsed());
        assert!(up < Duration::from_secs(10), "{up:?}");
        let root = daemon.run_root().to_owned();
        daemon.finish();
        assert_eq!(inventory(&root), before);
    });
}

/// Processor time so far.
fn cpu_of(pid: rustix::process::Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    Duration::from_millis(fields.iter().sum::<u64>() * 10)
}

/// A packet that belongs to no connection is not translated on its way out.
#[test]
fn no_packet_leaves_with_the_address_of_a_container() {
    two_hosts(|[mut host, outside]| {
        let net = host.daemon.network(1, "10.211.1.0/24", false);
        let container = host.daemon.container(2, &[net]);
        host.on(Daemon::apply_clean);
        let watch = "type filter hook prerouting priority 0; ip saddr 10.211.1.2 counter";
        run(&outside.path(), &format!("nft table ip watch {{ chain c {{ {watch}; }}; }}"));
        let listener = within(&outside.path(), || TcpListener::bind("0.0.0.0:80").unwrap());
        host.daemon.inside(container, || {
            let stream = TcpStream::connect_timeout(&(outside.wire(), 80).into(), SOON).unwrap();
            assert!(listener.accept().unwrap().1.is_ipv4());
            // Wherever that connection has come to, some of these are far ahead.
            (0..4).for_each(|quarter| send_alone(&stream, quarter << 30));
        });
        std::thread::sleep(Duration::from_millis(300));
        let seen = run(&outside.path(), "nft list table ip watch");
        assert!(seen.contains("counter packets 0 "), "{seen}");
        host.daemon.finish();
    });
}

/// Sends a packet with the ends of a connection that has nothing to do with it.
fn send_alone(stream: &TcpStream, number: u32) {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
    const TCP: u8 = 6;
    const ACK: u8 = 0x10;
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap()) else {
        panic!("over IPv6")
    };
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend([number.to_be_bytes(), number.to_be_bytes(), [5 << 4, ACK, 1, 0], [0; 4]].concat());
    let pseudo = [&from.ip().octets()[..], &to.ip().octets(), &[0, TCP, 0, 20], &segment].concat();
    let sum: u32 = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    segment[16..18].copy_from_slice(&(!(folded as u16 + (folded >> 16) as u16)).to_be_bytes());
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).unwrap();
    sendto(&raw, &segment, SendFlags::empty(), &to).unwrap();
}
