//! The question that nearly all are, for the addresses of one name that is known, answered without taking the
//! packet apart. Whatever is not exactly that goes the long way. Pure.

use super::answer::{MAX_UDP, TTL, View};
use std::net::IpAddr;

const HEADER: usize = 12;
/// A pointer to the name in the question.
const SAME_NAME: [u8; 2] = [0xc0, HEADER as u8];
const CLASS_IN: [u8; 2] = [0, 1];
const A: [u8; 2] = [0, 1];
const AAAA: [u8; 2] = [0, 28];
/// An OPT record without options: root, its type, then a size and six bytes more.
const OPT: [u8; 3] = [0, 0, 41];
const OPT_LENGTH: usize = 11;
/// The longest name (RFC 1035).
const LONGEST: usize = 255;

/// The whole reply; `None`: take the long way. `plain_limit`: the most bytes for a client that names no size.
pub(super) fn answer(view: View<'_>, packet: &[u8], rotation: usize, plain_limit: usize) -> Option<Vec<u8>> {
    let (header, body) = packet.split_first_chunk::<HEADER>()?;
    let [id_high, id_low, flags, _, 0, 1, 0, 0, 0, 0, 0, extra @ 0..=1] = *header else { return None };
    // A question, of the usual kind, whole.
    if flags & !1 != 0 {
        return None;
    }
    let mut name = [0; LONGEST];
    let (name, rest) = name_of(body, &mut name)?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let (class, rest) = rest.split_first_chunk::<2>()?;
    let limit = match (extra, rest) {
        (0, []) => plain_limit,
        (1, [0, 0, 41, high, low, 0, 0, _, _, 0, 0]) => {
            plain_limit.max(u16::from_be_bytes([*high, *low]).min(MAX_UDP).into())
        }
        _ => return None,
    };
    if *class != CLASS_IN {
        return None;
    }
    let wanted = |address: &IpAddr| match *kind {
        A => address.is_ipv4(),
        _ => address.is_ipv6(),
    };
    if *kind != A && *kind != AAAA {
        return None;
    }
    let addresses = view.addresses_with(name, wanted)?;
    let count = addresses.iter().filter(|address| wanted(address)).count();
    let size = if *kind == A { 16 } else { 28 };
    let question = body.len() - rest.len();
    let total = HEADER + question + count * size + usize::from(extra) * OPT_LENGTH;
    if total > limit {
        return None;
    }
    let mut reply = Vec::with_capacity(total);
    let [count_high, count_low] = u16::try_from(count).ok()?.to_be_bytes();
    reply.extend([id_high, id_low, 0x80 | flags, 0x80, 0, 1, count_high, count_low, 0, 0, 0, extra]);
    reply.extend_from_slice(body.get(..question)?);
    let turn = rotation.checked_rem(count).unwrap_or(0);
    for address in addresses.iter().filter(|address| wanted(address)).cycle().skip(turn).take(count) {
        record(&mut reply, *kind, *address);
    }
    if extra == 1 {
        reply.extend(OPT);
        reply.extend(MAX_UDP.to_be_bytes());
        reply.extend([0; 6]);
    }
    Some(reply)
}

fn record(reply: &mut Vec<u8>, kind: [u8; 2], address: IpAddr) {
    reply.extend(SAME_NAME);
    reply.extend(kind);
    reply.extend(CLASS_IN);
    reply.extend(TTL.to_be_bytes());
    match address {
        IpAddr::V4(v4) => {
            reply.extend([0, 4]);
            reply.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            reply.extend([0, 16]);
            reply.extend(v6.octets());
        }
    }
}

/// Lower-case text of a name without the final dot, and what comes after it. Plain labels of ASCII only.
fn name_of<'t, 'p>(packet: &'p [u8], text: &'t mut [u8; LONGEST]) -> Option<(&'t str, &'p [u8])> {
    let mut rest = packet;
    let mut length = 0;
    loop {
        let (size, after) = rest.split_first()?;
        if *size == 0 {
            return Some((std::str::from_utf8(text.get(..length)?).ok()?, after));
        }
        let size = usize::from(*size);
        if size > 63 {
            return None;
        }
        let (label, after) = after.split_at_checked(size)?;
        if length > 0 {
            *text.get_mut(length)? = b'.';
            length += 1;
        }
        for (slot, byte) in text.get_mut(length..length + size)?.iter_mut().zip(label) {
            if !byte.is_ascii_graphic() || *byte == b'.' {
                return None;
            }
            *slot = byte.to_ascii_lowercase();
        }
        length += size;
        rest = after;
    }
}
