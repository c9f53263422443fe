//! Links between nodes and managers, and clocks of nodes: how they fail.

use super::Between;
use crate::chance::Chance;
use crate::world::{Event, World};
use std::collections::BTreeSet;

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// From a node to a manager.
    Up,
    /// From a manager to a node.
    Down,
}

/// What is cut, and how often that changes.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// From one change to the next, in milliseconds, on average.
    pace: u64,
    cut: BTreeSet<(usize, u64, Way)>,
    /// Requests and answers of operators are lost so often in a thousand.
    pub(super) loss: u64,
    /// Requests arrive twice so often.
    pub(super) doubled: u64,
    /// Longest time that a message takes, in milliseconds.
    pub(super) latency: u64,
}

impl Links {
    pub(super) fn draw(chance: &mut Chance) -> Links {
        let mut maybe = |most: u64| if chance.coin() { chance.between(1, most) } else { 0 };
        let (loss, doubled) = (maybe(200), maybe(200));
        let latency = chance.pick(&[2, 30, 300]).copied().unwrap_or(2);
        Links { pace: chance.between(1_000, 8_000), cut: BTreeSet::new(), loss, doubled, latency }
    }

    pub(super) fn is_cut(&self, node: usize, member: u64, way: Way) -> bool {
        self.cut.contains(&(node, member, way))
    }

    pub(super) fn clear(&mut self) {
        self.cut.clear();
        (self.loss, self.doubled, self.latency) = (0, 0, self.latency.min(30));
    }
}

impl World {
    /// One more link fails, or all are mended; or the clock of a node is set.
    pub(super) fn change_links(&mut self) {
        let count = u64::try_from(self.nodes.len()).unwrap_or(1);
        let Some(joint) = self.joint.as_mut().filter(|_| !self.calm) else { return };
        let chance = &mut joint.chance;
        let next = chance.between(1, joint.links.pace * 2);
        let node = usize::try_from(chance.below(count)).unwrap_or(0);
        let members = joint.group.members();
        let member = chance.pick(&members).copied().unwrap_or(1);
        let what = chance.below(10);
        let ahead = i64::try_from(chance.below(20_000)).unwrap_or(0) - 10_000;
        let every = |way: Way| (0..self.nodes.len()).map(move |node| (node, member, way));
        let ways: Vec<(usize, u64, Way)> = match what {
            0 => vec![(node, member, Way::Up)],
            1 => vec![(node, member, Way::Down)],
            2 => vec![(node, member, Way::Up), (node, member, Way::Down)],
            3 => members.iter().flat_map(|member| [(node, *member, Way::Up), (node, *member, Way::Down)]).collect(),
            4 => every(Way::Up).chain(every(Way::Down)).collect(),
            5 => every(if chance.coin() { Way::Up } else { Way::Down }).collect(),
            _ => Vec::new(),
        };
        self.trace.say(self.now, format_args!("links {what}: n{} and {member}, {ahead} ms", node + 1));
        match what {
            0..=5 => self.cut_links(&ways),
            6 | 7 => joint.links.cut.clear(),
            8 => self.cut(node),
            _ => {
                if let Some(sim) = self.nodes.get_mut(node) {
                    sim.ahead = ahead;
                    self.clock_was_set(node);
                }
            }
        }
        self.after(next, Event::Between(Between::Weather));
    }

    /// Sessions over what is cut hear nothing any more that way, also when it is mended: they die of it.
    fn cut_links(&mut self, ways: &[(usize, u64, Way)]) {
        let Some(joint) = &mut self.joint else { return };
        for (node, member, way) in ways.iter().copied() {
            joint.links.cut.insert((node, member, way));
            for session in joint.sessions.values_mut().filter(|it| (it.node, it.member) == (node, member)) {
                session.breaks(way);
            }
        }
    }
}
