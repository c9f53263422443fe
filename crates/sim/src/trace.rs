//! What happened, in order, as words; and a number that is the same only for the same history.

use model::Time;
use std::collections::VecDeque;
use std::fmt::Display;

/// Lines that are kept for the report of a failure.
const KEPT: usize = 400;

/// The history of a run.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    hash: u64,
    /// Keep everything.
    whole: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty one. `whole`: keep every line, not only the last ones.
    pub(crate) fn new(whole: bool) -> Trace {
        // FNV-1a, 64 bits.
        Trace { hash: 0xcbf2_9ce4_8422_2325, whole, lines: VecDeque::new() }
    }

    /// Notes what happened.
    pub(crate) fn say(&mut self, now: Time, what: impl Display) {
        self.keep(format!("{:>9} {what}", now.0));
    }

    fn keep(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if !self.whole && self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Takes over what another has noted.
    pub(crate) fn take(&mut self, other: &mut Trace) {
        for line in other.lines.drain(..) {
            self.keep(line);
        }
    }

    /// The number of this history.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
