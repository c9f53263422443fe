//! The UDP socket of the mesh. The kernel cuts what is sent (`UDP_SEGMENT`) and joins what is received
//! (`UDP_GRO`), so that one call moves up to 64 KiB.

use crate::sockaddr::{self, Address};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes that the kernel may hold in each direction: some milliseconds of a fast link.
const BUFFER: usize = 8 << 20;
/// The most datagrams of one call (`UDP_MAX_SEGMENTS` of older kernels).
pub(super) const MOST: usize = 64;
/// The most bytes of one call: an IP packet, without its headers.
pub(super) const LARGEST: usize = 65_000;

const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

/// Bound to one port of every address of the host.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    v6: bool,
}

impl Socket {
    /// So many of one port, in the calling thread's network namespace. The kernel gives what comes from one place to one
    /// of them.
    pub(super) fn bind(port: u16, count: usize) -> io::Result<Vec<Socket>> {
        // A kernel without IPv6 has the other family only.
        let any = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let [first, second] = any.map(|any| SocketAddr::new(any, port));
        Self::bind_all(first, count).or_else(|_| Self::bind_all(second, count))
    }

    fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
        // Alone at first, so that a port that somebody else has is not shared with him.
        let first = Self::bind_to(address, false)?;
        sockopt::set_socket_reuseport(&first, count > 1)?;
        let bound = SocketAddr::try_from(getsockname(&first)?)?;
        let more = (1..count).map(|_| Self::bind_to(bound, true));
        std::iter::once(Ok(first)).chain(more).collect()
    }

    fn bind_to(address: SocketAddr, shared: bool) -> io::Result<Socket> {
        let v6 = address.is_ipv6();
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let fd = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if v6 {
            sockopt::set_ipv6_v6only(&fd, false)?;
        }
        sockopt::set_socket_reuseport(&fd, shared)?;
        bind(&fd, &address)?;
        for force in [sockopt::set_socket_recv_buffer_size_force, sockopt::set_socket_send_buffer_size_force] {
            // Smaller ones only mean that a burst loses packets.
            let _best_effort = force(&fd, BUFFER);
        }
        sockaddr::set(&fd, libc::SOL_UDP, UDP_GRO, 1)?;
        Ok(Socket { fd, v6 })
    }

    /// Sends `bytes` as datagrams of `size` bytes each; the last may be shorter.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<()> {
        let to = self.shaped(to);
        let (mut address, length) = Address::of(to);
        let segment = u16::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut control = Control::default();
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message = sockaddr::message(&mut iov, &mut address, length);
        if bytes.len() > size {
            control.put(UDP_SEGMENT, segment);
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = size_of::<Header>() + 8;
        }
        // SAFETY: every pointer of the message is to something that lives here, with its length.
        #[expect(unsafe_code, reason = "rustix knows no UDP_SEGMENT")]
        let sent = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receives datagrams of one sender: all of them in a row, with the size of each; the last may be shorter.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let mut control = Control::default();
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut address = Address::default();
        let mut message = sockaddr::message(&mut iov, &mut address, size_of::<Address>() as u32);
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>();
        // SAFETY: every pointer of the message is to something that lives here, with its length.
        #[expect(unsafe_code, reason = "rustix knows no UDP_GRO")]
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let size = control.get(UDP_GRO, message.msg_controllen).filter(|size| *size > 0).unwrap_or(length.max(1));
        let from = address.parsed().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((length, size, from))
    }

    /// As an address of the socket's family.
    fn shaped(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.v6 => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
            to => to,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `struct cmsghdr`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    length: usize,
    level: libc::c_int,
    kind: libc::c_int,
}

/// One control message with a number.
#[repr(C, align(8))]
#[derive(Debug, Default, Clone, Copy)]
struct Control {
    header: Header,
    data: [u8; 8],
    /// For what the kernel might add.
    spare: [u64; 4],
}

impl Control {
    fn put(&mut self, kind: libc::c_int, value: u16) {
        self.header = Header { length: size_of::<Header>() + 2, level: libc::SOL_UDP, kind };
        let [a, b] = value.to_ne_bytes();
        (self.data[0], self.data[1]) = (a, b);
    }

    fn get(&self, kind: libc::c_int, length: usize) -> Option<usize> {
        let fits = length >= size_of::<Header>() + 4 && (self.header.level, self.header.kind) == (libc::SOL_UDP, kind);
        let [a, b, c, d, ..] = self.data;
        usize::try_from(i32::from_ne_bytes([a, b, c, d])).ok().filter(|_| fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_datagrams_in_one_call() {
        let [a, b] = [(); 2].map(|()| Socket::bind(0, 1).unwrap().remove(0));
        let port = rustix::net::getsockname(&b).unwrap();
        let port = SocketAddr::try_from(port).unwrap().port();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let bytes: Vec<u8> = (0..3500_u32).map(|n| n as u8).collect();
        a.send(to, &bytes, 1000).unwrap();
        a.send(to, &bytes[..10], 1000).unwrap();
        let mut seen = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while seen.len() < 3510 {
            let (length, size, from) = b.receive(&mut buffer).unwrap();
            assert!(from.ip().is_loopback() && from.is_ipv4() && size <= 1000, "{from} {size}");
            seen.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(seen[..3500], bytes);
        assert_eq!(b.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
