//! Virtual addresses: what the namespace of a client translates each of them to, and what has to be changed to
//! come from one such table to another. Pure.
//!
//! A service with n backends has n slots; a connection takes one of them by chance. Backends keep their slots while
//! others come and go, so that little is to be told to the kernel when one of them changes.

use model::{HostNet, NetworkId, VirtualAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a namespace translates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) v4: Side,
    pub(crate) v6: Side,
}

/// The same for one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Each virtual address with its backends by slot; those without any refuse.
    pub(crate) services: BTreeMap<IpAddr, Vec<IpAddr>>,
    /// Numbers of backends that there is, or was, a chain for. Empty: nothing was ever told of this family.
    pub(crate) counts: BTreeSet<u32>,
}

/// What has to be told of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Nothing was told yet.
    pub(crate) first: bool,
    /// Numbers of backends that a chain is missing for.
    pub(crate) counts: Vec<u32>,
    /// Slots that lose what is in them: virtual address and number of the slot.
    pub(crate) emptied: Vec<(IpAddr, u32)>,
    /// Slots and who gets into them.
    pub(crate) filled: Vec<(IpAddr, u32, IpAddr)>,
    /// Virtual addresses whose number of backends is not what it was, or that are gone.
    pub(crate) uncounted: Vec<IpAddr>,
    /// Virtual addresses and their number of backends.
    pub(crate) counted: Vec<(IpAddr, u32)>,
}

impl Table {
    /// What a namespace on these networks should translate. `before`: the table of the same networks until now.
    pub(crate) fn wanted(net: &HostNet, networks: &BTreeSet<NetworkId>, before: &Table) -> Table {
        let mut table = Table::default();
        let vips = || networks.iter().filter_map(|id| net.vips.get(id)).flat_map(|all| all.iter());
        for vip in vips() {
            table.v4.put(vip.address, vip, &before.v4);
            if let Some(address6) = vip.address6 {
                table.v6.put(address6, vip, &before.v6);
            }
        }
        table.v4.count(&before.v4);
        table.v6.count(&before.v6);
        table
    }

    /// Virtual addresses, each with a backend that it does not lead to any more.
    pub(crate) fn lost(&self, after: &Table) -> BTreeSet<(IpAddr, IpAddr)> {
        let of = |before: &Side, after: &Side| {
            let all = before.services.iter().flat_map(|(vip, slots)| slots.iter().map(|backend| (*vip, *backend)));
            let stays =
                |vip: &IpAddr, backend: &IpAddr| after.services.get(vip).is_some_and(|slots| slots.contains(backend));
            all.filter(|(vip, backend)| !stays(vip, backend)).collect::<Vec<_>>()
        };
        of(&self.v4, &after.v4).into_iter().chain(of(&self.v6, &after.v6)).collect()
    }

    /// Whom a virtual address leads to.
    pub(crate) fn backends(&self, vip: IpAddr) -> &[IpAddr] {
        let side = if vip.is_ipv4() { &self.v4 } else { &self.v6 };
        side.services.get(&vip).map(Vec::as_slice).unwrap_or_default()
    }

    /// Can changes lead from here to there? Else chains would be left over that nobody remembers.
    pub(crate) fn grows_into(&self, after: &Table) -> bool {
        self.v4.counts.is_subset(&after.v4.counts) && self.v6.counts.is_subset(&after.v6.counts)
    }
}

impl Side {
    fn put(&mut self, address: IpAddr, vip: &VirtualAddress, before: &Side) {
        let wanted: BTreeSet<IpAddr> =
            vip.backends.iter().filter(|backend| backend.is_ipv4() == address.is_ipv4()).copied().collect();
        let slots = arranged(before.services.get(&address).map(Vec::as_slice).unwrap_or_default(), &wanted);
        self.services.insert(address, slots);
    }

    fn count(&mut self, before: &Side) {
        self.counts = self.services.values().map(|slots| slots.len() as u32).collect();
        self.counts.extend(&before.counts);
        if !self.counts.is_empty() {
            // The chain that refuses is always there.
            self.counts.insert(0);
        }
    }

