//! What a TAP device says of a packet besides the packet (`struct virtio_net_hdr_v1_hash_tunnel`, virtio 1.3 §5.1.6),
//! and what follows from it: one super-packet becomes many, and a checksum that was left open is filled in. Pure.

use super::sum::{fold, sum};

/// Bytes in front of each packet: the device's header, then Ethernet's.
pub(super) const FRONT: usize = HEADER + ETHERNET;

/// Bytes of the device's header.
const HEADER: usize = crate::kernel::tun::HEADER;
const ETHERNET: usize = crate::kernel::tun::ETHERNET;
/// Of Ethernet's header: what follows is IPv4.
const IPV4: [u8; 2] = [0x08, 0x00];

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// What is cut is inside of a UDP tunnel over IPv4.
const GSO_TUNNEL: u8 = 0x20;
const GSO_ECN: u8 = 0x80;
const TCP_FIN: u8 = 0x01;
pub(super) const TCP_PSH: u8 = 0x08;
pub(super) const TCP_ACK: u8 = 0x10;
const TCP_CWR: u8 = 0x80;
pub(super) const PROTO_TCP: u8 = 6;
pub(super) const PROTO_UDP: u8 = 17;

/// The header, read. Places are counted from the beginning of the IP packet; the device counts from Ethernet's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso: u8,
    /// Bytes of all headers.
    pub(super) headers: u16,
    /// Payload of each segment.
    pub(super) size: u16,
    /// Where TCP or UDP begins.
    pub(super) start: u16,
    /// Where their checksum is, from there.
    pub(super) offset: u16,
    /// Where the tunnel's UDP begins, and the IP packet inside.
    pub(super) tunnel: Option<(u16, u16)>,
}

impl Header {
    /// Of an IPv4 packet; `None`: it is something else, or makes no sense.
    pub(super) fn read(front: &[u8; FRONT]) -> Option<Header> {
        let (&[flags, gso, a, b, c, d, e, f, g, h, ..], ethernet) = front.split_first_chunk::<HEADER>()?;
        let number = |a, b| u16::from_le_bytes([a, b]);
        let place = |a, b| number(a, b).saturating_sub(ETHERNET as u16);
        let &[outer_a, outer_b, inner_a, inner_b] = front.get(HEADER - 4..HEADER)?.first_chunk::<4>()?;
        let header = Header {
            flags,
            gso: gso & !GSO_TUNNEL,
            headers: place(a, b),
            size: number(c, d),
            start: place(e, f),
            offset: number(g, h),
            tunnel: (gso & GSO_TUNNEL != 0).then(|| (place(outer_a, outer_b), place(inner_a, inner_b))),
        };
        (ethernet.last_chunk() == Some(&IPV4)).then_some(header)
    }

    /// What is written in front of an IPv4 packet.
    pub(super) fn front(self) -> [u8; FRONT] {
        let mut front = [0; FRONT];
        let place = |place: u16| place + ETHERNET as u16;
        let is_plain = self.flags & NEEDS_CSUM == 0;
        let words = match (is_plain, self.tunnel) {
            (true, _) => [0; 6],
            (false, tunnel) => {
                let (outer, inner) = tunnel.map_or((0, 0), |(outer, inner)| (place(outer), place(inner)));
                [place(self.headers), self.size, place(self.start), self.offset, outer, inner]
            }
        };
        let at = [2, 4, 6, 8, HEADER - 4, HEADER - 2];
        for (at, word) in at.into_iter().zip(words) {
            front.get_mut(at..at + 2).into_iter().for_each(|slot| slot.copy_from_slice(&word.to_le_bytes()));
        }
        let (device, ethernet) = front.split_at_mut(HEADER);
        let gso = self.gso | if self.tunnel.is_some() { GSO_TUNNEL } else { 0 };
        device.iter_mut().zip([self.flags, gso]).for_each(|(slot, byte)| *slot = byte);
        let mac = crate::kernel::tun::MAC;
        ethernet.iter_mut().zip(mac.iter().chain(&mac).chain(&IPV4)).for_each(|(slot, byte)| *slot = *byte);
        front
    }
}

