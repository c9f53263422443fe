//! Virtual addresses and names inside one host: what a connection by way of a virtual address costs beside a direct
//! one, what a change costs, and how fast names are answered. No containers: namespaces as `netd` makes them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{
    Endpoint, HostEndpoint, HostNet, Network, NetworkId, NetworkSpec, ServiceId, Subnet, TaskId, VirtualAddress, Zone,
};
use overlay_net::client::{Launch, Netd};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::mesh::{choose_congestion, congestion, within};
use crate::table::{Bar, Table, median, say};

const NETWORK: NetworkId = NetworkId(0xbf << 80);
const CLIENT: usize = 0;
const SERVER: usize = 1;
const WEB: u16 = 80;
const SINK: u16 = 81;
/// Connections of one sample, and samples of each way.
const CONNECTIONS: usize = 500;
const SAMPLES: usize = 61;
/// Bytes of one sample.
const BULK: usize = 500 << 20;
/// Questions at full speed, how many of them are under way, and questions of the other measurement.
const QUESTIONS: usize = 200_000;
const UNDER_WAY: usize = 32;
const PACED: usize = 20_000;
const PACE: Duration = Duration::from_micros(100);

pub(crate) fn measure(table: &mut Table) {
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED: vips needs root");
    }
    let tcp = congestion();
    let on_a_host = || {
        // SAFETY: only the network namespace of this thread changes.
        #[allow(unsafe_code, reason = "rustix marks unshare unsafe because of flags not used here")]
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        for services in [1, 1000] {
            translated(table, services, &tcp);
        }
        changes(table);
    };
    std::thread::scope(|scope| scope.spawn(on_a_host).join().unwrap());
}

/// A `netd` of its own in this thread's namespace.
struct Machine {
    root: PathBuf,
    runtime: tokio::runtime::Runtime,
    netd: Netd,
    net: HostNet,
}

