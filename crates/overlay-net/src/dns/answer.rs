//! Zones × question → answer. Pure.

use super::{quick, services};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use model::Zone;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Seconds that an answer may be kept: containers come and go, and asking again costs microseconds.
pub(super) const TTL: u32 = 5;
/// What a client without EDNS takes over UDP (RFC 1035).
const PLAIN_UDP: u16 = 512;
/// The largest answer over UDP that we give, whatever a client says: it crosses loopback only.
pub(super) const MAX_UDP: u16 = 4096;
const HEADER: usize = 12;

/// Lower-case names with their addresses.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// What an asker may know: the names that mean something else to it than to others, then the zones of the
/// networks that it is attached to, in order. The first that has addresses of the kind that is asked for speaks.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its own.
    pub own: &'a Names,
    /// Those of its networks.
    pub zones: &'a [&'a Zone],
}

impl View<'_> {
    /// The addresses of a name; empty: it exists, but nothing stands behind it right now.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.addresses_with(name, |_| true)
    }

    /// The same, where some of them are of use. If none are, whatever there is.
    pub(super) fn addresses_with(&self, name: &str, of_use: impl Fn(&IpAddr) -> bool) -> Option<&[IpAddr]> {
        let all = || std::iter::once(self.own).chain(self.zones.iter().map(|zone| &zone.names));
        let known = || all().filter_map(|names| names.get(name));
        let best = known().find(|addresses| addresses.iter().any(&of_use));
        best.or_else(|| known().find(|addresses| !addresses.is_empty())).or_else(|| known().next()).map(Vec::as_slice)
    }
}

/// What to do with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send these bytes back.
    Reply(Vec<u8>),
    /// The zones do not know the name: ask others.
    Forward {
        /// What to send back if there are no others to ask.
        otherwise: Vec<u8>,
    },
    /// No question at all; silence is the answer.
    Drop,
}

/// Answers a packet from what the asker may know. `rotation` turns the order of several addresses. `udp`: cut the
/// answer to what the client takes.
pub fn answer(view: View<'_>, packet: &[u8], rotation: usize, udp: bool) -> Answer {
    let limit = if udp { PLAIN_UDP } else { u16::MAX };
    match quick::answer(view, packet, rotation, limit.into()) {
        Some(reply) => Answer::Reply(reply),
        None => thorough(view, packet, rotation, udp),
    }
}

/// The same for whatever may come.
fn thorough(view: View<'_>, packet: &[u8], rotation: usize, udp: bool) -> Answer {
    let query = match Message::from_vec(packet) {
        Ok(query) => query,
        Err(_) => return malformed(packet),
    };
    if query.metadata.message_type != MessageType::Query {
        return Answer::Drop;
    }
    if query.metadata.op_code != OpCode::Query {
        return reply(&query, ResponseCode::NotImp, Vec::new(), Vec::new(), udp);
    }
    let [question] = query.queries.as_slice() else {
        return reply(&query, ResponseCode::FormErr, Vec::new(), Vec::new(), udp);
    };
    let (name, kind) = (question.name(), question.query_type());
    let known = match (plain(name), question.query_class()) {
        (_, class) if class != DNSClass::IN && class != DNSClass::ANY => None,
        (_, _) if kind == RecordType::PTR => pointer(view.zones, name),
        (Some(text), _) => match view.addresses_with(&text, |address| fits(kind, address)) {
            Some(all) => Some(records(name, kind, all, rotation)),
            None => match services::find(view, &text, name, kind, rotation) {
                Some(services::Found { answers, additionals }) => {
                    return reply(&query, ResponseCode::NoError, answers, additionals, udp);
                }
                None if services::is_ours(view, &text) => {
                    return reply(&query, ResponseCode::NXDomain, Vec::new(), Vec::new(), udp);
                }
                None => None,
            },
        },
        (None, _) => None,
    };
    match known {
        Some(records) => reply(&query, ResponseCode::NoError, records, Vec::new(), udp),
        None => {
            // Nobody but us could know a name without a dot; of others we can only say that we failed to ask.
            let single = name.num_labels() <= 1 && !name.is_root();
            let code = if single { ResponseCode::NXDomain } else { ResponseCode::ServFail };
            match reply(&query, code, Vec::new(), Vec::new(), udp) {
                Answer::Reply(otherwise) => Answer::Forward { otherwise },
                other => other,
            }
        }
    }
}

