//! A host to try things on: a network namespace, a run root, a `netd`, and threads inside containers.

use model::*;
use overlay_net::client::{Launch, Netd};
use overlay_net::{Applied, netns_path};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) const NETD: &str = "RSWARM_TEST_NETD_ROOT";
pub(crate) const SOON: Duration = Duration::from_millis(1500);

/// Runs the test on a thread in a fresh network namespace, as the "host".
pub(crate) fn on_a_host(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let thread = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: only the network namespace of this thread changes.
                #[allow(unsafe_code, reason = "rustix marks unshare unsafe because of flags not used here")]
                unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
                rtnetlink(16, &[1, 1], "lo");
                test();
            })
            .join()
    });
    if let Err(panic) = thread {
        std::panic::resume_unwind(panic);
    }
}

/// `RTM_NEWLINK` (16, up) or `RTM_DELLINK` (17) of a link by name, in the thread's namespace.
pub(crate) fn rtnetlink(kind: u16, flags: &[u32; 2], name: &str) {
    let mut attr = name.as_bytes().to_vec();
    attr.push(0);
    let mut message = Vec::new();
    let length = attr.len() as u16 + 4;
    message.extend((32 + u32::from(length).next_multiple_of(4)).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(5_u16.to_ne_bytes());
    message.extend([0; 16]);
    message.extend(flags.iter().flat_map(|flag| flag.to_ne_bytes()));
    message.extend(length.to_ne_bytes());
    message.extend(3_u16.to_ne_bytes());
    message.extend(attr);
    message.resize(message.len().next_multiple_of(4), 0);
    use rustix::net::*;
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    send(&socket, &message, SendFlags::empty()).unwrap();
    let mut answer = [0; 256];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty()).unwrap();
    assert_eq!(&answer[16..20], &[0; 4], "rtnetlink {kind} {name}: {:?}", &answer[..length]);
}

/// A daemon's corner of the host.
pub(crate) struct Daemon {
    pub(crate) root: tempfile::TempDir,
    pub(crate) net: HostNet,
    /// What its `netd` finds in the environment besides.
    env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    netd: Option<Netd>,
    runtime: tokio::runtime::Runtime,
}

impl Daemon {
    pub(crate) fn new() -> Daemon {
        let root = tempfile::Builder::new().prefix("rswarm-net-").tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Daemon { root, net: HostNet::default(), env: Vec::new(), netd: None, runtime }
    }

    pub(crate) fn run_root(&self) -> &Path {
        self.root.path()
    }

    /// Has `netd` carry the mesh itself, whatever the kernel can do.
    pub(crate) fn in_userspace(&mut self) {
        self.env.push(("RSWARM_DATA_PATH".into(), "userspace".into()));
    }

    /// Has every packet to a virtual address translated, none when its connection begins.
    pub(crate) fn translates_packets(&mut self) {
        self.env.push(("RSWARM_TRANSLATE".into(), "packets".into()));
    }

    pub(crate) fn netd(&mut self) -> &mut Netd {
        if self.netd.is_none() {
            let args = ["netd_process", "--exact", "--nocapture", "--test-threads=1"];
            let launch = Launch {
                program: std::env::current_exe().unwrap(),
                args: args.iter().map(Into::into).collect(),
                env: [vec![(NETD.into(), self.run_root().into())], self.env.clone()].concat(),
            };
            self.netd = Some(self.runtime.block_on(Netd::launch(self.root.path(), launch)).unwrap());
        }
        self.netd.as_mut().unwrap()
    }

    pub(crate) fn apply(&mut self) -> Applied {
        self.netd();
        let Daemon { net, netd, runtime, .. } = self;
        runtime.block_on(netd.as_mut().unwrap().apply(net)).unwrap()
    }

    pub(crate) fn verify(&mut self) -> Applied {
        self.netd();
        let Daemon { net, netd, runtime, .. } = self;
        runtime.block_on(netd.as_mut().unwrap().verify(net)).unwrap()
    }

