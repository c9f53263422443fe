//! To which address of the host a datagram was sent, and answers from there (RFC 3542 §6).

use crate::sockaddr::{self, Address};
use std::io;
use std::mem::offset_of;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

/// An address of the host, and the link that it was reached by: `struct in6_pktinfo`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    address: [u8; 16],
    link: u32,
}

/// One control message with an address, as C aligns it.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct Control {
    length: usize,
    level: libc::c_int,
    kind: libc::c_int,
    destination: Destination,
    /// For what the kernel might add.
    spare: [u64; 8],
}

/// How long the message is, without what fills it up.
const LENGTH: usize = offset_of!(Control, destination) + size_of::<Destination>();

/// Has the kernel tell with each datagram where it was sent to.
pub(super) fn tell(socket: &impl AsFd) -> io::Result<()> {
    sockaddr::set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
}

/// A datagram: how long it is, from where it is, and where it was sent to.
pub(super) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Destination)> {
    let (mut control, mut address) = (Control::default(), Address::default());
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = sockaddr::message(&mut iov, &mut address, size_of::<Address>() as u32);
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: every pointer of the message is to something that lives here, with its length.
    #[expect(unsafe_code, reason = "rustix knows no IPV6_PKTINFO")]
    let length = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let from = address.parsed().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let kind = (control.level, control.kind);
    let is_told = message.msg_controllen >= LENGTH && kind == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
    let mut to = if is_told { control.destination } else { Destination::default() };
    if !Ipv6Addr::from(to.address).is_unicast_link_local() {
        // The way back is the routes' to choose.
        to.link = 0;
    }
    Ok((length, from, to))
}

/// Says something to somebody, from there.
pub(super) fn send(socket: &impl AsFd, bytes: &[u8], to: SocketAddr, from: &Destination) -> io::Result<()> {
    let (mut address, length) = Address::of(to);
    let (level, kind) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
    let mut control = Control { length: LENGTH, level, kind, destination: *from, ..Control::default() };
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = sockaddr::message(&mut iov, &mut address, length);
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = offset_of!(Control, spare);
    // SAFETY: every pointer of the message is to something that lives here, with its length.
    #[expect(unsafe_code, reason = "rustix knows no IPV6_PKTINFO")]
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_answer_is_from_where_was_asked() {
        let server = UdpSocket::bind("[::]:0").unwrap();
        tell(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        client.connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 100];
        let (length, from, to) = receive(&server, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"question"[..], client.local_addr().unwrap()));
        assert_eq!(to, Destination { address: Ipv6Addr::LOCALHOST.octets(), link: 0 });
        send(&server, b"answer", from, &to).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);
    }
}
