//! Which worker gets what: two small programs for the kernel, so that all that is said between this host and a peer is
//! one worker's. Left alone the kernel spreads conversations by their hash, which is another in each direction where
//! they run in a VXLAN; then two workers wait for each other's hold of a peer.
//!
//! Both go by the last byte of the peer's address in the mesh: the queue by the address that a frame is for, the socket
//! by the number that the peer was told to write on its datagrams ([`class`]).

use crate::kernel::bpf::{Kind, Program};
use crate::kernel::tun::FRAME_TO;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

/// How many classes of peers there are; a class is always one worker's.
pub(super) const CLASSES: u32 = 256;

/// `SO_ATTACH_REUSEPORT_CBPF`, `TUNSETSTEERINGEBPF` (`linux/if_tun.h`).
const ATTACH_REUSEPORT_CBPF: libc::c_int = 51;
const SET_STEERING: libc::c_ulong = 0x8004_54e0;

/// Instructions (`linux/filter.h`, `linux/bpf_common.h`).
const LOAD_BYTE: u8 = 0x30;
const MODULO: u16 = 0x94;
const RETURN_A: u16 = 0x16;
const MOVE_64: u64 = 0xbf;
const EXIT: u64 = 0x95;

/// Where a datagram has the second byte of the number of whom it is for (WireGuard §5.4.6); the first counts sessions.
const RECEIVER: u32 = 5;

/// The class of a peer: the low byte of its place among the peers is this.
pub(super) fn class(address: Ipv4Addr) -> u32 {
    let [.., last] = address.octets();
    last.into()
}

/// Has the kernel give a datagram to the socket of its peer's worker. One call for all sockets of a port.
fn sockets(one: impl AsFd, workers: usize) -> io::Result<()> {
    let instruction = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let workers = u32::try_from(workers).unwrap_or(1).max(1);
    let mut program = [instruction(LOAD_BYTE.into(), RECEIVER), instruction(MODULO, workers), instruction(RETURN_A, 0)];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program lives here, and its length is told; the kernel copies it.
    #[expect(unsafe_code, reason = "rustix knows no filters of sockets")]
    let done = unsafe {
        libc::setsockopt(
            one.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel put a frame into the queue of its peer's worker. One call for all queues of an interface.
fn queues(one: impl AsFd) -> io::Result<()> {
    // Register 6 is the frame; its byte becomes the result, of which the kernel takes the rest by the number of queues.
    let program = [MOVE_64 | 0x16 << 8, u64::from(LOAD_BYTE) | u64::from(FRAME_TO + 3) << 32, EXIT];
    let program = Program::load(Kind::SocketFilter, &program)?;
    let number = program.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one number that lives here, and keeps the program itself.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(one.as_fd().as_raw_fd(), SET_STEERING as _, &raw const number) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Both, as far as the kernel lets us: without them all works, slower.
pub(super) fn steer(socket: impl AsFd, queue: impl AsFd, workers: usize) {
    if workers < 2 {
        return;
    }
    let steered = sockets(socket, workers).and_then(|()| queues(queue));
    if let Err(error) = steered {
        tracing::info!(%error, "the kernel does not let a peer be one worker's");
    }
}

#[cfg(test)]
mod tests {
    use super::super::udp::Socket;
    use super::*;
    use crate::kernel::{netns, tun};
    use std::process::Command;

    #[test]
    fn a_datagram_goes_to_the_worker_of_its_peer() {
        let workers = Socket::bind(0, 3).unwrap();
        sockets(&workers[0], 3).unwrap();
        let port = rustix::net::getsockname(&workers[0]).unwrap();
        let port = std::net::SocketAddr::try_from(port).unwrap().port();
        let mut buffer = vec![0; 1 << 16];
        for place in 0..9_u8 {
            // Whoever sends, from wherever.
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(&[4, 0, 0, 0, 77, place, 0, 0], ("127.0.0.1", port)).unwrap();
            let got = workers.iter().position(|worker| worker.receive(&mut buffer).is_ok());
            assert_eq!(got, Some(usize::from(place) % 3));
        }
        assert!(workers.iter().all(|worker| worker.receive(&mut buffer).is_err()));
    }

    #[test]
    fn a_frame_goes_to_the_worker_of_its_peer() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
        let ip = |words: &str| {
            let done = Command::new("ip").args(words.split(' ')).status().unwrap();
            done.success().then_some(()).ok_or_else(|| io::Error::other(words.to_owned()))
        };
        let seen = netns::aside(|| {
            netns::unshare()?;
            let workers = [(); 3].map(|()| tun::open("steer0").unwrap());
            queues(&workers[0].fd)?;
            ip("link set steer0 arp off up")?;
            ip("addr add 100.64.0.1/10 dev steer0")?;
            let sender = std::net::UdpSocket::bind("100.64.0.1:0")?;
            let mut frame = vec![0; 4096];
            let to = tun::HEADER + FRAME_TO as usize;
            // The kernel itself greets others on a new link, by whichever queue.
            let mut comes = |worker: &tun::Queue, peer: [u8; 4]| {
                let mut came = false;
                while let Ok(length) = rustix::io::read(&worker.fd, &mut frame[..]) {
                    came |= frame[..length].get(to..to + 4) == Some(&peer);
                }
                came
            };
            let mut seen = Vec::new();
            for last in 2..11 {
                let peer = [100, 64, 7, last];
                sender.send_to(b"x", (Ipv4Addr::from(peer), 9))?;
                let by: Vec<bool> = workers.iter().map(|worker| comes(worker, peer)).collect();
                seen.push((last, by.iter().position(|came| *came)));
            }
            Ok(seen)
        });
        let seen = seen.unwrap();
        assert_eq!(seen, (2..11).map(|peer| (peer, Some(usize::from(peer) % 3))).collect::<Vec<_>>());
    }
}
