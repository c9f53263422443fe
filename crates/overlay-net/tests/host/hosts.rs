//! Two hosts: containers of one network on both.

use crate::lab::*;
use model::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A host of several: a network namespace with a daemon's corner.
pub(crate) struct Host {
    namespace: File,
    pub(crate) daemon: Daemon,
    pub(crate) number: u32,
}

impl Host {
    pub(crate) fn new(number: u32) -> Host {
        let namespace = std::thread::scope(|scope| {
            let unshared = scope.spawn(|| {
                // SAFETY: only the network namespace of this thread changes.
                #[allow(unsafe_code, reason = "rustix marks unshare unsafe because of flags not used here")]
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
                rtnetlink(16, &[1, 1], "lo");
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            unshared.join().unwrap()
        });
        Host { namespace, daemon: Daemon::new(), number }
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.namespace.as_raw_fd()).into()
    }

    /// Runs on the host.
    pub(crate) fn on<T: Send>(&mut self, work: impl FnOnce(&mut Daemon) -> T + Send) -> T {
        let path = self.path();
        within(&path, || work(&mut self.daemon))
    }

    pub(crate) fn mesh_namespace(&self) -> PathBuf {
        self.daemon.run_root().join("netns/mesh")
    }

    /// Its network namespace, for other programs.
    pub(crate) fn link(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Its address on the wire between the hosts, in IPv6.
    pub(crate) fn wire6(&self) -> IpAddr {
        IpAddr::from([0xfd00, 99, 0, 0, 0, 0, 0, u16::try_from(self.number).unwrap()])
    }

    /// Its address on the wire between the hosts.
    pub(crate) fn wire(&self) -> IpAddr {
        IpAddr::from([10, 99, 0, u8::try_from(self.number).unwrap()])
    }
}

/// Runs a program in a network namespace.
pub(crate) fn run(namespace: &std::path::Path, words: &str) -> String {
    within(namespace, || run_here(words))
}

/// Two hosts with a wire between them.
pub(crate) fn two_hosts(test: impl FnOnce([Host; 2]) + Send) {
    on_a_host(|| {
        let hosts = [Host::new(1), Host::new(2)];
        // Both ends get their names where they are to be.
        let [a, b] = &hosts;
        let (a_path, b_path) = (a.path(), b.path());
        run(&a_path, &format!("ip link add wire0 type veth peer name wire0 netns {}", b.link()));
        for (host, path) in [(a, a_path), (b, b_path)] {
            run(&path, &format!("ip addr add {}/24 dev wire0", host.wire()));
            run(&path, &format!("ip addr add {}/64 dev wire0 nodad", host.wire6()));
            run(&path, "ip link set wire0 up");
        }
        test(hosts);
    });
}

/// Three hosts and somebody outside, all on one wire.
pub(crate) fn three_hosts(test: impl FnOnce([Host; 3], &Host) + Send) {
    on_a_host(|| {
        let (hosts, outside, hub) = ([Host::new(1), Host::new(2), Host::new(3)], Host::new(9), Host::new(0));
        run(&hub.path(), "ip link add wire type bridge");
        run(&hub.path(), "ip link set wire up");
        for host in hosts.iter().chain([&outside]) {
            let (name, far) = (format!("wire{}", host.number), host.link());
            run(&hub.path(), &format!("ip link add {name} type veth peer name wire0 netns {far}"));
            run(&hub.path(), &format!("ip link set {name} master wire up"));
            run(&host.path(), &format!("ip addr add {}/24 dev wire0", host.wire()));
            run(&host.path(), &format!("ip addr add {}/64 dev wire0 nodad", host.wire6()));
            run(&host.path(), "ip link set wire0 up");
        }
        test(hosts, &outside);
    });
}

/// Makes them part of one mesh.
pub(crate) fn mesh(hosts: &mut [Host]) {
    let peer = |host: &Host| {
        let public_key = overlay_net::mesh::own_key(host.daemon.run_root()).unwrap();
        let endpoints = [host.wire(), host.wire6()].map(|address| SocketAddr::new(address, 51820)).to_vec();
        MeshPeer { number: host.number, public_key, endpoints }
    };
    let nodes = hosts.iter().map(|host| (NodeId(host.number.into()), peer(host))).collect();
    let map = MeshMap { mtu: 1420, nodes };
    for host in hosts.iter_mut() {
        host.daemon.net.mesh = map.seen_from(NodeId(host.number.into()));
    }
}

/// Tells each host of the containers of the other.
pub(crate) fn introduce(hosts: &mut [Host]) {
    let mut all: BTreeMap<NetworkId, Vec<RemoteEndpoint>> = BTreeMap::new();
    for host in hosts.iter() {
        for attachment in host.daemon.net.endpoints.values().flat_map(|endpoint| &endpoint.attachments) {
            all.entry(attachment.network).or_default().push(RemoteEndpoint {
                address: attachment.address,
                address6: attachment.address6,
                mac: attachment.mac.clone(),
                node: host.number,
            });
        }
    }
    for host in hosts.iter_mut() {
        let others = |all: &Vec<RemoteEndpoint>| all.iter().filter(|it| it.node != host.number).cloned().collect();
        host.daemon.net.remotes = all.iter().map(|(id, all)| (*id, Arc::new(others(all)))).collect();
    }
}

/// The same networks on both, as one cluster has them.
pub(crate) fn shared_network(hosts: &mut [Host], n: u128, subnet: &str, subnet6: Option<&str>) -> NetworkId {
    let [a, others @ ..] = hosts else { panic!("no hosts") };
    let id = a.daemon.network6(n, subnet, subnet6, false);
    let network = a.daemon.net.networks.get_mut(&id).unwrap();
    (network.vni, network.spec.name) = (4096 + n as u32, format!("net{n}"));
    let network = network.clone();
    others.iter_mut().for_each(|host| drop(host.daemon.net.networks.insert(id, network.clone())));
    id
}

/// One network with a container on each of the two, which are told of each other.
pub(crate) fn meet(hosts: &mut [Host; 2], subnet: &str) -> [TaskId; 2] {
    let net = shared_network(hosts, 1, subnet, None);
    let [a, b] = hosts;
    let tasks = [a.daemon.container(2, &[net]), b.daemon.container(3, &[net])];
    mesh(hosts);
    introduce(hosts);
    hosts.iter_mut().for_each(|host| host.on(Daemon::apply_clean));
    tasks
}

/// Ends them, and finds them as they were.
pub(crate) fn finish<const N: usize>(hosts: [Host; N], before: [BTreeMap<String, String>; N]) {
    // The wire goes with the first of the namespaces.
    let mut namespaces = Vec::new();
    for (Host { namespace, daemon, .. }, before) in hosts.into_iter().zip(before) {
        let path: PathBuf = format!("/proc/self/fd/{}", namespace.as_raw_fd()).into();
        let root = daemon.run_root().to_owned();
        within(&path, || daemon.finish());
        assert_eq!(within(&path, || inventory(&root)), before);
        namespaces.push(namespace);
    }
}

/// Ends them.
pub(crate) fn finish_all<const N: usize>(hosts: [Host; N]) {
    for Host { namespace, daemon, .. } in hosts {
        let path: PathBuf = format!("/proc/self/fd/{}", namespace.as_raw_fd()).into();
        within(&path, || daemon.finish());
    }
}

/// A cable in place of WireGuard.
fn cable(hosts: &[Host; 2]) {
    let [a, b] = hosts.each_ref().map(|host| host.mesh_namespace());
    for namespace in [&a, &b] {
        run(namespace, "ip link del mesh0");
    }
    run(&a, &format!("ip link add mesh0 mtu 1420 type veth peer name mesh0 mtu 1420 netns {}", b.display()));
    for (namespace, number) in [(&a, 1), (&b, 2)] {
        run(namespace, &format!("ip addr add 100.64.0.{number}/10 dev mesh0"));
        run(namespace, "ip link set mesh0 up");
    }
}

#[test]
fn one_network_on_two_hosts() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let net = shared_network(&mut hosts, 1, "10.220.1.0/24", Some("fd00:220::/64"));
        let other = shared_network(&mut hosts, 2, "10.220.2.0/24", None);
        let [a, b] = &mut hosts;
        let here = a.daemon.container(2, &[net]);
        let there = b.daemon.container(3, &[net]);
        let elsewhere = b.daemon.container(4, &[other]);
        let _alone = a.daemon.container(5, &[other]);
        mesh(&mut hosts);
        introduce(&mut hosts);
        hosts.iter_mut().for_each(|host| host.on(Daemon::apply_clean));
        cable(&hosts);
        hosts.iter_mut().for_each(|host| host.on(|daemon| assert!(daemon.verify().is_clean())));
        let [a, b] = &mut hosts;
        greeter(&b.daemon, there, 80, "there");
        greeter(&b.daemon, elsewhere, 80, "elsewhere");
        let ip = |n: u8, host: u8| IpAddr::from([10, 220, n, host]);
        let call_from_here = |daemon: &Daemon, address: IpAddr| daemon.inside(here, || call((address, 80)));
        assert_eq!(call_from_here(&a.daemon, ip(1, 3)), Ok("there 10.220.1.2".to_owned()));
        let six: IpAddr = "fd00:220::3".parse().unwrap();
        assert_eq!(call_from_here(&a.daemon, six), Ok("there fd00:220::2".to_owned()));
        assert!(call_from_here(&a.daemon, ip(2, 4)).is_err(), "another network, on the other host");
        let size = a.daemon.inside(here, || Command::new("ip").args(["link", "show", "eth0"]).output().unwrap());
        assert!(String::from_utf8_lossy(&size.stdout).contains("mtu 1370"), "{size:?}");

        // What others break comes back.
        let tunnel = overlay_net::names::tunnel(net);
        run(&a.path(), &format!("ip neigh flush nud permanent dev {tunnel}"));
        run(&a.path(), &format!("bridge fdb del {} dev {tunnel} self", "02:42:0a:dc:01:03"));
        a.on(|daemon| assert!(daemon.verify().is_clean()));
        a.daemon.inside(here, || Command::new("ip").args(["neigh", "flush", "all"]).output().unwrap());
        assert_eq!(call_from_here(&a.daemon, ip(1, 3)), Ok("there 10.220.1.2".to_owned()));
        run(&a.path(), &format!("ip link del {tunnel}"));
        a.on(|daemon| assert!(daemon.verify().is_clean()));
        assert_eq!(call_from_here(&a.daemon, ip(1, 3)), Ok("there 10.220.1.2".to_owned()));

        // A host that is not part of it any more is not reached at once.
        a.daemon.net.mesh.as_mut().unwrap().peers.clear();
        a.on(Daemon::apply_clean);
        assert!(call_from_here(&a.daemon, ip(1, 3)).is_err());

        finish(hosts, before);
    });
}

