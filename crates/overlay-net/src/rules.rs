//! The host's nftables table as a text. Pure.

use crate::kernel::ingress::{self, TAG_MASK};
use crate::kernel::tunnel;
use crate::names;
use model::{HostNet, Network, Protocol, PublishedPort};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// Removes the table, and is no error without one. Before [`table()`] in one transaction: replaces it.
pub(crate) fn remove(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// What comes before `new`, made by [`table()`], where `old` is there, in one transaction. Chains that stay are emptied
/// and filled: were they deleted and made, a packet that is between the new ones and the old ones in just that moment
/// would be seen by neither, and a connection that begins with it would lead nowhere for good.
pub(crate) fn replace(table: &str, old: &str, new: &str) -> String {
    let chains = |text: &str| -> BTreeSet<(String, String)> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let chain = |pair: &[&str]| Some((pair.first()?.strip_prefix("chain ")?.to_owned(), hook(pair.get(1)?)));
        lines.windows(2).filter_map(chain).collect()
    };
    match !new.is_empty() && chains(old) == chains(new) {
        true => format!("flush table inet {table}\n"),
        false => remove(table),
    }
}

/// What makes a chain a base chain.
fn hook(line: &str) -> String {
    if line.starts_with("type ") { line.to_owned() } else { String::new() }
}

/// A script that makes the whole table where there is none; empty with nothing to say. `ports`: those
/// that could be reserved.
pub(crate) fn table(table: &str, owner: u32, net: &HostNet, ports: &[&PublishedPort]) -> String {
    let ingress = Way::new(net, owner);
    if net.networks.is_empty() && ports.is_empty() && ingress.is_none() {
        return String::new();
    }
    let bridges = set(net.networks.values());
    let internal = set(net.networks.values().filter(|network| network.spec.internal));
    let mut body = String::new();
    if let Some(bridges) = &bridges {
        body.push_str(&guard_loopback(bridges));
        body.push_str(&forward(net, bridges, internal.as_deref(), ingress.as_ref()));
        body.push_str(&postrouting(net, bridges));
        body.push_str(&guard_plain(net, bridges));
    }
    if let Some(internal) = &internal {
        body.push_str(&guard_relayed(internal, ports));
    }
    if let Some(ingress) = &ingress {
        body.push_str(&ingress.chains());
        if bridges.is_none() {
            body.push_str(&ingress.forward());
        }
    }
    body.push_str(&published(ports));
    format!("table inet {table} {{\n{body}}}\n")
}

/// `{ "rsa", "rsb" }`, or nothing.
fn set<'a>(networks: impl Iterator<Item = &'a Network>) -> Option<String> {
    listed(networks.map(|network| format!("\"{}\"", names::bridge(network.id))))
}

/// Published ports on 127.0.0.1 need `route_localnet` on the bridges, which alone would let containers
/// reach what listens on the host's loopback. Before connection tracking no honest packet from a bridge
/// is addressed there.
fn guard_loopback(bridges: &str) -> String {
    format!(
        "\tchain raw {{\n\t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname {bridges} ip daddr 127.0.0.0/8 drop\n\t}}\n"
    )
}

/// The port of VXLAN is open on the host for networks that are not encrypted: for them, and for other hosts of the
/// cluster, only. What others do at that port is theirs.
fn guard_plain(net: &HostNet, bridges: &str) -> String {
    let networks: Vec<String> = tunnel::plain_networks(net).iter().map(|vni| format!("{vni:#x}")).collect();
    if networks.is_empty() {
        return String::new();
    }
    // The identifier: 24 bits, after the header of UDP (64 bits), flags and what is reserved (32 bits).
    let carried = format!("udp dport {} @th,96,24 {{ {} }}", tunnel::PORT, networks.join(", "));
    let honest = plain_senders(net).map(|senders| format!("\t\t{carried} ip saddr {senders} accept\n"));
    let honest = honest.unwrap_or_default();
    // A container could pretend to be another host.
    let inside = format!("\t\tiifname {bridges} {carried} drop\n");
    format!(
        "\tchain plain {{\n\t\ttype filter hook input priority filter; policy accept;\n{inside}{honest}\t\t{carried} drop\n\t}}\n"
    )
}

/// The hosts that may send what is not encrypted, which is carried over IPv4 only.
fn plain_senders(net: &HostNet) -> Option<String> {
    listed(tunnel::plain_senders(net).iter().map(IpAddr::to_string))
}

