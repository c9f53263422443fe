//! Which entries the log holds: their range and terms, without their content.

use crate::record;
use std::collections::BTreeMap;

/// The range after `base` up to `last`, with the index at which each term begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Index and term before the first entry; `None` while nothing is known of the log.
    base: Option<(u64, u64)>,
    /// The base is only concluded from the first entry seen: segments before it have been cut.
    concluded: bool,
    last: u64,
    terms: BTreeMap<u64, u64>,
}

impl Shape {
    pub(crate) fn base(&self) -> u64 {
        self.base.map_or(0, |(index, _)| index)
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds an entry, in place of what stood at its index and after. The first one that is ever
    /// seen says where the log begins, and so does one that replaces even that: what was before
    /// has been cut.
    ///
    /// `false`: it would leave a gap.
    #[must_use]
    pub(crate) fn append(&mut self, index: u64, term: u64) -> bool {
        if index > 0 && (self.base.is_none() || (self.concluded && index <= self.base())) {
            self.reset(index - 1, 0);
            self.concluded = true;
        }
        if index <= self.base() || index > self.last + 1 {
            return false;
        }
        self.terms.split_off(&index);
        if self.terms.last_key_value().map(|(_, last)| *last) != Some(term) {
            self.terms.insert(index, term);
        }
        self.last = index;
        true
    }

    /// No entries; the next is the one after `index`.
    pub(crate) fn reset(&mut self, index: u64, term: u64) {
        *self = Shape { base: Some((index, term)), concluded: false, last: index, terms: BTreeMap::new() };
    }

    /// A snapshot stands in for the log up to `index`. What follows stays if the log had the same
    /// entry there, else all of it goes (Raft §7).
    pub(crate) fn take_snapshot(&mut self, index: u64, term: u64) {
        let had = if index == self.base() { self.base.map(|_| term) } else { self.term(index) };
        if had != Some(term) {
            self.reset(index, term);
            return;
        }
        let mut after = self.terms.split_off(&(index + 1));
        if let Some(term) = self.terms.last_key_value().map(|(_, term)| *term)
            && self.last > index
        {
            after.entry(index + 1).or_insert(term);
        }
        self.terms = after;
        self.concluded = false;
        self.base = Some((index, term));
    }

    /// Says in a new segment that older entries are void, if there are none that count.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self.base {
            Some((index, term)) if index == self.last => record::put_reset(out, index, term),
            _ => {}
        }
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index <= self.base() || index > self.last {
            return None;
        }
        self.terms.range(..=index).next_back().map(|(_, term)| *term)
    }
}
