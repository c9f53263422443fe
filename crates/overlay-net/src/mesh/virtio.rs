//! What a TUN device says of a packet besides the packet (`struct virtio_net_hdr`, virtio 1.2 §5.1.6), and what
//! follows from it: one super-packet becomes many, and a checksum that was left open is filled in. Pure.

/// Bytes of the header in front of each packet.
pub(super) const HEADER: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;

/// The header, read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso: u8,
    pub(super) headers: u16,
    pub(super) size: u16,
    pub(super) start: u16,
    pub(super) offset: u16,
}

impl Header {
    /// Of a packet that is as it looks.
    pub(super) const PLAIN: [u8; HEADER] = [0; HEADER];

    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let [flags, gso, a, b, c, d, e, f, g, h] = *bytes.first_chunk::<HEADER>()?;
        let number = |a, b| u16::from_ne_bytes([a, b]);
        Some(Header {
            flags,
            gso,
            headers: number(a, b),
            size: number(c, d),
            start: number(e, f),
            offset: number(g, h),
        })
    }

    pub(super) fn bytes(self) -> [u8; HEADER] {
        let [a, b] = self.headers.to_ne_bytes();
        let [c, d] = self.size.to_ne_bytes();
        let [e, f] = self.start.to_ne_bytes();
        let [g, h] = self.offset.to_ne_bytes();
        [self.flags, self.gso, a, b, c, d, e, f, g, h]
    }
}

/// Of TCP super-packets that are written: `v6`, length of all headers, payload of each segment, where TCP begins.
pub(super) fn tcp_super(v6: bool, headers: u16, size: u16, start: u16) -> Header {
    Header { flags: NEEDS_CSUM, gso: if v6 { GSO_TCP6 } else { GSO_TCP4 }, headers, size, start, offset: 16 }
}

/// Of UDP super-packets that are written.
pub(super) fn udp_super(headers: u16, size: u16, start: u16) -> Header {
    Header { flags: NEEDS_CSUM, gso: GSO_UDP, headers, size, start, offset: 6 }
}

/// Hands each packet that goes onto the wire to `emit`. `packet` may be changed; `scratch` is where segments are
/// put together, and holds one. A packet that makes no sense is dropped: `false`.
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
    let (headers, payload) = packet.split_at(cut.payload);
    let count = payload.len().div_ceil(cut.size).max(1);
    for (index, part) in payload.chunks(cut.size).enumerate() {
        let length = cut.payload + part.len();
        let Some(segment) = scratch.get_mut(..length) else { return false };
        let (head, body) = segment.split_at_mut(cut.payload);
        head.copy_from_slice(headers);
        body.copy_from_slice(part);
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
    /// Where TCP or UDP begins.
    start: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload of each segment.
    size: usize,
}

impl Cut {
    fn new(gso: u8, header: &Header, packet: &[u8]) -> Option<Cut> {
        let v6 = packet.first()? >> 4 == 6;
        let tcp = match gso {
            GSO_TCP4 if !v6 => true,
            GSO_TCP6 if v6 => true,
            GSO_UDP => false,
            _ => return None,
        };
        let start = usize::from(header.start);
        let least = if v6 { 40 } else { 20 };
        let own = if tcp { usize::from(*packet.get(start + 12)? >> 4) * 4 } else { 8 };
        let (payload, size) = (start + own, usize::from(header.size));
        let sound = start >= least && size > 0 && own >= 8 && payload < packet.len() && (!tcp || own >= 20);
        sound.then_some(Cut { v6, tcp, start, payload, size })
    }

    /// Gives a segment the lengths, numbers and checksums of its own.
    fn dress(&self, segment: &mut [u8], index: usize, last: bool) -> bool {
        self.network(segment, index) && self.transport(segment, index, last).is_some() && self.checksum(segment)
    }

    fn network(&self, segment: &mut [u8], index: usize) -> bool {
        let length = segment.len();
        if self.v6 {
            return put16(segment, 4, (length - 40) as u16);
        }
        let id = get16(segment, 4).wrapping_add(index as u16);
        let header = usize::from(segment.first().map_or(0, |first| first & 15)) * 4;
        let done = put16(segment, 2, length as u16) && put16(segment, 4, id) && put16(segment, 10, 0);
        let sum = segment.get(..header).map(|header| !fold(sum(header, 0)));
        done && sum.is_some_and(|sum| put16(segment, 10, sum))
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
            && checksum(segment, self.start, self.tcp).is_some_and(|sum| {
                // Zero means none in UDP.
                put16(segment, at, if sum == 0 && !self.tcp { 0xffff } else { sum })
            })
    }
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

/// The sum of 16-bit words in network order, not yet folded. 2^16 is 1 in this arithmetic, so twice as wide words
/// may be added.
pub(super) fn sum(bytes: &[u8], start: u64) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let wide: u64 =
        chunks.by_ref().map(|chunk| chunk.first_chunk().map_or(0, |b| u64::from(u32::from_be_bytes(*b)))).sum();
    let mut rest = [0; 4];
    for (slot, byte) in rest.iter_mut().zip(chunks.remainder()) {
        *slot = *byte;
    }
    start + wide + u64::from(u32::from_be_bytes(rest))
}

pub(super) fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(super) fn get16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
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
    fn an_open_checksum_is_filled_in() {
        let mut packet = tcp4(b"odd", 0x10);
        let open = fold(pseudo(&packet, 20, true).unwrap());
        put16(&mut packet, 36, open);
        let header = Header { flags: NEEDS_CSUM, start: 20, offset: 16, ..Header::default() };
        assert!(split(&header, &mut packet, &mut [], |packet| assert!(is_right(packet))));
    }

    proptest! {
        #[test]
        fn headers_survive(bytes: [u8; HEADER]) {
            prop_assert_eq!(Header::read(&bytes).unwrap().bytes(), bytes);
        }

        #[test]
        fn sums_do_not_depend_on_the_width(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let slow = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
            prop_assert_eq!(fold(sum(&bytes, 0)) % 0xffff, fold(slow) % 0xffff);
        }

        #[test]
        fn no_packet_is_fatal(header: [u8; HEADER], bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            split(&Header::read(&header).unwrap(), &mut bytes, &mut [0; 400], |_| {});
        }
    }
}
