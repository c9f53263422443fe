//! Packets for the interface, joined again where they were cut: one write for many. Whatever is in the mesh is IPv4
//! and was sealed by a peer, so its checksums need no second look. What is in a VXLAN is joined by what it carries, where
//! the kernel takes that. Of acknowledgements in a row the last is enough.

use super::ack;
use super::sum::fold;
use super::virtio::{self, FRONT, PROTO_TCP, PROTO_UDP, TCP_ACK, TCP_PSH, get16, get32, network, pseudo, put16};
use crate::kernel::tun::Takes;
use crate::kernel::tunnel::PORT as VXLAN;
use std::os::fd::OwnedFd;

/// The most bytes of a super-packet: an IP packet.
const LARGEST: usize = 65_535;
/// How many flows grow at a time.
const FLOWS: usize = 8;
/// Where TCP or UDP begins in IPv4 without options: those with are joined by nobody.
const START4: usize = 20;
const START6: usize = 40;
/// What is in front of an IP packet in a VXLAN: IPv4, UDP, VXLAN, Ethernet.
const INSIDE: usize = START4 + 8 + 8 + 14;

/// Packets that are growing.
#[derive(Debug)]
pub(super) struct Coalescer {
    takes: Takes,
    growing: Vec<Growing>,
    /// Buffers for others.
    spare: Vec<Vec<u8>>,
}

/// One of them, with the device's header in front.
#[derive(Debug)]
struct Growing {
    bytes: Vec<u8>,
    flow: Flow,
}

/// What the next packet must look like to be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    tcp: bool,
    v6: bool,
    /// Where the IP packet begins that is joined: inside of a VXLAN, if not at the front.
    ip: usize,
    /// Where TCP or UDP begins.
    start: usize,
    /// Where the payload begins.
    payload: usize,
    /// Payload of each part; none: an acknowledgement of TCP, which the next one may replace.
    size: usize,
    /// Parts so far; acknowledgements that became one.
    parts: usize,
    /// Sequence number of the next byte, of TCP.
    next: u32,
    /// May another one follow?
    open: bool,
}

/// What becomes of a packet beside one that is growing.
#[derive(Debug, PartialEq, Eq)]
enum Beside {
    /// It is joined.
    Joined,
    /// It is of the same flow, and can't be joined: the other goes first.
    After,
    /// They have nothing to do with each other.
    Apart,
}

impl Coalescer {
    pub(super) fn new(takes: Takes) -> Coalescer {
        Coalescer { takes, growing: Vec::new(), spare: Vec::new() }
    }

    /// Takes a packet; what must not come after it goes up first.
    pub(super) fn push(&mut self, packet: &[u8], device: &OwnedFd) {
        self.take(packet, |bytes| write(device, bytes));
    }

