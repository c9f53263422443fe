//! The host's nftables table. Pure.

mod published;
mod table;

use crate::kernel::ingress::{self, TAG_MASK};
use crate::kernel::tunnel;
use crate::names;
use model::{HostNet, Network, Protocol, PublishedPort, Subnet};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
pub(crate) use table::{Table, remove};

const FORWARD: &str = "filter hook forward priority filter";
const INPUT: &str = "filter hook input priority filter";

/// What there is to say, if anything. `ports`: those that could be reserved.
pub(crate) fn table(owner: u32, net: &HostNet, ports: &[&PublishedPort]) -> Table {
    let mut table = Table::default();
    let ingress = Way::new(net, owner);
    let bridges = set(net.networks.values());
    let internal = set(net.networks.values().filter(|network| network.spec.internal));
    if let Some(bridges) = &bridges {
        guard_loopback(&mut table, bridges);
        let rules = forward(net, bridges, internal.as_deref(), ingress.as_ref());
        table.chain("forward", FORWARD, rules);
        table.chain("postrouting", "nat hook postrouting priority srcnat", postrouting(net, bridges));
        guard_plain(&mut table, net, bridges);
    }
    if let Some(internal) = &internal {
        guard_relayed(&mut table, internal, ports);
    }
    if let Some(ingress) = &ingress {
        ingress.add(&mut table);
        if bridges.is_none() {
            table.chain("forward", FORWARD, ingress.forwarded());
        }
    }
    published::add(&mut table, ports);
    table
}

/// `{ "rsa", "rsb" }`, or nothing.
fn set<'a>(networks: impl Iterator<Item = &'a Network>) -> Option<String> {
    listed(networks.map(|network| format!("\"{}\"", names::bridge(network.id))))
}

/// Published ports on 127.0.0.1 need `route_localnet` on the bridges, which alone would let containers
/// reach what listens on the host's loopback. Before connection tracking no honest packet from a bridge
/// is addressed there.
fn guard_loopback(table: &mut Table, bridges: &str) {
    table.chain("raw", "filter hook prerouting priority raw", [format!("iifname {bridges} ip daddr 127.0.0.0/8 drop")]);
}

/// The port of VXLAN is open on the host for networks that are not encrypted: for them, and for other hosts of the
/// cluster, only. What others do at that port is theirs.
fn guard_plain(table: &mut Table, net: &HostNet, bridges: &str) {
    let networks: Vec<String> = tunnel::plain_networks(net).iter().map(|vni| format!("{vni:#x}")).collect();
    if networks.is_empty() {
        return;
    }
    // The identifier: 24 bits, after the header of UDP (64 bits), flags and what is reserved (32 bits).
    let carried = format!("udp dport {} @th,96,24 {{ {} }}", tunnel::PORT, networks.join(", "));
    // A container could pretend to be another host.
    let inside = format!("iifname {bridges} {carried} drop");
    let honest = plain_senders(net).map(|senders| format!("{carried} ip saddr {senders} accept"));
    table.chain("plain", INPUT, std::iter::once(inside).chain(honest).chain([format!("{carried} drop")]));
}

/// The hosts that may send what is not encrypted, which is carried over IPv4 only.
fn plain_senders(net: &HostNet) -> Option<String> {
    listed(tunnel::plain_senders(net).iter().map(IpAddr::to_string))
}

/// What `netd` takes over IPv6 and passes on comes from the host then; containers of internal networks get no further
/// than over IPv4.
fn guard_relayed(table: &mut Table, internal: &str, ports: &[&PublishedPort]) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of = ports.iter().filter(|port| port.protocol == protocol && is_relayed(port));
        let Some(ports) = listed(of.map(|port| port.host_port.to_string())) else { continue };
        let protocol = self::protocol(protocol);
        let rule = format!("iifname {internal} meta nfproto ipv6 {protocol} dport {ports} drop");
        table.chain("relayed", INPUT, [rule]);
    }
}

/// Does `netd` answer at it over IPv6, where rules do not lead further?
pub(crate) fn is_relayed(port: &PublishedPort) -> bool {
    port.host_ip.is_none_or(|ip| ip.is_ipv6()) && !port.backends.is_empty()
}

