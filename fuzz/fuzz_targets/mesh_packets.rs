//! What the mesh reads: datagrams of the wire, packets of peers that are joined for the interface, and what the
//! interface says of a packet. No crash; what is joined comes apart again as it was, and only acknowledgements may be
//! missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlay_net::mesh::offload::{Ear, join, split};
use std::cell::RefCell;

/// The longest acknowledgement that another one may stand for: in a VXLAN, of IPv6, with timestamps.
const ACKNOWLEDGEMENT: usize = 50 + 40 + 32;
/// The largest packet.
const LARGEST: usize = 65_536;

thread_local! {
    static EAR: RefCell<Ear> = RefCell::new(Ear::new());
}

/// Packets, each behind its length in two bytes.
fn packets(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let (packet, more) = more.split_at(more.len().min(usize::from(u16::from_be_bytes(*length) % 2000)));
        all.push(packet);
        rest = more;
    }
    all
}

/// What stays of a packet however its numbers and checksums are filled in.
fn traits(packet: &[u8]) -> (usize, Option<u8>) {
    (packet.len(), packet.last().copied())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 4 {
        0 => {
            let heard = EAR.with_borrow_mut(|ear| ear.hear(rest));
            assert!(!heard, "nobody has shown a key");
        }
        1 => {
            let (mut whole, mut scratch) = (rest.to_vec(), vec![0; LARGEST]);
            split(&mut whole, &mut scratch, |packet| assert!(packet.len() <= rest.len()));
        }
        kinds => {
            let (sent, mut again, mut scratch) = (packets(rest), Vec::new(), vec![0; LARGEST]);
            join(sent.iter().copied(), true, kinds == 2, |bytes| {
                let sound = split(&mut bytes.to_vec(), &mut scratch, |packet| again.push(traits(packet)));
                assert!(sound, "what is written can be read");
            });
            let mut sent: Vec<_> = sent.into_iter().map(traits).collect();
            sent.sort_unstable();
            for packet in again {
                let there = sent.binary_search(&packet).expect("what is handed up was sent");
                sent.remove(there);
            }
            assert!(sent.iter().all(|(length, _)| *length <= ACKNOWLEDGEMENT), "lost: {sent:?}");
        }
    }
});