/// May an address be the answer to a question of this kind?
fn fits(kind: RecordType, address: &IpAddr) -> bool {
    match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => true,
    }
}

/// The largest reply to this packet over UDP.
pub(crate) fn udp_limit(packet: &[u8]) -> usize {
    Message::from_vec(packet).map_or(PLAIN_UDP, |query| limit(&query)).into()
}

fn limit(query: &Message) -> u16 {
    query.edns.as_ref().map_or(PLAIN_UDP, Edns::max_payload).clamp(PLAIN_UDP, MAX_UDP)
}

/// Lower-case text without the final dot; `None` for a name that no zone can hold.
fn plain(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if label.contains(&b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&std::str::from_utf8(label).ok()?.to_lowercase());
    }
    Some(text)
}

pub(super) fn records(name: &Name, kind: RecordType, addresses: &[IpAddr], rotation: usize) -> Vec<Record> {
    let mut records: Vec<Record> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(v4) if matches!(kind, RecordType::A | RecordType::ANY) => Some(RData::A(A(*v4))),
            IpAddr::V6(v6) if matches!(kind, RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(*v6))),
            _ => None,
        })
        .map(|data| Record::from_rdata(name.clone(), TTL, data))
        .collect();
    let turn = rotation.checked_rem(records.len()).unwrap_or(0);
    records.rotate_left(turn);
    records
}

/// The name of an address: of all that have it the one that says most, a task's full name, and none of
/// the names that several share while there is another.
fn pointer(zones: &[&Zone], name: &Name) -> Option<Vec<Record>> {
    let mut fqdn = name.clone();
    fqdn.set_fqdn(true);
    let net = fqdn.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len())?;
    let address = net.addr();
    let best = zones.iter().find_map(|zone| {
        let named = zone.names.iter().filter(|(_, addresses)| addresses.contains(&address));
        let rank = |(text, addresses): &(&String, &Vec<IpAddr>)| {
            let id = text.bytes().all(|b| b.is_ascii_hexdigit());
            let others = addresses.iter().filter(|other| other.is_ipv4() == address.is_ipv4()).count();
            (!id, std::cmp::Reverse(others), !text.starts_with("tasks."), text.len(), (*text).clone())
        };
        named.max_by_key(rank).map(|(text, _)| text)
    })?;
    let target = Name::from_labels(best.split('.').map(str::as_bytes)).ok()?;
    Some(vec![Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)))])
}

fn reply(query: &Message, code: ResponseCode, answers: Vec<Record>, additionals: Vec<Record>, udp: bool) -> Answer {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.clone_from(&query.queries);
    response.answers = answers;
    response.additionals = additionals;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        response.edns = Some(edns);
    }
    let Ok(mut bytes) = response.to_vec() else { return Answer::Drop };
    if !udp || bytes.len() <= usize::from(limit(query)) {
        return Answer::Reply(bytes);
    }
    // What nobody asked for is the first to go, and nothing is missing then (RFC 2181, 9).
    if !response.additionals.is_empty() {
        response.additionals.clear();
        let Ok(shorter) = response.to_vec() else { return Answer::Drop };
        bytes = shorter;
        if bytes.len() <= usize::from(limit(query)) {
            return Answer::Reply(bytes);
        }
    }
    // As many as fit, and told to be cut: who can asks again over TCP, and resolvers that never do (older
    // musl) still have addresses, another part of them each time.
    response.metadata.truncation = true;
    let most = usize::from(limit(query));
    let each = bytes.len() / response.answers.len().max(1);
    response.answers.truncate(most / each.max(1));
    loop {
        match response.to_vec() {
            Ok(bytes) if bytes.len() <= most || response.answers.is_empty() => return Answer::Reply(bytes),
            Ok(_) => drop(response.answers.pop()),
            Err(_) => return Answer::Drop,
        }
    }
}

