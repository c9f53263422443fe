//! The order in which nodes are taken for the tasks of one service: not where it keeps failing, even over what the
//! user wants it spread over, then over nodes, then by load. Every task that is placed only moves its own node back, so nodes are
//! kept in heaps, one for each group of nodes that the spread does not tell apart.

use super::constraint;
use super::filter::{Asking, Limits};
use super::usage::Usage;
use crate::explain::Unplaced;
use model::NodeId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Smaller is better: failures of the service there, its tasks, all tasks, and the id to be sure.
type Order = (u32, u32, u32, NodeId);

pub(super) fn order(usage: &Usage, place: usize) -> Order {
    (usage.penalty(place), usage.own(place), usage.used(place).tasks, usage.node(place).id)
}

/// Nodes with the same values for all that the service is spread over.
#[derive(Debug)]
struct Group {
    /// The groups that it is part of, the widest first, by their place in [`Ranking::counts`].
    within: Vec<usize>,
    nodes: BinaryHeap<Reverse<(Order, usize)>>,
}

/// All nodes that can take the tasks of one batch.
#[derive(Debug)]
pub(super) struct Ranking {
    groups: Vec<Group>,
    /// Tasks of the service in each group of each level.
    counts: Vec<u32>,
}

impl Ranking {
    pub(super) fn new(usage: &Usage, asking: &Asking<'_>) -> Ranking {
        let spread = &asking.spec.placement.spread;
        let mut known: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        let mut by_values: BTreeMap<Vec<usize>, Vec<Reverse<(Order, usize)>>> = BTreeMap::new();
        let mut counts = Vec::new();
        let mut nobody = Unplaced::default();
        for place in usage.places() {
            let mut values = Vec::with_capacity(spread.len());
            let mut within = Vec::with_capacity(spread.len());
            for descriptor in spread {
                values.push(constraint::value(descriptor, usage.node(place)));
                let group = *known.entry(values.clone()).or_insert(counts.len());
                if group == counts.len() {
                    counts.push(0);
                }
                within.push(group);
            }
            // Tasks on nodes that can take no more count too.
            for group in &within {
                if let Some(count) = counts.get_mut(*group) {
                    *count += usage.own(place);
                }
            }
            if asking.can_take(usage, place, &Limits::default(), &mut nobody) {
                by_values.entry(within).or_default().push(Reverse((order(usage, place), place)));
            }
        }
        let group = |(within, nodes): (_, Vec<_>)| Group { within, nodes: nodes.into() };
        Ranking { groups: by_values.into_iter().map(group).collect(), counts }
    }

    /// The best node for one more task, which is then counted; `None` if there is none left.
    pub(super) fn take(&mut self, usage: &Usage, asking: &Asking<'_>) -> Option<usize> {
        let mut nobody = Unplaced::default();
        for group in &mut self.groups {
            // The node that was taken last has moved back, or is full.
            while let Some(Reverse((known, place))) = group.nodes.peek().copied() {
                let now = order(usage, place);
                let room = asking.has_room(usage, place, &mut nobody);
                if room && now == known {
                    break;
                }
                group.nodes.pop();
                if room {
                    group.nodes.push(Reverse((now, place)));
                }
            }
        }
        let score = |group: &Group| {
            let Reverse((order, place)) = group.nodes.peek().copied()?;
            let spread = group.within.iter().filter_map(|within| self.counts.get(*within).copied());
            Some(((order.0, spread.collect::<Vec<u32>>(), order), place))
        };
        let scored = self.groups.iter().enumerate().filter_map(|(number, group)| Some((score(group)?, number)));
        let ((_, place), number) = scored.min()?;
        for within in self.groups.get(number).map_or(&[][..], |group| &group.within) {
            if let Some(count) = self.counts.get_mut(*within) {
                *count += 1;
            }
        }
        Some(place)
    }
}
