//! Acknowledgements of TCP that carry nothing else. Whoever receives super-packets sends one for each, and they come in
//! rows; the last says all that those before it said, and to hand up only that spares the sender's host most of what
//! they cost it (RFC 3449 §5.2.1, "ACK filtering"). It is done behind the wire, where what is left cannot be lost any
//! more, and only where nothing else is told by their number: repeated ones, which ask for data again, those with
//! `SACK` or any option but timestamps, and those that speak of congestion stay as they are.

use super::virtio::{TCP_ACK, get32};

/// The most that become one: a sender that hears of so much at a time has long got more to send.
pub(super) const MOST: usize = 8;

/// Of TCP's header: how the only option begins, with two that mean nothing in front.
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
/// Bytes of TCP's header without options, and with timestamps.
const BARE: usize = 20;
const STAMPED: usize = 32;

/// Is it one that could be left out? `tcp`: what begins with TCP's header.
pub(super) fn is_plain(tcp: &[u8]) -> bool {
    let options = match tcp.len() {
        BARE => true,
        STAMPED => tcp.get(BARE..BARE + 4) == Some(&TIMESTAMPS),
        _ => false,
    };
    // The length of the header with nothing in the bits beside it; the flags.
    options && tcp.get(12..14) == Some(&[((tcp.len() / 4) << 4) as u8, TCP_ACK])
}

/// Of two that are plain, of one flow: does the later one say all that the earlier one does?
pub(super) fn covers(later: &[u8], earlier: &[u8]) -> bool {
    const HALF: u32 = 1 << 31;
    let grows = |at| Some(get32(later, at)?.wrapping_sub(get32(earlier, at)?));
    let stamps = later.len() == BARE || grows(24).is_some_and(|by| by < HALF);
    // Nothing was sent in between; the window is whatever the later one says.
    let says_more = grows(4) == Some(0) && grows(8).is_some_and(|by| (1..HALF).contains(&by));
    later.len() == earlier.len() && says_more && stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(number: u32, window: u16, stamp: Option<u32>) -> Vec<u8> {
        let mut tcp = vec![0, 80, 1, 2, 0, 0, 0, 9];
        tcp.extend(number.to_be_bytes());
        tcp.extend([if stamp.is_some() { 0x80 } else { 0x50 }, TCP_ACK]);
        tcp.extend(window.to_be_bytes());
        tcp.extend([7, 7, 0, 0]);
        if let Some(stamp) = stamp {
            tcp.extend(TIMESTAMPS);
            tcp.extend(stamp.to_be_bytes());
            tcp.extend([0, 0, 0, 1]);
        }
        tcp
    }

    #[test]
    fn a_later_one_says_it_all() {
        assert!([None, Some(3)].into_iter().all(|stamp| is_plain(&ack(1, 2, stamp))));
        assert!(covers(&ack(101, 5, None), &ack(1, 9, None)));
        assert!(covers(&ack(3, 5, None), &ack(u32::MAX, 5, None)), "numbers begin anew");
        assert!(covers(&ack(101, 5, Some(7)), &ack(1, 5, Some(7))));
    }

    #[test]
    fn what_their_number_tells_stays() {
        assert!(!covers(&ack(1, 5, None), &ack(1, 5, None)), "asked for again");
        assert!(!covers(&ack(1, 9, None), &ack(1, 5, None)), "a window that opened");
        assert!(!covers(&ack(1, 5, None), &ack(101, 5, None)), "one that was overtaken");
        assert!(!covers(&ack(101, 5, Some(6)), &ack(1, 5, Some(7))), "older than the other");
        assert!(!covers(&ack(101, 5, Some(7)), &ack(1, 5, None)));
        let mut other = ack(101, 5, None);
        other[7] = 10;
        assert!(!covers(&other, &ack(1, 5, None)), "something was sent in between");
    }

    #[test]
    fn what_says_more_is_not_plain() {
        for (at, byte) in [(12, 0x51), (13, TCP_ACK | 0x40), (13, TCP_ACK | 0x01), (13, 0x02), (12, 0x60)] {
            let mut tcp = ack(1, 2, None);
            tcp[at] = byte;
            assert!(!is_plain(&tcp), "{at} {byte:#x}");
        }
        // SACK in the place of timestamps, and with data.
        let mut tcp = ack(1, 2, Some(3));
        tcp[22] = 5;
        assert!(!is_plain(&tcp));
        assert!(!is_plain(&[ack(1, 2, None), vec![1]].concat()));
        assert!(!is_plain(&[]));
    }
}
