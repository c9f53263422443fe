//! Chance as a stream: the same seed gives the same world.

use model::Ids;

/// A seeded stream of decisions.
#[derive(Debug, Clone)]
pub(crate) struct Chance {
    stream: Ids,
}

impl Chance {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Chance {
        Chance { stream: Ids::new(seed) }
    }

    /// A stream of its own, so that more draws here do not change what is drawn there.
    pub(crate) fn fork(&mut self) -> Chance {
        Chance::new(self.stream.next_u64())
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number below `end`; 0 for an `end` of 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.stream.next_u64() % end }
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True that often in a thousand.
    pub(crate) fn permille(&mut self, often: u64) -> bool {
        self.below(1000) < often
    }

    /// Heads.
    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// One of these; `None` of nothing.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let at = self.below(u64::try_from(of.len()).unwrap_or(0));
        of.get(usize::try_from(at).unwrap_or(0))
    }

    /// Most often short, sometimes long: a delay in milliseconds of at most `longest`.
    pub(crate) fn delay(&mut self, longest: u64) -> u64 {
        let most = if self.below(8) == 0 { longest } else { longest.div_ceil(10) };
        self.between(1, most.max(1))
    }
}
