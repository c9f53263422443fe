//! Links, addresses and routes by rtnetlink.

use super::netlink::{Batch, F_ACK, F_CREATE, F_DUMP, F_EXCL, F_REPLACE, Socket, attr, attrs, text, u32_at};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const VETH_INFO_PEER: u16 = 1;
const IFLA_AF_SPEC: u16 = 26;
pub(super) const IFLA_GROUP: u16 = 27;
pub(super) const IFLA_NET_NS_FD: u16 = 28;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
pub(super) const RTPROT_STATIC: u8 = 4;
pub(super) const RTN_UNICAST: u8 = 1;
pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

/// The link-local address of bridges with IPv6, as Docker's have it. It is what neighbours are asked from
/// on behalf of packets that come from elsewhere; a random one would not be usable in the first seconds.
pub(crate) const BRIDGE_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) group: u32,
    pub(crate) up: bool,
    pub(crate) master: Option<u32>,
    /// Index of a veth's other end, in that one's namespace.
    pub(crate) peer: Option<u32>,
    pub(crate) mac: Vec<u8>,
    pub(crate) mtu: u32,
    pub(crate) kind: String,
    /// Its other end, or what carries it, is in another namespace.
    pub(crate) abroad: bool,
    /// Network identifier, of a VXLAN.
    pub(crate) vni: Option<u32>,
}

/// All links of the socket's namespace.
pub(crate) fn links(socket: &Socket) -> io::Result<Vec<Link>> {
    let mut batch = Batch::default();
    batch.message(RTM_GETLINK, F_DUMP, &[0; 16]);
    let replies = socket.dump(batch)?;
    Ok(replies.iter().filter(|reply| reply.kind == RTM_NEWLINK).filter_map(|reply| link(&reply.payload)).collect())
}

fn link(payload: &[u8]) -> Option<Link> {
    let rest = payload.get(16..)?;
    let mut link = Link {
        index: u32_at(payload, 4),
        name: String::new(),
        group: 0,
        up: u32_at(payload, 8) & IFF_UP != 0,
        master: None,
        peer: None,
        mac: Vec::new(),
        mtu: 0,
        kind: String::new(),
        abroad: false,
        vni: None,
    };
    for (kind, value) in attrs(rest) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = u32_at(value, 0),
            IFLA_GROUP => link.group = u32_at(value, 0),
            IFLA_MASTER => link.master = Some(u32_at(value, 0)),
            IFLA_LINK => link.peer = Some(u32_at(value, 0)),
            IFLA_ADDRESS => link.mac = value.to_vec(),
            IFLA_LINK_NETNSID => link.abroad = true,
            IFLA_LINKINFO => {
                link.kind = attr(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
                link.vni = super::vxlan::vni(value).filter(|_| link.kind == "vxlan");
            }
            _ => {}
        }
    }
    Some(link)
}

/// All addresses: (interface, address, prefix), without the link-local ones that the kernel made up.
pub(crate) fn addresses(socket: &Socket) -> io::Result<Vec<(u32, IpAddr, u8)>> {
    let mut batch = Batch::default();
    batch.message(RTM_GETADDR, F_DUMP, &[0; 8]);
    let replies = socket.dump(batch)?;
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| reply.kind == RTM_NEWADDR) {
        let Some(&[_, prefix, ..]) = reply.payload.first_chunk::<8>() else { continue };
        let rest = reply.payload.get(8..).unwrap_or_default();
        let Some(address) = attr(rest, IFA_LOCAL).or_else(|| attr(rest, IFA_ADDRESS)).and_then(address) else {
            continue;
        };
        let automatic = |v6: Ipv6Addr| v6.is_unicast_link_local() && v6 != BRIDGE_LINK_LOCAL;
        if !matches!(address, IpAddr::V6(v6) if automatic(v6)) {
            found.push((u32_at(&reply.payload, 4), address, prefix));
        }
    }
    Ok(found)
}

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Option<IpAddr>,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) interface: Option<u32>,
    pub(crate) v6: bool,
    pub(crate) table: u32,
}

/// Those of the main table.
pub(crate) fn routes(socket: &Socket) -> io::Result<Vec<Route>> {
    let all = all_routes(socket)?.into_iter();
    Ok(all.filter(|route| route.table == u32::from(RT_TABLE_MAIN)).collect())
}

