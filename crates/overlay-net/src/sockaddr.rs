//! Addresses of sockets, their options, and messages, as C has them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// `struct sockaddr_in6`, which `struct sockaddr_in` fits into.
#[repr(C, align(8))]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Address {
    family: u16,
    port: [u8; 2],
    /// The IPv4 address, or the flow.
    first: [u8; 4],
    v6: [u8; 16],
    scope: u32,
}

impl Address {
    /// What it says; `None`: it is of another family.
    pub(crate) fn parsed(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.port);
        match i32::from(self.family) {
            libc::AF_INET => Some(SocketAddr::new(Ipv4Addr::from(self.first).into(), port)),
            libc::AF_INET6 => {
                let v6 = Ipv6Addr::from(self.v6);
                Some(match v6.to_ipv4_mapped() {
                    Some(v4) => SocketAddr::new(v4.into(), port),
                    None => SocketAddrV6::new(v6, port, 0, self.scope).into(),
                })
            }
            _ => None,
        }
    }

    /// The address, and how many bytes of it count.
    pub(crate) fn of(address: SocketAddr) -> (Address, libc::socklen_t) {
        let port = address.port().to_be_bytes();
        match address {
            SocketAddr::V4(v4) => {
                let address =
                    Address { family: libc::AF_INET as u16, port, first: v4.ip().octets(), ..Address::default() };
                (address, 16)
            }
            SocketAddr::V6(v6) => {
                let v6_octets = v6.ip().octets();
                let address = Address {
                    family: libc::AF_INET6 as u16,
                    port,
                    v6: v6_octets,
                    scope: v6.scope_id(),
                    ..Address::default()
                };
                (address, 28)
            }
        }
    }

    /// As the kernel writes it.
    pub(crate) fn bytes(address: SocketAddr) -> Vec<u8> {
        let (Address { family, port, first, v6, scope }, length) = Address::of(address);
        let mut bytes = [&family.to_ne_bytes()[..], &port, &first, &v6, &scope.to_ne_bytes()].concat();
        bytes.truncate(length as usize);
        bytes
    }

    /// From what the kernel wrote.
    pub(crate) fn read(bytes: &[u8]) -> Option<SocketAddr> {
        let mut whole = [0; size_of::<Address>()];
        whole.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        let (family, rest) = whole.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (first, rest) = rest.split_first_chunk::<4>()?;
        let (v6, rest) = rest.split_first_chunk::<16>()?;
        let scope = u32::from_ne_bytes(*rest.first_chunk()?);
        let address = Address { family: u16::from_ne_bytes(*family), port: *port, first: *first, v6: *v6, scope };
        let least = if i32::from(address.family) == libc::AF_INET6 { 24 } else { 8 };
        address.parsed().filter(|_| bytes.len() >= least)
    }
}

/// Sets an option that is a number.
pub(crate) fn set(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (socket, value) = (socket.as_fd().as_raw_fd(), (&raw const value).cast());
    // SAFETY: the value lives here, and its length is told.
    #[expect(unsafe_code, reason = "rustix does not know all options")]
    let done = unsafe { libc::setsockopt(socket, level, option, value, length) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What `sendmsg` and `recvmsg` take: one row of bytes and an address, of which `length` bytes count.
pub(crate) fn message(bytes: &mut libc::iovec, address: &mut Address, length: libc::socklen_t) -> libc::msghdr {
    // SAFETY: zero is a value for every field: no name, no data, no control message.
    #[expect(unsafe_code, reason = "a C structure with private padding on some targets")]
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut *address).cast();
    message.msg_namelen = length;
    message.msg_iov = bytes;
    message.msg_iovlen = 1;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_the_kernel_writes_them() {
        for text in ["10.1.2.3:51820", "[2001:db8::1]:7", "[fe80::1%3]:9"] {
            let endpoint: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::read(&Address::bytes(endpoint)), Some(endpoint));
        }
        assert_eq!(Address::bytes("1.2.3.4:258".parse().unwrap())[2..8], [1, 2, 1, 2, 3, 4]);
        assert_eq!(Address::read(&[2, 0, 1]), None);
    }
}