    /// How the others of the mesh look.
    pub(crate) fn mesh(&mut self) -> BTreeMap<NodeId, overlay_net::mesh::PeerStatus> {
        self.netd();
        let Daemon { netd, runtime, .. } = self;
        runtime.block_on(netd.as_mut().unwrap().mesh()).unwrap()
    }

    #[track_caller]
    pub(crate) fn apply_clean(&mut self) {
        let applied = self.apply();
        assert!(applied.is_clean(), "{applied:#?}");
    }

    pub(crate) fn pid(&mut self) -> rustix::process::Pid {
        self.netd();
        let Daemon { netd, runtime, .. } = self;
        let pid = runtime.block_on(netd.as_mut().unwrap().pid()).unwrap();
        rustix::process::Pid::from_raw(pid as i32).unwrap()
    }

    /// Kills `netd` the hard way and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let pid = self.pid();
        kill_now(pid);
        self.netd = None;
    }

    pub(crate) fn forget_netd(&mut self) {
        self.netd = None;
    }

    /// Starts `netd` again without saying anything to it.
    pub(crate) fn start(&mut self) {
        self.netd();
    }

    pub(crate) fn network(&mut self, id: u128, subnet: &str, internal: bool) -> NetworkId {
        self.network6(id, subnet, None, internal)
    }

    pub(crate) fn network6(&mut self, id: u128, subnet: &str, subnet6: Option<&str>, internal: bool) -> NetworkId {
        let id = network_id(self.run_root(), id);
        let block = Subnet::parse(subnet).unwrap();
        let block6 = subnet6.map(|subnet| Subnet::parse(subnet).unwrap());
        let spec = NetworkSpec { internal, ..NetworkSpec::default() };
        let gateway6 = block6.map(|block| nth(block.address, 1));
        let gateway = nth(block.address, 1);
        let created = Time::default();
        let network = Network { id, spec, vni: 0, subnet: block, gateway, subnet6: block6, gateway6, created };
        self.net.networks.insert(id, network);
        id
    }

    /// A container with the n-th address of each network.
    pub(crate) fn container(&mut self, n: u32, networks: &[NetworkId]) -> TaskId {
        let task = TaskId(u128::from(n) << 96 | network_id(self.run_root(), 0).0 >> 32);
        let attach = |id: &NetworkId| {
            let network = &self.net.networks[id];
            Endpoint {
                network: *id,
                address: nth(network.subnet.address, n),
                address6: network.subnet6.map(|block| nth(block.address, n)),
                mac: None,
                aliases: Vec::new(),
                interface: None,
            }
        };
        let attachments = networks.iter().map(attach).collect();
        let endpoint = HostEndpoint { attachments, dns: true, ..HostEndpoint::default() };
        self.net.endpoints.insert(task, endpoint);
        task
    }

    pub(crate) fn name(&mut self, network: NetworkId, name: &str, ips: &[IpAddr]) {
        self.net.zones.entry(network).or_default().names.insert(name.to_owned(), ips.to_vec());
    }

    pub(crate) fn publish(&mut self, protocol: Protocol, host_port: u16, backends: &[(IpAddr, u16)]) {
        let backends: BTreeSet<_> = backends.iter().copied().collect();
        let (service, admitted) = ("shop_web".to_owned(), BTreeSet::new());
        let port = PublishedPort { protocol, host_ip: None, host_port, backends, service, everywhere: false, admitted };
        self.net.ports.push(port);
    }

    /// Runs inside a container's network namespace.
    pub(crate) fn inside<T: Send>(&self, task: TaskId, work: impl FnOnce() -> T + Send) -> T {
        within(&netns_path(self.run_root(), task), work)
    }

    pub(crate) fn address(&self, task: TaskId) -> IpAddr {
        self.net.endpoints[&task].attachments[0].address
    }

    /// Ends `netd` and removes everything, as `uninstall` does.
    pub(crate) fn finish(mut self) {
        let Daemon { netd, runtime, .. } = &mut self;
        if let Some(netd) = netd {
            runtime.block_on(netd.shutdown()).unwrap();
        }
        overlay_net::cleanup(self.run_root()).unwrap();
        // Here the data root is the run root.
        let _absent = std::fs::remove_file(self.run_root().join("mesh.key"));
        let left: Vec<PathBuf> = std::fs::read_dir(self.run_root()).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A failed test must not leave its process and mounts behind either.
        if self.run_root().join("netd.sock").exists() {
            let root = self.run_root().to_owned();
            let _gone = self.runtime.block_on(async { Netd::connect(&root).await.ok()?.shutdown().await.ok() });
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.run_root().exists() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.run_root().join("netd.log")).unwrap_or_default();
                eprintln!("netd.log: {log}");
            }
            let _clean = overlay_net::cleanup(self.run_root());
        }
    }
}