/// Those of every table.
pub(super) fn all_routes(socket: &Socket) -> io::Result<Vec<Route>> {
    let mut batch = Batch::default();
    batch.message(RTM_GETROUTE, F_DUMP, &[0; 12]);
    let replies = socket.dump(batch)?;
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| reply.kind == RTM_NEWROUTE) {
        let Some(&[family, prefix, _, _, table, _, _, kind]) = reply.payload.first_chunk::<8>() else { continue };
        if kind != RTN_UNICAST {
            continue;
        }
        let rest = reply.payload.get(12..).unwrap_or_default();
        found.push(Route {
            destination: attr(rest, RTA_DST).and_then(address),
            prefix,
            gateway: attr(rest, RTA_GATEWAY).and_then(address),
            interface: attr(rest, RTA_OIF).map(|value| u32_at(value, 0)),
            v6: family == AF_INET6,
            table: attr(rest, RTA_TABLE).map_or(table.into(), |table| u32_at(table, 0)),
        });
    }
    Ok(found)
}

/// The bytes of an address of either family.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address of either family, from its bytes.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

/// `struct ifinfomsg`, with the one flag that is ours to set.
pub(super) fn ifinfo(index: u32, up: bool) -> [u8; 16] {
    raised(index, if up { IFF_UP } else { 0 })
}

/// The same, with these flags to be raised.
fn raised(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    let flags = flags.to_ne_bytes();
    for (slot, byte) in header.iter_mut().skip(4).zip(index.to_ne_bytes().into_iter().chain(flags).chain(flags)) {
        *slot = byte;
    }
    header
}

/// Asks for a bridge, down still, marked as ours from its first moment.
pub(crate) fn add_bridge(batch: &mut Batch, name: &str, mac: [u8; 6], group: u32) {
    batch.message(RTM_NEWLINK, F_ACK | F_CREATE | F_EXCL, &ifinfo(0, false));
    batch.text(IFLA_IFNAME, name).attr(IFLA_ADDRESS, &mac).attr(IFLA_GROUP, &group.to_ne_bytes());
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_KIND, "bridge");
    });
}

/// One end of a veth pair on a bridge, the other already inside a container's namespace.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge_index: u32,
    pub(crate) group: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) peer_namespace: BorrowedFd<'a>,
}

/// Asks for a veth pair: both ends named and placed by one message, down still.
pub(crate) fn add_veth(batch: &mut Batch, pair: &VethPair<'_>) {
    batch.message(RTM_NEWLINK, F_ACK | F_CREATE | F_EXCL, &ifinfo(0, false));
    batch.text(IFLA_IFNAME, pair.host_name);
    batch.attr(IFLA_MASTER, &pair.bridge_index.to_ne_bytes()).attr(IFLA_GROUP, &pair.group.to_ne_bytes());
    batch.attr(IFLA_MTU, &pair.mtu.to_ne_bytes());
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_KIND, "veth");
        b.nest(IFLA_INFO_DATA, |b| {
            b.nest(VETH_INFO_PEER, |b| {
                b.raw(&ifinfo(0, false)).text(IFLA_IFNAME, pair.peer_name).attr(IFLA_ADDRESS, &pair.peer_mac);
                b.attr(IFLA_MTU, &pair.mtu.to_ne_bytes());
                b.attr(IFLA_NET_NS_FD, &pair.peer_namespace.as_raw_fd().to_ne_bytes());
            });
        });
    });
}

/// Spares the link its link-local address, and the multicast chatter and second of tentativeness that
/// come with it. The kernel takes this for existing links only, and only before they are up; a kernel
/// without IPv6 refuses, which is as good.
pub(crate) fn no_link_local(batch: &mut Batch, name: &str) {
    batch.message(RTM_SETLINK, F_ACK, &ifinfo(0, false)).text(IFLA_IFNAME, name);
    batch.nest(IFLA_AF_SPEC, |b| {
        b.nest(u16::from(AF_INET6), |b| {
            b.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
        });
    });
}

/// Asks for the link to be up.
pub(crate) fn set_up(batch: &mut Batch, name: &str) {
    batch.message(RTM_SETLINK, F_ACK, &ifinfo(0, true)).text(IFLA_IFNAME, name);
}

