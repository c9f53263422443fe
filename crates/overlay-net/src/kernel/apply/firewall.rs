//! Ports, rules and connections: what is not a link.

use crate::kernel::{conntrack, nft};
use crate::ports::Reserved;
use crate::report::Applied;
use crate::rules;
use model::{HostNet, Protocol, PublishedPort};
use std::collections::BTreeSet;

/// The one writer of the host's table.
#[derive(Debug)]
pub(super) struct Firewall {
    table: String,
    owner: u32,
    /// The table made last, and its fingerprint after that.
    rules: Option<(String, Option<u64>)>,
    /// Ports as published last.
    published: Vec<PublishedPort>,
    reserved: Reserved,
}

impl Firewall {
    pub(super) fn new(table: String, owner: u32) -> Firewall {
        Firewall { table, owner, rules: None, published: Vec::new(), reserved: Reserved::default() }
    }

    /// See [`super::Engine::adopt_ports`].
    pub(super) fn adopt_ports(&mut self, ports: &[PublishedPort]) {
        self.published = ports.to_vec();
    }

    /// Makes the kernel agree. `look`: others may have changed something since.
    pub(super) fn apply(&mut self, net: &HostNet, look: bool, applied: &mut Applied) {
        let (held, errors) = self.reserved.sync(&net.ports);
        applied.port_errors = errors;
        let table = rules::table(&self.table, self.owner, net, &held);
        let changed = match &self.rules {
            None => true,
            Some((done, _)) if *done != table => true,
            Some((_, expected)) if look => nft::fingerprint(&self.table).ok() != Some(*expected),
            Some(_) => false,
        };
        let mark = self.table.as_str();
        // Someone may have turned a policy to drop since; looking is a single round trip.
        let foreign = if changed || look { nft::foreign_chains(mark).unwrap_or_default() } else { Vec::new() };
        let links = rules::passing(net, self.owner);
        let pass = changed || foreign.iter().any(|chain| chain.ours.len() != links.len() * 2);
        let extra = if pass { rules::pass_foreign(mark, &links, &foreign) } else { String::new() };
        if !changed && extra.is_empty() {
            return;
        }
        // Asked before each change: removing what is not there costs a grace period of the kernel.
        let absent = matches!(nft::fingerprint(&self.table), Ok(None));
        if absent && table.is_empty() && extra.is_empty() {
            self.rules = Some((table, None));
            return;
        }
        let remove = if absent { String::new() } else { rules::remove(&self.table) };
        match nft::run(&format!("{remove}{table}{extra}")) {
            Ok(()) => self.rules = Some((table, nft::fingerprint(&self.table).unwrap_or(None))),
            Err(error) => {
                self.rules = None;
                net.networks.keys().for_each(|id| applied.network(*id, error.to_string()));
                applied.port_errors.extend(held.iter().map(|port| ((*port).clone(), error.to_string())));
                return;
            }
        }
        let stale = stale_ports(&self.published, &held);
        if let Err(error) = conntrack::forget(&stale) {
            tracing::warn!(%error, "cannot forget connections of ports that changed");
        }
        self.published = held.into_iter().cloned().collect();
    }
}

/// UDP ports whose backends changed at all, since their clients never say goodbye; TCP connections end
/// with their container.
fn stale_ports(before: &[PublishedPort], now: &[&PublishedPort]) -> BTreeSet<conntrack::HostPort> {
    let udp = |port: &&PublishedPort| port.protocol == Protocol::Udp;
    let gone = before.iter().filter(|port| !now.contains(port));
    let new = now.iter().copied().filter(|port| !before.contains(port));
    gone.chain(new).filter(udp).map(|port| (17, port.host_port)).collect()
}
