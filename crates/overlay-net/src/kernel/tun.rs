//! The interface of the mesh where WireGuard runs in `netd`: a TUN device that outlives it.

use super::netns;
use crate::names;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::{c_char, c_int, c_short};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// IP packets without a further header but the one that says how they are cut and summed (virtio-net's), over
/// several queues.
const FLAGS: c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// What `mesh::virtio` can cut (`linux/if_tun.h`: checksums, TCP of both families and with ECN; UDP, since Linux 6.2).
const OFFLOADS: [libc::c_uint; 2] = [0x0f | 0x60, 0x0f];

/// In the calling thread's namespace: makes the device if it is not there, and lets it stay when nobody holds it.
pub(crate) fn make(name: &str) -> io::Result<()> {
    persist(&open(name)?)
}

/// A further queue of the mesh's interface.
///
/// # Errors
/// The mesh is not there (yet), or the kernel has no TUN.
pub fn queue(run_root: &Path) -> io::Result<OwnedFd> {
    netns::within(netns::open_mesh(run_root)?, || open(names::MESH_LINK))
}

fn open(name: &str) -> io::Result<OwnedFd> {
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
    // The first set that the kernel knows; without any it cuts everything itself, and all works, slower.
    if !OFFLOADS.into_iter().any(|set| offload(&device, set)) {
        tracing::info!(name, "the kernel's TUN takes no super-packets");
    }
    Ok(device)
}

/// Has the kernel hand over super-packets and open checksums; `false`: it does not know one of them.
fn offload(device: &OwnedFd, set: libc::c_uint) -> bool {
    // SAFETY: the descriptor is open, and the argument is a number.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(set)) };
    done == 0
}

fn persist(device: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the argument is a number.
    #[expect(unsafe_code, reason = "rustix knows no TUN")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST as _, 1) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
