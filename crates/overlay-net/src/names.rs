//! How things in the kernel are called. Daemons share a machine, so every name comes from a random id
//! or from a hash of the run root.

use model::{NetworkId, TaskId};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The bridge of a network: `rs` and 12 hex digits, within the kernel's 15 bytes.
pub fn bridge(network: NetworkId) -> String {
    format!("rs{}", network.short())
}

/// The host's end of a task's interface `eth<index>`. Twelve digits of the id and two of the index.
pub fn veth(task: TaskId, index: usize) -> String {
    format!("v{}{index:02x}", task.short())
}

/// Is this the host's end of one of a task's interfaces?
pub(crate) fn is_veth_of(name: &str, task: TaskId) -> bool {
    name.strip_prefix('v').is_some_and(|rest| rest.starts_with(&task.short()))
}

/// The VXLAN of a network.
pub fn tunnel(network: NetworkId) -> String {
    format!("rx{}", network.short())
}

/// The link to and from backends of published ports on other hosts.
pub fn ingress(owner: u32) -> String {
    format!("ri{owner:08x}")
}

/// The interface of the mesh, in the namespace of the mesh.
pub const MESH_LINK: &str = "mesh0";

/// Where the network namespace of the mesh is.
pub fn mesh_netns_path(run_root: &Path) -> PathBuf {
    netns_dir(run_root).join("mesh")
}

/// The nftables table of one daemon.
pub fn table(run_root: &Path) -> String {
    format!("rswarm_{:08x}", owner(run_root))
}

/// A number that marks the links of one daemon (`ip link show group N`): 31 bits, never 0, which is
/// the group of everybody else's links.
pub fn owner(run_root: &Path) -> u32 {
    // However the path is spelled, it is the same daemon.
    let path =
        run_root.canonicalize().or_else(|_| std::path::absolute(run_root)).unwrap_or_else(|_| run_root.to_owned());
    let path: PathBuf = path.components().collect();
    let hash = fnv1a(path.as_os_str().as_encoded_bytes());
    let folded = ((hash >> 32) ^ hash) as u32 & 0x7fff_ffff;
    folded.max(0x100)
}

/// Where the named network namespace of a task is: `RUN-ROOT/netns/TASKID`.
pub fn netns_path(run_root: &Path, task: TaskId) -> PathBuf {
    netns_dir(run_root).join(task.to_string())
}

pub(crate) fn netns_dir(run_root: &Path) -> PathBuf {
    run_root.join("netns")
}

/// Where `netd` keeps what it has made of the nftables table.
pub(crate) fn rules_path(run_root: &Path) -> PathBuf {
    run_root.join("netd.rules")
}

/// The socket of `netd`.
pub fn socket_path(run_root: &Path) -> PathBuf {
    run_root.join("netd.sock")
}

/// The MAC address of an endpoint without one of its own: from its address, so that a successor with
/// the same address is reached at once in spite of neighbours' ARP caches.
pub(crate) fn mac(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => (fnv1a(&v6.octets()) as u32).to_be_bytes(),
    };
    [0x02, 0x42, a, b, c, d]
}

/// The MAC address of an endpoint of a container, as text: its own, or the one that its address gives it.
pub fn mac_of(address: IpAddr, own: Option<&str>) -> String {
    own.map_or_else(|| mac_text(mac(address)), str::to_owned)
}

/// As [`parse_mac`] reads it.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A fixed MAC address for a bridge: left alone, a bridge takes on the lowest of its ports', and
/// changes it, to the surprise of every ARP cache, whenever a port comes or goes.
pub(crate) fn bridge_mac(network: NetworkId) -> [u8; 6] {
    let [a, b, c, d, ..] = network.0.to_be_bytes();
    [0x02, 0x72, a, b, c, d]
}

/// Parses `02:42:0a:00:00:02`.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    // A multicast address is nobody's own.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

/// FNV-1a: stable over versions of the compiler, unlike the standard library's hashers.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(bridge(NetworkId(u128::MAX)), "rsffffffffffff");
        assert_eq!(veth(TaskId(u128::MAX), 255), "vffffffffffffff");
        assert!(veth(TaskId(u128::MAX), 255).len() <= 15);
    }

    #[test]
    fn owners_differ_and_are_stable() {
        assert_ne!(owner(Path::new("/run/a")), owner(Path::new("/run/b")));
        assert_eq!(owner(Path::new("/run/a/")), owner(Path::new("/run/a")));
        assert_eq!(owner(Path::new("/run/a")), owner(Path::new("/run/./a")));
    }

    #[test]
    fn macs() {
        assert_eq!(mac("10.0.0.2".parse().unwrap()), [2, 0x42, 10, 0, 0, 2]);
        assert_eq!(parse_mac("02:42:ac:11:00:02"), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        assert_eq!(parse_mac("01:42:ac:11:00:02"), None);
        assert_eq!(parse_mac("02:42:ac:11:00"), None);
    }
}
