//! The interface of the mesh where WireGuard runs in `netd`: a device that outlives it. It is a TAP and not a TUN
//! because Linux (6.17) takes super-packets inside of tunnels from devices with Ethernet headers only. The headers
//! mean nothing: all such interfaces have the same address, and what is sent goes by the IP address.

use super::netns;
use crate::names;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::{c_char, c_int, c_short};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The hardware address of all of them.
pub(crate) const MAC: super::Mac = [0x02, 0, 0, 0, 0, 0x01];
/// Bytes of the header in front of each frame that says how it is cut and summed (virtio-net's, with the part about
/// tunnels).
pub(crate) const HEADER: usize = 24;

/// Bytes of Ethernet's header.
pub(crate) const ETHERNET: usize = 14;
/// Where a frame has the IPv4 address that it is for, in bytes.
pub(crate) const FRAME_TO: u32 = ETHERNET as u32 + 16;

/// Frames with that header, over several queues.
const FLAGS: c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// Sets the size of that header and its byte order (`linux/if_tun.h`).
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETVNETLE: libc::c_ulong = 0x4004_54dc;

/// A queue of the interface.
#[derive(Debug)]
pub struct Queue {
    /// Each read and write is one frame with its header.
    pub fd: OwnedFd,
    /// What may be written.
    pub takes: Takes,
}

/// What a kernel takes besides TCP super-packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Takes {
    /// Super-packets of UDP (since Linux 6.2).
    pub udp: bool,
    /// Super-packets in UDP tunnels (since Linux 6.17).
    pub tunnels: bool,
}

/// What `mesh::virtio` can cut, the most first (`linux/if_tun.h`): checksums, TCP of both families and with ECN; UDP;
/// tunnels.
const OFFLOADS: [(libc::c_uint, Takes); 3] = [
    (0x0f | 0x60 | 0x80, Takes { udp: true, tunnels: true }),
    (0x0f | 0x60, Takes { udp: true, tunnels: false }),
    (0x0f, Takes { udp: false, tunnels: false }),
];

/// In the calling thread's namespace: makes the device if it is not there, and lets it stay when nobody holds it.
pub(crate) fn make(name: &str) -> io::Result<()> {
    set(&open(name)?.fd, libc::TUNSETPERSIST as _, 1)
}

/// A further queue of the mesh's interface.
///
/// # Errors
/// The mesh is not there (yet), or the kernel has no TUN.
pub fn queue(run_root: &Path) -> io::Result<Queue> {
    netns::within(netns::open_mesh(run_root)?, || open(names::MESH_LINK))
}

pub(crate) fn open(name: &str) -> io::Result<Queue> {
    let device = openat(CWD, "/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    // SAFETY: all fields of `ifreq` are plain numbers, for which zero is a value.
    #[expect(unsafe_code, reason = "a C structure without a constructor")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *slot = byte as c_char;
    }
    request.ifr_ifru.ifru_flags = FLAGS as c_short;
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    set_by_reference(&device, TUNSETVNETHDRSZ, HEADER as c_int)?;
    set_by_reference(&device, TUNSETVNETLE, 1)?;
    // The first set that the kernel knows; without any it cuts everything itself, and all works, slower.
    let takes = OFFLOADS.into_iter().find(|(set_of, _)| set(&device, libc::TUNSETOFFLOAD as _, *set_of as _).is_ok());
    if takes.is_none() {
        tracing::info!(name, "the kernel's TAP takes no super-packets");
    }
    Ok(Queue { fd: device, takes: takes.map(|(_, takes)| takes).unwrap_or_default() })
}

fn set(device: &OwnedFd, what: libc::c_ulong, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the argument is a number.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), what as _, value) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_by_reference(device: &OwnedFd, what: libc::c_ulong, value: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads one number that lives here.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), what as _, &raw const value) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
