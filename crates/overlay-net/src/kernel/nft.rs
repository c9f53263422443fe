//! nftables. A container's own tables are some messages over netlink, without a process; the host's table, and what is
//! rare in a container, is a text for `nft -f -`, one transaction, only when it changes.

pub(crate) mod translate;

use super::netlink::{Batch, F_ACK, F_APPEND, F_CREATE, F_DUMP, Socket, attr, attrs, text};
use crate::names::fnv1a;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const GETSET: u16 = SUBSYSTEM | 10;
const GETELEMENTS: u16 = SUBSYSTEM | 13;

const NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
/// A part of a rule, which comes and goes with it.
const SET_IS_ANONYMOUS: u32 = 1;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ELEM: u16 = 1;
const VALUE: u16 = 1;

const IPV4: u8 = 2;
const INET: u8 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_OUTPUT: u32 = 3;
const REG_1: u32 = 1;
const REG_2: u32 = 2;

/// Where containers find DNS.
pub(crate) const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const DNS_TABLE: &str = "rswarm_dns";

fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// In the calling thread's namespace: sends questions for 127.0.0.11:53 to the ports where `netd` serves
/// it, so that a container may run a DNS server of its own on port 53. `fresh`: nobody was in there
/// before. The kernel frees what is deleted after a grace period of some 10 ms, which closing the socket
/// waits for, so nothing is deleted where nothing can be.
pub(crate) fn redirect_dns(udp: u16, tcp: u16, fresh: bool) -> io::Result<()> {
    let table = generic(IPV4, 0);
    let mut batch = Batch::default();
    batch.message(BATCH_BEGIN, 0, &generic(0, 10));
    if !fresh {
        // Made, deleted and made again: that replaces one of an earlier netd, and is no error without one.
        batch.message(NEWTABLE, F_CREATE, &table).text(NAME, DNS_TABLE);
        batch.message(DELTABLE, 0, &table).text(NAME, DNS_TABLE);
    }
    batch.message(NEWTABLE, F_CREATE, &table).text(NAME, DNS_TABLE);
    batch.message(NEWCHAIN, F_CREATE, &table).text(CHAIN_TABLE, DNS_TABLE).text(CHAIN_NAME, "output");
    batch.nest(CHAIN_HOOK, |b| {
        b.attr(1, &HOOK_OUTPUT.to_be_bytes()).attr(2, &(-100_i32).to_be_bytes());
    });
    batch.text(CHAIN_TYPE, "nat");
    dns_rule(&mut batch, 17, udp, 0);
    dns_rule(&mut batch, 6, tcp, F_ACK);
    batch.message(BATCH_END, 0, &generic(0, 10));
    Socket::netfilter()?.commit(batch)
}

/// `ip daddr 127.0.0.11 meta l4proto P th dport 53 dnat to 127.0.0.11:PORT`
fn dns_rule(batch: &mut Batch, protocol: u8, port: u16, flags: u16) {
    batch.message(NEWRULE, F_CREATE | F_APPEND | flags, &generic(IPV4, 0));
    batch.text(RULE_TABLE, DNS_TABLE).text(RULE_CHAIN, "output").nest(RULE_EXPRESSIONS, |b| {
        payload(b, 1, 16, 4);
        compare(b, &DNS_ADDRESS.octets());
        expression(b, "meta", &[(1, REG_1), (2, 16)]);
        compare(b, &[protocol]);
        payload(b, 2, 2, 2);
        compare(b, &53_u16.to_be_bytes());
        immediate(b, REG_1, &DNS_ADDRESS.octets());
        immediate(b, REG_2, &port.to_be_bytes());
        expression(b, "nat", &[(1, 1), (2, u32::from(IPV4)), (3, REG_1), (5, REG_2)]);
    });
}

fn expression(batch: &mut Batch, name: &str, numbers: &[(u16, u32)]) {
    batch.nest(LIST_ELEM, |b| {
        b.text(1, name).nest(2, |b| {
            for (kind, number) in numbers {
                b.attr(*kind, &number.to_be_bytes());
            }
        });
    });
}

fn payload(batch: &mut Batch, base: u32, offset: u32, length: u32) {
    expression(batch, "payload", &[(1, REG_1), (2, base), (3, offset), (4, length)]);
}

fn compare(batch: &mut Batch, value: &[u8]) {
    batch.nest(LIST_ELEM, |b| {
        b.text(1, "cmp").nest(2, |b| {
            b.attr(1, &REG_1.to_be_bytes()).attr(2, &0_u32.to_be_bytes()).nest(3, |b| {
                b.attr(VALUE, value);
            });
        });
    });
}

fn immediate(batch: &mut Batch, register: u32, value: &[u8]) {
    batch.nest(LIST_ELEM, |b| {
        b.text(1, "immediate").nest(2, |b| {
            b.attr(1, &register.to_be_bytes()).nest(2, |b| {
                b.attr(VALUE, value);
            });
        });
    });
}

/// Is the redirection of the calling thread's namespace whole?
pub(crate) fn dns_redirected() -> io::Result<bool> {
    let mut batch = Batch::default();
    batch.message(GETRULE, F_DUMP, &generic(IPV4, 0)).text(RULE_TABLE, DNS_TABLE);
    let rules = Socket::netfilter()?.dump(batch);
    Ok(rules.is_ok_and(|rules| rules.len() == 2))
}

