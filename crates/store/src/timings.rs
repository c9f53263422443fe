//! What a store has done, in numbers that others may look at while it works.

use consensus::HardState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes of [`Histogram`], in microseconds; the last class has none.
pub const BOUNDS: [u64; 12] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 500_000, 2_000_000];

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    classes: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// It has happened once more.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(class) = self.classes.get(class) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How often it took at most as long as each bound, and then how often in all.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        self.classes.each_ref().map(|class| {
            sum += class.load(Ordering::Relaxed);
            sum
        })
    }

    /// All that it took, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }
}

/// What a store has on disk, and what that took.
#[derive(Debug, Default)]
pub struct Timings {
    /// Durable writes: each is one sync, and a batch of whatever came together.
    pub writes: Histogram,
    entries: AtomicU64,
    term: AtomicU64,
    commit: AtomicU64,
    last: AtomicU64,
}

impl Timings {
    /// Entries that were written since the store was opened.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// The newest term.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Index up to which entries are known to be committed.
    pub fn commit(&self) -> u64 {
        self.commit.load(Ordering::Relaxed)
    }

    /// Index of the last entry.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, hard_state: HardState, last: u64) {
        self.term.store(hard_state.term, Ordering::Relaxed);
        self.commit.store(hard_state.commit, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, entries: usize) {
        self.entries.fetch_add(u64::try_from(entries).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_counts_those_below_it_too() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 3000, 10_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[4], counts[11], counts[12]), (2, 3, 4, 4, 5));
        assert_eq!(histogram.micros(), 10_003_501);
    }
}
