//! Routes in tables of our own, by rtnetlink.

use super::Cidr;
use super::ingress::{self, Ingress, Routes};
use super::link::{self, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_TABLE, RTM_NEWROUTE, RTN_UNICAST, RTPROT_STATIC, octets};
use super::netlink::{Batch, F_ACK, F_CREATE, F_REPLACE, Socket};
use super::rule;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_DELROUTE: u16 = 25;
const RTNH_F_ONLINK: u32 = 4;

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

/// What of one daemon is there; `addresses`: of its link.
pub(crate) fn known(socket: &Socket, owner: u32, addresses: BTreeSet<IpAddr>) -> io::Result<Ingress> {
    let rules = rule::known(socket, owner)?;
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