    /// What to tell a kernel that holds `self` to have it hold `after`.
    pub(crate) fn changes(&self, after: &Side) -> Changes {
        let mut changes = Changes {
            first: self.counts.is_empty() && !after.counts.is_empty(),
            counts: after.counts.difference(&self.counts).copied().collect(),
            ..Changes::default()
        };
        for (vip, slots) in &self.services {
            let now = after.services.get(vip);
            let kept = |slot: usize, backend: &IpAddr| now.is_some_and(|now| now.get(slot) == Some(backend));
            let emptied = slots.iter().enumerate().filter(|(slot, backend)| !kept(*slot, backend));
            changes.emptied.extend(emptied.map(|(slot, _)| (*vip, slot as u32)));
            if now.is_none_or(|now| now.len() != slots.len()) {
                changes.uncounted.push(*vip);
            }
        }
        for (vip, slots) in &after.services {
            let before = self.services.get(vip);
            let kept = |slot: usize, backend: &IpAddr| before.is_some_and(|before| before.get(slot) == Some(backend));
            let filled = slots.iter().enumerate().filter(|(slot, backend)| !kept(*slot, backend));
            changes.filled.extend(filled.map(|(slot, backend)| (*vip, slot as u32, *backend)));
            if before.is_none_or(|before| before.len() != slots.len()) {
                changes.counted.push((*vip, slots.len() as u32));
            }
        }
        changes
    }
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// Backends by slot: those that stay where they were as far as there are as many slots, the others in the gaps.
fn arranged(before: &[IpAddr], wanted: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let stays = |slot: usize| before.get(slot).filter(|backend| wanted.contains(*backend));
    let kept: BTreeSet<IpAddr> = (0..wanted.len()).filter_map(|slot| stays(slot).copied()).collect();
    let mut others = wanted.difference(&kept);
    (0..wanted.len()).filter_map(|slot| stays(slot).or_else(|| others.next()).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ServiceId;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn net(services: &BTreeMap<u8, BTreeSet<u8>>) -> HostNet {
        let vips = services.iter().map(|(vip, backends)| VirtualAddress {
            service: ServiceId(u128::from(*vip)),
            address: ip(*vip),
            address6: None,
            backends: backends.iter().map(|n| ip(100 + n)).collect(),
        });
        HostNet { vips: [(NetworkId(1), Arc::new(vips.collect()))].into(), ..HostNet::default() }
    }

    fn table(services: &BTreeMap<u8, BTreeSet<u8>>, before: &Table) -> Table {
        Table::wanted(&net(services), &[NetworkId(1)].into(), before)
    }

    #[test]
    fn one_that_is_replaced_costs_one_slot() {
        let before = table(&[(1, [1, 2, 3].into()), (2, [4].into())].into(), &Table::default());
        let after = table(&[(1, [1, 9, 3].into()), (2, [4].into())].into(), &before);
        let changes = before.v4.changes(&after.v4);
        assert_eq!(changes.emptied, [(ip(1), 1)]);
        assert_eq!(changes.filled, [(ip(1), 1, ip(109))]);
        assert!(changes.counted.is_empty() && changes.uncounted.is_empty() && changes.counts.is_empty());
        assert_eq!(before.lost(&after), [(ip(1), ip(102))].into());
    }

    #[test]
    fn nobody_left_is_told_so() {
        let before = table(&[(1, [1].into())].into(), &Table::default());
        let after = table(&[(1, [].into())].into(), &before);
        assert_eq!(before.v4.changes(&after.v4).counted, [(ip(1), 0)]);
        assert_eq!(Table::wanted(&HostNet::default(), &BTreeSet::new(), &Table::default()), Table::default());
    }

    proptest! {
        /// What is told, done to what is there, gives what is wanted; slots are dense and hold each backend once.
        #[test]
        fn changes_lead_there(
            steps in proptest::collection::vec(
                proptest::collection::btree_map(0_u8..6, proptest::collection::btree_set(0_u8..9, 0..6), 0..5), 1..8),
        ) {
            let mut told = Table::default();
            let mut slots: BTreeMap<(IpAddr, u32), IpAddr> = BTreeMap::new();
            let mut counts: BTreeMap<IpAddr, u32> = BTreeMap::new();
            for step in steps {
                let after = table(&step, &told);
                let changes = told.v4.changes(&after.v4);
                for (vip, slot) in &changes.emptied { prop_assert!(slots.remove(&(*vip, *slot)).is_some()); }
                for (vip, slot, to) in &changes.filled { prop_assert!(slots.insert((*vip, *slot), *to).is_none()); }
                for vip in &changes.uncounted { prop_assert!(counts.remove(vip).is_some()); }
                for (vip, count) in &changes.counted { prop_assert!(counts.insert(*vip, *count).is_none()); }
                for (vip, backends) in &step {
                    let count = counts[&ip(*vip)];
                    let seen: BTreeSet<IpAddr> = (0..count).map(|slot| slots[&(ip(*vip), slot)]).collect();
                    prop_assert_eq!(seen, backends.iter().map(|n| ip(100 + n)).collect::<BTreeSet<_>>());
                    prop_assert_eq!(count as usize, backends.len());
                    prop_assert!(after.v4.counts.contains(&count));
                }
                prop_assert_eq!(slots.len(), step.values().map(BTreeSet::len).sum::<usize>());
                prop_assert_eq!(counts.len(), step.len());
                prop_assert!(after.v4.changes(&after.v4).is_empty());
                told = after;
            }
        }
    }
}
