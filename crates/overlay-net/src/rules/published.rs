//! Where published ports lead. Pure.

use super::table::Table;
use super::{family, protocol};
use model::PublishedPort;
use std::net::{IpAddr, SocketAddr};

/// The names of one family's maps, and what they are.
struct Family {
    /// As nftables calls it, in rules and in `meta nfproto`.
    name: &'static str,
    nfproto: &'static str,
    /// Ports of every address of the host, each with its chain.
    any: (&'static str, &'static str),
    /// Ports of one address.
    fixed: (&'static str, &'static str),
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "ip",
        nfproto: "ipv4",
        any: ("ports4", "type inet_proto . inet_service : verdict"),
        fixed: ("fixed4", "type ipv4_addr . inet_proto . inet_service : verdict"),
    },
    Family {
        name: "ip6",
        nfproto: "ipv6",
        any: ("ports6", "type inet_proto . inet_service : verdict"),
        fixed: ("fixed6", "type ipv6_addr . inet_proto . inet_service : verdict"),
    },
];

/// Adds what leads to the backends of ports that have some. Nothing leaves the link that ::1 is on, whatever its new
/// address: it stays.
pub(super) fn add(table: &mut Table, ports: &[&PublishedPort]) {
    if ports.iter().all(|port| port.backends.is_empty()) {
        return;
    }
    let local = || "fib daddr type local jump ports".to_owned();
    table.chain("prerouting", "nat hook prerouting priority dstnat", [local()]);
    table.chain("output", "nat hook output priority -100", ["ip6 daddr ::1 accept".to_owned(), local()]);
    // A fixed host address is more special than all, so those come first.
    table.chain("ports", "", FAMILIES.iter().flat_map(Family::rules));
    FAMILIES.iter().for_each(|family| family.elements(table, ports));
}

impl Family {
    fn rules(&self) -> [String; 2] {
        let Family { name, nfproto, any: (any, _), fixed: (fixed, _) } = self;
        [
            format!("{name} daddr . meta l4proto . th dport vmap @{fixed}"),
            format!("meta nfproto {nfproto} meta l4proto . th dport vmap @{any}"),
        ]
    }

    /// Also a port with one backend has a chain: what leads to it does not change then as long as there are some, and a
    /// packet that reads the new map on its way through the old rules finds no chain that they do not know yet.
    fn elements(&self, table: &mut Table, ports: &[&PublishedPort]) {
        for (name, kind) in [self.any, self.fixed] {
            table.map(name, kind, []);
        }
        for port in ports {
            let is_ours = |address: &IpAddr| family(*address) == self.name;
            let of = port.backends.iter().filter(|(address, _)| is_ours(address));
            let backends: Vec<SocketAddr> = of.map(|backend| SocketAddr::from(*backend)).collect();
            if backends.is_empty() || !port.host_ip.as_ref().is_none_or(is_ours) {
                continue;
            }
            let protocol = protocol(port.protocol);
            let (key, chain) = (format!("{protocol} . {}", port.host_port), format!("{}_{protocol}", self.name));
            let ((map, kind), key, chain) = match fixed_ip(port) {
                None => (self.any, key, format!("{chain}_{}", port.host_port)),
                Some(ip) => (self.fixed, format!("{ip} . {key}"), format!("{chain}_{}_{}", port.host_port, word(ip))),
            };
            table.chain(&chain, "", self.spread(protocol, &backends));
            table.map(map, kind, [(key, format!("goto {chain}"))]);
        }
    }

    /// To each of them in turn. The last rule is for who is on his way when the first is replaced.
    fn spread(&self, protocol: &str, backends: &[SocketAddr]) -> Vec<String> {
        let to = format!("meta nfproto {} meta l4proto {protocol} dnat {} to", self.nfproto, self.name);
        let element = |(slot, backend): (usize, &SocketAddr)| format!("{slot} : {} . {}", backend.ip(), backend.port());
        let elements: Vec<String> = backends.iter().enumerate().map(element).collect();
        let each = format!("{to} numgen inc mod {} map {{ {} }}", elements.len(), elements.join(", "));
        let last = backends.first().map(|first| format!("{to} {first}"));
        (elements.len() > 1).then_some(each).into_iter().chain(last).collect()
    }
}

/// The host address of a port, when it is bound to one in particular.
fn fixed_ip(port: &PublishedPort) -> Option<IpAddr> {
    port.host_ip.filter(|ip| !ip.is_unspecified())
}

/// An address as a part of a name.
fn word(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:08x}", u32::from(address)),
        IpAddr::V6(address) => format!("{:032x}", u128::from(address)),
    }
}
