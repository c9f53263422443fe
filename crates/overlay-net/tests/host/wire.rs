//! What is on the wire between hosts, and with whom a host can speak.

use crate::hosts::*;
use crate::lab::*;
use model::*;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &[u8] = b"what nobody else may read";

/// Counts packets on a host's wire, and those in which the secret can be read, while something is done.
fn overheard(host: &mut Host, work: impl FnOnce()) -> (usize, usize) {
    let ear = host.on(|_| ear("wire0"));
    work();
    let (mut heard, mut read, mut buffer) = (0, 0, vec![0; 1 << 16]);
    while let Ok((length, _)) = recv(&ear, &mut buffer[..], RecvFlags::empty()) {
        heard += 1;
        read += usize::from(buffer[..length].windows(SECRET.len()).any(|window| window == SECRET));
    }
    (heard, read)
}

/// Hears every packet of a link.
#[allow(unsafe_code, reason = "rustix knows no addresses of links")]
fn ear(link: &str) -> OwnedFd {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::NONBLOCK, None).unwrap();
    let index = rustix::net::netdevice::name_to_index(&socket, link).unwrap();
    // SAFETY: all fields of `sockaddr_ll` are plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    (address.sll_family, address.sll_protocol) = (libc::AF_PACKET as u16, (libc::ETH_P_ALL as u16).to_be());
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives here, and its length is told.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    socket
}

#[test]
fn nothing_can_be_read_on_the_wire() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        let sealed = shared_network(&mut hosts, 1, "10.224.1.0/24", None);
        let plain = shared_network(&mut hosts, 2, "10.224.2.0/24", None);
        for host in &mut hosts {
            let options = &mut host.daemon.net.networks.get_mut(&plain).unwrap().spec.driver_opts;
            options.insert("encrypted".to_owned(), "false".to_owned());
        }
        let [a, b] = &mut hosts;
        let tasks = [sealed, plain].map(|net| {
            let n = if net == sealed { 2 } else { 4 };
            (a.daemon.container(n, &[net]), b.daemon.container(n + 1, &[net]))
        });
        mesh(&mut hosts);
        introduce(&mut hosts);
        hosts.iter_mut().for_each(|host| host.on(Daemon::apply_clean));
        for (index, (here, there)) in tasks.into_iter().enumerate() {
            let [a, b] = &mut hosts;
            greeter(&b.daemon, there, 80, "there");
            let address = b.daemon.address(there);
            let mut stream = a.daemon.inside(here, || TcpStream::connect((address, 80)).unwrap());
            assert!(hear(&stream).is_ok());
            let (heard, read) = overheard(a, || {
                stream.write_all(SECRET).unwrap();
                let mut echo = vec![0; SECRET.len()];
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, SECRET);
            });
            assert!(heard >= 2, "the wire is watched: {heard}");
            // The ear is good: it can read what is carried as it is.
            assert_eq!(read > 0, index == 1, "{read} of {heard} packets could be read");
        }
        finish(hosts, before);
    });
}

/// A program that ends with what it was for.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn another_wireguard_is_spoken_to() {
    if ["wireguard-go", "wg"].iter().any(|it| Command::new(it).arg("--version").stdout(Stdio::null()).status().is_err())
    {
        eprintln!("SKIPPED: needs wireguard-go and wg");
        return;
    }
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        mesh(&mut hosts);
        let [a, b] = &mut hosts;
        // The second host is none of ours: its key is what `wg` makes of it, and so is its interface.
        let folder = b.daemon.run_root().to_owned();
        let theirs = overlay_net::mesh::own_key(&folder).unwrap();
        let ours = overlay_net::mesh::own_key(a.daemon.run_root()).unwrap();
        let path = b.path();
        let link = format!("wg{}", std::process::id());
        let socket = PathBuf::from(format!("/var/run/wireguard/{link}.sock"));
        let mut command = Command::new("wireguard-go");
        command.args(["-f", &link]).env("WG_SUDO", "1").stdout(Stdio::null()).stderr(Stdio::null());
        let running = Ends(within(&path, || command.spawn().unwrap()));
        let key = folder.join("mesh.key");
        let set = format!(
            "wg set {link} listen-port 51820 private-key {} peer {ours} endpoint {}:51820 allowed-ips 100.64.0.1/32",
            key.display(),
            a.wire()
        );
        let began = Instant::now();
        while !socket.exists() {
            assert!(began.elapsed() < Duration::from_secs(10), "wireguard-go does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        run(&path, &set);
        assert_eq!(run(&path, &format!("wg show {link} public-key")).trim(), theirs);
        run(&path, &format!("ip addr add 100.64.0.2/10 dev {link}"));
        run(&path, &format!("ip link set {link} mtu 1420 up"));
        a.on(Daemon::apply_clean);

        // Both ways, and more than one packet carries.
        let ends = [(a.mesh_namespace(), 1), (path.clone(), 2)];
        for index in 0..2 {
            let ((from, _), (to, number)) = (&ends[1 - index], &ends[index]);
            let listener = within(to, || TcpListener::bind(("0.0.0.0", 80)).unwrap());
            let served = std::thread::spawn(move || {
                let mut all = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
                all.len()
            });
            let target = SocketAddr::new(IpAddr::from([100, 64, 0, *number]), 80);
            within(from, || {
                TcpStream::connect_timeout(&target, SOON * 4).unwrap().write_all(&vec![7; 3 << 20]).unwrap()
            });
            assert_eq!(served.join().unwrap(), 3 << 20);
        }
        drop(running);
        let _gone = std::fs::remove_file(&socket);
        finish(hosts, before);
    });
}

#[test]
fn the_kernels_wireguard_and_netds_are_in_one_mesh() {
    two_hosts(|mut hosts| {
        let before = hosts.each_mut().map(|host| host.on(|daemon| inventory(daemon.run_root())));
        hosts[1].daemon.in_userspace();
        let [here, there] = meet(&mut hosts, "10.225.1.0/24");
        let [a, b] = &mut hosts;
        let kind = run(&a.mesh_namespace(), "ip -d link show mesh0");
        if kind.contains("wireguard") {
            assert!(!run(&b.mesh_namespace(), "ip -d link show mesh0").contains("wireguard"));
        } else {
            eprintln!("SKIPPED: the kernel has no WireGuard");
        }
        greeter(&b.daemon, there, 80, "there");
        let address = b.daemon.address(there);
        assert_eq!(a.daemon.inside(here, || call((address, 80))), Ok("there 10.225.1.2".to_owned()));
        for (host, other) in [(&mut *a, 2), (&mut *b, 1)] {
            let status = host.on(Daemon::mesh);
            let peer = &status[&NodeId(other)];
            assert!(peer.handshake_age.is_some() && peer.sent > 0 && peer.received > 0, "{peer:?}");
        }
        finish(hosts, before);
    });
}
