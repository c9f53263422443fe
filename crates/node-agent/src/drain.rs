//! Leaving: a task that is to be stopped gets no new connections from before it is told to end.

use crate::net::{Nets, addresses};
use crate::task::Local;
use model::HostNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// The longest that is waited for other machines to say that they know. One that says nothing for four seconds is
/// given up by the managers themselves.
const LONGEST: Duration = Duration::from_secs(5);
/// The same where nobody will say: the manager hears of this end from us, or we are new here.
const BLIND: Duration = Duration::from_millis(500);
/// From the moment when nobody sends new connections to it until it is told to end, at least: what was sent before is on
/// its way for a moment. What has come by then is waited for by its stop.
pub(crate) const LINGER: Duration = Duration::from_millis(250);

/// Who may still send new connections to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Nobody, or nothing is known that could be waited for.
    Done,
    /// This machine, until what is wanted of its network has come true.
    Here,
    /// Other machines, until they have heard, or for so long.
    Elsewhere(Duration),
}

impl Nets {
    /// Who may still send to it. What failed is not waited for: an end comes nevertheless. `sent_to`: the manager
    /// knows of others that may.
    pub(crate) fn drain(&self, local: &Local, sent_to: bool) -> Drain {
        let Some(assigned) = &local.assigned else { return Drain::Done };
        let own: BTreeSet<IpAddr> = addresses(assigned).collect();
        if own.is_empty() || leads_to(&self.wanted, &own) {
            return Drain::Done;
        }
        if self.landed.is_none() && self.failure.is_none() {
            // An agent that has just begun: what its host was told before may lead there yet.
            return Drain::Elsewhere(if self.flight.is_some() { LONGEST } else { BLIND });
        }
        let in_flight = self.flight.as_ref().map(|(_, net)| net);
        let told = [self.landed.as_ref(), in_flight.filter(|_| self.landed.is_some())];
        if told.into_iter().flatten().any(|net| leads_to(net, &own)) {
            return Drain::Here;
        }
        match (self.wanted.mesh.is_some(), local.is_told_to_leave()) {
            (true, true) if sent_to => Drain::Elsewhere(LONGEST),
            (true, false) => Drain::Elsewhere(BLIND),
            _ => Drain::Done,
        }
    }
}

/// Does a published port or a virtual address lead to one of these?
fn leads_to(net: &HostNet, own: &BTreeSet<IpAddr>) -> bool {
    let vips = net.vips.values().flat_map(|all| all.iter());
    net.ports.iter().any(|port| port.backends.iter().any(|(address, _)| own.contains(address)))
        || vips.into_iter().any(|vip| vip.backends.iter().any(|address| own.contains(address)))
}