/// Of TCP super-packets that are written: `v6`, length of all headers, payload of each segment, where TCP begins.
pub(super) fn tcp_super(v6: bool, headers: u16, size: u16, start: u16) -> Header {
    let gso = if v6 { GSO_TCP6 } else { GSO_TCP4 };
    Header { flags: NEEDS_CSUM, gso, headers, size, start, offset: 16, tunnel: None }
}

/// Of UDP super-packets that are written.
pub(super) fn udp_super(headers: u16, size: u16, start: u16) -> Header {
    Header { flags: NEEDS_CSUM, gso: GSO_UDP, headers, size, start, offset: 6, tunnel: None }
}

/// Hands each packet that goes onto the wire to `emit`. `packet` is changed: each segment gets its headers right in
/// front of its payload, over the end of the segment before, so that no payload is ever copied. `scratch` holds the
/// headers meanwhile. A packet that makes no sense is dropped: `false`.
pub(super) fn split(header: &Header, packet: &mut [u8], scratch: &mut [u8], mut emit: impl FnMut(&[u8])) -> bool {
    let gso = header.gso & !GSO_ECN;
    if gso == GSO_NONE {
        if header.flags & NEEDS_CSUM != 0 && !complete(packet, header.start.into(), header.offset.into()) {
            return false;
        }
        emit(packet);
        return true;
    }
    let Some(cut) = Cut::new(gso, header, packet) else { return false };
    let headers = packet.get(..cut.payload).zip(scratch.get_mut(..cut.payload));
    let Some((headers, kept)) = headers else { return false };
    kept.copy_from_slice(headers);
    let payload = packet.len() - cut.payload;
    let count = payload.div_ceil(cut.size);
    for index in 0..count {
        let begin = index * cut.size;
        let length = cut.payload + cut.size.min(payload - begin);
        let Some(segment) = packet.get_mut(begin..begin + length) else { return false };
        if let Some(headers) = segment.get_mut(..cut.payload) {
            headers.copy_from_slice(kept);
        }
        if !cut.dress(segment, index, index + 1 == count) {
            return false;
        }
        emit(segment);
    }
    true
}

/// How a super-packet is cut.
struct Cut {
    v6: bool,
    tcp: bool,
    /// Where the tunnel's UDP begins, if there is one.
    outer: Option<usize>,
    /// Where the IP packet that is cut begins.
    ip: usize,
    /// Where TCP or UDP begins.
    start: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload of each segment.
    size: usize,
}

impl Cut {
    fn new(gso: u8, header: &Header, packet: &[u8]) -> Option<Cut> {
        let outer = header.tunnel.map(|(outer, _)| usize::from(outer));
        let ip = header.tunnel.map_or(0, |(_, inner)| usize::from(inner));
        let v6 = packet.get(ip)? >> 4 == 6;
        let tcp = match gso {
            GSO_TCP4 if !v6 => true,
            GSO_TCP6 if v6 => true,
            GSO_UDP => false,
            _ => return None,
        };
        let start = usize::from(header.start);
        let least = ip + if v6 { 40 } else { 20 };
        let own = if tcp { usize::from(*packet.get(start + 12)? >> 4) * 4 } else { 8 };
        let (payload, size) = (start + own, usize::from(header.size));
        let sound = start >= least && size > 0 && own >= 8 && payload < packet.len() && (!tcp || own >= 20);
        let inside = outer.is_none_or(|outer| outer >= 20 && ip >= outer + 8);
        (sound && inside).then_some(Cut { v6, tcp, outer, ip, start, payload, size })
    }

    /// Gives a segment the lengths, numbers and checksums of its own.
    fn dress(&self, segment: &mut [u8], index: usize, last: bool) -> bool {
        let around = self.outer.is_none_or(|outer| {
            let length = (segment.len() - outer) as u16;
            // The tunnel has no checksum of its own: what is inside has one, and what is outside seals it.
            network(segment, false, index) && put16(segment, outer + 4, length) && put16(segment, outer + 6, 0)
        });
        around
            && segment.get_mut(self.ip..).is_some_and(|packet| network(packet, self.v6, index))
            && self.transport(segment, index, last).is_some()
            && self.checksum(segment)
    }