/// What `netd` takes over IPv6 and passes on comes from the host then; containers of internal networks get no further
/// than over IPv4.
fn guard_relayed(internal: &str, ports: &[&PublishedPort]) -> String {
    let mut text = String::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of = ports.iter().filter(|port| port.protocol == protocol && is_relayed(port));
        let Some(ports) = listed(of.map(|port| port.host_port.to_string())) else { continue };
        let protocol = self::protocol(protocol);
        let _infallible = writeln!(text, "\t\tiifname {internal} meta nfproto ipv6 {protocol} dport {ports} drop");
    }
    if text.is_empty() {
        return text;
    }
    format!("\tchain relayed {{\n\t\ttype filter hook input priority filter; policy accept;\n{text}\t}}\n")
}

/// Does `netd` answer at it over IPv6, where rules do not lead further?
pub(crate) fn is_relayed(port: &PublishedPort) -> bool {
    port.host_ip.is_none_or(|ip| ip.is_ipv6()) && !port.backends.is_empty()
}

/// Who may talk to whom through this host. Order matters: each line speaks about what is left.
fn forward(net: &HostNet, bridges: &str, internal: Option<&str>, ingress: Option<&Way>) -> String {
    let mut text = String::from("\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n");
    let mut rule = |line: &str| {
        let _infallible = writeln!(text, "\t\t{line}");
    };
    if let Some(ingress) = ingress {
        ingress.forwarded().iter().for_each(|line| rule(line));
    }
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
    text.push_str("\t}\n");
    text
}

fn mac(mac: &crate::kernel::Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
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
    fn chains(&self) -> String {
        let Way { link, tag, .. } = self;
        let mut text = String::new();
        let mut rules = |name: &str, hook: &str, lines: &[String]| {
            let _infallible = writeln!(text, "\tchain {name} {{\n\t\ttype {hook}; policy accept;");
            for line in lines {
                let _infallible = writeln!(text, "\t\t{line}");
            }
            text.push_str("\t}\n");
        };
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
            // the other direction there is one zone, for the answers.
            let zone = |(of, node): &(crate::kernel::Mac, u32)| format!("{} : {}", mac(of), zone(*node));
            let zones: Vec<String> = self.senders.iter().map(zone).collect();
            let line = format!("iifname \"{link}\" ct original zone set ether saddr map {{ {} }}", zones.join(", "));
            rules("ingress_zone", "filter hook prerouting priority raw", &[line]);

            let from: Vec<String> =
                self.senders.iter().map(|(of, node)| format!("{} : {:#x}", mac(of), tag | node)).collect();
            let from = from.join(", ");
            before.push(format!("iifname \"{link}\" ct direction original ct mark set ether saddr map {{ {from} }}"));
            before.push(format!(
                "iifname != \"{link}\" ct direction reply ct mark & {TAG_MASK:#x} == {tag:#x} meta mark set ct mark"
            ));
        }
        before.extend(there.iter().cloned());
        rules("ingress", "filter hook prerouting priority dstnat + 50", &before);
        if !there.is_empty() {
            rules("ingress_own", "route hook output priority -50", &there);
            let own = format!("oifname \"{link}\" ct status dnat fib saddr type local masquerade");
            let mut sources = vec![own];
            for family in FAMILIES {
                let of = self.neighbours.iter().filter(|(node, _)| is_of(node, family));
                let pairs = listed(of.map(|(node, backend)| format!("{node} . {backend}")));
                // A node would take a packet that claims to be from itself for forged, or keep the answer.
                let masked = |pairs| format!("oifname \"{link}\" {family} saddr . {family} daddr {pairs} masquerade");
                sources.extend(pairs.map(masked));
            }
            rules("ingress_source", "nat hook postrouting priority srcnat - 1", &sources);
        }
        let input = format!("iifname \"{link}\" ct state != {{ established, related }} drop");
        rules("ingress_input", "filter hook input priority filter", &[input]);
        text
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

    /// The same where there are no networks.
    fn forward(&self) -> String {
        let lines = self.forwarded().join("\n\t\t");
        format!("\tchain forward {{\n\t\ttype filter hook forward priority filter; policy accept;\n\t\t{lines}\n\t}}\n")
    }
}

