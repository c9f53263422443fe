//! SRV records (RFC 2782): where the ports of a service are to be had. Pure.

use super::answer::{TTL, View, records};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use model::{Offer, Protocol};
use std::collections::BTreeSet;

/// All are alike: who chooses by weight spreads evenly.
const PRIORITY: u16 = 0;
const WEIGHT: u16 = 1;

/// What stands behind a name such as `_http._tcp.web`.
pub(super) struct Found {
    /// The records themselves.
    pub(super) answers: Vec<Record>,
    /// Addresses of their targets.
    pub(super) additionals: Vec<Record>,
}

/// `_PORT._PROTOCOL.SERVICE` in its parts.
fn parts(text: &str) -> Option<(&str, Protocol, &str)> {
    let (port, rest) = text.strip_prefix('_')?.split_once("._")?;
    let (protocol, service) = rest.split_once('.')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port, protocol, service))
}

/// Is it such a name, of a service that only we can know?
pub(super) fn is_ours(view: View<'_>, text: &str) -> bool {
    parts(text).is_some_and(|(_, _, service)| !service.contains('.') && view.addresses(service).is_some())
}

/// What is known of `text`, which is `name` in lower case; `None`: no service has such a port. Types other than SRV
/// are answered with nothing. `rotation` turns the order.
pub(super) fn find(view: View<'_>, text: &str, name: &Name, kind: RecordType, rotation: usize) -> Option<Found> {
    let (port, protocol, service) = parts(text)?;
    let offers = view.zones.iter().find_map(|zone| zone.offers.get(service))?;
    let mut known = false;
    // Each port of each target once.
    let mut places: BTreeSet<(&str, u16)> = BTreeSet::new();
    for offer in offers {
        let ports = matching(offer, port, protocol);
        known |= !ports.is_empty();
        // One that has gone since, or that no way leads to, is nobody's target.
        let there = |target: &&String| view.addresses(target).is_some_and(|addresses| !addresses.is_empty());
        for target in offer.targets.iter().filter(there) {
            places.extend(ports.iter().map(|port| (target.as_str(), *port)));
        }
    }
    if !known {
        return None;
    }
    if !matches!(kind, RecordType::SRV | RecordType::ANY) {
        return Some(Found { answers: Vec::new(), additionals: Vec::new() });
    }
    let target = |text: &str| Name::from_labels(text.split('.').map(str::as_bytes)).ok();
    let answers = places.iter().filter_map(|(text, port)| {
        let data = SRV::new(PRIORITY, WEIGHT, *port, target(text)?);
        Some(Record::from_rdata(name.clone(), TTL, RData::SRV(data)))
    });
    let mut answers: Vec<Record> = answers.collect();
    let turn = rotation.checked_rem(answers.len()).unwrap_or(0);
    answers.rotate_left(turn);
    let targets: BTreeSet<&str> = places.iter().map(|(text, _)| *text).collect();
    let mut additionals = Vec::new();
    for text in targets {
        if let (Some(name), Some(addresses)) = (target(text), view.addresses(text)) {
            additionals.extend(records(&name, RecordType::ANY, addresses, rotation));
        }
    }
    Some(Found { answers, additionals })
}