    pub(super) fn take(&mut self, packet: &[u8], mut write: impl FnMut(&[u8])) {
        let Some(flow) = Flow::of(packet, self.takes) else {
            // Nobody knows whose it is, so it overtakes nothing.
            self.finish(&mut write);
            let mut bytes = self.spare.pop().unwrap_or_default();
            begin(&mut bytes, packet);
            write(&bytes);
            return self.spare.push(bytes);
        };
        for index in 0..self.growing.len() {
            match self.growing.get_mut(index).map_or(Beside::Apart, |other| other.beside(&flow, packet)) {
                Beside::Joined => return,
                Beside::Apart => {}
                Beside::After => {
                    self.finish_one(index, &mut write);
                    break;
                }
            }
        }
        if self.growing.len() == FLOWS {
            self.finish_one(0, &mut write);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        begin(&mut bytes, packet);
        self.growing.push(Growing { bytes, flow });
    }

    /// Writes what there is.
    pub(super) fn flush(&mut self, device: &OwnedFd) {
        self.finish(&mut |bytes| write(device, bytes));
    }

    pub(super) fn finish(&mut self, write: &mut impl FnMut(&[u8])) {
        while !self.growing.is_empty() {
            self.finish_one(0, write);
        }
    }

    fn finish_one(&mut self, index: usize, write: &mut impl FnMut(&[u8])) {
        let Growing { mut bytes, flow } = self.growing.remove(index);
        if flow.parts > 1 && flow.size > 0 {
            flow.dress(&mut bytes);
        }
        write(&bytes);
        self.spare.push(bytes);
    }
}

fn write(device: &OwnedFd, bytes: &[u8]) {
    // A full queue drops, as every wire does.
    if let Err(error) = rustix::io::write(device, bytes) {
        tracing::trace!(%error, "write to the interface of the mesh");
    }
}

fn begin(bytes: &mut Vec<u8>, packet: &[u8]) {
    bytes.clear();
    bytes.extend_from_slice(&virtio::Header::default().front());
    bytes.extend_from_slice(packet);
}

impl Growing {
    fn beside(&mut self, flow: &Flow, packet: &[u8]) -> Beside {
        let held = self.bytes.get_mut(FRONT..).unwrap_or_default();
        if !self.flow.is_of(flow, held, packet) {
            return Beside::Apart;
        }
        if self.flow.is_covered(flow, held, packet) {
            begin(&mut self.bytes, packet);
            self.flow.parts += 1;
            return Beside::Joined;
        }
        let payload = packet.get(flow.payload..).unwrap_or_default();
        if !self.flow.continues(flow, held, packet) || held.len() + payload.len() > LARGEST {
            return Beside::After;
        }
        let pushed = flow.tcp && packet.get(flow.start + 13).is_some_and(|flags| flags & TCP_PSH != 0);
        if let Some(flags) = held.get_mut(flow.start + 13).filter(|_| pushed) {
            *flags |= TCP_PSH;
        }
        self.flow.open = payload.len() == self.flow.size && !pushed;
        self.flow.next = self.flow.next.wrapping_add(payload.len() as u32);
        self.flow.parts += 1;
        self.bytes.extend_from_slice(payload);
        Beside::Joined
    }
}

impl Flow {
    /// What could follow this packet, and whether anything may; `None`: it is of no kind that is joined.
    fn of(packet: &[u8], takes: Takes) -> Option<Flow> {
        let protocol = plain4(packet)?;
        let is_vxlan = protocol == PROTO_UDP && get16(packet, START4 + 2) == VXLAN;
        if is_vxlan && takes.tunnels && get16(packet, START4 + 6) == 0 {
            let inside = packet.get(INSIDE..)?;
            return match get16(packet, INSIDE - 2) {
                0x0800 => Flow::inside(packet, plain4(inside)?, INSIDE, false),
                0x86dd => Flow::inside(packet, plain6(inside)?, INSIDE, true),
                _ => None,
            };
        }
        Flow::inside(packet, protocol, 0, false).filter(|flow| flow.tcp || takes.udp)
    }

    /// Of the IP packet that begins at `ip`.
    fn inside(packet: &[u8], protocol: u8, ip: usize, v6: bool) -> Option<Flow> {
        let start = ip + if v6 { START6 } else { START4 };
        match protocol {
            PROTO_TCP => Flow::tcp(packet, ip, start, v6),
            PROTO_UDP => {
                let payload = start + 8;
                // What is behind the end that UDP itself tells is nobody's payload.
                let whole = usize::from(get16(packet, start + 4)) + start == packet.len();
                let size = packet.len().checked_sub(payload).filter(|size| *size > 0 && whole)?;
                Some(Flow { tcp: false, v6, ip, start, payload, size, parts: 1, next: 0, open: true })
            }
            _ => None,
        }
    }

    fn tcp(packet: &[u8], ip: usize, start: usize, v6: bool) -> Option<Flow> {
        let (&offset, &flags) = packet.get(start + 12).zip(packet.get(start + 13))?;
        // What is to be handed on at once can end a row, but begins none.
        let fits = flags & !TCP_PSH == TCP_ACK && offset >> 4 >= 5;
        let payload = start + usize::from(offset >> 4) * 4;
        let size = packet.len().checked_sub(payload).filter(|_| fits)?;
        if size == 0 && !packet.get(start..).is_some_and(ack::is_plain) {
            return None;
        }
        let next = get32(packet, start + 4)?.wrapping_add(size as u32);
        Some(Flow { tcp: true, v6, ip, start, payload, size, parts: 1, next, open: flags & TCP_PSH == 0 })
    }

    /// Is a packet part of the same conversation as what is held?
    fn is_of(&self, other: &Flow, held: &[u8], packet: &[u8]) -> bool {
        let same = |from: usize, to: usize| held.get(from..to) == packet.get(from..to);
        // Addresses and ports; all that is about the way of what is inside.
        let ends = if self.v6 { self.ip + 8 } else { self.ip + 12 };
        let alike = (self.tcp, self.v6, self.ip, self.start) == (other.tcp, other.v6, other.ip, other.start);
        let around = self.ip == 0 || same(12, START4 + 4) && same(START4 + 8, INSIDE);
        alike && around && same(ends, self.start + 4)
    }

