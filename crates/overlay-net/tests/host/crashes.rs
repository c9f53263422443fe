//! `netd` dies, and others meddle.

use crate::dns::{SERVER, lookup, question};
use crate::lab::*;
use model::Protocol;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

type Breakage<'a> = &'a dyn Fn(&Daemon);

#[test]
fn connections_outlive_netd_and_names_come_back() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.240.1.0/24", false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        let ip_b = daemon.address(b);
        daemon.publish(Protocol::Tcp, 8080, &[(ip_b, 80)]);
        daemon.name(net, "b", &[ip_b]);
        daemon.apply_clean();
        greeter(&daemon, b, 80, "b");
        let mut inner = daemon.inside(a, || TcpStream::connect((ip_b, 80)).unwrap());
        let mut outer = TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)).unwrap();
        hear(&inner).unwrap();
        hear(&outer).unwrap();
        let mut echo = |what: &str| {
            for stream in [&mut inner, &mut outer] {
                stream.write_all(what.as_bytes()).unwrap();
                let mut back = vec![0; what.len()];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, what.as_bytes());
            }
        };
        echo("before");
        let rules =
            |daemon: &Daemon| nft(&format!("-a list table inet {}", overlay_net::names::table(daemon.run_root())));
        let before = rules(&daemon);
        daemon.kill();
        echo("while it is gone");
        assert!(call((Ipv4Addr::LOCALHOST, 8080)).is_ok(), "rules stay, too");
        let start = Instant::now();
        daemon.start();
        while daemon.inside(a, || lookup("b.")) != ip_b.to_string() && start.elapsed() < SOON {}
        let back = start.elapsed();
        assert!(back < Duration::from_secs(1), "dns comes back within a second, before any apply: {back:?}");
        echo("after");
        daemon.apply_clean();
        echo("after another apply");
        assert_eq!(rules(&daemon), before, "nobody made them anew");
        assert!(call((Ipv4Addr::LOCALHOST, 8080)).is_ok());
        daemon.finish();
    });
}

#[test]
fn a_program_that_keeps_its_socket_is_answered_by_the_next_netd() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.243.1.0/24", false);
        let a = daemon.container(2, &[net]);
        let ip = daemon.address(a);
        daemon.name(net, "a", &[ip]);
        daemon.apply_clean();
        let socket = daemon.inside(a, || UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let ask = |what: &str| {
            let answered = (0..20).any(|_| {
                socket.send_to(&question("a."), SERVER).unwrap();
                socket.recv(&mut [0; 512]).is_ok()
            });
            assert!(answered, "{what}");
        };
        ask("at first");
        daemon.kill();
        daemon.start();
        ask("by another netd");
        daemon.finish();
    });
}

#[test]
fn links_of_a_containers_own_are_nobodys_ends() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        // So that ours have numbers that are free in there.
        for pair in 0..5 {
            run_here(&format!("ip link add pad{pair} type veth peer name dap{pair}"));
        }
        let net = daemon.network(1, "10.244.1.0/24", false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        let ip_b = daemon.address(b);
        daemon.apply_clean();
        greeter(&daemon, b, 80, "b");
        let mut stream = daemon.inside(a, || TcpStream::connect((ip_b, 80)).unwrap());
        hear(&stream).unwrap();
        let before = run_here("ip -o link");
        // As one does that makes containers itself; the numbers of links are each namespace's own.
        let ours = [overlay_net::names::bridge(net), overlay_net::names::veth(b, 0)];
        let ours = ours.map(|name| {
            let line = before.lines().find(|line| line.contains(&format!(": {name}"))).unwrap();
            line.split(':').next().unwrap().trim().parse::<u32>().unwrap()
        });
        for (place, index) in ours.iter().enumerate() {
            let make = format!("ip link add x{place} index {} type veth peer name y{place} index {index}", 900 + place);
            daemon.inside(a, || run_here(&make));
        }
        for _ in 0..2 {
            assert!(daemon.verify().is_clean());
        }
        assert!(daemon.inside(a, || run_here("ip -o link")).contains("x0"), "what is a container's own stays");
        assert_eq!(run_here("ip -o link"), before, "and what is ours");
        stream.write_all(b"still there?\n").unwrap();
        assert_eq!(hear(&stream), Ok("still there?".to_owned()));
        assert_eq!(daemon.inside(a, || call((ip_b, 80))), Ok("b 10.244.1.2".to_owned()));
        daemon.finish();
    });
}

#[test]
fn a_container_tells_the_host_no_way() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let plain = daemon.network(1, "10.245.1.0/24", false);
        let both = daemon.network6(2, "10.245.2.0/24", Some("fd45:2::/64"), false);
        let tasks = [daemon.container(2, &[plain]), daemon.container(3, &[both])];
        daemon.apply_clean();
        for task in tasks {
            daemon.inside(task, || {
                // Its own address is made, for what is announced comes from such a one.
                run_here("ip addr add fe80::66/64 dev eth0 nodad");
                announce_router("eth0");
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let routes = run_here("ip -6 route show");
        assert!(!routes.contains("proto ra") && !routes.contains("2001:db8:66::"), "{routes}");
        daemon.finish();
    });
}

