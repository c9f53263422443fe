//! Virtual addresses of services, as their clients meet them.

use crate::lab::*;
use model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sets who is behind the n-th address of a network.
fn vip(daemon: &mut Daemon, network: NetworkId, n: u32, behind: &[TaskId]) -> IpAddr {
    let place = |it: &Endpoint| std::iter::once(it.address).chain(it.address6).collect::<Vec<_>>();
    let backends = behind.iter().flat_map(|task| place(&daemon.net.endpoints[task].attachments[0])).collect();
    let of = &daemon.net.networks[&network];
    let address = nth(of.subnet.address, n);
    let address6 = of.subnet6.map(|block| nth(block.address, n));
    let fresh = VirtualAddress { service: ServiceId(u128::from(n)), address, address6, backends };
    let all = Arc::make_mut(daemon.net.vips.entry(network).or_default());
    all.retain(|vip| vip.address != address);
    all.push(fresh);
    address
}

fn asks(daemon: &Daemon, client: TaskId, address: IpAddr, times: u32) -> BTreeMap<String, u32> {
    daemon.inside(client, || {
        let mut heard = BTreeMap::new();
        for _ in 0..times {
            let said = call((address, 80)).unwrap_or_else(|error| error);
            *heard.entry(said).or_insert(0) += 1;
        }
        heard
    })
}

fn pings(daemon: &Daemon, client: TaskId, address: IpAddr) -> bool {
    daemon.inside(client, || {
        let mut ping = Command::new("busybox");
        ping.args(["ping", "-c1", "-W1", &address.to_string()]).stdout(Stdio::null());
        ping.status().unwrap().success()
    })
}

/// A network with a client, a web service of two and its virtual address 10.9.0.100.
fn shop() -> (Daemon, NetworkId, [TaskId; 3], IpAddr) {
    let mut daemon = Daemon::new();
    let network = daemon.network6(1, "10.9.0.0/16", Some("fd09::/64"), false);
    let [client, one, two] = [2, 3, 4].map(|n| daemon.container(n, &[network]));
    let web = vip(&mut daemon, network, 100, &[one, two]);
    daemon.apply_clean();
    greeter(&daemon, one, 80, "one");
    greeter(&daemon, two, 80, "two");
    (daemon, network, [client, one, two], web)
}

#[test]
fn one_address_leads_to_all_and_tells_who_asks() {
    on_a_host(|| {
        let (mut daemon, network, [client, one, two], web) = shop();
        for (address, asker) in [(web, "10.9.0.2"), (nth("fd09::".parse().unwrap(), 100), "fd09::2")] {
            let heard = asks(&daemon, client, address, 200);
            let expected = [format!("one {asker}"), format!("two {asker}")];
            assert_eq!(heard.keys().cloned().collect::<Vec<_>>(), expected);
            assert!(heard.values().all(|times| (60..=140).contains(times)), "even: {heard:?}");
            assert!(pings(&daemon, client, address), "every protocol");
        }
        // One of those behind it asks too, and gets itself now and then.
        assert_eq!(asks(&daemon, one, web, 40).len(), 2);
        vip(&mut daemon, network, 100, &[two]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, two, web, 5), [("two 10.9.0.4".to_owned(), 5)].into());
        assert_eq!(asks(&daemon, client, web, 20), [("two 10.9.0.2".to_owned(), 20)].into());
        // A container that comes later knows it as well.
        let late = daemon.container(9, &[network]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, late, web, 3), [("two 10.9.0.9".to_owned(), 3)].into());
        daemon.finish();
    });
}

