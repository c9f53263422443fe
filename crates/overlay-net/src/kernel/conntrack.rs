//! Forgets tracked connections of ports whose backends changed. Without that, a UDP client that keeps
//! its source port would be sent to a container that is gone for as long as it keeps talking.

use super::netlink::{Batch, F_ACK, F_DUMP, Socket, attr};
use std::collections::BTreeSet;
use std::io;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_DESTINATION: u16 = 3;
const ID: u16 = 12;
const NESTED: u16 = 0x8000;

/// A port of the host: protocol number and port.
pub(crate) type HostPort = (u8, u16);

/// Forgets every connection whose original destination port is one of these. Established TCP
/// connections to living backends among them would be cut, so callers name UDP ports only, or TCP
/// ports that lost all of their old backends.
pub(crate) fn forget(ports: &BTreeSet<HostPort>) -> io::Result<usize> {
    if ports.is_empty() {
        return Ok(0);
    }
    let socket = Socket::netfilter()?;
    let mut doomed = Batch::default();
    let mut count = 0;
    for family in [2_u8, 10] {
        let mut batch = Batch::default();
        batch.message(GET, F_DUMP, &[family, 0, 0, 0]);
        for entry in socket.dump(batch)? {
            let rest = entry.payload.get(4..).unwrap_or_default();
            let Some(original) = attr(rest, TUPLE_ORIG) else { continue };
            if attr(original, TUPLE_IP).is_some() && port_of(original).is_some_and(|port| ports.contains(&port)) {
                doomed.message(DELETE, F_ACK, &[family, 0, 0, 0]).attr(TUPLE_ORIG | NESTED, original);
                if let Some(id) = attr(rest, ID) {
                    doomed.attr(ID, id);
                }
                count += 1;
            }
        }
    }
    if !doomed.is_empty() {
        // Entries end by themselves meanwhile; not finding one is what was wanted.
        socket.transact(doomed)?;
    }
    Ok(count)
}

fn port_of(tuple: &[u8]) -> Option<HostPort> {
    let protocol = attr(tuple, TUPLE_PROTO)?;
    let number = *attr(protocol, PROTO_NUMBER)?.first()?;
    let port = attr(protocol, PROTO_DESTINATION)?.first_chunk::<2>()?;
    Some((number, u16::from_be_bytes(*port)))
}
