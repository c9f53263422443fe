//! Virtual addresses, translated in the moment when a TCP connection begins: a small program is asked at each `connect`
//! and puts one of the backends into the place of the address. After that nothing stands between the two ends;
//! translating each packet, as `nft/translate.rs` does, costs a twentieth of what a connection inside one host can
//! carry.
//!
//! It is there to be quick, and nothing depends on it. What it does not translate (other protocols, old kernels,
//! machines without control groups of version 2, the time until a `netd` is back), the rules in the namespace do, with
//! the same tables. It ends with this process: no program is ever left behind.
//!
//! `getpeername` tells the virtual address, as with translated packets, as long as the programs are there that have seen
//! the connection begin. (Not over MPTCP, whose sockets are asked themselves; and a mount of the kernel's before Linux
//! 6.6 may keep the backend's address in place of the service's.) Such a connection has [`MARK`], by which the rules
//! know what they may lead elsewhere when its backend goes without having answered.

use super::bpf::{Call, Kind, Link, Map, Program};
use crate::vips::{Changes, Table};
use model::NetworkId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;

mod programs;

/// The mark of sockets whose connection was translated here, inside of their namespace.
pub(crate) const MARK: u32 = 0x7273_7670;

/// How much the tables can hold, where each set of networks that some namespace is on counts for itself. Where that is
/// not enough, all is left to the rules.
const NAMESPACES: u32 = 1 << 13;
const SERVICES: u32 = 1 << 15;
const BACKENDS: u32 = 1 << 17;

/// The kernel may give the memory of an element that is taken away to another one while a program reads it. So what
/// must not be mistaken has a sum of key and value with it (FNV-1a, by words).
const SUM_BEGIN: u32 = 0x811c_9dc5;
const SUM_TIMES: u32 = 0x0100_0193;

/// Asks sockets for the number of their namespace (`SO_NETNS_COOKIE`, Linux 5.14); it is never given twice.
const COOKIE: libc::c_int = 71;

/// The programs in their places, and what they go by.
#[derive(Debug)]
pub(crate) struct Connect {
    maps: Maps,
    _links: Vec<Link>,
    /// Namespaces that are attached to the same networks.
    groups: BTreeMap<BTreeSet<NetworkId>, Group>,
    /// The group of each namespace.
    members: BTreeMap<u64, u32>,
    last: u32,
}

/// What programs look things up in.
#[derive(Debug)]
struct Maps {
    /// Number of a namespace: its group, and a sum.
    members: Map,
    /// Group and virtual address: how many backends there are.
    services: Map,
    /// The same and a slot: the backend, and a sum.
    slots: Map,
    /// A socket: the virtual address that it was told, and the backend that it got.
    sockets: Map,
}

#[derive(Debug)]
struct Group {
    number: u32,
    told: Arc<Table>,
}

impl Connect {
    /// Puts the programs where all processes of this machine are asked, and asks them nothing yet. An error is about
    /// what this machine lacks.
    pub(crate) fn new() -> io::Result<Connect> {
        // An older kernel would let everything be made, and nobody be told of.
        cookie(std::os::unix::net::UnixDatagram::unbound()?)?;
        let group = root().ok_or_else(|| io::Error::other("no control groups of version 2 are mounted"))?;
        let maps = Maps {
            members: Map::hash(8, 8, NAMESPACES)?,
            services: Map::hash(20, 4, SERVICES)?,
            slots: Map::hash(24, 20, BACKENDS)?,
            sockets: Map::of_sockets(8)?,
        };
        // Whom a socket calls is told before anything is translated.
        let calls = [Call::PeerName4, Call::PeerName6, Call::Connect4, Call::Connect6];
        let attach = |call| Program::load(Kind::Address(call), &programs::of(call, &maps))?.attach(&group);
        let links = calls.into_iter().map(attach).collect::<io::Result<_>>()?;
        Ok(Connect { maps, _links: links, groups: BTreeMap::new(), members: BTreeMap::new(), last: 0 })
    }

    /// Says what namespaces of these networks translate; those of others nothing any more.
    pub(crate) fn tell(&mut self, tables: &BTreeMap<BTreeSet<NetworkId>, Arc<Table>>) -> io::Result<()> {
        let nothing = Arc::default();
        let gone: Vec<_> = self.groups.keys().filter(|networks| !tables.contains_key(*networks)).cloned().collect();
        for networks in gone {
            self.tell_group(&networks, &nothing)?;
            self.groups.remove(&networks);
        }
        tables.iter().try_for_each(|(networks, table)| self.tell_group(networks, table))
    }