/// Who may talk to whom through this host. Order matters: each line speaks about what is left.
fn forward(net: &HostNet, bridges: &str, internal: Option<&str>, ingress: Option<&Way>) -> Vec<String> {
    let mut rules = ingress.map(Way::forwarded).unwrap_or_default();
    let mut rule = |line: &str| rules.push(line.to_owned());
    rule(&format!("iifname != {bridges} oifname != {bridges} accept"));
    // What a container sends to another host looks there as if this host had sent it, which may send frames to networks
    // that are not encrypted.
    if let Some(hosts) = plain_senders(net) {
        rule(&format!("iifname {bridges} udp dport {} ip daddr {hosts} drop", tunnel::PORT));
    }
    rule("ct state established,related accept");
    let pairs: Vec<String> = net
        .networks
        .values()
        .map(|network| names::bridge(network.id))
        .map(|bridge| format!("\"{bridge}\" . \"{bridge}\""))
        .collect();
    rule(&format!("iifname . oifname {{ {} }} accept", pairs.join(", ")));
    if let Some(internal) = internal {
        rule(&format!("iifname {internal} drop"));
        rule(&format!("oifname {internal} drop"));
    }
    rule(&format!("oifname {bridges} ct status dnat accept"));
    rule(&format!("oifname {bridges} drop"));
    // Only what is tracked gets the host's address on its way out.
    for family in FAMILIES {
        let of = net
            .networks
            .values()
            .flat_map(subnets)
            .filter(|subnet| is_of(&subnet.address, family))
            .map(|subnet| subnet.to_string());
        if let Some(own) = listed(of) {
            rule(&format!("iifname {bridges} {family} saddr {own} ct state invalid drop"));
        }
    }
    rules
}

/// The zone of connections that come by way of a node: 16 bits, and 0 is that of all others.
fn zone(node: u32) -> u32 {
    node % u32::from(u16::MAX) + 1
}

/// What of the way to backends on other nodes, and from them, concerns packets.
struct Way {
    link: String,
    tag: u32,
    /// Backends elsewhere.
    remote: Vec<IpAddr>,
    /// Addresses of a node, each with a backend on that node.
    neighbours: Vec<(IpAddr, IpAddr)>,
    /// MAC address of a node on the link, and its number.
    senders: Vec<(crate::kernel::Mac, u32)>,
    /// Protocol, address and port of backends here.
    local: BTreeSet<(&'static str, IpAddr, u16)>,
}

impl Way {
    fn new(net: &HostNet, owner: u32) -> Option<Way> {
        if !ingress::is_needed(net) {
            return None;
        }
        let way = Way {
            link: names::ingress(owner),
            tag: ingress::tag(owner),
            remote: ingress::remote(net).map(|(address, _)| address).collect(),
            neighbours: ingress::neighbours(net),
            senders: ingress::senders(net),
            local: ingress::local(net)
                .map(|(port, address, target)| (protocol(port.protocol), address, target))
                .collect(),
        };
        Some(way)
    }

    /// What is marked, and what leaves with another address: only what comes from this host or its containers, whose
    /// answers would not find back otherwise.
    fn add(&self, table: &mut Table) {
        let Way { link, tag, .. } = self;
        let there = |family: &'static str| {
            let of = self.remote.iter().filter(|address| is_of(address, family));
            let to = listed(of.map(IpAddr::to_string))?;
            Some(format!("ct direction original ct status dnat {family} daddr {to} meta mark set {tag:#x}"))
        };
        let there: Vec<String> = FAMILIES.into_iter().filter_map(there).collect();
        let mut before = Vec::new();
        if !self.senders.is_empty() {
            // One client port may come by way of several nodes at once, and only the node told what is meant for which:
            // each has its own zone, so that the second of two alike is tracked on its own, and gets another port. In
            // the other direction there is one zone, for the answers. A packet that missed its zone would pass for the
            // first of another connection, and be refused.
            let zones = self.senders.iter().map(|(of, node)| (names::mac_text(*of), zone(*node).to_string()));
            table.map("zones", "typeof ether saddr : ct zone", zones);
            let zoned = format!("iifname \"{link}\" ct original zone set ether saddr map @zones");
            table.chain("ingress_zone", "filter hook prerouting priority raw", [zoned]);

            let nodes = self.senders.iter().map(|(of, node)| (names::mac_text(*of), format!("{:#x}", tag | node)));
            table.map("senders", "type ether_addr : mark", nodes);
            before.push(format!("iifname \"{link}\" ct direction original ct mark set ether saddr map @senders"));
            before.push(format!(
                "iifname != \"{link}\" ct direction reply ct mark & {TAG_MASK:#x} == {tag:#x} meta mark set ct mark"
            ));
        }
        before.extend(there.iter().cloned());
        table.chain("ingress", "filter hook prerouting priority dstnat + 50", before);
        if !there.is_empty() {
            table.chain("ingress_own", "route hook output priority -50", there);
            let own = format!("oifname \"{link}\" ct status dnat fib saddr type local masquerade");
            let mut sources = vec![own];
            for family in FAMILIES {
                let of = self.neighbours.iter().filter(|(node, _)| is_of(node, family));
                let pairs = listed(of.map(|(node, backend)| format!("{node} . {backend}")));
                // A node would take a packet that claims to be from itself for forged, or keep the answer.
                let masked = |pairs| format!("oifname \"{link}\" {family} saddr . {family} daddr {pairs} masquerade");
                sources.extend(pairs.map(masked));
            }
            table.chain("ingress_source", "nat hook postrouting priority srcnat - 1", sources);
        }
        let input = format!("iifname \"{link}\" ct state != {{ established, related }} drop");
        table.chain("ingress_input", INPUT, [input]);
    }

