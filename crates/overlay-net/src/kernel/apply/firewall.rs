//! Ports, rules and connections: what is not a link.

use super::calls;
use crate::kernel::conntrack::{self, Entry, Stale};
use crate::kernel::netlink::Socket;
use crate::kernel::nft;
use crate::memory;
use crate::names;
use crate::ports::Reserved;
use crate::relay::Relays;
use crate::report::Applied;
use crate::rules::{self, Table};
use model::{HostNet, Protocol, PublishedPort};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The one writer of the host's table.
#[derive(Debug)]
pub(super) struct Firewall {
    table: String,
    owner: u32,
    made: Made,
    /// Ports as published last.
    published: Vec<PublishedPort>,
    reserved: Reserved,
    relays: Relays,
    pub(super) settling: calls::Settling,
}

impl Firewall {
    pub(super) fn new(run_root: &Path) -> Firewall {
        let (reserved, relays) = (Reserved::default(), Relays::default());
        Firewall {
            table: names::table(run_root),
            owner: names::owner(run_root),
            made: Made::remembered(run_root),
            published: Vec::new(),
            reserved,
            relays,
            settling: calls::Settling::default(),
        }
    }

    /// See [`super::Engine::adopt_ports`].
    pub(super) fn adopt_ports(&mut self, ports: &[PublishedPort]) {
        self.published = ports.to_vec();
    }

    /// Makes the kernel agree. `look`: others may have changed something since.
    pub(super) fn apply(&mut self, net: &HostNet, look: bool, applied: &mut Applied) {
        self.relays.leave(net);
        let (held, errors) = self.reserved.sync(&net.ports);
        applied.port_errors = errors;
        self.agree(net, &held, look, applied);
        self.relays.sync(&held, &self.reserved, net);
    }

    fn agree(&mut self, net: &HostNet, held: &[&PublishedPort], look: bool, applied: &mut Applied) {
        let table = rules::table(self.owner, net, held);
        let is_new = self.made.rules.as_ref().is_none_or(|(done, _)| *done != table);
        if !is_new && !look {
            return;
        }
        let mark = self.table.as_str();
        // Asked before each change, too: removing what is not there costs a grace period of the kernel.
        let there = nft::fingerprint(mark);
        let old = self.made.rules.as_ref().filter(|(_, expected)| there.as_ref().is_ok_and(|there| there == expected));
        let changed = is_new || old.is_none();
        // Someone may have turned a policy to drop since; looking is a single round trip.
        let foreign = nft::foreign_chains(mark).unwrap_or_default();
        let links = rules::passing(net, self.owner);
        let pass = changed || foreign.iter().any(|chain| chain.ours.len() != links.len() * 2);
        let extra = if pass { rules::pass_foreign(mark, &links, &foreign) } else { String::new() };
        if !changed && extra.is_empty() {
            return;
        }
        let absent = matches!(there, Ok(None));
        if absent && table.is_empty() && extra.is_empty() {
            self.made.become_known(table, None);
            return;
        }
        let script = match old {
            _ if absent => table.script(mark),
            Some((old, _)) => table.changes(mark, old),
            None => rules::remove(mark) + &table.script(mark),
        };
        match nft::run(&(script + &extra)) {
            Ok(()) => match nft::fingerprint(&self.table) {
                Ok(fingerprint) => self.made.become_known(table, fingerprint),
                Err(_) => self.made.rules = None,
            },
            Err(error) => {
                self.made.failed();
                net.networks.keys().for_each(|id| applied.network(*id, error.to_string()));
                applied.port_errors.extend(held.iter().map(|port| ((*port).clone(), error.to_string())));
                return;
            }
        }
        match conntrack::forget(&stale_ports(&self.published, held)) {
            Ok(unanswered) if unanswered.is_empty() => {}
            Ok(unanswered) => {
                self.settling.begin();
                forget_later(unanswered);
            }
            Err(error) => tracing::warn!(%error, "cannot forget connections of ports that changed"),
        }
        self.published = held.iter().copied().cloned().collect();
    }
}

/// The table made last, and its fingerprint after that. An earlier process may have made it: if nobody has touched it
/// since, it stays, and whoever talks through it hears nothing of the change of processes.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    rules: Option<(Table, Option<u64>)>,
    /// The last change of it was refused.
    refused: bool,
}

