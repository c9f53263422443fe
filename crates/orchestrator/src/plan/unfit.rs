//! Nodes where tasks can't stay: drained ones, and those that fail a constraint since their labels changed.

use super::schedule;
use crate::cluster::Cluster;
use model::{Availability, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Unfit nodes by constraints; most services share few of those. Good for one step, in which nodes stay as
/// they are.
#[derive(Default)]
pub(crate) struct Unfit {
    by_constraints: BTreeMap<Vec<String>, Arc<BTreeSet<NodeId>>>,
}

impl Unfit {
    /// The nodes that tasks with these constraints have to leave.
    pub(crate) fn of(&mut self, cluster: &Cluster, constraints: &[String]) -> Arc<BTreeSet<NodeId>> {
        if let Some(known) = self.by_constraints.get(constraints) {
            return known.clone();
        }
        let unfit = cluster.nodes.values().filter(|node| {
            node.availability == Availability::Drain || !constraints.iter().all(|text| schedule::fits(text, node))
        });
        let unfit = Arc::new(unfit.map(|node| node.id).collect::<BTreeSet<_>>());
        self.by_constraints.insert(constraints.to_vec(), unfit.clone());
        unfit
    }
}