#[test]
fn one_that_leaves_keeps_its_conversations_and_gets_no_new_ones() {
    on_a_host(|| {
        let (mut daemon, network, [client, one, two], web) = shop();
        udp_server(&daemon, one, 53, "one");
        udp_server(&daemon, two, 53, "two");
        vip(&mut daemon, network, 100, &[one]);
        daemon.apply_clean();
        let (held, socket) = daemon.inside(client, || {
            let held = TcpStream::connect((web, 80)).unwrap();
            assert_eq!(hear(&held), Ok("one 10.9.0.2".to_owned()));
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            assert_eq!(ask_udp(&socket, SocketAddr::new(web, 53)), Some("one".to_owned()));
            (held, socket)
        });
        vip(&mut daemon, network, 100, &[two]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, client, web, 20), [("two 10.9.0.2".to_owned(), 20)].into());
        assert_eq!(ask_udp(&socket, SocketAddr::new(web, 53)), Some("two".to_owned()), "its flow moves");
        use std::io::Write as _;
        (&held).write_all(b"still here\n").unwrap();
        assert_eq!(hear(&held), Ok("still here".to_owned()));

        // Nobody is left: refused at once, and again when somebody is back it is not.
        vip(&mut daemon, network, 100, &[]);
        daemon.apply_clean();
        for address in [web, nth("fd09::".parse().unwrap(), 100)] {
            let asked = Instant::now();
            assert_eq!(asks(&daemon, client, address, 1), [("connection refused".to_owned(), 1)].into());
            assert!(asked.elapsed() < SOON / 3, "at once");
        }
        assert_eq!(ask_udp(&socket, SocketAddr::new(web, 53)), None);
        vip(&mut daemon, network, 100, &[one]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, client, web, 5), [("one 10.9.0.2".to_owned(), 5)].into());
        assert_eq!(ask_udp(&socket, SocketAddr::new(web, 53)), Some("one".to_owned()));
        daemon.finish();
    });
}

#[test]
fn what_one_that_left_never_answered_is_asked_of_another() {
    on_a_host(|| {
        let (mut daemon, network, [client, one, two], web) = shop();
        vip(&mut daemon, network, 100, &[one]);
        daemon.apply_clean();
        let rules = "table ip silent { chain input { type filter hook input priority 0; policy drop; }; }";
        daemon.inside(one, || drop(nft(rules)));
        let place = overlay_net::netns_path(daemon.run_root(), client);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| within(&place, || call((web, 80))));
            std::thread::sleep(Duration::from_millis(200));
            vip(&mut daemon, network, 100, &[two]);
            daemon.apply_clean();
            assert!(!asked.is_finished(), "it might still be answered");
            assert_eq!(asked.join().unwrap(), Ok("two 10.9.0.2".to_owned()));
        });
        daemon.finish();
    });
}

#[test]
fn what_others_break_is_healed_and_netd_may_die() {
    on_a_host(|| {
        let (mut daemon, network, [client, one, two], web) = shop();
        daemon.inside(client, || nft("flush ruleset"));
        assert!(daemon.verify().is_clean());
        assert_eq!(asks(&daemon, client, web, 40).len(), 2, "healed");
        // Names go on working as well: the container flushed them too.
        daemon.kill();
        assert_eq!(asks(&daemon, client, web, 40).len(), 2, "the kernel does it alone");
        vip(&mut daemon, network, 100, &[two]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, client, web, 20), [("two 10.9.0.2".to_owned(), 20)].into());
        // Rules of the container's own are its business.
        daemon.inside(client, || nft("add table ip mine"));
        assert!(daemon.verify().is_clean());
        let tables: BTreeSet<String> =
            daemon.inside(client, || nft("list tables").lines().map(str::to_owned).collect());
        let expected = ["table ip mine", "table ip rswarm_dns", "table ip rswarm_vips", "table ip6 rswarm_vips"];
        assert_eq!(tables, expected.map(str::to_owned).into());
        vip(&mut daemon, network, 100, &[one, two]);
        daemon.apply_clean();
        assert_eq!(asks(&daemon, client, web, 40).len(), 2);
        daemon.net.vips.clear();
        daemon.apply_clean();
        let left = daemon.inside(client, || nft("list map ip rswarm_vips services"));
        assert!(!left.contains("10.9"), "{left}");
        daemon.finish();
    });
}