impl Made {
    fn remembered(run_root: &Path) -> Made {
        let path = names::rules_path(run_root);
        Made { rules: memory::kept(&path), path, refused: false }
    }

    fn become_known(&mut self, table: Table, fingerprint: Option<u64>) {
        self.refused = false;
        let rules = self.rules.insert((table, fingerprint));
        // A file of earlier rules has another fingerprint, so one that can't be replaced misleads nobody.
        if let Err(error) = memory::keep(&self.path, rules) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remember the rules");
        }
    }

    /// Nothing was changed. It may have been about somebody else's chain, which is another by now; what is refused again
    /// needs all to be made anew.
    fn failed(&mut self) {
        if std::mem::replace(&mut self.refused, true) {
            (self.rules, self.refused) = (None, false);
        }
    }
}

/// Lets those of these connections begin anew that are not answered in time.
fn forget_later(suspects: BTreeSet<Entry>) {
    let work = move || {
        std::thread::sleep(calls::ANSWERED);
        let forgotten = Socket::netfilter().and_then(|socket| {
            let unanswered = conntrack::unanswered(&socket)?;
            conntrack::delete(&socket, suspects.intersection(&unanswered))
        });
        if let Err(error) = forgotten {
            tracing::warn!(%error, "cannot forget what a backend that is gone never answered");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("unanswered".to_owned()).spawn(work) {
        tracing::warn!(%error, "cannot forget what a backend that is gone never answered");
    }
}

/// What to forget of the ports: what went to backends that are none any more, and, of UDP, whose clients never say
/// goodbye, all of ports that come or go. TCP connections that were answered end with their container.
fn stale_ports(before: &[PublishedPort], now: &[&PublishedPort]) -> BTreeMap<conntrack::HostPort, Stale> {
    const UDP: u8 = 17;
    let backends = |ports: &mut dyn Iterator<Item = &PublishedPort>| {
        let mut all: BTreeMap<conntrack::HostPort, BTreeSet<IpAddr>> = BTreeMap::new();
        for port in ports.filter(|port| !port.backends.is_empty()) {
            let protocol = match port.protocol {
                Protocol::Tcp => conntrack::TCP,
                Protocol::Udp => UDP,
            };
            let addresses = port.backends.iter().map(|(address, _)| *address);
            all.entry((protocol, port.host_port)).or_default().extend(addresses);
        }
        all
    };
    let (before, now) = (backends(&mut before.iter()), backends(&mut now.iter().copied()));
    let nobody = BTreeSet::new();
    let gone = before.iter().filter_map(|(port, old)| match now.get(port) {
        None if port.0 == UDP => Some((*port, Stale::All)),
        new => {
            let lost: BTreeSet<IpAddr> = old.difference(new.unwrap_or(&nobody)).copied().collect();
            (!lost.is_empty()).then_some((*port, Stale::To(lost)))
        }
    });
    let new = now.keys().filter(|port| port.0 == UDP && !before.contains_key(port)).map(|port| (*port, Stale::All));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16, backends: &[u8]) -> PublishedPort {
        let backends = backends.iter().map(|last| (IpAddr::from([10, 0, 0, *last]), 53)).collect();
        let service = String::new();
        let (protocol, admitted) = (Protocol::Udp, BTreeSet::new());
        PublishedPort { protocol, host_ip: None, host_port, backends, service, everywhere: true, admitted }
    }

    #[test]
    fn flows_to_backends_that_stay_are_left_alone() {
        let before = [port(1, &[1, 2]), port(2, &[1]), port(3, &[1])];
        let now = [port(1, &[2, 3]), port(2, &[1, 2]), port(4, &[1])];
        let stale = stale_ports(&before, &now.iter().collect::<Vec<_>>());
        let lost = Stale::To([IpAddr::from([10, 0, 0, 1])].into());
        assert_eq!(stale, [((17, 1), lost.clone()), ((17, 3), Stale::All), ((17, 4), Stale::All)].into());
        let over_tcp = |ports: &[PublishedPort]| -> Vec<_> {
            ports.iter().map(|port| PublishedPort { protocol: Protocol::Tcp, ..port.clone() }).collect()
        };
        let stale = stale_ports(&over_tcp(&before), &over_tcp(&now).iter().collect::<Vec<_>>());
        assert_eq!(stale, [((6, 1), lost.clone()), ((6, 3), lost)].into());
    }
}
