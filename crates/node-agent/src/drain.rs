//! Leaving: a task that is to be stopped gets no new connections from before it is told to end.

use crate::net::{Nets, addresses};
use crate::task::Local;
use model::HostNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// How long other machines may take to hear that a task leaves. They are told by the same manager at the same time
/// as this one; this is many times what that and their kernel take, on busy machines too.
pub(crate) const DRAIN: Duration = Duration::from_millis(500);

/// Who may still send new connections to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Nobody, or nothing is known that could be waited for.
    Done,
    /// This machine, until what is wanted of its network has come true.
    Here,
    /// Other machines, until they have heard.
    Elsewhere,
}

impl Nets {
    /// Who may still send to it. What failed is not waited for: an end comes nevertheless.
    pub(crate) fn drain(&self, local: &Local) -> Drain {
        let Some(assigned) = &local.assigned else { return Drain::Done };
        let own: BTreeSet<IpAddr> = addresses(assigned).collect();
        if own.is_empty() || leads_to(&self.wanted, &own) {
            return Drain::Done;
        }
        let in_flight = self.flight.as_ref().map(|(_, net)| net);
        let told = [self.landed.as_ref(), in_flight.filter(|_| self.landed.is_some())];
        if told.into_iter().flatten().any(|net| leads_to(net, &own)) {
            return Drain::Here;
        }
        if self.wanted.mesh.is_some() { Drain::Elsewhere } else { Drain::Done }
    }
}

/// Does a published port or a virtual address lead to one of these?
fn leads_to(net: &HostNet, own: &BTreeSet<IpAddr>) -> bool {
    let vips = net.vips.values().flat_map(|all| all.iter());
    net.ports.iter().any(|port| port.backends.iter().any(|(address, _)| own.contains(address)))
        || vips.into_iter().any(|vip| vip.backends.iter().any(|address| own.contains(address)))
}
