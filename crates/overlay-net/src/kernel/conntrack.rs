//! Forgets tracked connections of ports whose backends changed. Without that, a UDP client that keeps
//! its source port would be sent to a container that is gone for as long as it keeps talking.

use super::netlink::{Batch, F_ACK, F_DUMP, Socket, attr};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const GET_STATS: u16 = 1 << 8 | 5;
const STATS_ENTRIES: u16 = 1;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const PROTOCOL_INFO: u16 = 4;
const TCP_INFO: u16 = 1;
const TCP_STATE: u16 = 1;
const SYN_SENT: u8 = 1;
const TCP: u8 = 6;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_DESTINATION: u16 = 3;
const ID: u16 = 12;
const NESTED: u16 = 0x8000;

/// A port of the host: protocol number and port.
pub(crate) type HostPort = (u8, u16);

/// What is to be forgotten of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stale {
    /// Whatever goes there: it led elsewhere before.
    All,
    /// What goes to these backends.
    To(BTreeSet<IpAddr>),
}

/// Forgets connections by their original destination port. Established TCP connections would be cut, so callers name
/// UDP ports only.
pub(crate) fn forget(ports: &BTreeMap<HostPort, Stale>) -> io::Result<usize> {
    if ports.is_empty() {
        return Ok(0);
    }
    forget_if(&Socket::netfilter()?, |entry| {
        let original = attr(entry, TUPLE_ORIG).filter(|tuple| attr(tuple, TUPLE_IP).is_some());
        match original.and_then(port_of).and_then(|port| ports.get(&port)) {
            None => false,
            Some(Stale::All) => true,
            Some(Stale::To(backends)) => {
                let backend = attr(entry, TUPLE_REPLY).and_then(|tuple| address(tuple, true));
                backend.is_some_and(|backend| backends.contains(&backend))
            }
        }
    })
}

/// Forgets what goes to a backend that its virtual address does not lead to any more, so that the next packet
/// goes to one that it leads to: whatever knows no end of a conversation, as UDP, and TCP that was not answered
/// yet. An established TCP connection goes on. `lost`: virtual addresses, each with such a backend.
pub(crate) fn forget_lost(socket: &Socket, lost: &BTreeSet<(IpAddr, IpAddr)>) -> io::Result<usize> {
    // A look at the entries of one namespace costs a walk over those of all.
    if lost.is_empty() || entries(socket)? == Some(0) {
        return Ok(0);
    }
    forget_if(socket, |entry| {
        let ends = || Some((address(attr(entry, TUPLE_ORIG)?, false)?, address(attr(entry, TUPLE_REPLY)?, true)?));
        let ours = ends().is_some_and(|ends| lost.contains(&ends));
        let protocol = attr(entry, TUPLE_ORIG).and_then(number_of);
        let state = || attr(attr(attr(entry, PROTOCOL_INFO)?, TCP_INFO)?, TCP_STATE)?.first().copied();
        ours && (protocol != Some(TCP) || state() == Some(SYN_SENT))
    })
}

/// How many connections the socket's namespace tracks.
fn entries(socket: &Socket) -> io::Result<Option<u32>> {
    let mut batch = Batch::default();
    batch.message(GET_STATS, F_ACK, &[0, 0, 0, 0]);
    let replies = socket.dump(batch)?;
    let number = replies.iter().find_map(|reply| attr(reply.payload.get(4..)?, STATS_ENTRIES)?.first_chunk::<4>());
    Ok(number.map(|bytes| u32::from_be_bytes(*bytes)))
}

fn forget_if(socket: &Socket, is_doomed: impl Fn(&[u8]) -> bool) -> io::Result<usize> {
    let mut doomed = Batch::default();
    let mut count = 0;
    for family in [2_u8, 10] {
        let mut batch = Batch::default();
        batch.message(GET, F_DUMP, &[family, 0, 0, 0]);
        for entry in socket.dump(batch)? {
            let rest = entry.payload.get(4..).unwrap_or_default();
            let Some(original) = attr(rest, TUPLE_ORIG).filter(|_| is_doomed(rest)) else { continue };
            doomed.message(DELETE, F_ACK, &[family, 0, 0, 0]).attr(TUPLE_ORIG | NESTED, original);
            if let Some(id) = attr(rest, ID) {
                doomed.attr(ID, id);
            }
            count += 1;
        }
    }
    if !doomed.is_empty() {
        // Entries end by themselves meanwhile; not finding one is what was wanted.
        socket.transact(doomed)?;
    }
    Ok(count)
}

/// An end of a tuple.
fn address(tuple: &[u8], source: bool) -> Option<IpAddr> {
    let ip = attr(tuple, TUPLE_IP)?;
    let (v4, v6) = if source { (1, 3) } else { (2, 4) };
    let short = || attr(ip, v4)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets));
    short().or_else(|| attr(ip, v6)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)))
}

fn number_of(tuple: &[u8]) -> Option<u8> {
    attr(attr(tuple, TUPLE_PROTO)?, PROTO_NUMBER)?.first().copied()
}

fn port_of(tuple: &[u8]) -> Option<HostPort> {
    let port = attr(attr(tuple, TUPLE_PROTO)?, PROTO_DESTINATION)?.first_chunk::<2>()?;
    Some((number_of(tuple)?, u16::from_be_bytes(*port)))
}