pub(crate) fn kill_now(pid: rustix::process::Pid) {
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let mut ended = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut ended, None).unwrap();
}

/// Ids that differ between daemons, as random ones do.
fn network_id(root: &Path, n: u128) -> NetworkId {
    let name = root.file_name().unwrap().as_encoded_bytes();
    let salt = name.iter().rev().take(4).fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
    NetworkId(salt << 96 | n << 80)
}

pub(crate) fn nth(base: IpAddr, n: u32) -> IpAddr {
    match base {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + n).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(n)).into()),
    }
}

pub(crate) fn within<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(namespace).unwrap();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// A TCP server that greets each client with `greeting` and the client's address, then echoes.
pub(crate) fn greeter(daemon: &Daemon, task: TaskId, port: u16, greeting: &'static str) {
    let any = any(daemon, task);
    let listener = daemon.inside(task, || TcpListener::bind((any, port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || greet(stream, greeting));
        }
    });
}

/// Every address of a container.
fn any(daemon: &Daemon, task: TaskId) -> IpAddr {
    let v6 = daemon.net.endpoints[&task].attachments.iter().any(|attachment| attachment.address6.is_some());
    if v6 { "::".parse().unwrap() } else { "0.0.0.0".parse().unwrap() }
}

fn greet(mut stream: TcpStream, greeting: &str) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    writeln!(stream, "{greeting} {peer}")?;
    let mut buffer = [0; 64];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Connects and reads the greeting; an error as text.
pub(crate) fn call(address: impl Into<SocketAddr>) -> Result<String, String> {
    let stream = TcpStream::connect_timeout(&address.into(), SOON).map_err(|e| e.kind().to_string())?;
    hear(&stream)
}

pub(crate) fn hear(mut stream: &TcpStream) -> Result<String, String> {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(String::from_utf8(line).unwrap().trim().to_owned())
}

/// A UDP server that answers every packet with `reply`.
pub(crate) fn udp_server(daemon: &Daemon, task: TaskId, port: u16, reply: &'static str) {
    let any = any(daemon, task);
    let socket = daemon.inside(task, || UdpSocket::bind((any, port)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _sent = socket.send_to(reply.as_bytes(), client);
        }
    });
}

pub(crate) fn ask_udp(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Everything of interest that exists on this host: links, nftables tables, mounts below the root.
pub(crate) fn inventory(root: &Path) -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let mut found = BTreeMap::new();
    for line in read("/proc/thread-self/net/dev").lines().skip(2) {
        found.insert(format!("link {}", line.split(':').next().unwrap().trim()), String::new());
    }
    let root = root.to_str().unwrap();
    for line in read("/proc/thread-self/mountinfo").lines().filter(|line| line.contains(root)) {
        found.insert(format!("mount {line}"), String::new());
    }
    for line in nft("list tables").lines() {
        found.insert(line.to_owned(), String::new());
    }
    found
}

/// What has a container hear nothing of TCP any more.
pub(crate) const DEAF: &str =
    "table inet silent { chain input { type filter hook input priority 0; meta l4proto tcp drop; }; }";

pub(crate) fn nft(command: &str) -> String {
    run_here(&format!("nft {command}"))
}

/// A command in the namespace of this thread; what it says.
pub(crate) fn run_here(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