#[test]
fn containers_of_two_hosts_talk_through_wireguard() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let [here, there] = meet(&mut hosts, "10.221.1.0/24");
        let [a, b] = &mut hosts;
        greeter(&b.daemon, there, 80, "there");
        let address = b.daemon.address(there);
        let began = std::time::Instant::now();
        assert_eq!(a.daemon.inside(here, || call((address, 80))), Ok("there 10.221.1.2".to_owned()));
        println!("the first call took {:?}", began.elapsed());
        let status = a.on(Daemon::mesh);
        let peer = &status[&NodeId(2)];
        // It is greeted wherever it may be; the answer that came last tells where it is.
        let places = [b.wire(), b.wire6()].map(|address| Some(SocketAddr::new(address, 51820)));
        assert!(places.contains(&peer.endpoint), "{peer:?}");
        assert!(peer.handshake_age.is_some_and(|age| age < 5) && peer.sent > 0 && peer.received > 0, "{peer:?}");

        // A long conversation goes on through the death of the process on one side, and then on the other.
        let mut stream = a.daemon.inside(here, || std::net::TcpStream::connect((address, 80)).unwrap());
        assert_eq!(hear(&stream), Ok("there 10.221.1.2".to_owned()));
        for host in &mut hosts {
            host.on(|daemon| {
                daemon.kill();
                daemon.start();
            });
            let began = std::time::Instant::now();
            std::io::Write::write_all(&mut stream, b"still there?\n").unwrap();
            assert_eq!(hear(&stream), Ok("still there?".to_owned()));
            println!("after a death: {:?}", began.elapsed());
            assert!(began.elapsed() < std::time::Duration::from_secs(2));
        }

        // Cut off at once.
        let [a, _] = &mut hosts;
        a.daemon.net.mesh.as_mut().unwrap().peers.clear();
        a.daemon.net.remotes.clear();
        a.on(Daemon::apply_clean);
        assert!(a.daemon.inside(here, || call((address, 80))).is_err());
        finish(hosts, before);
    });
}