    fn transport(&self, segment: &mut [u8], index: usize, last: bool) -> Option<()> {
        if !self.tcp {
            let length = (segment.len() - self.start) as u16;
            return put16(segment, self.start + 4, length).then_some(());
        }
        let at = self.start + 4;
        let number = segment.get_mut(at..at + 4)?.first_chunk_mut::<4>()?;
        *number = u32::from_be_bytes(*number).wrapping_add((index * self.size) as u32).to_be_bytes();
        let flags = segment.get_mut(self.start + 13)?;
        if !last {
            *flags &= !(TCP_FIN | TCP_PSH);
        }
        if index > 0 {
            *flags &= !TCP_CWR;
        }
        Some(())
    }

    fn checksum(&self, segment: &mut [u8]) -> bool {
        let at = self.start + if self.tcp { 16 } else { 6 };
        put16(segment, at, 0)
            && segment
                .get(self.ip..)
                .and_then(|packet| checksum(packet, self.start - self.ip, self.tcp))
                // Zero means none in UDP.
                .is_some_and(|sum| put16(segment, at, if sum == 0 && !self.tcp { 0xffff } else { sum }))
    }
}

/// Gives the `index`th of several IP packets that were one the length, the number and the checksum of its own.
pub(super) fn network(packet: &mut [u8], v6: bool, index: usize) -> bool {
    let length = packet.len();
    if v6 {
        return length >= 40 && put16(packet, 4, (length - 40) as u16);
    }
    let id = get16(packet, 4).wrapping_add(index as u16);
    let header = usize::from(packet.first().map_or(0, |first| first & 15)) * 4;
    let done = put16(packet, 2, length as u16) && put16(packet, 4, id) && put16(packet, 10, 0);
    let sum = packet.get(..header).map(|header| !fold(sum(header, 0)));
    done && sum.is_some_and(|sum| put16(packet, 10, sum))
}

/// The checksum of a whole TCP or UDP packet whose field for it is zero.
pub(super) fn checksum(packet: &[u8], start: usize, tcp: bool) -> Option<u16> {
    Some(!fold(sum(packet.get(start..)?, pseudo(packet, start, tcp)?)))
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(super) fn pseudo(packet: &[u8], start: usize, tcp: bool) -> Option<u64> {
    let v6 = packet.first()? >> 4 == 6;
    let addresses = if v6 { packet.get(8..40)? } else { packet.get(12..20)? };
    let length = packet.len().checked_sub(start)? as u64;
    Some(sum(addresses, length + u64::from(if tcp { PROTO_TCP } else { PROTO_UDP })))
}

/// Fills in a checksum that was left open: the field holds the sum of the pseudo-header.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(sum) = packet.get(start..).map(|rest| !fold(sum(rest, 0))) else { return false };
    put16(packet, start + offset, if sum == 0 { 0xffff } else { sum })
}

pub(super) fn get16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
}

pub(super) fn get32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

