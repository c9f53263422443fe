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

/// A tracked connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    family: u8,
    /// Its ends as whoever began it sees them.
    original: Vec<u8>,
    /// Another one with the same ends has another.
    id: Vec<u8>,
}

/// Forgets connections by their original destination port. Established TCP connections would be cut, so callers name
/// UDP ports only.
pub(crate) fn forget(ports: &BTreeMap<HostPort, Stale>) -> io::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let socket = Socket::netfilter()?;
    let doomed = find(&socket, |entry| {
        let original = attr(entry, TUPLE_ORIG).filter(|tuple| attr(tuple, TUPLE_IP).is_some());
        match original.and_then(port_of).and_then(|port| ports.get(&port)) {
            None => false,
            Some(Stale::All) => true,
            Some(Stale::To(backends)) => {
                let backend = attr(entry, TUPLE_REPLY).and_then(|tuple| address(tuple, true));
                backend.is_some_and(|backend| backends.contains(&backend))
            }
        }
    })?;
    delete(&socket, &doomed)
}

/// Forgets what goes to a backend that its virtual address does not lead to any more, so that the next packet
/// goes to one that it leads to, of whatever knows no end of a conversation, as UDP. An established TCP connection goes
/// on. `lost`: virtual addresses, each with such a backend. Gives the TCP connections that were not answered yet: they
/// may be in this very moment, and are for [`forget_unanswered`] later.
pub(crate) fn forget_lost(socket: &Socket, lost: &BTreeSet<(IpAddr, IpAddr)>) -> io::Result<BTreeSet<Entry>> {
    // A look at the entries of one namespace costs a walk over those of all.
    if lost.is_empty() || entries(socket)? == Some(0) {
        return Ok(BTreeSet::new());
    }
    let found = find(socket, |entry| {
        let ends = || Some((address(attr(entry, TUPLE_ORIG)?, false)?, address(attr(entry, TUPLE_REPLY)?, true)?));
        ends().is_some_and(|ends| lost.contains(&ends)) && (!is_tcp(entry) || is_unanswered(entry))
    })?;
    let (unanswered, doomed): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|entry| number_of(&entry.original) == Some(TCP));
    delete(socket, &doomed)?;
    Ok(unanswered.into_iter().collect())
}

/// Forgets those of them that are still not answered, so that what is sent again goes to another backend.
pub(crate) fn forget_unanswered(socket: &Socket, suspects: &BTreeSet<Entry>) -> io::Result<()> {
    let mut silent = find(socket, is_unanswered)?;
    silent.retain(|entry| suspects.contains(entry));
    delete(socket, &silent)
}

fn is_tcp(entry: &[u8]) -> bool {
    attr(entry, TUPLE_ORIG).and_then(number_of) == Some(TCP)
}

fn is_unanswered(entry: &[u8]) -> bool {
    let state = || attr(attr(attr(entry, PROTOCOL_INFO)?, TCP_INFO)?, TCP_STATE)?.first().copied();
    is_tcp(entry) && state() == Some(SYN_SENT)
}

/// How many connections the socket's namespace tracks.
fn entries(socket: &Socket) -> io::Result<Option<u32>> {
    let mut batch = Batch::default();
    batch.message(GET_STATS, F_ACK, &[0, 0, 0, 0]);
    let replies = socket.dump(batch)?;
    let number = replies.iter().find_map(|reply| attr(reply.payload.get(4..)?, STATS_ENTRIES)?.first_chunk::<4>());
    Ok(number.map(|bytes| u32::from_be_bytes(*bytes)))
}

fn find(socket: &Socket, is_meant: impl Fn(&[u8]) -> bool) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for family in [2_u8, 10] {
        let mut batch = Batch::default();
        batch.message(GET, F_DUMP, &[family, 0, 0, 0]);
        for entry in socket.dump(batch)? {
            let rest = entry.payload.get(4..).unwrap_or_default();
            let Some(original) = attr(rest, TUPLE_ORIG).filter(|_| is_meant(rest)) else { continue };
            let id = attr(rest, ID).unwrap_or_default();
            found.push(Entry { family, original: original.to_vec(), id: id.to_vec() });
        }
    }
    Ok(found)
}

fn delete(socket: &Socket, doomed: &[Entry]) -> io::Result<()> {
    let mut batch = Batch::default();
    for Entry { family, original, id } in doomed {
        batch.message(DELETE, F_ACK, &[*family, 0, 0, 0]).attr(TUPLE_ORIG | NESTED, original);
        if !id.is_empty() {
            batch.attr(ID, id);
        }
    }
    if !batch.is_empty() {
        // Entries end by themselves meanwhile; not finding one is what was wanted.
        socket.transact(batch)?;
    }
    Ok(())
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
