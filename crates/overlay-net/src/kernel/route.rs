//! Routes in tables of our own, and the rules that lead there, by rtnetlink.

use super::Cidr;
use super::ingress::{self, Ingress, Routes, TAG_MASK};
use super::link::{self, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_TABLE, RTM_NEWROUTE, RTN_UNICAST, RTPROT_STATIC, octets};
use super::netlink::{Batch, F_ACK, F_CREATE, F_DUMP, F_EXCL, F_REPLACE, Socket, attr, u32_at};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const AF_UNSPEC: u8 = 0;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const RTNH_F_ONLINK: u32 = 4;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TBL: u8 = 1;
/// Before everybody's main table (32766).
const PRIORITY: u32 = 5200;

fn family(v6: bool) -> u8 {
    if v6 { link::AF_INET6 } else { link::AF_INET }
}

fn header((to, prefix): Cidr) -> [u8; 12] {
    let [a, b, c, d] = RTNH_F_ONLINK.to_ne_bytes();
    [family(to.is_ipv6()), prefix, 0, 0, 0, RTPROT_STATIC, 0, RTN_UNICAST, a, b, c, d]
}

/// Asks for a route to the next node over a link.
pub(crate) fn add(batch: &mut Batch, table: u32, to: Cidr, next: IpAddr, index: u32) {
    batch.message(RTM_NEWROUTE, F_ACK | F_CREATE | F_REPLACE, &header(to));
    batch.attr(RTA_TABLE, &table.to_ne_bytes()).attr(RTA_OIF, &index.to_ne_bytes());
    batch.attr(RTA_GATEWAY, &octets(next));
    destination(batch, to);
}

/// Asks for it to be gone.
pub(crate) fn delete(batch: &mut Batch, table: u32, to: Cidr) {
    batch.message(RTM_DELROUTE, F_ACK, &header(to)).attr(RTA_TABLE, &table.to_ne_bytes());
    destination(batch, to);
}

fn destination(batch: &mut Batch, (to, prefix): Cidr) {
    if prefix > 0 {
        batch.attr(RTA_DST, &octets(to));
    }
}

fn rule(batch: &mut Batch, kind: u16, flags: u16, (v6, mark): (bool, u32)) {
    let mut to_table = |own: bool| {
        batch.message(kind, F_ACK | flags, &[family(v6), 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0]);
        batch.attr(FRA_PRIORITY, &PRIORITY.to_ne_bytes()).attr(FRA_TABLE, &mark.to_ne_bytes());
        match own {
            true => batch.text(FRA_IIFNAME, "lo"),
            false => batch.attr(FRA_FWMARK, &mark.to_ne_bytes()).attr(FRA_FWMASK, &u32::MAX.to_ne_bytes()),
        };
    };
    to_table(false);
    // What this host itself sends is looked up the moment its destination is translated, when nothing could have
    // marked it yet. All that is in the table are backends elsewhere.
    if mark == mark & TAG_MASK {
        to_table(true);
    }
}

/// Asks for packets with this mark to be looked up in the table of the same number.
pub(crate) fn add_rule(batch: &mut Batch, mark: (bool, u32)) {
    rule(batch, RTM_NEWRULE, F_CREATE | F_EXCL, mark);
}

/// Asks for the opposite.
pub(crate) fn delete_rule(batch: &mut Batch, mark: (bool, u32)) {
    rule(batch, RTM_DELRULE, 0, mark);
}

/// What of one daemon is there; `addresses`: of its link.
pub(crate) fn known(socket: &Socket, owner: u32, addresses: BTreeSet<IpAddr>) -> io::Result<Ingress> {
    let mut batch = Batch::default();
    batch.message(RTM_GETRULE, F_DUMP, &[AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (mut marked, mut own) = (BTreeSet::new(), BTreeSet::new());
    for reply in socket.dump(batch)?.iter().filter(|reply| reply.kind == RTM_NEWRULE) {
        let v6 = match reply.payload.first() {
            Some(&link::AF_INET) => false,
            Some(&link::AF_INET6) => true,
            _ => continue,
        };
        let rest = reply.payload.get(12..).unwrap_or_default();
        let table = attr(rest, FRA_TABLE).map_or(0, |table| u32_at(table, 0));
        if ingress::is_ours(table, owner) {
            let of = if attr(rest, FRA_IIFNAME).is_some() { &mut own } else { &mut marked };
            of.insert((v6, table));
        }
    }
    // One of a pair alone does not count; making it again is no fault.
    let whole = |rule: &(bool, u32)| rule.1 != rule.1 & TAG_MASK || own.contains(rule);
    let rules: BTreeSet<(bool, u32)> = marked.into_iter().filter(whole).collect();
    let mut routes = Routes::new();
    if !rules.is_empty() || !addresses.is_empty() {
        let own = link::all_routes(socket)?.into_iter().filter(|route| ingress::is_ours(route.table, owner));
        for route in own {
            let all = if route.v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            if let Some(next) = route.gateway {
                routes.insert((route.table, (route.destination.unwrap_or(all), route.prefix)), next);
            }
        }
    }
    Ok(Ingress { addresses, routes, rules })
}
