//! Nodes where tasks can't stay: drained ones, and those that fail a constraint since their labels changed.

use super::schedule;
use crate::cluster::Cluster;
use model::{Availability, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Unfit nodes by constraints; most services share few of those.
pub(crate) struct Unfit<'c> {
    cluster: &'c Cluster,
    by_constraints: BTreeMap<&'c [String], Arc<BTreeSet<NodeId>>>,
}

impl<'c> Unfit<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Unfit<'c> {
        Unfit { cluster, by_constraints: BTreeMap::new() }
    }

    /// The nodes that tasks with these constraints have to leave.
    pub(crate) fn of(&mut self, constraints: &'c [String]) -> Arc<BTreeSet<NodeId>> {
        let cluster = self.cluster;
        let made = self.by_constraints.entry(constraints).or_insert_with(|| Arc::new(nodes(cluster, constraints)));
        made.clone()
    }
}

/// The same for one service.
pub(crate) fn nodes(cluster: &Cluster, constraints: &[String]) -> BTreeSet<NodeId> {
    let unfit = cluster.nodes.values().filter(|node| {
        node.availability == Availability::Drain || !constraints.iter().all(|text| schedule::fits(text, node))
    });
    unfit.map(|node| node.id).collect()
}