pub(super) fn put16(bytes: &mut [u8], at: usize, value: u16) -> bool {
    match bytes.get_mut(at..at + 2).and_then(|b| b.first_chunk_mut()) {
        Some(slot) => {
            *slot = value.to_be_bytes();
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A TCP packet of IPv4 with right checksums.
    fn tcp4(payload: &[u8], flags: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let length = packet.len() + 20 + payload.len();
        put16(&mut packet, 2, length as u16);
        let header = !fold(sum(&packet, 0));
        put16(&mut packet, 10, header);
        packet.extend([0, 80, 1, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, flags, 1, 1, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    }

    fn is_right(packet: &[u8]) -> bool {
        let folded = |sum| fold(sum) == 0xffff;
        usize::from(get16(packet, 2)) == packet.len()
            && folded(sum(&packet[..20], 0))
            && folded(sum(&packet[20..], pseudo(packet, 20, true).unwrap()))
    }

    #[test]
    fn a_super_packet_becomes_segments() {
        let payload: Vec<u8> = (0..2500_u32).map(|n| (n / 3) as u8).collect();
        let mut packet = tcp4(&payload, TCP_PSH | TCP_CWR | 0x10);
        let header = tcp_super(false, 40, 1000, 20);
        let mut segments = Vec::new();
        assert!(split(&header, &mut packet, &mut [0; 2000], |segment| segments.push(segment.to_vec())));
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1040, 1040, 540]);
        assert!(segments.iter().all(|segment| is_right(segment)));
        assert_eq!(segments.iter().map(|segment| get16(segment, 26)).collect::<Vec<_>>(), [9, 1009, 2009]);
        assert_eq!(segments.iter().map(|it| it[33]).collect::<Vec<_>>(), [TCP_CWR | 0x10, 0x10, TCP_PSH | 0x10]);
        assert_eq!(segments.iter().flat_map(|it| it[40..].to_vec()).collect::<Vec<_>>(), payload);
    }

    #[test]
    fn a_super_packet_in_a_tunnel_becomes_segments() {
        let payload: Vec<u8> = (0..2500_u32).map(|n| (n / 3) as u8).collect();
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, PROTO_UDP, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2];
        // UDP, VXLAN, Ethernet.
        packet.extend([200, 1, 18, 181, 0, 0, 0, 0, 8, 0, 0, 0, 0, 16, 1, 0]);
        packet.extend([0; 12].iter().chain(&IPV4));
        let inner = packet.len();
        packet.extend(tcp4(&payload, TCP_PSH | 0x10));
        let header = Header { tunnel: Some((20, 50)), ..tcp_super(false, 90, 1000, 70) };
        let mut segments = Vec::new();
        assert!(split(&header, &mut packet, &mut [0; 2000], |segment| segments.push(segment.to_vec())));
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1090, 1090, 590]);
        for segment in &segments {
            assert!(is_right(&segment[inner..]));
            assert_eq!(usize::from(get16(segment, 2)), segment.len());
            assert_eq!(fold(sum(&segment[..20], 0)), 0xffff);
            assert_eq!(usize::from(get16(segment, 24)), segment.len() - 20);
        }
        assert_eq!(segments.iter().flat_map(|it| it[90..].to_vec()).collect::<Vec<_>>(), payload);
    }

    #[test]
    fn an_open_checksum_is_filled_in() {
        let mut packet = tcp4(b"odd", 0x10);
        let open = fold(pseudo(&packet, 20, true).unwrap());
        put16(&mut packet, 36, open);
        let header = Header { flags: NEEDS_CSUM, start: 20, offset: 16, ..Header::default() };
        assert!(split(&header, &mut packet, &mut [], |packet| assert!(is_right(packet))));
    }

    proptest! {
        /// Headers are put over what was sent before, which may be shorter than they are.
        #[test]
        fn no_payload_is_lost(payload in prop::collection::vec(any::<u8>(), 1..400), size in 1..150_u16) {
            let mut packet = tcp4(&payload, 0x10);
            let (mut found, mut sizes) = (Vec::new(), Vec::new());
            let sound = split(&tcp_super(false, 40, size, 20), &mut packet, &mut [0; 64], |segment| {
                sizes.push(segment.len() - 40);
                found.extend_from_slice(if is_right(segment) { &segment[40..] } else { &[] });
            });
            prop_assert!(sound);
            prop_assert_eq!(&found, &payload);
            let (last, full) = sizes.split_last().unwrap();
            prop_assert!(full.iter().all(|it| *it == usize::from(size)) && *last <= usize::from(size));
        }

        #[test]
        fn headers_survive(size: u16, start in 20..2000_u16, tunnel: Option<(u8, u8)>) {
            let tunnel = tunnel.map(|(outer, inner)| (outer.into(), inner.into()));
            let header = Header { tunnel, ..tcp_super(false, start + 20, size, start) };
            prop_assert_eq!(Header::read(&header.front()), Some(header));
        }

        #[test]
        fn no_packet_is_fatal(front: [u8; HEADER], bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut whole = Header::default().front();
            whole[..HEADER].copy_from_slice(&front);
            let (header, mut bytes) = (Header::read(&whole).unwrap(), bytes);
            split(&header, &mut bytes, &mut [0; 400], |_| {});
        }
    }
}