    fn tell_group(&mut self, networks: &BTreeSet<NetworkId>, after: &Arc<Table>) -> io::Result<()> {
        let Connect { maps, groups, last, .. } = self;
        let group = groups.entry(networks.clone()).or_insert_with(|| {
            *last += 1;
            Group { number: *last, told: Arc::default() }
        });
        if Arc::ptr_eq(&group.told, after) {
            return Ok(());
        }
        for (before, after) in [(&group.told.v4, &after.v4), (&group.told.v6, &after.v6)] {
            maps.change(group.number, &before.changes(after))?;
        }
        group.told = after.clone();
        Ok(())
    }

    /// Says which namespaces there are, each with its networks.
    pub(crate) fn admit(&mut self, namespaces: &BTreeMap<u64, BTreeSet<NetworkId>>) -> io::Result<()> {
        let of = |networks| self.groups.get(networks).map(|group| group.number);
        let wanted: BTreeMap<u64, u32> =
            namespaces.iter().filter_map(|(cookie, networks)| Some((*cookie, of(networks)?))).collect();
        for cookie in self.members.keys().filter(|cookie| !wanted.contains_key(*cookie)) {
            self.maps.members.remove(&cookie.to_ne_bytes())?;
        }
        for (cookie, group) in &wanted {
            if self.members.get(cookie) != Some(group) {
                let key = cookie.to_ne_bytes();
                self.maps.members.set(&key, &summed(&key, &group.to_ne_bytes()))?;
            }
        }
        self.members = wanted;
        Ok(())
    }
}

impl Maps {
    /// A slot is there before it is counted, and after.
    fn change(&self, group: u32, changes: &Changes) -> io::Result<()> {
        for (vip, slot, backend) in &changes.filled {
            let key = slot_of(&key(group, *vip), *slot);
            self.slots.set(&key, &summed(&key, &octets(*backend)))?;
        }
        let counted: BTreeSet<IpAddr> = changes.counted.iter().map(|(vip, _)| *vip).collect();
        for vip in changes.uncounted.iter().filter(|vip| !counted.contains(vip)) {
            self.services.remove(&key(group, *vip))?;
        }
        for (vip, count) in &changes.counted {
            self.services.set(&key(group, *vip), &count.to_ne_bytes())?;
        }
        let filled: BTreeSet<(IpAddr, u32)> = changes.filled.iter().map(|(vip, slot, _)| (*vip, *slot)).collect();
        for (vip, slot) in changes.emptied.iter().filter(|emptied| !filled.contains(emptied)) {
            self.slots.remove(&slot_of(&key(group, *vip), *slot))?;
        }
        Ok(())
    }
}

/// An address of sixteen bytes; one of IPv4 as IPv6 writes it (RFC 4291 §2.5.5.2), which is also how a socket of IPv6
/// asks for it.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn key(group: u32, vip: IpAddr) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&group.to_ne_bytes());
    key[4..].copy_from_slice(&octets(vip));
    key
}

fn slot_of(key: &[u8; 20], slot: u32) -> Vec<u8> {
    [&key[..], &slot.to_ne_bytes()].concat()
}

/// A value with the sum of it and of its key behind it.
fn summed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let words = key.chunks_exact(4).chain(value.chunks_exact(4)).filter_map(<[u8]>::first_chunk::<4>);
    let sum = words.fold(SUM_BEGIN, |sum, word| (sum ^ u32::from_ne_bytes(*word)).wrapping_mul(SUM_TIMES));
    [value, &sum.to_ne_bytes()].concat()
}

/// Where control groups of version 2 are mounted; every process of the machine is in one of them.
fn root() -> Option<PathBuf> {
    let is_v2 = |path: &str| rustix::fs::statfs(path).is_ok_and(|it| it.f_type == libc::CGROUP2_SUPER_MAGIC);
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find(|path| is_v2(path)).map(PathBuf::from)
}

/// The number of the network namespace that a socket is of.
pub(crate) fn cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes eight bytes at most, to where there are eight.
    #[expect(unsafe_code, reason = "rustix does not know this option")]
    let done = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(fd, libc::SOL_SOCKET, COOKIE, (&raw mut cookie).cast(), &raw mut length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}
