//! Forgets tracked connections of ports whose backends changed. Without that, a UDP client that keeps
//! its source port would be sent to a container that is gone for as long as it keeps talking, and so would a TCP client
//! that was not answered and asks again.

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
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const TCP_INFO: u16 = 1;
const TCP_STATE: u16 = 1;
const SYN_SENT: u8 = 1;
pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE: u16 = 2;
const PROTO_DESTINATION: u16 = 3;
const MARK: u16 = 8;
const ID: u16 = 12;
const STATUS_MASK: u16 = 26;
/// Both sides have said something (`IPS_SEEN_REPLY`).
const SEEN_REPLY: u32 = 2;
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
    pub(crate) original: Vec<u8>,
    /// Another one with the same ends has another.
    id: Vec<u8>,
}

/// Forgets what goes to these ports of the host, of whatever knows no end of a conversation, as UDP. Gives the TCP
/// connections that were not answered yet: they may be in this very moment, and are for [`unanswered`] and [`delete`]
/// later.
pub(crate) fn forget(ports: &BTreeMap<HostPort, Stale>) -> io::Result<BTreeSet<Entry>> {
    let (mut waiting, mut doomed) = (BTreeSet::new(), Vec::new());
    if ports.is_empty() {
        return Ok(waiting);
    }
    let socket = Socket::netfilter()?;
    let only_unanswered = ports.keys().all(|(protocol, _)| *protocol == TCP);
    find(&socket, only_unanswered, |entry, tracked| {
        let original = attr(entry, TUPLE_ORIG).filter(|tuple| attr(tuple, TUPLE_IP).is_some());
        let is_stale = match original.and_then(port_of).and_then(|port| ports.get(&port)) {
            None => false,
            Some(Stale::All) => true,
            Some(Stale::To(backends)) => {
                let backend = attr(entry, TUPLE_REPLY).and_then(|tuple| address(tuple, true));
                backend.is_some_and(|backend| backends.contains(&backend))
            }
        };
        match (is_stale, is_tcp(entry)) {
            (true, false) => doomed.push(tracked),
            (true, true) if is_unanswered(entry) => drop(waiting.insert(tracked)),
            _ => {}
        }
    })?;
    delete(&socket, &doomed)?;
    Ok(waiting)
}

/// A connection that was translated when it began, as its packets ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) backend: IpAddr,
    /// Its own.
    pub(crate) port: u16,
    /// The backend's.
    pub(crate) server: u16,
}

/// A TCP connection to a backend that is gone, which was not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unanswered {
    pub(crate) entry: Entry,
    /// If it was translated when it began: what it asks for, and the virtual address.
    pub(crate) asked: Option<(Asked, IpAddr)>,
}

/// Forgets what goes to a backend that its virtual address does not lead to any more, so that the next packet
/// goes to one that it leads to, of whatever knows no end of a conversation, as UDP. An established TCP connection goes
/// on. `lost`: virtual addresses, each with such a backend. Gives the TCP connections that were not answered yet: they
/// may be in this very moment, and are for [`unanswered`] and [`delete`] later.
pub(crate) fn forget_lost(socket: &Socket, lost: &BTreeSet<(IpAddr, IpAddr)>) -> io::Result<BTreeSet<Unanswered>> {
    // A look at the entries of one namespace costs a walk over those of all.
    if lost.is_empty() || entries(socket)? == Some(0) {
        return Ok(BTreeSet::new());
    }
    let vips: BTreeMap<IpAddr, IpAddr> = lost.iter().map(|(vip, backend)| (*backend, *vip)).collect();
    // Who answers is another one than whom it asks for, if it was led elsewhere once already.
    let asked = |entry: &[u8], (asked, answers): (IpAddr, IpAddr)| {
        let vip = vips.get(&asked).or_else(|| vips.get(&answers)).filter(|_| is_marked(entry))?;
        let original = attr(entry, TUPLE_ORIG)?;
        let (port, server) = (port(original, PROTO_SOURCE)?, port(original, PROTO_DESTINATION)?);
        Some((Asked { backend: asked, port, server }, *vip))
    };
    let mut waiting = BTreeSet::new();
    let mut doomed = Vec::new();
    find(socket, false, |entry, tracked| {
        let Some(ends) = ends(entry) else { return };
        let asked = asked(entry, ends);
        let is_meant = lost.contains(&ends) || asked.is_some();
        if is_meant && is_unanswered(entry) {
            waiting.insert(Unanswered { entry: tracked, asked });
        } else if lost.contains(&ends) && !is_tcp(entry) {
            doomed.push(tracked);
        }
    })?;
    delete(socket, &doomed)?;
    Ok(waiting)
}

/// All TCP connections that were not answered yet.
pub(crate) fn unanswered(socket: &Socket) -> io::Result<BTreeSet<Entry>> {
    let mut unanswered = BTreeSet::new();
    find(socket, true, |entry, tracked| unanswered.extend(is_unanswered(entry).then_some(tracked)))?;
    Ok(unanswered)
}

/// Whom it asks for, and who answers.
fn ends(entry: &[u8]) -> Option<(IpAddr, IpAddr)> {
    Some((address(attr(entry, TUPLE_ORIG)?, false)?, address(attr(entry, TUPLE_REPLY)?, true)?))
}

fn is_marked(entry: &[u8]) -> bool {
    attr(entry, MARK) == Some(&super::connect::MARK.to_be_bytes())
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

/// Shows each tracked connection, as the kernel tells it and as what it is known by. `only_unanswered`: not
/// those where both sides have said something; older kernels show all.
fn find(socket: &Socket, only_unanswered: bool, mut each: impl FnMut(&[u8], Entry)) -> io::Result<()> {
    for family in [2_u8, 10] {
        let mut batch = Batch::default();
        batch.message(GET, F_DUMP, &[family, 0, 0, 0]);
        if only_unanswered {
            batch.attr(STATUS, &0_u32.to_be_bytes()).attr(STATUS_MASK, &SEEN_REPLY.to_be_bytes());
        }
        for entry in socket.dump(batch)? {
            let rest = entry.payload.get(4..).unwrap_or_default();
            let Some(original) = attr(rest, TUPLE_ORIG) else { continue };
            let id = attr(rest, ID).unwrap_or_default();
            each(rest, Entry { family, original: original.to_vec(), id: id.to_vec() });
        }
    }
    Ok(())
}

/// Forgets what is asked of this UDP server by way of translation: whoever keeps his socket would go on asking where it
/// was translated to before.
pub(crate) fn forget_server(address: IpAddr, port: u16) -> io::Result<()> {
    let socket = Socket::netfilter()?;
    // A look at the entries of one namespace costs a walk over those of all.
    if entries(&socket)? == Some(0) {
        return Ok(());
    }
    let mut doomed = Vec::new();
    find(&socket, false, |entry, tracked| {
        let original = attr(entry, TUPLE_ORIG);
        let goes_there = original
            .is_some_and(|tuple| port_of(tuple) == Some((UDP, port)) && self::address(tuple, false) == Some(address));
        doomed.extend(goes_there.then_some(tracked));
    })?;
    delete(&socket, &doomed)
}

/// Forgets them, so that what comes next begins anew.
pub(crate) fn delete<'a>(socket: &Socket, doomed: impl IntoIterator<Item = &'a Entry>) -> io::Result<()> {
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
    Some((number_of(tuple)?, port(tuple, PROTO_DESTINATION)?))
}

fn port(tuple: &[u8], end: u16) -> Option<u16> {
    attr(attr(tuple, TUPLE_PROTO)?, end)?.first_chunk::<2>().map(|port| u16::from_be_bytes(*port))
}