/// A number that changes when someone touches a rule, a chain or a map of the table; `None`: there is no table.
pub(crate) fn fingerprint(table: &str) -> io::Result<Option<u64>> {
    let socket = Socket::netfilter()?;
    let mut batch = Batch::default();
    batch.message(GETCHAIN, F_DUMP, &generic(INET, 0));
    let mut bytes = Vec::new();
    for chain in socket.dump(batch)? {
        let rest = chain.payload.get(4..).unwrap_or_default();
        if attr(rest, CHAIN_TABLE).is_some_and(|name| text(name) == table) {
            bytes.extend_from_slice(rest);
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut batch = Batch::default();
    batch.message(GETRULE, F_DUMP, &generic(INET, 0)).text(RULE_TABLE, table);
    for rule in socket.dump(batch)? {
        bytes.extend_from_slice(rule.payload.get(4..).unwrap_or_default());
    }
    let mut batch = Batch::default();
    batch.message(GETTABLE, F_DUMP, &generic(INET, 0));
    for one in socket.dump(batch)? {
        let rest = one.payload.get(4..).unwrap_or_default();
        if attr(rest, NAME).is_some_and(|name| text(name) == table) {
            // It may sleep.
            bytes.extend_from_slice(attr(rest, TABLE_FLAGS).unwrap_or_default());
        }
    }
    let elements = elements(&socket, table)?;
    Ok(Some(fnv1a(&bytes).wrapping_add(elements)))
}

/// A number that changes when someone touches an element of the table's maps. The kernel tells elements in any order.
fn elements(socket: &Socket, table: &str) -> io::Result<u64> {
    let mut batch = Batch::default();
    batch.message(GETSET, F_DUMP, &generic(INET, 0)).text(SET_TABLE, table);
    let mut sum = 0_u64;
    for set in socket.dump(batch)? {
        let rest = set.payload.get(4..).unwrap_or_default();
        let flags = attr(rest, SET_FLAGS).and_then(|flags| flags.first_chunk::<4>()).copied().unwrap_or_default();
        let Some(name) = attr(rest, SET_NAME) else { continue };
        if u32::from_be_bytes(flags) & SET_IS_ANONYMOUS != 0 {
            continue;
        }
        let mut batch = Batch::default();
        batch.message(GETELEMENTS, F_DUMP, &generic(INET, 0));
        batch.text(ELEMENTS_TABLE, table).attr(ELEMENTS_SET, name);
        for some in socket.dump(batch)? {
            let list = attr(some.payload.get(4..).unwrap_or_default(), ELEMENTS).unwrap_or_default();
            let each = attrs(list).map(|(_, element)| fnv1a(&[name, element].concat()));
            sum = each.fold(sum, u64::wrapping_add);
        }
    }
    Ok(sum)
}

/// A chain of someone else at the forward hook whose policy is to drop. Our accepting does not overrule
/// it: every chain at a hook has its say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignChain {
    pub(crate) family: &'static str,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Handles of the rules that carry our mark.
    pub(crate) ours: Vec<u64>,
    number: u8,
}

/// Every such chain, and rules with our mark wherever they are.
pub(crate) fn foreign_chains(mark: &str) -> io::Result<Vec<ForeignChain>> {
    let socket = Socket::netfilter()?;
    let mut batch = Batch::default();
    batch.message(GETCHAIN, F_DUMP, &generic(0, 0));
    let mut chains = Vec::new();
    for chain in socket.dump(batch)? {
        let family = match chain.payload.first() {
            Some(1) => "inet",
            Some(2) => "ip",
            Some(10) => "ip6",
            _ => continue,
        };
        let rest = chain.payload.get(4..).unwrap_or_default();
        let big = |bytes: &[u8]| bytes.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
        let hook = attr(rest, CHAIN_HOOK).and_then(|hook| attr(hook, 1)).and_then(big);
        let drops = attr(rest, CHAIN_POLICY).and_then(big) == Some(0);
        let (Some(table), Some(name)) = (attr(rest, CHAIN_TABLE).map(text), attr(rest, CHAIN_NAME).map(text)) else {
            continue;
        };
        if hook == Some(HOOK_FORWARD) && drops && !table.starts_with("rswarm_") {
            let number = chain.payload.first().copied().unwrap_or(0);
            chains.push(ForeignChain { family, table, name, ours: Vec::new(), number });
        }
    }
    for chain in &mut chains {
        let mut batch = Batch::default();
        batch.message(GETRULE, F_DUMP, &generic(chain.number, 0));
        batch.text(RULE_TABLE, &chain.table).text(RULE_CHAIN, &chain.name);
        for rule in socket.dump(batch)? {
            let rest = rule.payload.get(4..).unwrap_or_default();
            let marked = attr(rest, RULE_USERDATA)
                .is_some_and(|data| data.windows(mark.len()).any(|window| window == mark.as_bytes()));
            let handle = attr(rest, RULE_HANDLE).and_then(|h| h.first_chunk::<8>()).map(|h| u64::from_be_bytes(*h));
            chain.ours.extend(handle.filter(|_| marked));
        }
    }
    Ok(chains)
}

/// Runs one transaction of the `nft` program; its complaint is the error.
pub(crate) fn run(script: &str) -> io::Result<()> {
    let spawn = |program: &str| {
        Command::new(program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut child = spawn("nft")
        .or_else(|_| spawn("/usr/sbin/nft"))
        .map_err(|error| io::Error::new(error.kind(), format!("run `nft` (install the package nftables): {error}")))?;
    // A short write means that nft has ended; its exit status and complaint say more.
    let _written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("nft: {}", complaint.lines().next().unwrap_or("failed without a word"))))
}
