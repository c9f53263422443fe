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
const SECONDS: &str = "4";
/// Packets of each round-trip measurement.
const ROUNDS: usize = 1500;
const STREAMS: [&str; 2] = ["1", "4"];

/// What one way between two places can do.
struct Figures {
    /// 100 MB over TCP, by the count of streams.
    bulk: [Duration; 2],
    round_trip: Duration,
}

pub(crate) fn measure(table: &mut Table) {
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED: mesh needs root");
    }
    let plain = Pair::new().figures("plain", [10, 98, 0, 2]);
    let go = userspace("wireguard-go", &["-f"]);
    let boringtun = userspace("boringtun-cli", &["--foreground", "--disable-drop-privileges"]);
    let (ours, overlay, idle) = netd();
    table.sizes("mesh: idle netd in a mesh of two, resident", idle, None, Bar::AtMost(15.0));
    for (index, streams) in STREAMS.into_iter().enumerate() {
        let job = |what: &str| format!("mesh: 100 MB, {streams} stream(s), {what}");
        let times = |figures: &Figures| [figures.bulk[index]];
        table.times(&job("beside plain"), &times(&ours), &times(&plain), Bar::Times(0.1));
        if let Some(go) = &go {
            table.times(&job("beside wireguard-go"), &times(&ours), &times(go), Bar::Times(2.0));
        }
        if let Some(boringtun) = &boringtun {
            table.times(&job("beside boringtun-cli"), &times(&ours), &times(boringtun), Bar::Times(8.0));
        }
        table.times(
            &job("container to container beside host to host"),
            &times(&overlay),
            &times(&ours),
            Bar::Times(0.85),
        );
    }
    let added = |figures: &Figures| [figures.round_trip.saturating_sub(plain.round_trip)];
    let go_added = go.as_ref().map(added);
    let peer = go_added.as_ref().map_or(&[][..], |added| added);
    table.times("mesh: round trip added", &added(&ours), peer, Bar::Times(1.0));
}

/// Another program: it gets the name of the interface as its last word.
fn userspace(program: &str, args: &[&str]) -> Option<Figures> {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        say(&format!("{program} is not in PATH: left out"));
        return None;
    }
    let pair = Pair::new();
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut running = Vec::new();
    let mut keys = Vec::new();
    for side in 0..2 {
        let key = pair.dir.join(format!("{side}.key"));
        std::fs::write(&key, output(Command::new("wg").arg("genkey"))).unwrap();
        let public = output(Command::new("wg").arg("pubkey").stdin(File::open(&key).unwrap()));
        keys.push((key, public.trim().to_owned()));
        let mut command = pair.on(side, program);
        command.args(args).arg(format!("wg{side}")).stdout(Stdio::null()).stderr(Stdio::null());
        running.push(Ends(command.env("WG_SUDO", "1").spawn().unwrap()));
    }
    std::thread::sleep(Duration::from_secs(1));
    for side in 0..2 {
        let (key, other) = (keys[side].0.display(), &keys[1 - side].1);
        let far = 2 - side;
        let set = format!(
            "set wg{side} listen-port 51820 private-key {key} peer {other} endpoint 10.98.0.{far}:51820 allowed-ips 10.97.0.0/24"
        );
        output(pair.on(side, "wg").args(words(&set)));
        output(pair.on(side, "ip").args(words(&format!("addr add 10.97.0.{}/24 dev wg{side}", side + 1))));
        output(pair.on(side, "ip").args(words(&format!("link set wg{side} mtu 1420 up"))));
    }
    Some(pair.figures(program, [10, 97, 0, 2]))
}

/// Ours: from host to host, from container to container, and MiB at rest.
fn netd() -> (Figures, Figures, f64) {
    let pair = Pair::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let nets = facts(&pair);
    let roots = [0, 1].map(|side| pair.dir.join(side.to_string()));
    let mut running = Vec::new();
    for (side, net) in nets.iter().enumerate() {
        let launch = Launch::of_binary(&e2e::binary(), &roots[side], &roots[side]);
        let mut netd = within(&pair.paths[side], || runtime.block_on(Netd::launch(&roots[side], launch)).unwrap());
        assert!(runtime.block_on(netd.apply(net)).unwrap().is_clean());
        running.push(netd);
    }
    std::thread::sleep(Duration::from_secs(1));
    let idle = rss(runtime.block_on(running[0].pid()).unwrap());
    let hosts = [0, 1].map(|side| roots[side].join("netns/mesh"));
    let ours = figures("netd, host to host", &hosts, [100, 64, 0, 2]);
    let containers = [0, 1].map(|side| overlay_net::netns_path(&roots[side], task(side)));
    let overlay = figures("netd, container to container", &containers, [10, 220, 0, 12]);
    for (netd, root) in running.iter_mut().zip(&roots) {
        runtime.block_on(netd.shutdown()).unwrap();
        overlay_net::cleanup(root).unwrap();
    }
    (ours, overlay, idle)
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
    let network = Network { id, spec, vni: 4097, subnet, gateway, subnet6: None, gateway6: None };
    let address = |side: usize| IpAddr::from([10, 220, 0, 11 + side as u8]);
    let peer = |side: usize| MeshPeer {
        number: side as u32 + 1,
        public_key: overlay_net::mesh::own_key(&pair.dir.join(side.to_string())).unwrap(),
        endpoints: vec![SocketAddr::from(([10, 98, 0, side as u8 + 1], 51820))],
    };
    let nodes: BTreeMap<_, _> = [0, 1].into_iter().map(|side| (NodeId(side as u128 + 1), peer(side))).collect();
    let map = MeshMap { mtu: 1420, nodes };
    [0, 1].map(|side: usize| {
        let attachment =
            Endpoint { network: id, address: address(side), address6: None, mac: None, aliases: Vec::new() };
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
    fn new() -> Pair {
        let names = ["a", "b"].map(|side| format!("rsbench{}{side}", std::process::id()));
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

    fn figures(&self, name: &str, target: [u8; 4]) -> Figures {
        figures(name, &self.paths, target)
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

/// From the first namespace to an address of the second.
fn figures(name: &str, places: &[PathBuf; 2], target: [u8; 4]) -> Figures {
    let [from, to] = places;
    let round_trip = round_trip(from, to, target.into());
    let bulk = STREAMS.map(|streams| {
        let mut server = entering(to, "iperf3");
        let _server = Ends(server.args(["-s", "-1"]).stdout(Stdio::null()).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(300));
        let address = IpAddr::from(target).to_string();
        let report =
            output(entering(from, "iperf3").args(["-c", &address, "-t", SECONDS, "-O", "1", "-P", streams, "-J"]));
        let sum = report.rsplit_once("\"sum_received\"").unwrap().1;
        let rate = sum.split_once("\"bits_per_second\":").unwrap().1.split(',').next().unwrap();
        let rate: f64 = rate.trim().parse().unwrap();
        say(&format!("{name}, {streams} stream(s): {:.2} Gbit/s", rate / 1e9));
        Duration::from_secs_f64(8e8 / rate)
    });
    say(&format!("{name}, round trip: {round_trip:?}"));
    Figures { bulk, round_trip }
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
    for _ in 0..ROUNDS {
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
