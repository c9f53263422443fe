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
    /// Ports with one backend, the rule on most hosts: one lookup for a thousand ports.
    single: (&'static str, &'static str),
    /// Ports with several, each with a chain of its own.
    several: (&'static str, &'static str),
    /// Ports of one address of the host.
    fixed: (&'static str, &'static str),
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "ip",
        nfproto: "ipv4",
        single: ("single4", "type inet_proto . inet_service : ipv4_addr . inet_service"),
        several: ("several4", "type inet_proto . inet_service : verdict"),
        fixed: ("fixed4", "type ipv4_addr . inet_proto . inet_service : verdict"),
    },
    Family {
        name: "ip6",
        nfproto: "ipv6",
        single: ("single6", "type inet_proto . inet_service : ipv6_addr . inet_service"),
        several: ("several6", "type inet_proto . inet_service : verdict"),
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
    FAMILIES.iter().for_each(|family| family.elements(table, ports));
    // A fixed host address is more special than all, so those come first. And twice: an element that is replaced, or goes
    // from one map to another, in this very moment may be missed once.
    let rules: Vec<String> = FAMILIES.iter().flat_map(Family::rules).collect();
    table.chain("ports", "", [rules.clone(), rules].concat());
}

impl Family {
    fn rules(&self) -> [String; 3] {
        let Family { name, nfproto, single: (single, _), several: (several, _), fixed: (fixed, _) } = self;
        [
            format!("{name} daddr . meta l4proto . th dport vmap @{fixed}"),
            format!("meta nfproto {nfproto} dnat {name} to meta l4proto . th dport map @{single}"),
            format!("meta nfproto {nfproto} meta l4proto . th dport vmap @{several}"),
        ]
    }

    fn elements(&self, table: &mut Table, ports: &[&PublishedPort]) {
        for (name, kind) in [self.single, self.several, self.fixed] {
            table.map(name, kind, []);
        }
        for port in ports {
            let is_ours = |address: &IpAddr| family(*address) == self.name;
            let of = port.backends.iter().filter(|(address, _)| is_ours(address));
            let backends: Vec<SocketAddr> = of.map(|backend| SocketAddr::from(*backend)).collect();
            if backends.is_empty() || !port.host_ip.as_ref().is_none_or(is_ours) {
                continue;
            }
            let key = format!("{} . {}", protocol(port.protocol), port.host_port);
            let mut lead = |map: (&str, &str), key: String, of: &str| {
                let chain = format!("{}_{}_{}{of}", self.name, protocol(port.protocol), port.host_port);
                table.map(map.0, map.1, [(key, format!("goto {chain}"))]);
                table.chain(&chain, "", self.spread(protocol(port.protocol), &backends));
            };
            match (fixed_ip(port), backends.as_slice()) {
                (Some(address), _) => lead(self.fixed, format!("{address} . {key}"), &format!("_{}", word(address))),
                (None, [backend]) => table.map(self.single.0, self.single.1, [(key, element(backend))]),
                (None, _) => lead(self.several, key, ""),
            }
        }
    }

    /// To each of them in turn. The last rule is for who is on his way when the first is replaced.
    fn spread(&self, protocol: &str, backends: &[SocketAddr]) -> Vec<String> {
        let to = format!("meta nfproto {} meta l4proto {protocol} dnat {} to", self.nfproto, self.name);
        let targets = backends.iter().enumerate().map(|(slot, backend)| format!("{slot} : {}", element(backend)));
        let targets: Vec<String> = targets.collect();
        let each = format!("{to} numgen inc mod {} map {{ {} }}", targets.len(), targets.join(", "));
        let last = backends.first().map(|first| format!("{to} {first}"));
        (targets.len() > 1).then_some(each).into_iter().chain(last).collect()
    }
}

fn element(backend: &SocketAddr) -> String {
    format!("{} . {}", backend.ip(), backend.port())
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