/// Says to all on a link that this is the way to everywhere, and to a block of addresses (RFC 4861 §4.2).
fn announce_router(link: &str) {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, netdevice, sendto, socket, sockopt};
    let raw = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
    let index = netdevice::name_to_index(&raw, link).unwrap();
    sockopt::set_ipv6_multicast_hops(&raw, 255).unwrap();
    let mut packet = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    packet.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let all = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    sendto(&raw, &packet, SendFlags::empty(), &all).unwrap();
}

#[test]
fn killed_at_any_instant_it_finishes_or_cleans() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let before = inventory(daemon.run_root());
        let net = daemon.network(1, "10.241.1.0/24", false);
        let other = daemon.network(2, "10.241.2.0/24", false);
        let full = {
            for n in 2..22 {
                let task = daemon.container(n, &[net, other]);
                let ip = daemon.address(task);
                daemon.publish(Protocol::Tcp, 9000 + n as u16, &[(ip, 80)]);
            }
            daemon.net.clone()
        };
        for round in 0..24_u64 {
            daemon.net = if round % 2 == 0 { full.clone() } else { Default::default() };
            let pid = daemon.pid();
            // Spread over the whole length of an apply, without a clock's help.
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(round * 3500));
                kill_now(pid);
            });
            let applied = daemon.apply();
            assert!(applied.is_clean(), "the client started another one: {applied:?}");
            killer.join().unwrap();
            daemon.forget_netd();
        }
        daemon.net = full;
        daemon.apply_clean();
        let tasks: Vec<_> = daemon.net.endpoints.keys().copied().collect();
        greeter(&daemon, tasks[0], 80, "first");
        let first = daemon.address(tasks[0]);
        for task in &tasks {
            assert!(daemon.inside(*task, || call((first, 80))).is_ok());
        }
        daemon.net = Default::default();
        daemon.apply_clean();
        assert_eq!(inventory(daemon.run_root()), before, "nothing leaks even without a cleanup");
        daemon.finish();
    });
}

#[test]
fn what_others_break_is_healed() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.242.1.0/24", false);
        let (a, b) = (daemon.container(2, &[net]), daemon.container(3, &[net]));
        let ip_b = daemon.address(b);
        daemon.publish(Protocol::Tcp, 8080, &[(ip_b, 80)]);
        daemon.name(net, "b", &[ip_b]);
        let sysctls = &mut daemon.net.endpoints.get_mut(&b).unwrap().sysctls;
        sysctls.insert("net.ipv4.conf.eth0.tag".to_owned(), "7".to_owned());
        daemon.apply_clean();
        greeter(&daemon, b, 80, "b");
        let table = overlay_net::names::table(daemon.run_root());
        let bridge = overlay_net::names::bridge(net);
        let veth = overlay_net::names::veth(b, 0);
        let works = |daemon: &Daemon, what: &str| {
            let tag = daemon.inside(b, || std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/tag").unwrap());
            assert_eq!(tag, "7\n", "{what}");
            assert_eq!(daemon.inside(a, || call((ip_b, 80))), Ok("b 10.242.1.2".to_owned()), "{what}");
            assert!(call((Ipv4Addr::LOCALHOST, 8080)).is_ok(), "{what}");
            assert_eq!(daemon.inside(a, || lookup("b.")), ip_b.to_string(), "{what}");
        };
        works(&daemon, "at first");
        let breakages: [(&str, Breakage<'_>); 9] = [
            ("flushed table", &|_| drop(nft(&format!("flush table inet {table}")))),
            ("flushed map", &|_| drop(nft(&format!("flush map inet {table} ports4")))),
            ("deleted element", &|_| drop(nft(&format!("delete element inet {table} ports4 {{ tcp . 8080 }}")))),
            ("sleeping table", &|_| drop(nft(&format!("add table inet {table} {{ flags dormant; }}")))),
            ("deleted table", &|_| drop(nft(&format!("delete table inet {table}")))),
            ("deleted veth", &|_| rtnetlink(17, &[0, 0], &veth)),
            ("deleted bridge", &|_| rtnetlink(17, &[0, 0], &bridge)),
            ("bridge down", &|_| rtnetlink(16, &[0, 1], &bridge)),
            ("flushed redirection", &|daemon| daemon.inside(a, || drop(nft("flush ruleset")))),
        ];
        for (what, breakage) in breakages {
            // What is believed since an apply that had nothing to do must not be believed by a look, and one
            // that comes in between, and notices nothing, must not make it blind.
            daemon.apply_clean();
            breakage(&daemon);
            daemon.apply_clean();
            let applied = daemon.verify();
            assert!(applied.is_clean(), "{what}: {applied:?}");
            works(&daemon, what);
        }
        // A change in between mends what it touches and leaves the rest to the next look.
        let c = daemon.container(4, &[net]);
        drop(nft(&format!("delete table inet {table}")));
        rtnetlink(17, &[0, 0], &veth);
        daemon.apply();
        let applied = daemon.verify();
        assert!(applied.is_clean(), "a change while all is broken: {applied:?}");
        works(&daemon, "after a change while all was broken");
        assert_eq!(daemon.inside(c, || call((ip_b, 80))), Ok("b 10.242.1.4".to_owned()));
        // Nothing broken: nothing touched, so connections stay.
        let stream = daemon.inside(a, || TcpStream::connect((ip_b, 80)).unwrap());
        let rules = nft(&format!("-a list table inet {table}"));
        assert!(daemon.verify().is_clean());
        assert_eq!(nft(&format!("-a list table inet {table}")), rules);
        assert!(hear(&stream).is_ok());
        daemon.finish();
    });
}