/// A packet that is no message: told so if it has at least a header and is not itself an answer.
fn malformed(packet: &[u8]) -> Answer {
    match packet.get(..HEADER) {
        Some([high, low, flags, ..]) if flags & 0x80 == 0 => {
            Answer::Reply(vec![*high, *low, 0x80 | flags & 0x79, 0x81, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        _ => Answer::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use proptest::prelude::*;

    fn zone(names: &[(&str, &[&str])]) -> Zone {
        let parse = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Zone { names: names.iter().map(|(name, ips)| ((*name).to_owned(), parse(ips))).collect(), ..Zone::default() }
    }

    fn reply_of(zones: &[&Zone], packet: &[u8], rotation: usize, udp: bool) -> Answer {
        answer(View { own: &Names::new(), zones }, packet, rotation, udp)
    }

    fn ask(name: &str, kind: RecordType) -> Vec<u8> {
        let mut query = Message::query();
        query.metadata.id = 7;
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        query.to_vec().unwrap()
    }

    fn shown(answer: Answer) -> String {
        let (forward, bytes) = match answer {
            Answer::Reply(bytes) => ("", bytes),
            Answer::Forward { otherwise } => ("forward else ", otherwise),
            Answer::Drop => return "drop".to_owned(),
        };
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.id, 7);
        let data: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
        format!("{forward}{:?} {}", message.metadata.response_code, data.join(" ")).trim_end().to_owned()
    }

    #[test]
    fn questions_and_answers() {
        let front = zone(&[
            ("web", &["10.0.0.2", "10.0.0.3", "fd00::2"]),
            ("shop_web.1.aaaa", &["10.0.0.2", "fd00::2"]),
            ("00ff", &["10.0.0.2"]),
            ("tasks.web", &["10.0.0.2", "10.0.0.3"]),
            ("down", &[]),
            ("half", &["10.0.0.4"]),
        ]);
        let back = zone(&[
            ("half", &["10.1.0.4", "fd00:1::4"]),
            ("web", &["10.1.0.9"]),
            ("db", &["10.1.0.2"]),
            ("down", &["10.1.0.3"]),
        ]);
        let table = [
            ("web.", RecordType::A, 0, "NoError 10.0.0.2 10.0.0.3"),
            ("WEB.", RecordType::A, 1, "NoError 10.0.0.3 10.0.0.2"),
            ("web", RecordType::AAAA, 5, "NoError fd00::2"),
            ("web.", RecordType::MX, 0, "NoError"),
            ("tasks.web.", RecordType::A, 2, "NoError 10.0.0.2 10.0.0.3"),
            ("db.", RecordType::A, 9, "NoError 10.1.0.2"),
            ("db.", RecordType::AAAA, 0, "NoError"),
            ("down.", RecordType::A, 0, "NoError 10.1.0.3"),
            ("half.", RecordType::A, 0, "NoError 10.0.0.4"),
            ("half.", RecordType::AAAA, 0, "NoError fd00:1::4"),
            ("half.", RecordType::MX, 0, "NoError"),
            ("nope.", RecordType::A, 0, "forward else NXDomain"),
            ("example.org.", RecordType::A, 0, "forward else ServFail"),
            (".", RecordType::NS, 0, "forward else ServFail"),
            ("2.0.0.10.in-addr.arpa.", RecordType::PTR, 0, "NoError shop_web.1.aaaa."),
            ("3.0.0.10.in-addr.arpa.", RecordType::PTR, 0, "NoError web."),
            ("9.9.9.9.in-addr.arpa.", RecordType::PTR, 0, "forward else ServFail"),
            ("0.10.in-addr.arpa.", RecordType::PTR, 0, "forward else ServFail"),
        ];
        for (name, kind, rotation, expected) in table {
            assert_eq!(shown(reply_of(&[&front, &back], &ask(name, kind), rotation, true)), expected, "{name} {kind}");
        }
    }

    #[test]
    fn a_name_may_mean_something_else_to_one() {
        let shared = zone(&[("db", &["10.0.0.100"]), ("web", &["10.0.0.101"])]);
        let own = zone(&[("db", &["10.0.0.2"])]).names;
        let view = View { own: &own, zones: &[&shared] };
        assert_eq!(shown(answer(view, &ask("DB.", RecordType::A), 0, true)), "NoError 10.0.0.2");
        assert_eq!(shown(answer(view, &ask("web.", RecordType::A), 0, true)), "NoError 10.0.0.101");
    }

    #[test]
    fn a_large_answer_is_cut_over_udp_only() {
        let many: Vec<String> = (0..200).map(|n| format!("10.0.1.{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let zone = zone(&[("web", &many)]);
        let Answer::Reply(cut) = reply_of(&[&zone], &ask("web.", RecordType::A), 0, true) else { panic!() };
        let message = Message::from_vec(&cut).unwrap();
        assert!(cut.len() <= 512 && message.metadata.truncation);
        assert!((25..=32).contains(&message.answers.len()), "as many as fit: {}", message.answers.len());
        let Answer::Reply(whole) = reply_of(&[&zone], &ask("web.", RecordType::A), 0, false) else { panic!() };
        assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 200);
    }

    #[test]
    fn what_is_no_question() {
        assert_eq!(reply_of(&[], &[1, 2, 3], 0, true), Answer::Drop);
        let mut broken = ask("web.", RecordType::A);
        broken.truncate(15);
        assert_eq!(shown(reply_of(&[], &[&[0, 7], &broken[2..]].concat(), 0, true)), "FormErr");
        let mut response = ask("web.", RecordType::A);
        response[2] |= 0x80;
        assert_eq!(reply_of(&[], &response, 0, true), Answer::Drop);
        let mut status = ask("web.", RecordType::A);
        status[2] |= 2 << 3;
        assert_eq!(shown(reply_of(&[], &status, 0, true)), "NotImp");
    }

    proptest! {
        #[test]
        fn no_packet_is_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..600), udp: bool) {
            let zone = zone(&[("web", &["10.0.0.2"])]);
            reply_of(&[&zone], &bytes, 3, udp);
        }

        /// The short way says what the long way says.
        #[test]
        fn quick_is_right(
            name in "(web|WEB|db|down|nope|a[.]web|own)[.]?", kind in 0_usize..3, edns: bool, rotation in 0_usize..5, udp: bool,
            many in 1_u8..40,
        ) {
            let ips: Vec<String> = (0..many).map(|n| format!("10.0.0.{n}")).chain(["fd00::1".to_owned()]).collect();
            let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
            let front = zone(&[("web", &ips), ("down", &[])]);
            let back = zone(&[("db", &["10.0.0.2"]), ("down", &["10.0.0.3", "10.0.0.4"])]);
            let own = zone(&[("own", &["10.0.0.9"]), ("down", &[])]).names;
            let view = View { own: &own, zones: &[&front, &back] };
            let kinds = [RecordType::A, RecordType::AAAA, RecordType::TXT];
            let mut query = Message::query();
            query.add_query(Query::query(Name::from_ascii(&name).unwrap(), kinds[kind]));
            if edns {
                let mut edns = Edns::new();
                edns.set_max_payload(1232);
                query.edns = Some(edns);
            }
            let packet = query.to_vec().unwrap();
            let (short, long) = (answer(view, &packet, rotation, udp), thorough(view, &packet, rotation, udp));
            match (short, long) {
                (Answer::Reply(short), Answer::Reply(long)) => {
                    prop_assert_eq!(Message::from_vec(&short).unwrap(), Message::from_vec(&long).unwrap());
                }
                (short, long) => prop_assert_eq!(short, long),
            }
        }

        #[test]
        fn no_damage_is_fatal(at in 0_usize..40, byte: u8, cut in 0_usize..40, udp: bool) {
            let zone = zone(&[("web", &["10.0.0.2"])]);
            let mut bytes = ask("web.example.org.", RecordType::A);
            if let Some(slot) = bytes.get_mut(at) { *slot = byte; }
            bytes.truncate(cut);
            if let Answer::Reply(reply) = reply_of(&[&zone], &bytes, 3, udp) {
                prop_assert!(Message::from_vec(&reply).is_ok());
            }
        }
    }
}