/// Numbers of the ports that this name or number means.
fn matching(offer: &Offer, port: &str, protocol: Protocol) -> BTreeSet<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u16> = port.parse().ok().filter(|_| digits);
    let mut found = BTreeSet::new();
    for known in offer.ports.iter().filter(|known| known.protocol == protocol) {
        found.extend(number.filter(|number| (known.first..=known.last).contains(number)));
        if known.name.as_deref() == Some(port) {
            found.extend(known.first..=known.last);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::answer::{Answer, Names, View, answer};
    use super::*;
    use hickory_proto::op::{Edns, Message, Query, ResponseCode};
    use model::{ExposedPort, Zone};
    use std::collections::BTreeMap;

    fn port(first: u16, last: u16, protocol: Protocol, name: Option<&str>) -> ExposedPort {
        ExposedPort { first, last, protocol, name: name.map(str::to_owned) }
    }

    /// `web` has an address of its own, `db` has tasks, `old` has nobody, `two` is two services.
    fn zone() -> Zone {
        let ip = |text: &&str| text.parse().unwrap();
        let names = [
            ("web", &["10.0.0.200", "fd00::200"][..]),
            ("shop_web", &["10.0.0.200", "fd00::200"]),
            ("db", &["10.0.0.2", "10.0.0.3"]),
            ("shop_db.1.aa", &["10.0.0.2"]),
            ("shop_db.2.bb", &["10.0.0.3"]),
            ("shop_db.3.cc", &[]),
            ("old", &[]),
            ("bare", &["10.0.0.9"]),
            ("two", &["10.0.0.200", "10.0.0.2", "10.0.0.3"]),
        ];
        let ports = BTreeSet::from([
            port(80, 80, Protocol::Tcp, None),
            port(80, 80, Protocol::Tcp, Some("http")),
            port(53, 53, Protocol::Udp, Some("dns")),
            port(3000, 3002, Protocol::Tcp, None),
        ]);
        let offer = |targets: &[&str]| Offer {
            ports: ports.clone(),
            targets: targets.iter().map(|it| (*it).to_owned()).collect(),
        };
        let tasks = ["shop_db.1.aa", "shop_db.2.bb", "shop_db.3.cc", "shop_db.4.dd"];
        let offers = [
            ("web", vec![offer(&["web"])]),
            ("db", vec![offer(&tasks)]),
            ("tasks.db", vec![offer(&tasks)]),
            ("old", vec![offer(&[])]),
            ("two", vec![offer(&["shop_web"]), offer(&tasks)]),
        ];
        Zone {
            names: names.iter().map(|(name, all)| ((*name).to_owned(), all.iter().map(ip).collect())).collect(),
            offers: offers.into_iter().map(|(name, all)| (name.to_owned(), all)).collect(),
        }
    }

    fn message(name: &str, kind: RecordType, size: Option<u16>) -> Vec<u8> {
        let mut query = Message::query();
        query.metadata.id = 7;
        query.add_query(Query::query(Name::from_labels(name.split_terminator('.').map(str::as_bytes)).unwrap(), kind));
        if let Some(size) = size {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            query.edns = Some(edns);
        }
        query.to_vec().unwrap()
    }

    fn shown(records: &[Record]) -> String {
        let shown = records.iter().map(|record| record.data.to_string());
        shown.collect::<Vec<_>>().join(", ")
    }

    fn asked(name: &str, kind: RecordType, rotation: usize) -> String {
        let zone = zone();
        let own = Names::from([("old".to_owned(), Vec::new())]);
        let view = View { own: &own, zones: &[&zone] };
        let (begin, bytes) = match answer(view, &message(name, kind, None), rotation, false) {
            Answer::Reply(bytes) => ("", bytes),
            Answer::Forward { otherwise } => ("forward else ", otherwise),
            Answer::Drop => return "drop".to_owned(),
        };
        let reply = Message::from_vec(&bytes).unwrap();
        let code = reply.metadata.response_code;
        if code != ResponseCode::NoError {
            return format!("{begin}{code:?}");
        }
        format!("{begin}{} with {}", shown(&reply.answers), shown(&reply.additionals))
    }

    #[test]
    fn ports_are_found_by_name_and_by_number() {
        let table = [
            ("_http._tcp.web.", "0 1 80 web. with 10.0.0.200, fd00::200"),
            ("_HTTP._TCP.Web.", "0 1 80 web. with 10.0.0.200, fd00::200"),
            ("_80._tcp.web.", "0 1 80 web. with 10.0.0.200, fd00::200"),
            ("_3001._tcp.web.", "0 1 3001 web. with 10.0.0.200, fd00::200"),
            ("_dns._udp.db.", "0 1 53 shop_db.1.aa., 0 1 53 shop_db.2.bb. with 10.0.0.2, 10.0.0.3"),
            ("_53._udp.tasks.db.", "0 1 53 shop_db.1.aa., 0 1 53 shop_db.2.bb. with 10.0.0.2, 10.0.0.3"),
            (
                "_80._tcp.two.",
                "0 1 80 shop_db.1.aa., 0 1 80 shop_db.2.bb., 0 1 80 shop_web. with 10.0.0.2, 10.0.0.3, 10.0.0.200, fd00::200",
            ),
            ("_80._tcp.old.", " with "),
            // A service of ours is nobody else's, whatever its ports are.
            ("_81._tcp.web.", "NXDomain"),
            ("_80._udp.web.", "NXDomain"),
            ("_+80._tcp.web.", "NXDomain"),
            ("_http._tcp.bare.", "NXDomain"),
            ("_http._sctp.web.", "forward else ServFail"),
            ("_http._tcp.example.org.", "forward else ServFail"),
            ("http._tcp.web.", "forward else ServFail"),
        ];
        for (name, expected) in table {
            assert_eq!(asked(name, RecordType::SRV, 0), expected, "{name}");
        }
        assert_eq!(asked("_80._tcp.web.", RecordType::A, 0), " with ", "such a name has no address");
        assert!(asked("_dns._udp.db.", RecordType::SRV, 1).starts_with("0 1 53 shop_db.2.bb., "));
    }

    #[test]
    fn what_does_not_fit_is_left_out_addresses_first() {
        let tasks: Vec<String> = (0..100).map(|number| format!("shop_db.{number}.{number:032x}")).collect();
        let addresses = |number: usize| vec![[10, 0, 1, number as u8].into()];
        let zone = Zone {
            names: tasks.iter().enumerate().map(|(number, name)| (name.clone(), addresses(number))).collect(),
            offers: BTreeMap::from([(
                "db".to_owned(),
                vec![Offer { ports: [port(1, 1, Protocol::Tcp, None)].into(), targets: tasks[..20].to_vec() }],
            )]),
        };
        let own = Names::new();
        let view = View { own: &own, zones: &[&zone] };
        let asked = |size, udp| match answer(view, &message("_1._tcp.db.", RecordType::SRV, size), 0, udp) {
            Answer::Reply(bytes) => (bytes.len(), Message::from_vec(&bytes).unwrap()),
            other => panic!("{other:?}"),
        };
        let (length, reply) = asked(None, true);
        assert!(length <= 512 && reply.metadata.truncation && reply.additionals.is_empty());
        assert!(reply.answers.len() >= 5, "as many as fit: {}", reply.answers.len());
        let (length, reply) = asked(Some(1400), true);
        assert!(length <= 1400 && !reply.metadata.truncation, "{length}");
        assert!(reply.answers.len() == 20 && reply.additionals.is_empty());
        let (_, reply) = asked(None, false);
        assert!(reply.answers.len() == 20 && reply.additionals.len() == 20 && !reply.metadata.truncation);
    }
}