fn postrouting(net: &HostNet, bridges: &str) -> String {
    let mut text =
        String::from("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    for network in net.networks.values() {
        let bridge = names::bridge(network.id);
        for subnet in [Some(network.subnet), network.subnet6].into_iter().flatten() {
            let family = family(subnet.address);
            // To a published port of the own network: the answer must come back through the host.
            let _infallible =
                writeln!(text, "\t\t{family} saddr {subnet} {family} daddr {subnet} ct status dnat masquerade");
            if !network.spec.internal {
                let _infallible = writeln!(text, "\t\t{family} saddr {subnet} oifname != \"{bridge}\" masquerade");
            }
        }
    }
    let _infallible = writeln!(text, "\t\tip saddr 127.0.0.0/8 oifname {bridges} masquerade");
    text.push_str("\t}\n");
    text
}

/// Where published ports lead. Nothing leaves the link that ::1 is on, whatever its new address: it stays.
fn published(ports: &[&PublishedPort]) -> String {
    if ports.iter().all(|port| port.backends.is_empty()) {
        return String::new();
    }
    let mut text = String::from(
        "\tchain prerouting {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tfib daddr type local jump ports\n\t}\n\
         \tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n\
         \t\tip6 daddr ::1 accept\n\t\tfib daddr type local jump ports\n\t}\n\tchain ports {\n",
    );
    // Ports with one backend, the rule on most hosts, share one map per protocol and family: one lookup
    // for a thousand ports. A fixed host address is more special than all, so those come first.
    let mut maps: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let (fixed, any): (Vec<&PublishedPort>, Vec<&PublishedPort>) =
        ports.iter().partition(|port| fixed_ip(port).is_some());
    for port in fixed.into_iter().chain(any) {
        for v6 in [false, true] {
            let wanted_family = port.host_ip.is_none_or(|ip| ip.is_ipv6() == v6);
            let backends: Vec<&(IpAddr, u16)> = port.backends.iter().filter(|(ip, _)| ip.is_ipv6() == v6).collect();
            if !wanted_family || backends.is_empty() {
                continue;
            }
            let family = if v6 { "ip6" } else { "ip" };
            let protocol = protocol(port.protocol);
            match (fixed_ip(port), backends.as_slice()) {
                (None, [(ip, target)]) => {
                    maps.entry((family, protocol)).or_default().push(format!("{} : {ip} . {target}", port.host_port));
                }
                (host_ip, _) => {
                    let daddr = host_ip.map(|ip| format!("{family} daddr {ip} ")).unwrap_or_default();
                    let targets: Vec<String> =
                        backends.iter().enumerate().map(|(i, (ip, target))| format!("{i} : {ip} . {target}")).collect();
                    let _infallible = writeln!(
                        text,
                        "\t\tmeta nfproto {} {daddr}{protocol} dport {} dnat {family} to numgen inc mod {} map {{ {} }}",
                        if v6 { "ipv6" } else { "ipv4" },
                        port.host_port,
                        targets.len(),
                        targets.join(", "),
                    );
                }
            }
        }
    }
    for ((family, protocol), elements) in maps {
        let nfproto = if family == "ip6" { "ipv6" } else { "ipv4" };
        let elements = elements.join(", ");
        let _infallible =
            writeln!(text, "\t\tmeta nfproto {nfproto} dnat {family} to {protocol} dport map {{ {elements} }}");
    }
    text.push_str("\t}\n");
    text
}

/// The host address of a port, when it is bound to one in particular.
fn fixed_ip(port: &PublishedPort) -> Option<IpAddr> {
    port.host_ip.filter(|ip| !ip.is_unspecified())
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

    #[test]
    fn chains_that_stay_are_not_made_anew() {
        let port = |backends: &[u8]| PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 8080,
            backends: backends.iter().map(|last| (IpAddr::from([10, 0, 0, *last]), 80)).collect(),
            service: String::new(),
            everywhere: false,
            admitted: BTreeSet::new(),
        };
        let made = |backends: &[u8]| table("t", 1, &HostNet::default(), &[&port(backends)]);
        assert_eq!(replace("t", &made(&[1]), &made(&[2, 3])), "flush table inet t\n");
        for (old, new) in [(made(&[]), made(&[1])), (made(&[1]), made(&[])), (made(&[1]), String::new())] {
            assert_eq!(replace("t", &old, &new), remove("t"), "{old} {new}");
        }
    }
}
