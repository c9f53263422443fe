//! What a driver has proposed and not yet seen decided.

use std::collections::BTreeMap;

/// Proposals that have their place in the log and may yet lose it: place → term and ticket.
#[derive(Debug, Default)]
pub struct Proposals {
    placed: BTreeMap<u64, (u64, u64)>,
    refused: Vec<u64>,
}

impl Proposals {
    /// A proposal was given a place ([`Output::Accepted`](crate::Output::Accepted)). The ticket of the one whose
    /// place that was, which is lost.
    pub fn accepted(&mut self, index: u64, term: u64, ticket: u64) -> Option<u64> {
        self.placed.insert(index, (term, ticket)).map(|(_, lost)| lost)
    }

    /// An entry stands at this place ([`Output::Committed`](crate::Output::Committed)). The ticket of the proposal
    /// that was to stand there, if it was another.
    pub fn committed(&mut self, index: u64, term: u64) -> Option<u64> {
        self.placed.remove(&index).filter(|(proposed, _)| *proposed != term).map(|(_, ticket)| ticket)
    }

    /// A leader's snapshot stands for all places up to this one: nobody will see what stood there. The tickets of
    /// those that were to.
    pub fn restored(&mut self, index: u64) -> Vec<u64> {
        let later = self.placed.split_off(&index.saturating_add(1));
        std::mem::replace(&mut self.placed, later).into_values().map(|(_, ticket)| ticket).collect()
    }

    /// A proposal was not taken ([`Output::Refused`](crate::Output::Refused)). Whoever made it is told at the next
    /// tick, not at once: a leader that hands over takes nothing for a while, and would be asked again and again
    /// by one that never lets that while pass.
    pub fn refused(&mut self, ticket: u64) {
        self.refused.push(ticket);
    }

    /// Does somebody wait to be told at the next tick?
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// A tick has passed. The tickets that were refused, which are lost.
    pub fn tick(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.refused)
    }

    /// Nothing that was proposed counts any more.
    pub fn clear(&mut self) {
        self.placed.clear();
        self.refused.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Proposals;

    #[test]
    fn who_loses_its_place_is_told() {
        let mut proposals = Proposals::default();
        assert_eq!(proposals.accepted(5, 2, 50), None);
        assert_eq!(proposals.accepted(6, 2, 60), None);
        assert_eq!(proposals.accepted(7, 2, 70), None);
        assert_eq!(proposals.committed(5, 2), None, "it stands");
        assert_eq!(proposals.committed(6, 3), Some(60), "another leader's entry stands there");
        assert_eq!(proposals.accepted(7, 4, 71), Some(70), "the log was cut and grew again");
        assert_eq!(proposals.restored(6), Vec::<u64>::new());
        assert_eq!(proposals.restored(7), [71]);
        assert_eq!(proposals.committed(7, 4), None);
        proposals.refused(80);
        assert!(proposals.has_refused());
        assert_eq!(proposals.tick(), [80], "told once");
        assert!(!proposals.has_refused() && proposals.tick().is_empty());
    }
}