/// Asks for the link to be up with this hardware address, which is also that of whatever it is connected to: nobody is
/// asked for it.
pub(crate) fn set_up_alike(batch: &mut Batch, name: &str, mac: super::Mac) {
    batch.message(RTM_SETLINK, F_ACK, &raised(0, IFF_UP | IFF_NOARP)).text(IFLA_IFNAME, name).attr(IFLA_ADDRESS, &mac);
}

/// Asks for a bridge port to be up and to send back where it came from what is meant for that place: a
/// container that calls its own published port. Where bridged packets pass through netfilter (the
/// kernel's `bridge-nf-call-iptables`, on by default), the call never leaves the bridge's level.
pub(crate) fn set_up_port(batch: &mut Batch, name: &str) {
    batch.message(RTM_NEWLINK, F_ACK, &ifinfo(0, true)).text(IFLA_IFNAME, name);
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |b| {
            b.attr(IFLA_BRPORT_MODE, &[1]);
        });
    });
}

/// Asks for a bridge port to be up that learns nothing, and is sent only what is meant for somebody behind it, or
/// asks who that is.
pub(crate) fn set_up_tunnel(batch: &mut Batch, name: &str) {
    batch.message(RTM_NEWLINK, F_ACK, &ifinfo(0, true)).text(IFLA_IFNAME, name);
    batch.nest(IFLA_LINKINFO, |b| {
        b.text(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |b| {
            b.attr(IFLA_BRPORT_LEARNING, &[0]).attr(IFLA_BRPORT_UNICAST_FLOOD, &[0]);
        });
    });
}

/// Asks for the link to carry packets of this size, in bytes.
pub(crate) fn set_mtu(batch: &mut Batch, name: &str, mtu: u32) {
    batch.message(RTM_SETLINK, F_ACK, &[0; 16]).text(IFLA_IFNAME, name).attr(IFLA_MTU, &mtu.to_ne_bytes());
}

/// Asks for the link to be gone.
pub(crate) fn delete(batch: &mut Batch, name: &str) {
    batch.message(RTM_DELLINK, F_ACK, &[0; 16]).text(IFLA_IFNAME, name);
}

/// Asks for the link to be in another group.
pub(crate) fn set_group(batch: &mut Batch, name: &str, group: u32) {
    batch.message(RTM_SETLINK, F_ACK, &[0; 16]).text(IFLA_IFNAME, name).attr(IFLA_GROUP, &group.to_ne_bytes());
}

/// Asks for all links of the group to be gone: the kernel waits once for all of them, not for each.
pub(crate) fn delete_group(batch: &mut Batch, group: u32) {
    batch.message(RTM_DELLINK, F_ACK, &[0; 16]).attr(IFLA_GROUP, &group.to_ne_bytes());
}

fn address_message(batch: &mut Batch, kind: u16, flags: u16, index: u32, address: IpAddr, prefix: u8) {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let [a, b, c, d] = index.to_ne_bytes();
    batch.message(kind, F_ACK | flags, &[family, prefix, 0, 0, a, b, c, d]);
    match address {
        IpAddr::V4(v4) => {
            batch.attr(IFA_LOCAL, &v4.octets()).attr(IFA_ADDRESS, &v4.octets());
            if prefix < 31 {
                let broadcast = u32::from(v4) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                batch.attr(IFA_BROADCAST, &broadcast.to_be_bytes());
            }
        }
        IpAddr::V6(v6) => {
            // Addresses are handed out by one allocator; waiting a second to detect duplicates is no use.
            batch.attr(IFA_LOCAL, &v6.octets()).attr(IFA_ADDRESS, &v6.octets());
            batch.attr(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        }
    }
}

/// Asks for an address; one that is there already is fine.
pub(crate) fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    address_message(batch, RTM_NEWADDR, F_CREATE | F_REPLACE, index, address, prefix);
}

/// Asks for an address to be gone.
pub(crate) fn delete_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    address_message(batch, RTM_DELADDR, 0, index, address, prefix);
}

/// Asks for the default route.
pub(crate) fn add_default_route(batch: &mut Batch, gateway: IpAddr) {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    let header = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0];
    batch.message(RTM_NEWROUTE, F_ACK | F_CREATE | F_REPLACE, &header);
    batch.attr(RTA_GATEWAY, &octets(gateway));
}
