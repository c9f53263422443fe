//! Packets for the interface, joined again where they were cut: one write for many. Whatever is in the mesh is IPv4
//! and was sealed by a peer, so its checksums need no second look.

use super::virtio::{self, HEADER, fold, get16, pseudo, put16, sum};
use std::os::fd::OwnedFd;

/// The most bytes of a super-packet: an IP packet.
const LARGEST: usize = 65_535;
/// Where TCP or UDP begins: options of IP are joined by nobody.
const START: usize = 20;
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;

/// A packet that is growing, with room for the device's header in front.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    bytes: Vec<u8>,
    flow: Option<Flow>,
}

/// What the next packet must look like to be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    tcp: bool,
    /// Where the payload begins.
    payload: usize,
    /// Payload of each part.
    size: usize,
    /// Parts so far.
    parts: usize,
    /// Sequence number of the next byte, of TCP.
    next: u32,
    /// May another one follow?
    open: bool,
}

impl Coalescer {
    /// Takes a packet; what it cannot be joined with goes up first.
    pub(super) fn push(&mut self, packet: &[u8], device: &OwnedFd) {
        if self.join(packet) {
            return;
        }
        self.flush(device);
        self.begin(packet);
    }

    fn begin(&mut self, packet: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&virtio::Header::PLAIN);
        self.bytes.extend_from_slice(packet);
        self.flow = Flow::of(packet).filter(|flow| flow.open);
    }

    /// Writes what there is.
    pub(super) fn flush(&mut self, device: &OwnedFd) {
        if self.bytes.len() <= HEADER {
            return;
        }
        if let Some(flow) = self.flow.take().filter(|flow| flow.parts > 1) {
            flow.dress(&mut self.bytes);
        }
        // A full queue drops, as every wire does.
        if let Err(error) = rustix::io::write(device, &self.bytes) {
            tracing::trace!(%error, "write to the interface of the mesh");
        }
        self.bytes.clear();
    }

    fn join(&mut self, packet: &[u8]) -> bool {
        let (Some(flow), Some(held)) = (&mut self.flow, self.bytes.get_mut(HEADER..)) else { return false };
        let Some(payload) = flow.continuation(held, packet) else { return false };
        if held.len() + payload.len() > LARGEST {
            return false;
        }
        let pushed = flow.tcp && packet.get(START + 13).is_some_and(|flags| flags & TCP_PSH != 0);
        if let Some(flags) = held.get_mut(START + 13).filter(|_| pushed) {
            *flags |= TCP_PSH;
        }
        flow.open = payload.len() == flow.size && !pushed;
        flow.next = flow.next.wrapping_add(payload.len() as u32);
        flow.parts += 1;
        self.bytes.extend_from_slice(payload);
        true
    }
}

impl Flow {
    /// What could follow this packet, and whether anything may; `None`: it is of no kind that is joined.
    fn of(packet: &[u8]) -> Option<Flow> {
        let (&protocol, &first) = packet.get(9).zip(packet.first())?;
        let whole = get16(packet, 6) & 0x3fff == 0 && usize::from(get16(packet, 2)) == packet.len();
        if first != 0x45 || !whole {
            return None;
        }
        let tcp = protocol == PROTO_TCP;
        let (payload, open) = match protocol {
            PROTO_TCP => {
                let (&offset, &flags) = packet.get(START + 12).zip(packet.get(START + 13))?;
                // What is to be handed on at once can end a row, but begins none.
                let fits = matches!(flags & !TCP_PSH, TCP_ACK) && offset >> 4 >= 5;
                fits.then_some((START + usize::from(offset >> 4) * 4, flags & TCP_PSH == 0))?
            }
            PROTO_UDP => (START + 8, true),
            _ => return None,
        };
        let size = packet.len().checked_sub(payload).filter(|size| *size > 0)?;
        let next = if tcp { sequence(packet)?.wrapping_add(size as u32) } else { 0 };
        Some(Flow { tcp, payload, size, parts: 1, next, open })
    }

