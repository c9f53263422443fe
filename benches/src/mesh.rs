//! The mesh beside other WireGuards that run in a process: two hosts (network namespaces) and a wire, everything in
//! one run. `wireguard-go`, `wg`, `iperf3` and, if it is in `PATH`, `boringtun-cli` come from the machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Endpoint, HostEndpoint, HostNet, MeshMap, MeshPeer, Network, NetworkId, NetworkSpec, NodeId, RemoteEndpoint,
    Subnet, TaskId,
};
use overlay_net::client::{Launch, Netd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::memory::rss;
use crate::table::{Bar, Table, median, say};

/// How long each stream of bytes runs, in seconds.
const SECONDS: u32 = 1;
/// How often everybody has his turn. What else the machine does, and where its cores are, changes by the second: turns
/// are short, and who is beside whom is compared in each.
const ROUNDS: usize = 21;
/// Packets of each round-trip measurement.
const PACKETS: usize = 400;
const STREAMS: [&str; 2] = ["1", "4"];

/// One way between two places, and what it could do in each round.
struct Way {
    name: String,
    places: [PathBuf; 2],
    target: [u8; 4],
    /// 100 MB over TCP, by the count of streams.
    bulk: [Vec<Duration>; 2],
    round_trip: Vec<Duration>,
}

impl Way {
    fn new(name: &str, places: &[PathBuf; 2], target: [u8; 4]) -> Way {
        Way { name: name.to_owned(), places: places.clone(), target, bulk: [vec![], vec![]], round_trip: vec![] }
    }

    /// One more turn with so many streams.
    fn measure(&mut self, index: usize) {
        let ([from, to], streams) = (&self.places, STREAMS[index]);
        let before = busy();
        let rate = rate(from, to, self.target.into(), streams);
        self.bulk[index].push(Duration::from_secs_f64(8e8 / rate));
        let cost = (busy() - before) / (rate * f64::from(SECONDS) / 8e9);
        say(&format!("{}, {streams}: {:.2} Gbit/s, {cost:.2} s of CPU for a gigabyte", self.name, rate / 1e9));
    }

    /// One more turn of small packets.
    fn ping(&mut self) {
        let [from, to] = &self.places;
        self.round_trip.push(round_trip(from, to, self.target.into()));
    }
}

pub(crate) fn measure(table: &mut Table) {
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED: mesh needs root");
    }
    let wire = Pair::new("plain");
    let plain = Way::new("plain", &wire.paths, [10, 98, 0, 2]);
    let others = [
        userspace("wireguard-go", &["-f"]),
        userspace("boringtun-cli", &["--foreground", "--disable-drop-privileges"]),
    ];
    let (mut ours, overlay) = (Ours::start(&e2e::binary()), "container to container");
    table.sizes("mesh: idle netd in a mesh of two, resident", ours.idle(), None, Bar::AtMost(15.0));
    // Another build of rswarm, to see what a change is worth.
    let before = std::env::var_os("RSWARM_BEFORE").map(|binary| Ours::start(&PathBuf::from(binary)));
    let mut ways = vec![plain, ours.hosts("netd"), ours.containers(overlay)];
    ways.extend(before.as_ref().map(|before| before.hosts("another build")));
    ways.extend(before.as_ref().map(|before| before.containers("another build, containers")));
    let (_running, peers): (Vec<_>, Vec<Way>) = others.into_iter().flatten().unzip();
    ways.extend(peers);
    let tcp = congestion();
    ways.iter().flat_map(|way| &way.places).for_each(|place| choose_congestion(place, &tcp));
    let count = ways.len();
    for round in 0..ROUNDS {
        for index in 0..STREAMS.len() {
            // Nobody always comes after the same other, whose heat and whose dust he would get.
            for place in 0..count {
                let place = if round % 2 == 0 { place } else { count - 1 - place };
                ways[(round + place) % count].measure(index);
            }
        }
        ways.iter_mut().for_each(Way::ping);
    }
    let [plain, hosts, containers, peers @ ..] = &ways[..] else { return };
    for (index, streams) in STREAMS.into_iter().enumerate() {
        let job = |what: &str| format!("mesh: 100 MB, {streams} stream(s), {what}");
        table.turns(&job("beside plain"), &hosts.bulk[index], &plain.bulk[index], Bar::Times(0.1));
        for peer in peers {
            let bar = Bar::Times(match peer.name.as_str() {
                "wireguard-go" => 2.0,
                "boringtun-cli" => 8.0,
                _ => 1.0,
            });
            table.turns(&job(&format!("beside {}", peer.name)), &hosts.bulk[index], &peer.bulk[index], bar);
        }
        let job = job("container to container beside host to host");
        table.turns(&job, &containers.bulk[index], &hosts.bulk[index], Bar::Times(0.85));
    }
    let added = |way: &Way| [Duration::from_secs_f64((median(&way.round_trip) - median(&plain.round_trip)).max(0.0))];
    let go = peers.iter().find(|peer| peer.name == "wireguard-go").map(added);
    let peer = go.as_ref().map_or(&[][..], |added| added);
    table.times("mesh: round trip added", &added(hosts), peer, Bar::Times(1.0));
}