impl Machine {
    fn new(tasks: usize, services: usize) -> Machine {
        let root = std::env::temp_dir().join(format!("rsbench{}v", std::process::id()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let launch = Launch::of_binary(&e2e::binary(), &root, &root);
        let netd = runtime.block_on(Netd::launch(&root, launch)).unwrap();
        Machine { root, runtime, netd, net: net(tasks, services) }
    }

    fn apply(&mut self) -> Duration {
        let began = Instant::now();
        let applied = self.runtime.block_on(self.netd.apply(&self.net)).unwrap();
        assert!(applied.is_clean(), "{applied:?}");
        began.elapsed()
    }

    fn inside<T: Send>(&self, number: usize, work: impl FnOnce() -> T + Send) -> T {
        within(&self.place(number), work)
    }

    fn place(&self, number: usize) -> PathBuf {
        overlay_net::netns_path(&self.root, task(number))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.runtime.block_on(self.netd.shutdown()).unwrap();
        overlay_net::cleanup(&self.root).unwrap();
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

fn task(number: usize) -> TaskId {
    TaskId((number as u128 + 1) << 96)
}

fn address(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0ade_0002 + number as u32).into()
}

fn vip(service: usize) -> IpAddr {
    Ipv4Addr::from(0x0ade_8000 + service as u32).into()
}

/// One network with so many tasks, and services that all lead to the second of them.
fn net(tasks: usize, services: usize) -> HostNet {
    let subnet = Subnet::parse("10.222.0.0/16").unwrap();
    let gateway = IpAddr::from([10, 222, 0, 1]);
    let spec = NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() };
    let network = Network {
        id: NETWORK,
        spec,
        vni: 4098,
        subnet,
        gateway,
        subnet6: None,
        gateway6: None,
        created: model::Time::default(),
    };
    let endpoints = (0..tasks).map(|number| {
        let at = Endpoint {
            network: NETWORK,
            address: address(number),
            address6: None,
            mac: None,
            aliases: Vec::new(),
            interface: None,
        };
        (task(number), HostEndpoint { attachments: vec![at], dns: true, ..HostEndpoint::default() })
    });
    let vips = (0..services).map(|service| VirtualAddress {
        service: ServiceId(service as u128),
        address: vip(service),
        address6: None,
        backends: [address(SERVER)].into(),
    });
    let zone = Zone { names: (0..services).map(|it| (format!("web{it}"), vec![vip(it)])).collect(), ..Zone::default() };
    HostNet {
        networks: [(NETWORK, network)].into(),
        endpoints: endpoints.collect(),
        vips: [(NETWORK, Arc::new(vips.collect()))].into(),
        zones: [(NETWORK, zone)].into(),
        ..HostNet::default()
    }
}

/// Direct and by way of a virtual address, in turns.
fn translated(table: &mut Table, services: usize, tcp: &str) {
    let mut machine = Machine::new(2, services);
    machine.apply();
    [CLIENT, SERVER].iter().for_each(|number| choose_congestion(&machine.place(*number), tcp));
    let [web, sink] = [WEB, SINK].map(|port| machine.inside(SERVER, || TcpListener::bind(("0.0.0.0", port)).unwrap()));
    std::thread::spawn(move || web.incoming().for_each(drop));
    std::thread::spawn(move || {
        for mut stream in sink.incoming().flatten() {
            let mut buffer = vec![0; 256 << 10];
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
            // Told only when all of it has come.
            let _told = stream.write_all(b".");
        }
    });
    let targets = [vip(services - 1), address(SERVER)];
    machine.inside(CLIENT, || {
        let [translated, direct] = in_turns(targets.map(|ip| move || connections((ip, WEB).into())));
        table.turns(
            &format!("vips: {CONNECTIONS} connections, {services} service(s), beside direct"),
            &translated,
            &direct,
            Bar::Times(0.85),
        );
        let [translated, direct] = in_turns(targets.map(|ip| move || bulk((ip, SINK).into())));
        table.turns(
            &format!("vips: 500 MiB, {services} service(s), beside direct"),
            &translated,
            &direct,
            Bar::Times(0.95),
        );
        names(table, services);
    });
}

/// Who is first is last the next time.
fn in_turns(mut ways: [impl FnMut() -> Duration; 2]) -> [Vec<Duration>; 2] {
    let mut samples = [Vec::new(), Vec::new()];
    for turn in 0..SAMPLES {
        for way in [turn % 2, 1 - turn % 2] {
            samples[way].push(ways[way]());
        }
    }
    samples
}

fn connections(target: SocketAddr) -> Duration {
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(target).unwrap();
        // A reset: nothing stays behind that would use up ports.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    began.elapsed()
}

fn bulk(target: SocketAddr) -> Duration {
    let mut stream = TcpStream::connect(target).unwrap();
    let piece = vec![7; 256 << 10];
    let began = Instant::now();
    for _ in 0..BULK / piece.len() {
        stream.write_all(&piece).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

/// The question for the address of a name.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    packet.extend(name.as_bytes());
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// From inside of a container.
fn names(table: &mut Table, services: usize) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(("127.0.0.11", 53)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut reply = [0; 512];
    let ask = |number: usize| {
        socket.send(&question(number as u16, &format!("web{}", number % services))).unwrap();
    };
    for number in 0..UNDER_WAY {
        ask(number);
    }
    let began = Instant::now();
    for number in UNDER_WAY..QUESTIONS {
        let length = socket.recv(&mut reply).unwrap();
        assert!(length > 20 && reply[7] == 1, "an answer");
        ask(number);
    }
    let took = began.elapsed();
    for _ in 0..UNDER_WAY {
        socket.recv(&mut reply).unwrap();
    }
    say(&format!("names: {:.0} answers/s", QUESTIONS as f64 / took.as_secs_f64()));
    let hundred_thousand = took.mul_f64(1e5 / QUESTIONS as f64);
    table.times(
        &format!("names: 100,000 answers, {services} service(s)"),
        &[hundred_thousand],
        &[],
        Bar::AtMost(2000.0),
    );

    let mut samples = Vec::new();
    let began = Instant::now();
    for number in 0..PACED {
        while began.elapsed() < PACE * number as u32 {
            std::hint::spin_loop();
        }
        let asked = Instant::now();
        ask(number);
        socket.recv(&mut reply).unwrap();
        samples.push(asked.elapsed());
    }
    samples.sort_unstable();
    let p99 = samples[samples.len() * 99 / 100];
    table.times(&format!("names: p99 at 10,000/s, {services} service(s)"), &[p99], &[], Bar::AtMost(1.0));
}

/// A hundred namespaces on a network of a thousand services: all of it, then one backend of one service.
fn changes(table: &mut Table) {
    let mut machine = Machine::new(100, 0);
    machine.apply();
    machine.net.vips = net(100, 1000).vips;
    let all = machine.apply();
    table.times("vips: 1,000 services told to 100 namespaces", &[all], &[], Bar::AtMost(2000.0));
    let mut samples = Vec::new();
    for round in 0..10 {
        let vips = machine.net.vips.get_mut(&NETWORK).unwrap();
        Arc::make_mut(vips)[500].backends = [address(2 + round)].into();
        samples.push(machine.apply());
    }
    say(&format!("vips: a changed backend: {:.1} ms", median(&samples) * 1e3));
    table.times("vips: a changed backend told to 100 namespaces", &samples, &[], Bar::AtMost(100.0));
}