    /// The payload of a packet that continues what is held.
    fn continuation<'p>(&self, held: &[u8], packet: &'p [u8]) -> Option<&'p [u8]> {
        let follows = Flow::of(packet)?;
        let (head, other) = (held.get(..self.payload)?, packet.get(..self.payload)?);
        // Version, service class; lifetime, protocol, addresses and ports; then all of TCP but the checksum.
        let same = |from: usize, to: usize| head.get(from..to) == other.get(from..to);
        let like = follows.tcp == self.tcp
            && follows.payload == self.payload
            && same(0, 2)
            && same(8, 10)
            && same(12, START + 4)
            && (!self.tcp
                || (same(START + 8, START + 13) && same(START + 14, START + 16) && same(START + 20, self.payload)));
        let in_order = !self.tcp || sequence(packet) == Some(self.next);
        (self.open && like && in_order && follows.size <= self.size).then(|| packet.get(self.payload..))?
    }

    /// Makes the headers those of a super-packet.
    fn dress(&self, bytes: &mut [u8]) {
        let (payload, size) = (self.payload as u16, self.size as u16);
        let start = START as u16;
        let header = match self.tcp {
            true => virtio::tcp_super(false, payload, size, start),
            false => virtio::udp_super(payload, size, start),
        };
        let Some((front, packet)) = bytes.split_first_chunk_mut::<HEADER>() else { return };
        *front = header.bytes();
        let length = packet.len();
        put16(packet, 2, length as u16);
        put16(packet, 10, 0);
        let checksum = packet.get(..START).map_or(0, |header| !fold(sum(header, 0)));
        put16(packet, 10, checksum);
        if !self.tcp {
            put16(packet, START + 4, (length - START) as u16);
        }
        // The kernel wants the sum of the pseudo-header there, and does the rest if anybody asks for it.
        let open = pseudo(packet, START, self.tcp).map_or(0, fold);
        put16(packet, START + if self.tcp { 16 } else { 6 }, open);
    }
}

fn sequence(packet: &[u8]) -> Option<u32> {
    packet.get(START + 4..START + 8)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::virtio::Header;
    use super::*;
    use proptest::prelude::*;

    fn udp(payload: &[u8], port: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, PROTO_UDP, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2];
        packet.extend([200, port, 18, 181, 0, 0, 0, 0]);
        packet.extend(payload);
        let length = packet.len();
        put16(&mut packet, 2, length as u16);
        put16(&mut packet, 24, (length - START) as u16);
        packet
    }

    #[test]
    fn what_was_cut_is_joined() {
        let mut up = Coalescer::default();
        up.begin(&udp(&[1; 100], 1));
        assert!(!up.join(&udp(&[2; 100], 2)), "another flow");
        assert!(up.join(&udp(&[2; 100], 1)));
        assert!(!up.join(&udp(&[3; 101], 1)), "larger");
        assert!(up.join(&udp(&[3; 50], 1)), "shorter: the last");
        assert!(!up.join(&udp(&[3; 50], 1)), "nothing follows it");
        up.flow.unwrap().dress(&mut up.bytes);
        let header = Header::read(&up.bytes).unwrap();
        assert_eq!(header, virtio::udp_super(28, 100, 20));
        let mut again = Vec::new();
        let (_, packet) = up.bytes.split_at_mut(HEADER);
        assert!(virtio::split(&header, packet, &mut [0; 200], |packet| again.push(packet[28..].to_vec())));
        assert_eq!(again, [vec![1; 100], vec![2; 100], vec![3; 50]]);
    }

    proptest! {
        #[test]
        fn no_packet_is_fatal(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..9)) {
            let mut up = Coalescer::default();
            for packet in packets {
                if !up.join(&packet) {
                    if let Some(flow) = up.flow.filter(|flow| flow.parts > 1) { flow.dress(&mut up.bytes); }
                    up.begin(&packet);
                }
            }
        }
    }
}