#[test]
fn a_published_port_answers_on_every_node_and_the_container_sees_the_client() {
    two_hosts(|mut hosts| {
        // Somebody outside, who reaches the first host only.
        let outside = Host::new(9);
        let (near, far) = (hosts[0].path(), outside.link());
        run(&near, &format!("ip link add door type veth peer name door netns {far}"));
        for (path, address) in [(&near, "10.98.0.1/24"), (&outside.path(), "10.98.0.9/24")] {
            run(path, &format!("ip addr add {address} dev door"));
            run(path, "ip link set door up");
        }
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let net = shared_network(&mut hosts, 1, "10.222.1.0/24", None);
        let [a, b] = &mut hosts;
        let there = b.daemon.container(3, &[net]);
        let other = a.daemon.container(4, &[net]);
        mesh(&mut hosts);
        introduce(&mut hosts);
        let address = hosts[1].daemon.address(there);
        for host in &mut hosts {
            host.daemon.publish(Protocol::Tcp, 8080, &[(address, 80)]);
            host.daemon.publish(Protocol::Udp, 8053, &[(address, 53)]);
            host.daemon.net.ports.iter_mut().for_each(|port| port.everywhere = true);
        }
        hosts[0].daemon.net.ingress.insert(address, 2);
        hosts.iter_mut().for_each(|host| host.on(Daemon::apply_clean));
        let [a, b] = &mut hosts;
        greeter(&b.daemon, there, 80, "there");
        greeter(&b.daemon, there, 81, "closed");
        udp_server(&b.daemon, there, 53, "answer");
        let door = |port: u16| SocketAddr::from(([10, 98, 0, 1], port));
        let seen = within(&outside.path(), || call(door(8080)));
        assert_eq!(seen, Ok("there 10.98.0.9".to_owned()), "the client's own address");
        let asking = within(&outside.path(), || std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
        assert_eq!(ask_udp(&asking, door(8053)).as_deref(), Some("answer"));
        // From the node itself, over loopback too, and from its containers: with the node's address in the mesh.
        for address in [[10, 98, 0, 1], [127, 0, 0, 1]] {
            assert_eq!(a.on(|_| call((address, 8080))), Ok("there 100.64.0.1".to_owned()), "{address:?}");
        }
        let gateway = ([10, 222, 1, 1], 8080);
        assert_eq!(a.daemon.inside(other, || call(gateway)), Ok("there 100.64.0.1".to_owned()));
        assert_eq!(b.on(|_| call(([127, 0, 0, 1], 8080))), Ok("there 10.222.1.1".to_owned()), "where it runs");

        // Nothing else may come over that link, neither to the host nor to other ports.
        run(&a.path(), &format!("ip route add {address} via 100.64.0.2 dev {} onlink", ri(&a.daemon)));
        assert!(a.on(|_| call((address, 81))).is_err(), "a port that is not published");
        let listening = b.on(|_| std::net::TcpListener::bind("0.0.0.0:7777").unwrap());
        run(&a.path(), &format!("ip route add 100.64.0.2 dev {}", ri(&a.daemon)));
        assert!(a.on(|_| call(([100, 64, 0, 2], 7777))).is_err(), "the host behind the link");
        drop(listening);
        run(&a.path(), &format!("ip route del {address} via 100.64.0.2 dev {}", ri(&a.daemon)));

        // What others break comes back; what is not wanted any more goes.
        run(&a.path(), &format!("ip link del {}", ri(&a.daemon)));
        lose_rules(&b.path(), "");
        // As an earlier version had them: all at one priority.
        let rule = run(&a.path(), "ip rule")
            .lines()
            .find(|line| line.contains("lookup") && line.contains("0x"))
            .map(|line| line.split_once(':').map_or_else(String::new, |(_, rule)| rule.trim().to_owned()));
        run(&a.path(), &format!("ip rule add priority 5199 {}", rule.unwrap()));
        hosts.iter_mut().for_each(|host| host.on(|daemon| assert!(daemon.verify().is_clean())));
        assert_eq!(within(&outside.path(), || call(door(8080))), Ok("there 10.98.0.9".to_owned()));
        assert!(!run(&hosts[0].path(), "ip rule").contains("5199:"));
        let rules = |host: &Host| run(&host.path(), "ip rule").lines().count();
        assert!(hosts.each_ref().map(rules).iter().all(|count| *count > 3));
        // Who never says goodbye is led to another, when the one that it talks to is gone.
        let [a, _] = &mut hosts;
        let nearby = a.daemon.address(other);
        udp_server(&a.daemon, other, 53, "another");
        for host in &mut hosts {
            host.daemon.net.ports[1].backends = [(nearby, 53)].into();
            host.on(Daemon::apply_clean);
        }
        assert_eq!(ask_udp(&asking, door(8053)).as_deref(), Some("another"));

        // Its own node knows first that it leaves, and lets in what others send until they know too.
        let gone = |host: &mut Host| {
            let port = &mut host.daemon.net.ports[0];
            port.admitted = std::mem::take(&mut port.backends);
            host.on(Daemon::apply_clean);
        };
        gone(&mut hosts[1]);
        assert_eq!(within(&outside.path(), || call(door(8080))), Ok("there 10.98.0.9".to_owned()));
        assert!(hosts[1].on(|_| call(([127, 0, 0, 1], 8080))).is_err(), "nothing from the node itself");
        let port = &mut hosts[1].daemon.net.ports[0];
        port.backends = std::mem::take(&mut port.admitted);
        hosts[1].on(Daemon::apply_clean);

        // Who leaves gets nothing new, and what there is goes on until it has ended.
        hosts[1].daemon.net.ingress.insert(address, 2);
        let connect = || std::net::TcpStream::connect_timeout(&door(8080), SOON).unwrap();
        let mut streams = vec![within(&outside.path(), connect), hosts[0].on(|_| connect())];
        streams.iter().for_each(|stream| assert!(hear(stream).is_ok()));
        for host in &mut hosts {
            host.daemon.net.ports.iter_mut().for_each(|port| port.backends.clear());
            host.on(Daemon::apply_clean);
        }
        assert!(within(&outside.path(), || call(door(8080))).is_err());
        for stream in &mut streams {
            std::io::Write::write_all(stream, b"still there?\n").unwrap();
            assert_eq!(hear(stream), Ok("still there?".to_owned()));
        }
        for host in &mut hosts {
            host.daemon.net.ports.clear();
            host.daemon.net.ingress.clear();
            host.on(Daemon::apply_clean);
        }
        assert_eq!(hosts.each_ref().map(rules), [3, 3]);
        finish(hosts, before);
    });
}

#[test]
fn what_is_not_encrypted_comes_from_hosts_of_the_cluster_only() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let net = shared_network(&mut hosts, 1, "10.223.1.0/24", None);
        let sealed = shared_network(&mut hosts, 2, "10.223.2.0/24", None);
        for host in &mut hosts {
            let options = &mut host.daemon.net.networks.get_mut(&net).unwrap().spec.driver_opts;
            options.insert("encrypted".to_owned(), "false".to_owned());
        }
        let [a, b] = &mut hosts;
        let here = a.daemon.container(2, &[net]);
        let there = b.daemon.container(3, &[net]);
        let inside = b.daemon.container(4, &[sealed]);
        let insiders = [a.daemon.container(5, &[sealed]), b.daemon.container(6, &[sealed])];
        mesh(&mut hosts);
        introduce(&mut hosts);
        hosts.iter_mut().for_each(|host| host.on(Daemon::apply_clean));
        hosts.iter_mut().for_each(|host| host.on(|daemon| assert!(daemon.verify().is_clean())));
        let [a, b] = &mut hosts;
        greeter(&b.daemon, there, 80, "there");
        let address = b.daemon.address(there);
        assert_eq!(a.daemon.inside(here, || call((address, 80))), Ok("there 10.223.1.2".to_owned()));

        // Somebody on the same wire who is not of the cluster: with frames for containers of either network. They
        // would be heard under the address of a cluster's host.
        let heard = [(there, [10, 223, 1, 3]), (inside, [10, 223, 2, 4])].map(|(task, ip)| {
            let socket = b.daemon.inside(task, || std::net::UdpSocket::bind("0.0.0.0:7000").unwrap());
            socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            (socket, ip)
        });
        run(&a.path(), "ip addr add 10.99.0.66/24 dev wire0");
        let wire = SocketAddr::new(b.wire(), 4789);
        let mut inject = |from: [u8; 4], vni: u32, to: [u8; 4]| {
            let socket = a.on(|_| std::net::UdpSocket::bind(SocketAddr::from((from, 0))).unwrap());
            socket.send_to(&frame(vni, to), wire).unwrap();
        };
        let mut buffer = [0; 16];
        for (index, (socket, ip)) in heard.iter().enumerate() {
            let vni = 4097 + index as u32;
            inject([10, 99, 0, 66], vni, *ip);
            assert!(socket.recv(&mut buffer).is_err(), "{ip:?} from a stranger");
            inject([10, 99, 0, 1], vni, *ip);
            assert_eq!(socket.recv(&mut buffer).is_ok(), index == 0, "{ip:?} from a member");
        }
        // A container on a member, which is heard there as the member itself; one on the same host.
        for (daemon, task) in [(&a.daemon, insiders[0]), (&b.daemon, insiders[1])] {
            let socket = daemon.inside(task, || std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
            // It may be told at once that nobody lets it.
            let _refused = socket.send_to(&frame(4097, [10, 223, 1, 3]), wire);
            assert!(heard[0].0.recv(&mut buffer).is_err(), "from a container");
        }
        finish(hosts, before);
    });
}

