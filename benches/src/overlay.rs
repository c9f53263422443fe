//! A network on three machines: how soon names follow tasks, what a new network takes, and `netd` at rest and with much
//! to do.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use e2e::{BUSYBOX, eventually};
use model::{
    Endpoint, HostEndpoint, HostNet, MeshMap, MeshPeer, Network, NetworkId, NetworkSpec, NodeId, RemoteEndpoint,
    Subnet, TaskId,
};
use overlay_net::client::{Launch, Netd};

use crate::memory::rss;
use crate::mesh::{output, within};
use crate::table::{Bar, Table, say};

const HOSTS: usize = 3;
/// How often each thing is done.
const ROUNDS: usize = 15;
/// What is waited for in the worst case.
const PATIENCE: Duration = Duration::from_secs(20);
/// Networks on one machine, and tasks of others in each.
const MANY: (u32, u32) = (500, 10);

pub(crate) fn measure(table: &mut Table) {
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED: overlay needs root");
    }
    names(table);
    networks(table);
}

/// From the moment when a task is healthy, or is dead, until the last of three machines answers so.
fn names(table: &mut Table) {
    let Some(lab) = e2e::Lab::cluster(1, HOSTS - 1) else { return };
    let first = &lab.hosts[0];
    let probes = first.work().join("probes");
    std::fs::create_dir_all(&probes).unwrap();
    // The check leaves a file when it passes for the first time; later ones are far away.
    let check = "{test: 'touch /probes/$$HOSTNAME', interval: 1h, start_interval: 20ms, start_period: 1h}";
    let web = format!(
        "{{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000, healthcheck: {check}, \
         volumes: ['{}:/probes'], deploy: {{endpoint_mode: dnsrr, replicas: 1, restart_policy: {{condition: none}}}}}}",
        probes.display()
    );
    let client = format!("{{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000, deploy: {{mode: global}}}}");
    first.up("shop", &format!("services:\n  web: {web}\n  client: {client}\n")).ok();
    let space = |host: &e2e::Host| -> PathBuf {
        let client = host.sh("ps -q --filter name=client").ok().lines().remove(0);
        format!("/proc/{}/ns/net", host.inspect(&client, "{{.State.Pid}}")).into()
    };
    let spaces: Vec<PathBuf> = lab.hosts.iter().map(space).collect();
    let (mut come, mut gone) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let scale = format!("service scale -d shop_web={}", round + 2);
        let seen = when_all_count(&spaces, round + 2, || drop(first.sh(&scale).ok()));
        let healthy =
            std::fs::read_dir(&probes).unwrap().flatten().map(|it| it.metadata().unwrap().modified().unwrap());
        come.push(seen.duration_since(healthy.max().unwrap()).unwrap_or_default());
    }
    for left in (1..=ROUNDS).rev() {
        let host = lab.hosts.iter().find(|host| !host.sh("ps -q --filter name=web").lines().is_empty()).unwrap();
        let id = host.sh("ps -q --filter name=web").ok().lines().remove(0);
        let pid: i32 = host.inspect(&id, "{{.State.Pid}}").parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let mut died = SystemTime::now();
        let seen = when_all_count(&spaces, left, || {
            died = SystemTime::now();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        gone.push(seen.duration_since(died).unwrap_or_default());
    }
    for (what, times) in [("healthy → its name leads there", &come), ("killed → its name does not", &gone)] {
        say(&format!("{what}: the slowest of {ROUNDS} {:?}", times.iter().max().unwrap_or(&Duration::ZERO)));
        table.times(&format!("overlay: a task is {what} on three nodes"), times, &[], Bar::AtMost(200.0));
    }
    let netd = first.netd_pid().unwrap();
    table.sizes(
        "overlay: netd of a cluster's node, resident",
        rss(netd.as_raw_nonzero().get() as u32),
        None,
        Bar::AtMost(15.0),
    );
}

/// When the last of these places knows so many tasks. `act` is called once all are looked at.
fn when_all_count(spaces: &[PathBuf], count: usize, act: impl FnOnce()) -> SystemTime {
    std::thread::scope(|scope| {
        let sockets: Vec<UdpSocket> =
            spaces.iter().map(|space| within(space, || UdpSocket::bind("0.0.0.0:0").unwrap())).collect();
        let watched: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                scope.spawn(move || {
                    let end = Instant::now() + PATIENCE;
                    while addresses(&socket) != Some(count) {
                        assert!(Instant::now() < end, "{count} tasks have no names");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    SystemTime::now()
                })
            })
            .collect();
        act();
        watched.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

/// How many addresses `tasks.web` has.
fn addresses(socket: &UdpSocket) -> Option<usize> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in ["tasks", "web"] {
        question.push(label.len() as u8);
        question.extend(label.as_bytes());
    }
    // A, IN; and an OPT record for 4096 bytes.
    question.extend([0, 0, 1, 0, 1, 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.send_to(&question, "127.0.0.11:53").ok()?;
    let mut reply = [0; 4096];
    let (length, _) = socket.recv_from(&mut reply).ok()?;
    (length > 12).then(|| usize::from(reply[6]) << 8 | usize::from(reply[7]))
}

/// The data plane alone, driven as the daemon drives it.
fn networks(table: &mut Table) {
    let wire = Wire::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut nets = wire.facts();
    let mut netds = Vec::new();
    for (host, path) in wire.paths.iter().enumerate() {
        let launch = Launch::of_binary(&e2e::binary(), &wire.root(host), &wire.root(host));
        netds.push(within(path, || runtime.block_on(Netd::launch(&wire.root(host), launch)).unwrap()));
    }
    let [a, b, c] = netds.as_mut_slice() else { return };
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        attach(&mut nets, round as u8);
        let began = Instant::now();
        let applied = runtime.block_on(async { tokio::join!(a.apply(&nets[0]), b.apply(&nets[1]), c.apply(&nets[2])) });
        let took = began.elapsed();
        assert!([applied.0, applied.1, applied.2].into_iter().all(|it| it.unwrap().is_clean()));
        // The first makes the mesh too.
        if round > 0 {
            times.push(took);
        }
        if round == 0 {
            std::thread::sleep(Duration::from_secs(2));
            let idle = rss(runtime.block_on(a.pid()).unwrap());
            table.sizes("overlay: idle netd in a mesh of three, resident", idle, None, Bar::AtMost(15.0));
        }
        eventually("they reach each other", PATIENCE, || wire.answers(round as u8));
    }
    say(&format!("a new network: the slowest of {ROUNDS} {:?}", times.iter().max().unwrap_or(&Duration::ZERO)));
    table.times("overlay: a new network with a container on each of three nodes", &times, &[], Bar::AtMost(100.0));

    let (count, tasks) = MANY;
    for n in 0..count {
        let (id, network) = network(1000 + n, [10, 100 + (n / 250) as u8, (n % 250) as u8]);
        let address = |n: u32| nth(&network, n as u8);
        let remote = |n| RemoteEndpoint { address: address(n), address6: None, mac: None, node: 2 + n % 2 };
        nets[0].remotes.insert(id, Arc::new((2..2 + tasks).map(remote).collect()));
        nets[0].networks.insert(id, network);
    }
    let mut timed = |net: &HostNet| {
        let began = Instant::now();
        assert!(runtime.block_on(a.apply(net)).unwrap().is_clean());
        began.elapsed()
    };
    say(&format!("{count} networks with {tasks} tasks elsewhere in each, all at once: {:?}", timed(&nets[0])));
    let mut more = Vec::new();
    for n in 0..ROUNDS {
        let (id, all) = nets[0].remotes.iter().next_back().map(|(id, all)| (*id, all.clone())).unwrap();
        let address = nth(&nets[0].networks[&id], 100 + n as u8);
        let all = all.iter().cloned().chain([RemoteEndpoint { address, ..all[0].clone() }]).collect();
        nets[0].remotes.insert(id, Arc::new(all));
        more.push(timed(&nets[0]));
    }
    table.times("overlay: one task more elsewhere, among 5,000 in 500 networks", &more, &[], Bar::AtMost(100.0));
    let large = rss(runtime.block_on(a.pid()).unwrap());
    table.sizes("overlay: netd with 500 networks and 5,000 endpoints, resident", large, None, Bar::AtMost(50.0));
    for (host, netd) in netds.iter_mut().enumerate() {
        runtime.block_on(netd.shutdown()).unwrap();
        within(&wire.paths[host], || overlay_net::cleanup(&wire.root(host)).unwrap());
    }
}

/// A further network, with a container on each host.
fn attach(nets: &mut [HostNet], round: u8) {
    let (id, network) = network(round.into(), [10, 220, round]);
    let remote = |host: usize| RemoteEndpoint {
        address: nth(&network, 11 + host as u8),
        address6: None,
        mac: None,
        node: host as u32 + 1,
    };
    for (host, net) in nets.iter_mut().enumerate() {
        let address = nth(&network, 11 + host as u8);
        let attachment =
            Endpoint { network: id, address, address6: None, mac: None, aliases: Vec::new(), interface: None };
        let endpoint = HostEndpoint { attachments: vec![attachment], dns: true, ..HostEndpoint::default() };
        net.networks.insert(id, network.clone());
        net.endpoints.insert(task(host, round), endpoint);
        net.remotes.insert(id, Arc::new((0..HOSTS).filter(|other| *other != host).map(remote).collect()));
    }
}

fn network(n: u32, [a, b, c]: [u8; 3]) -> (NetworkId, Network) {
    let id = NetworkId(u128::from(n + 1) << 80);
    let subnet = Subnet::parse(&format!("{a}.{b}.{c}.0/24")).unwrap();
    let spec = NetworkSpec { name: format!("net{n}"), ..NetworkSpec::default() };
    let gateway = IpAddr::from([a, b, c, 1]);
    (
        id,
        Network {
            id,
            spec,
            vni: 4096 + n,
            subnet,
            gateway,
            subnet6: None,
            gateway6: None,
            created: model::Time::default(),
        },
    )
}

fn nth(network: &Network, n: u8) -> IpAddr {
    match network.subnet.address {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + u32::from(n)).into()),
        v6 => v6,
    }
}

fn task(host: usize, round: u8) -> TaskId {
    TaskId((host as u128 + 1) << 112 | u128::from(round) << 96)
}

/// Hosts on one wire, and a folder.
struct Wire {
    names: Vec<String>,
    paths: Vec<PathBuf>,
    dir: PathBuf,
}

impl Wire {
    fn new() -> Wire {
        let names: Vec<String> = (0..=HOSTS).map(|host| format!("rsover{}-{host}", std::process::id())).collect();
        let ip = |words: String| output(Command::new("ip").args(words.split(' ')));
        let dir = std::env::temp_dir().join(&names[0]);
        for name in &names {
            ip(format!("netns add {name}"));
            ip(format!("-n {name} link set lo up"));
        }
        let hub = &names[HOSTS];
        ip(format!("-n {hub} link add wire type bridge"));
        ip(format!("-n {hub} link set wire up"));
        for (host, name) in names.iter().take(HOSTS).enumerate() {
            std::fs::create_dir_all(dir.join(host.to_string())).unwrap();
            ip(format!("-n {hub} link add to{host} type veth peer name wire netns {name}"));
            ip(format!("-n {hub} link set to{host} master wire up"));
            ip(format!("-n {name} addr add 10.98.0.{}/24 dev wire", host + 1));
            ip(format!("-n {name} link set wire up"));
        }
        let paths = names.iter().take(HOSTS).map(|name| Path::new("/run/netns").join(name)).collect();
        Wire { names, paths, dir }
    }

    fn root(&self, host: usize) -> PathBuf {
        self.dir.join(host.to_string())
    }

    /// A mesh of all, and nothing else.
    fn facts(&self) -> Vec<HostNet> {
        let peer = |host: usize| MeshPeer {
            number: host as u32 + 1,
            public_key: overlay_net::mesh::own_key(&self.root(host)).unwrap(),
            endpoints: vec![SocketAddr::from(([10, 98, 0, host as u8 + 1], 51820))],
        };
        let nodes: BTreeMap<_, _> = (0..HOSTS).map(|host| (NodeId(host as u128 + 1), peer(host))).collect();
        let map = MeshMap { mtu: 1420, nodes };
        let net = |host: usize| HostNet { mesh: map.seen_from(NodeId(host as u128 + 1)), ..HostNet::default() };
        (0..HOSTS).map(net).collect()
    }

    /// Does the container of the last host hear that of the first, on this network?
    fn answers(&self, round: u8) -> bool {
        let space = |host: usize| overlay_net::netns_path(&self.root(host), task(host, round));
        let there = within(&space(HOSTS - 1), || UdpSocket::bind("0.0.0.0:9").unwrap());
        let here = within(&space(0), || UdpSocket::bind("0.0.0.0:0").unwrap());
        there.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let to = SocketAddr::from(([10, 220, round, 11 + HOSTS as u8 - 1], 9));
        here.send_to(b"?", to).is_ok() && there.recv(&mut [0; 8]).is_ok()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}