    /// Is what is held an acknowledgement that a packet of the same conversation replaces?
    fn is_covered(&self, other: &Flow, held: &[u8], packet: &[u8]) -> bool {
        let tcp = packet.get(self.start..).zip(held.get(self.start..));
        (self.size, other.size) == (0, 0)
            && self.parts < ack::MOST
            && self.is_alike(held, packet)
            && tcp.is_some_and(|(later, earlier)| ack::covers(later, earlier))
    }

    /// Do two packets of the same conversation travel alike?
    fn is_alike(&self, held: &[u8], packet: &[u8]) -> bool {
        let same = |from: usize, to: usize| held.get(from..to) == packet.get(from..to);
        // Version and service class; whether it may be cut; lifetime and protocol.
        let network = |ip: usize, v6: bool| match v6 {
            true => same(ip, ip + 4) && same(ip + 6, ip + 8),
            false => same(ip, ip + 2) && same(ip + 6, ip + 10),
        };
        network(self.ip, self.v6) && (self.ip == 0 || network(0, false))
    }

    /// May a packet of the same conversation be joined?
    fn continues(&self, other: &Flow, held: &[u8], packet: &[u8]) -> bool {
        let same = |from: usize, to: usize| held.get(from..to) == packet.get(from..to);
        let start = self.start;
        // All of TCP but the checksum.
        let transport = || {
            let fields = same(start + 8, start + 13) && same(start + 14, start + 16) && same(start + 20, self.payload);
            fields && get32(packet, start + 4) == Some(self.next)
        };
        self.open
            && other.payload == self.payload
            && (1..=self.size).contains(&other.size)
            && self.is_alike(held, packet)
            && (!self.tcp || transport())
    }

    /// Makes the headers those of a super-packet.
    fn dress(&self, bytes: &mut [u8]) {
        let (payload, size, start) = (self.payload as u16, self.size as u16, self.start as u16);
        let mut header = match self.tcp {
            true => virtio::tcp_super(self.v6, payload, size, start),
            false => virtio::udp_super(payload, size, start),
        };
        header.tunnel = (self.ip > 0).then_some((START4 as u16, self.ip as u16));
        let Some((front, packet)) = bytes.split_first_chunk_mut::<FRONT>() else { return };
        *front = header.front();
        let length = packet.len();
        if self.ip > 0 {
            network(packet, false, 0);
            put16(packet, START4 + 4, (length - START4) as u16);
        }
        if !self.tcp {
            put16(packet, self.start + 4, (length - self.start) as u16);
        }
        let Some(inner) = packet.get_mut(self.ip..) else { return };
        network(inner, self.v6, 0);
        // The kernel wants the sum of the pseudo-header there, and does the rest if anybody asks for it.
        let start = self.start - self.ip;
        let open = pseudo(inner, start, self.tcp).map_or(0, fold);
        put16(inner, start + if self.tcp { 16 } else { 6 }, open);
    }
}

/// The protocol of an IPv4 packet that is whole and has no options.
fn plain4(packet: &[u8]) -> Option<u8> {
    let (&protocol, &first) = packet.get(9).zip(packet.first())?;
    let whole = get16(packet, 6) & 0x3fff == 0 && usize::from(get16(packet, 2)) == packet.len();
    (first == 0x45 && whole).then_some(protocol)
}

/// The protocol of an IPv6 packet that is whole and has no further headers.
fn plain6(packet: &[u8]) -> Option<u8> {
    let (&protocol, &first) = packet.get(6).zip(packet.first())?;
    let whole = usize::from(get16(packet, 4)) + START6 == packet.len();
    (first >> 4 == 6 && whole).then_some(protocol)
}

#[cfg(test)]
mod tests {
    use super::virtio::Header;
    use super::*;
    use proptest::prelude::*;

    const ALL: Takes = Takes { udp: true, tunnels: true };

    fn udp(payload: &[u8], port: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, PROTO_UDP, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2];
        packet.extend([200, 1, 18, port, 0, 0, 0, 0]);
        packet.extend(payload);
        let length = packet.len();
        put16(&mut packet, 24, (length - START4) as u16);
        network(&mut packet, false, 0);
        packet
    }

