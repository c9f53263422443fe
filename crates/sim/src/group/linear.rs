//! Could one register that never fails have given these answers? (Linearizability, checked as Wing and Gong do,
//! with Lowe's memory of what was tried.)

use std::collections::BTreeSet;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It wrote this.
    Write(u64),
    /// It saw this.
    Read(u64),
}

/// An operation as its client saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// When it was first asked for.
    pub(super) asked: u64,
    /// When it was answered; `None`: never, it may have happened at any time since, or not.
    pub(super) answered: Option<u64>,
    pub(super) act: Act,
}

/// Operations on one register that can be checked at once.
pub(super) const MOST: usize = 128;

/// Is there an order of all that was answered (and some of what was not), each between its question and its
/// answer, in which each read sees the write before it? The register holds 0 at first.
pub(super) fn is_linear(history: &[Span]) -> bool {
    if history.len() > MOST {
        return false;
    }
    let mut tried: BTreeSet<(u128, u64)> = BTreeSet::new();
    let mut open: Vec<(u128, u64)> = vec![(0, 0)];
    while let Some((done, value)) = open.pop() {
        let left = || history.iter().enumerate().filter(move |(at, _)| done & (1 << at) == 0);
        // Whoever comes next was asked for before any of the others was answered.
        let Some(first) = left().filter_map(|(_, span)| span.answered).min() else { return true };
        for (at, span) in left().filter(|(_, span)| span.asked <= first) {
            let next = match span.act {
                Act::Write(written) => written,
                Act::Read(seen) if seen == value => value,
                Act::Read(_) => continue,
            };
            let state = (done | 1 << at, next);
            if tried.insert(state) {
                open.push(state);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Act, Span, is_linear};

    fn write(asked: u64, answered: u64, value: u64) -> Span {
        Span { asked, answered: Some(answered), act: Act::Write(value) }
    }

    fn read(asked: u64, answered: u64, value: u64) -> Span {
        Span { asked, answered: Some(answered), act: Act::Read(value) }
    }

    #[test]
    fn one_after_the_other() {
        assert!(is_linear(&[]));
        assert!(is_linear(&[read(1, 2, 0), write(3, 4, 7), read(5, 6, 7)]));
        assert!(!is_linear(&[write(3, 4, 7), read(5, 6, 0)]), "a read of the past");
        assert!(!is_linear(&[write(1, 2, 7), write(3, 4, 8), read(5, 6, 7)]), "an old write came back");
    }

    #[test]
    fn at_the_same_time() {
        assert!(is_linear(&[write(1, 9, 7), read(2, 3, 0), read(4, 5, 7)]));
        assert!(!is_linear(&[write(1, 9, 7), read(2, 3, 7), read(4, 5, 0)]), "seen, then not");
    }

    #[test]
    fn what_was_never_answered_may_have_happened_or_not() {
        let lost = Span { asked: 1, answered: None, act: Act::Write(7) };
        assert!(is_linear(&[lost, read(2, 3, 0), read(4, 5, 7)]));
        assert!(is_linear(&[lost, read(2, 3, 0), read(4, 5, 0)]));
        assert!(!is_linear(&[lost, read(2, 3, 7), read(4, 5, 0)]), "it can't be undone");
        assert!(!is_linear(&[read(2, 3, 7), Span { asked: 4, answered: None, act: Act::Write(7) }]), "not before");
    }
}