    /// Who may come over the link: answers, and those who ask for a published port.
    fn forwarded(&self) -> Vec<String> {
        let link = &self.link;
        let mut lines = vec![format!("iifname \"{link}\" ct state established,related accept")];
        for (protocol, family) in ["tcp", "udp"].into_iter().flat_map(|it| FAMILIES.map(|family| (it, family))) {
            let of = self.local.iter().filter(|(of, address, _)| *of == protocol && is_of(address, family));
            let to = listed(of.map(|(_, address, target)| format!("{address} . {target}")));
            let line = |to| format!("iifname \"{link}\" {family} daddr . {protocol} dport {to} accept");
            lines.extend(to.map(line));
        }
        lines.push(format!("iifname \"{link}\" drop"));
        lines
    }
}

fn postrouting(net: &HostNet, bridges: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for network in net.networks.values() {
        let bridge = names::bridge(network.id);
        for subnet in subnets(network) {
            let family = family(subnet.address);
            // To a published port of the own network: the answer must come back through the host.
            rules.push(format!("{family} saddr {subnet} {family} daddr {subnet} ct status dnat masquerade"));
            if !network.spec.internal {
                rules.push(format!("{family} saddr {subnet} oifname != \"{bridge}\" masquerade"));
            }
        }
    }
    rules.push(format!("ip saddr 127.0.0.0/8 oifname {bridges} masquerade"));
    rules
}

fn subnets(network: &Network) -> impl Iterator<Item = Subnet> {
    [Some(network.subnet), network.subnet6].into_iter().flatten()
}

const FAMILIES: [&str; 2] = ["ip", "ip6"];

fn is_of(address: &IpAddr, family: &str) -> bool {
    self::family(*address) == family
}

/// `{ a, b }`, or nothing: the language knows no empty set.
fn listed(elements: impl Iterator<Item = String>) -> Option<String> {
    let elements: Vec<String> = elements.collect();
    (!elements.is_empty()).then(|| format!("{{ {} }}", elements.join(", ")))
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Links whose traffic is ours.
pub(crate) fn passing(net: &HostNet, owner: u32) -> Vec<String> {
    let link = ingress::is_needed(net).then(|| names::ingress(owner));
    net.networks.values().map(|network| names::bridge(network.id)).chain(link).collect()
}

/// Lines that let our traffic through chains of others that drop by policy, and take away what an
/// earlier call put there. Plain matches only: `iptables` must still be able to read its table.
pub(crate) fn pass_foreign(mark: &str, links: &[String], chains: &[crate::kernel::nft::ForeignChain]) -> String {
    let mut text = String::new();
    for chain in chains {
        let place = format!("{} {} {}", chain.family, chain.table, chain.name);
        for handle in &chain.ours {
            let _infallible = writeln!(text, "delete rule {place} handle {handle}");
        }
        for link in links {
            for direction in ["iifname", "oifname"] {
                let _infallible =
                    writeln!(text, "insert rule {place} {direction} \"{link}\" accept comment \"{mark}\"");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn port(host_port: u16, backends: &[u8]) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port,
            backends: backends.iter().map(|last| (IpAddr::from([10, 0, 0, *last]), 80)).collect(),
            service: String::new(),
            everywhere: false,
            admitted: BTreeSet::new(),
        }
    }

    #[test]
    fn a_port_that_changes_concerns_no_other() {
        let made = |ports: &[PublishedPort]| table(1, &HostNet::default(), &ports.iter().collect::<Vec<_>>());
        let others = [port(1, &[1, 2]), port(2, &[1])];
        let fixed = |backends: &[u8]| PublishedPort { host_ip: Some(Ipv4Addr::LOCALHOST.into()), ..port(3, backends) };
        let with = |port: PublishedPort| made(&[others.to_vec(), vec![port]].concat());
        let (none, one, two) = (with(port(3, &[])), with(port(3, &[1])), with(port(3, &[1, 2])));
        for (old, new) in [(&none, &one), (&one, &two), (&two, &one), (&two, &none), (&two, &with(fixed(&[1])))] {
            let script = new.changes("t", old);
            let touches = |line: &str| line.contains("_tcp_3") || line.contains("tcp . 3");
            assert!(script.lines().skip(1).all(touches) && script.lines().count() > 1, "{script}");
        }
    }
}