/// Another program: it gets the name of the interface as its last word. What has to live as long as it is used.
fn userspace(program: &str, args: &[&str]) -> Option<((Vec<Ends>, Pair), Way)> {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        say(&format!("{program} is not in PATH: left out"));
        return None;
    }
    let pair = Pair::new(program);
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    // Their sockets for `wg` are named so, on the whole machine.
    let link = |side: usize| format!("{}{side}", &program[..2]);
    let mut running = Vec::new();
    let mut keys = Vec::new();
    for side in 0..2 {
        let key = pair.dir.join(format!("{side}.key"));
        std::fs::write(&key, output(Command::new("wg").arg("genkey"))).unwrap();
        let public = output(Command::new("wg").arg("pubkey").stdin(File::open(&key).unwrap()));
        keys.push((key, public.trim().to_owned()));
        let mut command = pair.on(side, program);
        command.args(args).arg(link(side)).stdout(Stdio::null()).stderr(Stdio::null());
        running.push(Ends(command.env("WG_SUDO", "1").spawn().unwrap()));
    }
    std::thread::sleep(Duration::from_secs(1));
    for side in 0..2 {
        let (key, other, link) = (keys[side].0.display(), &keys[1 - side].1, link(side));
        let far = 2 - side;
        let set = format!(
            "set {link} listen-port 51820 private-key {key} peer {other} endpoint 10.98.0.{far}:51820 allowed-ips 10.97.0.0/24"
        );
        output(pair.on(side, "wg").args(words(&set)));
        output(pair.on(side, "ip").args(words(&format!("addr add 10.97.0.{}/24 dev {link}", side + 1))));
        output(pair.on(side, "ip").args(words(&format!("link set {link} mtu 1420 up"))));
    }
    let way = Way::new(program, &pair.paths, [10, 97, 0, 2]);
    Some(((running, pair), way))
}

/// Two hosts with a `netd` each, and a network with a container on both.
struct Ours {
    _pair: Pair,
    roots: [PathBuf; 2],
    netds: Vec<Netd>,
    runtime: tokio::runtime::Runtime,
}

impl Ours {
    fn start(binary: &Path) -> Ours {
        let pair = Pair::new(&binary.to_string_lossy());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nets = facts(&pair);
        let roots = [0, 1].map(|side| pair.dir.join(side.to_string()));
        let mut netds = Vec::new();
        for (side, net) in nets.iter().enumerate() {
            let launch = Launch::of_binary(binary, &roots[side], &roots[side]);
            let mut netd = within(&pair.paths[side], || runtime.block_on(Netd::launch(&roots[side], launch)).unwrap());
            assert!(runtime.block_on(netd.apply(net)).unwrap().is_clean());
            netds.push(netd);
        }
        std::thread::sleep(Duration::from_secs(1));
        Ours { _pair: pair, roots, netds, runtime }
    }

    /// MiB at rest.
    fn idle(&mut self) -> f64 {
        rss(self.runtime.block_on(self.netds[0].pid()).unwrap())
    }

    fn hosts(&self, name: &str) -> Way {
        let hosts = self.roots.each_ref().map(|root| root.join("netns/mesh"));
        Way::new(name, &hosts, [100, 64, 0, 2])
    }

    fn containers(&self, name: &str) -> Way {
        let containers = [0, 1].map(|side| overlay_net::netns_path(&self.roots[side], task(side)));
        Way::new(name, &containers, [10, 220, 0, 12])
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        for (netd, root) in self.netds.iter_mut().zip(&self.roots) {
            let _ended = self.runtime.block_on(netd.shutdown());
            let _cleaned = overlay_net::cleanup(root);
        }
    }
}

fn task(side: usize) -> TaskId {
    TaskId((side as u128 + 1) << 96)
}

