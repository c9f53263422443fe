//! DNS packets from containers: an answer that fits, or none, and no crash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{ExposedPort, Offer, Protocol, Zone};
use overlay_net::dns::answer::{Answer, Names, View, answer};
use std::sync::LazyLock;

/// Longest message over UDP to somebody who says nothing of longer ones (RFC 1035).
const PLAIN_UDP: usize = 512;

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let mut zone = Zone::default();
    for name in ["web", "tasks.web", "a.b"] {
        let addresses = (1..=60).map(|host| std::net::IpAddr::from([10, 0, 0, host]));
        zone.names.insert(name.to_owned(), addresses.collect());
    }
    let port = ExposedPort { first: 80, last: 90, protocol: Protocol::Tcp, name: Some("http".to_owned()) };
    let offer = Offer { ports: [port].into(), targets: vec!["web".to_owned(), "a.b".to_owned()] };
    zone.offers.insert("web".to_owned(), vec![offer]);
    zone
});

fuzz_target!(|packet: &[u8]| {
    let own = Names::new();
    let view = View { own: &own, zones: &[&*ZONE] };
    for udp in [true, false] {
        let (Answer::Reply(bytes) | Answer::Forward { otherwise: bytes }) = answer(view, packet, 1, udp) else {
            continue;
        };
        assert_eq!(bytes.get(..2), packet.get(..2), "the answer is to that question");
        // Additional records (the eleventh byte on) may say that the asker takes more.
        let says_more = packet.get(10..12) != Some(&[0, 0]);
        assert!(!udp || says_more || bytes.len() <= PLAIN_UDP, "{} bytes", bytes.len());
    }
});