/// An Ethernet frame in VXLAN: a datagram for port 7000 of a container whose MAC address follows from its IP.
fn frame(vni: u32, [a, b, c, d]: [u8; 4]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, a, b, c, 99, a, b, c, d];
    let sum = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    ip[10..12].copy_from_slice(&(!((sum >> 16) + (sum & 0xffff)) as u16).to_be_bytes());
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((vni << 8).to_be_bytes());
    packet.extend([2, 0x42, a, b, c, d, 2, 0x42, a, b, c, 99, 8, 0]);
    packet.extend(ip);
    packet.extend([0x1b, 0x58, 0x1b, 0x58, 0, 9, 0, 0, b'!']);
    packet
}

#[test]
fn five_hundred_networks_and_five_thousand_endpoints() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        mesh(&mut hosts);
        let [a, _] = &mut hosts;
        for n in 0..500_u32 {
            let subnet = format!("10.{}.{}.0/24", 100 + n / 250, n % 250);
            let id = a.daemon.network(u128::from(n), &subnet, false);
            let network = a.daemon.net.networks.get_mut(&id).unwrap();
            (network.vni, network.spec.name) = (4096 + n, format!("net{n}"));
            let base = network.subnet.address;
            let remote = |n| RemoteEndpoint { address: nth(base, n), address6: None, mac: None, node: 2 };
            a.daemon.net.remotes.insert(id, Arc::new((2..12).map(remote).collect()));
        }
        let mut timed = |what: &str, change: &mut dyn FnMut(&mut Daemon)| {
            change(&mut a.daemon);
            let began = std::time::Instant::now();
            a.on(Daemon::apply_clean);
            println!("{what}: {:?}", began.elapsed());
        };
        timed("all of it", &mut |_| {});
        timed("nothing new", &mut |_| {});
        timed("one task more elsewhere", &mut |daemon| {
            let (id, all) = daemon.net.remotes.pop_first().unwrap();
            let address = nth(all[0].address, 100);
            let more = all.iter().cloned().chain([RemoteEndpoint { address, ..all[0].clone() }]).collect();
            daemon.net.remotes.insert(id, Arc::new(more));
        });
        timed("one network less", &mut |daemon| drop(daemon.net.networks.pop_last()));
        let began = std::time::Instant::now();
        a.on(|daemon| assert!(daemon.verify().is_clean()));
        println!("looked at: {:?}", began.elapsed());
        let count = |words: &str| run(&a.path(), words).lines().count();
        assert_eq!(count("ip -o link show type vxlan"), 499);
        assert_eq!(count("ip -o neigh show nud permanent"), 4991);
        finish(hosts, before);
    });
}

/// Somebody removes every rule of routing that the kernel did not begin with. `family`: `-6`, or nothing.
pub(crate) fn lose_rules(namespace: &std::path::Path, family: &str) {
    for line in run(namespace, &format!("ip {family} rule")).lines() {
        let priority = line.split(':').next().unwrap_or_default();
        if !matches!(priority, "0" | "32766" | "32767") {
            run(namespace, &format!("ip {family} rule del priority {priority}"));
        }
    }
}

pub(crate) fn ri(daemon: &Daemon) -> String {
    overlay_net::names::ingress(overlay_net::names::owner(daemon.run_root()))
}