    /// A segment of TCP from a port.
    fn tcp(v6: bool, port: u8, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = match v6 {
            true => [&[0x60, 0, 0, 0, 0, 0, PROTO_TCP, 64][..], &[9; 32]].concat(),
            false => vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, PROTO_TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2],
        };
        let start = packet.len();
        packet.extend([0, port, 1, 2]);
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, flags, 1, 1, 0, 0, 0, 0]);
        packet.extend(payload);
        network(&mut packet, v6, 0);
        let sum = virtio::checksum(&packet, start, true).unwrap();
        put16(&mut packet, start + 16, sum);
        packet
    }

    fn vxlan(inner: &[u8]) -> Vec<u8> {
        let kind = if inner[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        udp(&[&[8, 0, 0, 0, 0, 16, 1, 0][..], &[3; 12], &kind, inner].concat(), 181)
    }

    /// What is written, cut again as the kernel would: the sizes of what was written, and the packets.
    fn through(takes: Takes, packets: &[Vec<u8>]) -> (Vec<usize>, Vec<Vec<u8>>) {
        let (mut sizes, mut again) = (Vec::new(), Vec::new());
        let mut up = Coalescer::new(takes);
        let mut write = |bytes: &[u8]| {
            let (front, packet) = bytes.split_first_chunk::<FRONT>().unwrap();
            sizes.push(packet.len());
            let header = Header::read(front).unwrap();
            assert!(header.tunnel.is_none() || takes.tunnels);
            let keep = |packet: &[u8]| again.push(packet.to_vec());
            assert!(virtio::split(&header, &mut packet.to_vec(), &mut [0; 2000], keep));
        };
        for packet in packets {
            up.take(packet, &mut write);
        }
        up.finish(&mut write);
        (sizes, again)
    }

    #[test]
    fn what_was_cut_is_joined() {
        let sent = [udp(&[1; 100], 1), udp(&[2; 100], 1), udp(&[3; 101], 1), udp(&[4; 50], 1), udp(&[5; 50], 1)];
        let (sizes, again) = through(ALL, &sent);
        // A larger one begins anew; a shorter one is the last.
        assert_eq!(sizes, [228, 28 + 151, 78]);
        let payloads = |packets: &[Vec<u8>]| packets.iter().map(|packet| packet[28..].to_vec()).collect::<Vec<_>>();
        assert_eq!(payloads(&again), payloads(&sent));
        // A kernel that knows nothing of it gets each as it came.
        assert_eq!(through(Takes::default(), &sent).1, sent);
    }

    #[test]
    fn what_would_not_come_apart_again_is_not_joined() {
        // One may be cut on its way, the other not.
        let mut cuttable = tcp(false, 1, 9, TCP_ACK, &[2; 9]);
        cuttable[6] = 0;
        network(&mut cuttable, false, 0);
        let sent = [tcp(false, 1, 0, TCP_ACK, &[1; 9]), cuttable];
        assert_eq!(through(ALL, &sent).1, sent);
        // More bytes than UDP says.
        let padded = |byte: u8| {
            let mut packet = udp(&[byte; 10], 1);
            put16(&mut packet, 24, 12);
            packet
        };
        let sent = [padded(1), padded(2)];
        assert_eq!(through(ALL, &sent).1, sent);
    }

    #[test]
    fn flows_grow_beside_each_other() {
        let sent: Vec<_> =
            (0..3_u32).flat_map(|n| [1, 2].map(|port| tcp(false, port, n * 100, TCP_ACK, &[port; 100]))).collect();
        let (sizes, again) = through(ALL, &sent);
        assert_eq!(sizes, [340, 340]);
        assert_eq!(again.len(), 6);
        // One that comes too early goes behind what is held, not before it.
        let early = [
            tcp(false, 1, 0, TCP_ACK, &[1; 9]),
            tcp(false, 1, 18, TCP_ACK, &[3; 9]),
            tcp(false, 1, 9, TCP_ACK, &[2; 9]),
        ];
        assert_eq!(through(ALL, &early).1, early);
    }

    #[test]
    fn inside_of_a_vxlan_tcp_is_joined() {
        for v6 in [false, true] {
            let part = |n: u32, flags| vxlan(&tcp(v6, 1, n * 100, flags, &[n as u8; 100]));
            let sent = [part(0, TCP_ACK), part(1, TCP_ACK), part(2, TCP_ACK | TCP_PSH), part(3, TCP_ACK)];
            let (sizes, again) = through(ALL, &sent);
            assert_eq!(sizes.len(), 2, "{sizes:?}");
            let inner = |packet: &Vec<u8>| packet[INSIDE + if v6 { START6 } else { START4 }..].to_vec();
            assert_eq!(again.iter().map(inner).collect::<Vec<_>>(), sent.iter().map(inner).collect::<Vec<_>>());
            // Without the kernel's help the tunnel's own packets are joined.
            let older = Takes { udp: true, tunnels: false };
            assert_eq!(through(older, &sent).0.len(), 1);
        }
    }

    /// One that acknowledges.
    fn ack(inside: bool, port: u8, number: u32, flags: u8) -> Vec<u8> {
        let mut packet = tcp(false, port, 7, flags, &[]);
        packet[28..32].copy_from_slice(&number.to_be_bytes());
        if inside { vxlan(&packet) } else { packet }
    }

    #[test]
    fn of_acknowledgements_the_last_is_enough() {
        for inside in [false, true] {
            let [first, second, third] = [1, 2, 3].map(|number| ack(inside, 1, number * 100, TCP_ACK));
            let other = ack(inside, 2, 1, TCP_ACK);
            let sent = [first.clone(), other.clone(), second.clone(), third.clone()];
            assert_eq!(through(ALL, &sent).1, [third.clone(), other], "{inside}");
            // Asked for again; with news of congestion; before and behind data.
            let sent = [first.clone(), first.clone()];
            assert_eq!(through(ALL, &sent).1, sent);
            let sent = [first.clone(), ack(inside, 1, 200, TCP_ACK | 0x40), third.clone()];
            assert_eq!(through(ALL, &sent).1, sent);
            let data = tcp(false, 1, 7, TCP_ACK, &[1; 9]);
            let sent = [first.clone(), if inside { vxlan(&data) } else { data }, third.clone()];
            assert_eq!(through(ALL, &sent).1, sent);
            // One way was full.
            let mut marked = second.clone();
            marked[1] = 3;
            network(&mut marked, false, 0);
            let sent = [first.clone(), marked, third];
            assert_eq!(through(ALL, &sent).1, sent);
        }
        let row: Vec<_> = (0..20).map(|number| ack(false, 1, number, TCP_ACK)).collect();
        assert_eq!(through(ALL, &row).1, [7, 15, 19].map(|number| ack(false, 1, number, TCP_ACK)));
    }

    proptest! {
        /// What is left out is followed by one of the same flow that says more, with nothing of the flow in between.
        #[test]
        fn only_what_is_said_again_is_left_out(parts in proptest::collection::vec((1..3_u8, 0..4_u32, 0..3_u8), 0..40)) {
            let sent: Vec<Vec<u8>> = parts.iter().enumerate().map(|(index, (port, number, kind))| match kind {
                0 => tcp(false, *port, 7, TCP_ACK, &[index as u8; 3]),
                kind => ack(false, *port, *number, TCP_ACK | (kind - 1) << 6),
            }).collect();
            let (_, again) = through(ALL, &sent);
            for port in 1..3 {
                let of = |packets: &[Vec<u8>]| packets.iter().filter(|it| it[21] == port).cloned().collect::<Vec<_>>();
                let mut rest = of(&again).into_iter().peekable();
                let sent = of(&sent);
                for (index, packet) in sent.iter().enumerate() {
                    if rest.next_if(|it| it == packet).is_none() {
                        let later = sent.get(index + 1).map(|later| &later[20..]);
                        prop_assert!(later.is_some_and(|later| ack::is_plain(later) && ack::covers(later, &packet[20..])));
                    }
                }
                prop_assert_eq!(rest.next(), None);
            }
        }

        #[test]
        fn no_packet_is_fatal(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..190), 0..9)) {
            let mut up = Coalescer::new(ALL);
            for packet in packets {
                up.take(&packet, |_| {});
            }
            up.finish(&mut |_| {});
        }

        #[test]
        fn nothing_is_lost_or_changed(parts in proptest::collection::vec((1..4_u8, 0..2_u32, 1..40_usize, any::<bool>(), any::<bool>()), 0..40)) {
            let mut at = [0_u32; 4];
            let sent: Vec<Vec<u8>> = parts.into_iter().map(|(port, gap, size, push, inside)| {
                let place = &mut at[usize::from(port)];
                let sequence = *place + gap;
                *place = sequence + size as u32;
                let flags = if push { TCP_ACK | TCP_PSH } else { TCP_ACK };
                let packet = tcp(false, port, sequence, flags, &vec![port; size]);
                if inside { vxlan(&packet) } else { packet }
            }).collect();
            let ends = |packets: &[Vec<u8>], port: u8| packets.iter().filter_map(|packet| {
                let ip = if packet[9] == PROTO_UDP { INSIDE } else { 0 };
                (packet[ip + 21] == port).then(|| (ip, packet[ip + 24..ip + 28].to_vec(), packet.len()))
            }).collect::<Vec<_>>();
            let (_, again) = through(ALL, &sent);
            for port in 1..4 {
                for ip in [0, INSIDE] {
                    let of = |packets: &[Vec<u8>]| ends(packets, port).into_iter().filter(|it| it.0 == ip).collect::<Vec<_>>();
                    prop_assert_eq!(of(&again), of(&sent));
                }
            }
        }
    }
}
