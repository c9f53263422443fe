//! VXLANs and what they are told, by rtnetlink.

use super::Mac;
use super::link::{
    self, IFLA_ADDRESS, IFLA_GROUP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU,
    IFLA_NET_NS_FD, RTM_NEWLINK, ifinfo, octets,
};
use super::netlink::{Batch, F_ACK, F_CREATE, F_DUMP, F_EXCL, F_REPLACE, Socket, attr, u16_at, u32_at};
use super::tunnel::{PORT, Tunnel};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const VXLAN_ID: u16 = 1;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PROXY: u16 = 11;
const VXLAN_PORT: u16 = 15;
const VXLAN_UDP_CSUM: u16 = 18;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const AF_UNSPEC: u8 = 0;
const AF_BRIDGE: u8 = 7;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_SELF: u8 = 0x02;
const NTF_MASTER: u8 = 0x04;

/// Asks for a VXLAN. Sent through a socket of the namespace that is to carry it; `home` is the one that it is to
/// live in, where `bridge` is a link's index.
pub(crate) fn add(
    batch: &mut Batch,
    name: &str,
    tunnel: &Tunnel,
    group: u32,
    bridge: Option<u32>,
    home: BorrowedFd<'_>,
) {
    batch.message(RTM_NEWLINK, F_ACK | F_CREATE | F_EXCL, &ifinfo(0, false));
    batch.text(IFLA_IFNAME, name).attr(IFLA_GROUP, &group.to_ne_bytes()).attr(IFLA_MTU, &tunnel.mtu.to_ne_bytes());
    if let Some(bridge) = bridge {
        batch.attr(IFLA_MASTER, &bridge.to_ne_bytes());
    }
    if let Some(mac) = &tunnel.mac {
        batch.attr(IFLA_ADDRESS, mac);
    }
    batch.attr(IFLA_NET_NS_FD, &home.as_raw_fd().to_ne_bytes());
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_KIND, "vxlan").nest(IFLA_INFO_DATA, |b| {
            b.attr(VXLAN_ID, &tunnel.vni.to_ne_bytes()).attr(VXLAN_PORT, &PORT.to_be_bytes());
            b.attr(VXLAN_LEARNING, &[0]).attr(VXLAN_PROXY, &[1]).attr(VXLAN_UDP_CSUM, &[0]);
        });
    });
}

fn entry(batch: &mut Batch, (kind, flags): (u16, u16), family: u8, (index, state, ntf): (u32, u16, u8)) {
    let [a, b, c, d] = index.to_ne_bytes();
    let [e, f] = state.to_ne_bytes();
    batch.message(kind, F_ACK | flags, &[family, 0, 0, 0, a, b, c, d, e, f, ntf, 0]);
}

const PUT: (u16, u16) = (RTM_NEWNEIGH, F_CREATE | F_REPLACE);
const TAKE: (u16, u16) = (RTM_DELNEIGH, 0);

/// Asks the VXLAN to send what is meant for this MAC address to that host, and its bridge, if it is on one, to hand it
/// to the VXLAN.
pub(crate) fn add_way(batch: &mut Batch, index: u32, mac: Mac, host: IpAddr, bridged: bool) {
    entry(batch, PUT, AF_BRIDGE, (index, NUD_NOARP | NUD_PERMANENT, NTF_SELF));
    batch.attr(NDA_LLADDR, &mac).attr(NDA_DST, &octets(host));
    if bridged {
        entry(batch, PUT, AF_BRIDGE, (index, NUD_NOARP, NTF_MASTER));
        batch.attr(NDA_LLADDR, &mac);
    }
}

/// Asks for the opposite. Two messages; that there is no such way any more is no fault.
pub(crate) fn delete_way(batch: &mut Batch, index: u32, mac: Mac, host: IpAddr) {
    entry(batch, TAKE, AF_BRIDGE, (index, 0, NTF_SELF));
    batch.attr(NDA_LLADDR, &mac).attr(NDA_DST, &octets(host));
    entry(batch, TAKE, AF_BRIDGE, (index, 0, NTF_MASTER));
    batch.attr(NDA_LLADDR, &mac);
}