/// What each of the two hosts should be: one network, one container of it on each.
fn facts(pair: &Pair) -> [HostNet; 2] {
    let subnet = Subnet::parse("10.220.0.0/24").unwrap();
    let spec = NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() };
    let gateway = IpAddr::from([10, 220, 0, 1]);
    let id = NetworkId(0xbe << 80);
    let network = Network {
        id,
        spec,
        vni: 4097,
        subnet,
        gateway,
        subnet6: None,
        gateway6: None,
        created: model::Time::default(),
    };
    let address = |side: usize| IpAddr::from([10, 220, 0, 11 + side as u8]);
    let peer = |side: usize| MeshPeer {
        number: side as u32 + 1,
        public_key: overlay_net::mesh::own_key(&pair.dir.join(side.to_string())).unwrap(),
        endpoints: vec![SocketAddr::from(([10, 98, 0, side as u8 + 1], 51820))],
    };
    let nodes: BTreeMap<_, _> = [0, 1].into_iter().map(|side| (NodeId(side as u128 + 1), peer(side))).collect();
    let map = MeshMap { mtu: 1420, nodes };
    [0, 1].map(|side: usize| {
        let attachment = Endpoint {
            network: id,
            address: address(side),
            address6: None,
            mac: None,
            aliases: Vec::new(),
            interface: None,
        };
        let remote = RemoteEndpoint { address: address(1 - side), address6: None, mac: None, node: 2 - side as u32 };
        let mut net = HostNet { mesh: map.seen_from(NodeId(side as u128 + 1)), ..HostNet::default() };
        net.networks.insert(id, network.clone());
        net.endpoints.insert(task(side), HostEndpoint { attachments: vec![attachment], ..HostEndpoint::default() });
        net.remotes.insert(id, Arc::new([remote].into_iter().collect()));
        net
    })
}

/// Two hosts, a wire between them, and a folder.
struct Pair {
    names: [String; 2],
    paths: [PathBuf; 2],
    dir: PathBuf,
}

impl Pair {
    /// `owner`: whose they are, among those of this process.
    fn new(owner: &str) -> Pair {
        let owner = owner.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let names = ["a", "b"].map(|side| format!("rsbench{}-{owner:x}{side}", std::process::id()));
        let dir = std::env::temp_dir().join(&names[0]);
        let ip = |words: String| output(Command::new("ip").args(words.split(' ')));
        for (side, name) in names.iter().enumerate() {
            ip(format!("netns add {name}"));
            ip(format!("-n {name} link set lo up"));
            std::fs::create_dir_all(dir.join(side.to_string())).unwrap();
        }
        let [a, b] = &names;
        ip(format!("-n {a} link add wire type veth peer name wire netns {b}"));
        for (name, number) in [(a, 1), (b, 2)] {
            ip(format!("-n {name} addr add 10.98.0.{number}/24 dev wire"));
            ip(format!("-n {name} link set wire up"));
        }
        let paths = names.each_ref().map(|name| Path::new("/run/netns").join(name));
        Pair { names, paths, dir }
    }

    fn on(&self, side: usize, program: &str) -> Command {
        entering(&self.paths[side], program)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// A program that ends with what it was for.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Seconds for which processors were busy, since the machine is up (`/proc/stat`, in hundredths).
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> = text.lines().next().unwrap().split_whitespace().skip(1).flat_map(str::parse).collect();
    // User, nice, system; then idle and waiting for disks; interrupts.
    [0, 1, 2, 5, 6].into_iter().filter_map(|index| fields.get(index)).sum::<f64>() / 100.0
}

/// Bits per second over TCP.
fn rate(from: &Path, to: &Path, target: IpAddr, streams: &str) -> f64 {
    let mut server = entering(to, "iperf3");
    let _server = Ends(server.args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let (address, seconds) = (target.to_string(), SECONDS.to_string());
    let report = output(entering(from, "iperf3").args(["-c", &address, "-t", &seconds, "-P", streams, "-J"]));
    let sum = report.rsplit_once("\"sum_received\"").unwrap().1;
    let rate = sum.split_once("\"bits_per_second\":").unwrap().1.split(',').next().unwrap();
    rate.trim().parse().unwrap()
}

/// The median of small packets, one at a time, with a pause after each.
fn round_trip(from: &Path, to: &Path, target: IpAddr) -> Duration {
    let server = within(to, || UdpSocket::bind("0.0.0.0:9").unwrap());
    let client = within(from, || UdpSocket::bind("0.0.0.0:0").unwrap());
    server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, peer)) = server.recv_from(&mut buffer) {
            let _sent = server.send_to(&buffer[..length], peer);
        }
    });
    let mut samples = Vec::new();
    for _ in 0..PACKETS {
        let began = Instant::now();
        client.send_to(&[7; 56], (target, 9)).unwrap();
        if client.recv_from(&mut [0; 64]).is_ok() {
            samples.push(began.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    echo.join().unwrap();
    Duration::from_secs_f64(median(&samples))
}

fn entering(namespace: &Path, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg(program);
    command
}

pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Who decides how much of TCP is on the way.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// What `RSWARM_CONGESTION` names, or whatever the machine has; told, because much depends on it.
pub(crate) fn congestion() -> String {
    let name = std::env::var("RSWARM_CONGESTION").or_else(|_| std::fs::read_to_string(CONGESTION)).unwrap();
    say(&format!("TCP: {}", name.trim()));
    name
}

/// All connections that begin in this network namespace from now on have it. One that was begun with BBR would go on
/// sending by BBR's clock, whatever it is given later.
pub(crate) fn choose_congestion(namespace: &Path, name: &str) {
    within(namespace, || std::fs::write(CONGESTION, name)).unwrap();
}

/// On a thread in a network namespace.
pub(crate) fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}