/// Asks the VXLAN to answer who has this address.
pub(crate) fn add_neighbour(batch: &mut Batch, index: u32, address: IpAddr, mac: Mac) {
    entry(batch, PUT, family(address), (index, NUD_PERMANENT, 0));
    batch.attr(NDA_DST, &octets(address)).attr(NDA_LLADDR, &mac);
}

/// Asks for the opposite.
pub(crate) fn delete_neighbour(batch: &mut Batch, index: u32, address: IpAddr) {
    entry(batch, TAKE, family(address), (index, 0, 0));
    batch.attr(NDA_DST, &octets(address));
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { link::AF_INET } else { link::AF_INET6 }
}

/// What the VXLANs of a namespace know: by index, the ways that it knows, those that both it and its bridge know, and
/// the neighbours.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) alone: BTreeMap<u32, BTreeMap<Mac, IpAddr>>,
    pub(crate) ways: BTreeMap<u32, BTreeMap<Mac, IpAddr>>,
    pub(crate) neighbours: BTreeMap<u32, BTreeMap<IpAddr, Mac>>,
}

/// Looks at it.
pub(crate) fn known(socket: &Socket) -> io::Result<Known> {
    let mut known = Known::default();
    let (mut led, mut switched) = (BTreeMap::<(u32, Mac), IpAddr>::new(), BTreeSet::<(u32, Mac)>::new());
    for (index, _, ntf, rest) in dump(socket, AF_BRIDGE)? {
        let Some(mac) = attr(&rest, NDA_LLADDR).and_then(|bytes| bytes.first_chunk::<6>()) else { continue };
        match attr(&rest, NDA_DST).and_then(link::address) {
            Some(host) if ntf & NTF_SELF != 0 => drop(led.insert((index, *mac), host)),
            _ if ntf & NTF_MASTER != 0 => drop(switched.insert((index, *mac))),
            _ => {}
        }
    }
    for ((index, mac), host) in led {
        known.alone.entry(index).or_default().insert(mac, host);
        if switched.contains(&(index, mac)) {
            known.ways.entry(index).or_default().insert(mac, host);
        }
    }
    for (index, state, _, rest) in dump(socket, AF_UNSPEC)? {
        let mac = attr(&rest, NDA_LLADDR).and_then(|bytes| bytes.first_chunk::<6>());
        let address = attr(&rest, NDA_DST).and_then(link::address);
        if let (Some(mac), Some(address), true) = (mac, address, state & NUD_PERMANENT != 0) {
            known.neighbours.entry(index).or_default().insert(address, *mac);
        }
    }
    Ok(known)
}

/// An entry of a table: index of the link, state, flags, attributes.
type Entry = (u32, u16, u8, Vec<u8>);

fn dump(socket: &Socket, family: u8) -> io::Result<Vec<Entry>> {
    let mut batch = Batch::default();
    // `struct ifinfomsg` of that family: older kernels take nothing shorter for the bridges' tables.
    let mut header = [0; 16];
    header[0] = family;
    batch.message(RTM_GETNEIGH, F_DUMP, if family == AF_BRIDGE { &header } else { &header[..12] });
    let replies = socket.dump(batch)?;
    let parsed = replies.into_iter().filter(|reply| reply.kind == RTM_NEWNEIGH).map(|reply| {
        let payload = reply.payload;
        let ntf = payload.get(10).copied().unwrap_or_default();
        (u32_at(&payload, 4), u16_at(&payload, 8), ntf, payload.get(12..).unwrap_or_default().to_vec())
    });
    Ok(parsed.collect())
}

/// The network identifier of a VXLAN, from its `IFLA_LINKINFO`.
pub(crate) fn vni(link_info: &[u8]) -> Option<u32> {
    Some(u32_at(attr(attr(link_info, IFLA_INFO_DATA)?, VXLAN_ID)?, 0))
}
