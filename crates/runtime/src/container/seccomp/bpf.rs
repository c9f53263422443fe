//! Pieces of a BPF program. Each piece ends in a return or falls off its end.

use super::SockFilter;
use std::collections::BTreeMap;

/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The first whose conditions hold decides.
    pub(super) rules: Vec<Rule>,
    /// If none does; `None` is the default of the filter.
    pub(super) otherwise: Option<u32>,
}

/// An action for some arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// All have to hold.
    pub(super) conditions: Vec<Condition>,
    /// What the kernel is told.
    pub(super) action: u32,
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) test: Test,
}

/// Tests of unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal { mask: u64, value: u64 },
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    GreaterOrEqual(u64),
    Greater(u64),
}

fn op(code: u16, jt: usize, jf: usize, k: u32) -> SockFilter {
    // Pieces that are jumped over within a rule are a few instructions long; longer ones go
    // through `JUMP`. A wrong cast would jump into other rules, so it is asserted.
    assert!(jt < 256 && jf < 256, "a short jump is too long");
    SockFilter { code, jt: jt as u8, jf: jf as u8, k }
}

/// Loads a word of the call.
pub(super) fn load(offset: u32) -> SockFilter {
    op(LOAD, 0, 0, offset)
}

/// Ends the program.
pub(super) fn ret(action: u32) -> SockFilter {
    op(RETURN, 0, 0, action)
}

/// Runs `body` if the loaded word is `value`, else goes on after it.
pub(super) fn if_equal(value: u32, body: Vec<SockFilter>) -> Vec<SockFilter> {
    guarded(op(IF_EQUAL, 1, 0, value), body)
}

/// Runs `body` if the loaded word is at least `value`, else goes on after it.
pub(super) fn if_at_least(value: u32, body: Vec<SockFilter>) -> Vec<SockFilter> {
    guarded(op(IF_AT_LEAST, 1, 0, value), body)
}

fn guarded(test: SockFilter, body: Vec<SockFilter>) -> Vec<SockFilter> {
    let mut code = vec![test, op(JUMP, 0, 0, body.len() as u32)];
    code.extend(body);
    code
}

/// Calls from `start` up to the next range's have this outcome.
struct Range<'a> {
    start: u32,
    outcome: Option<&'a Outcome>,
}

/// Finds the loaded number among `calls`; those that are not in it get `default`, and `above` those
/// beyond the last one.
pub(super) fn tree(calls: &BTreeMap<u32, Outcome>, default: u32, above: u32) -> Vec<SockFilter> {
    let above = Outcome { rules: Vec::new(), otherwise: Some(above) };
    let last = calls.last_key_value().map(|(number, _)| *number);
    let mut ranges: Vec<Range<'_>> = vec![Range { start: 0, outcome: None }];
    for (number, outcome) in calls {
        push(&mut ranges, *number, Some(outcome), default);
        if !calls.contains_key(&(number + 1)) {
            let next = if Some(*number) == last { Some(&above) } else { None };
            push(&mut ranges, number + 1, next, default);
        }
    }
    search(&ranges, default)
}

/// Adds a range, unless its outcome goes on from the one before.
fn push<'a>(ranges: &mut Vec<Range<'a>>, start: u32, outcome: Option<&'a Outcome>, default: u32) {
    let Some(last) = ranges.last_mut() else { return };
    if last.start == start {
        last.outcome = outcome;
    } else if !same(last.outcome, outcome, default) {
        ranges.push(Range { start, outcome });
    }
}

fn same(a: Option<&Outcome>, b: Option<&Outcome>, default: u32) -> bool {
    let plain = |outcome: Option<&Outcome>| match outcome {
        None => Some(default),
        Some(outcome) if outcome.rules.is_empty() => Some(outcome.otherwise.unwrap_or(default)),
        Some(_) => None,
    };
    matches!((plain(a), plain(b)), (Some(a), Some(b)) if a == b)
}

fn search(ranges: &[Range<'_>], default: u32) -> Vec<SockFilter> {
    match ranges {
        [] => vec![ret(default)],
        [one] => leaf(one.outcome, default),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (start, low, high) = (high[0].start, search(low, default), search(high, default));
            let mut code = match low.len() {
                short @ 0..=255 => vec![op(IF_AT_LEAST, short, 0, start)],
                long => vec![op(IF_AT_LEAST, 0, 1, start), op(JUMP, 0, 0, long as u32)],
            };
            code.extend(low);
            code.extend(high);
            code
        }
    }
}

fn leaf(outcome: Option<&Outcome>, default: u32) -> Vec<SockFilter> {
    let Some(outcome) = outcome else { return vec![ret(default)] };
    let mut code = Vec::new();
    for rule in &outcome.rules {
        // From the last to the first, so that each knows how far the end of the rule is.
        let mut tests = vec![ret(rule.action)];
        for condition in rule.conditions.iter().rev() {
            let mut test = condition_code(condition, tests.len());
            test.extend(tests);
            tests = test;
        }
        code.extend(tests);
    }
    code.push(ret(outcome.otherwise.unwrap_or(default)));
    code
}

/// Falls off its end if the condition holds, and else jumps over the `rest` that follows.
fn condition_code(condition: &Condition, rest: usize) -> Vec<SockFilter> {
    let low = load(ARGUMENTS + 8 * condition.argument);
    let high = load(ARGUMENTS + 8 * condition.argument + 4);
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    match condition.test {
        Test::Equal { mask: u64::MAX, value } => {
            let (h, l) = halves(value);
            vec![high, op(IF_EQUAL, 0, rest + 2, h), low, op(IF_EQUAL, 0, rest, l)]
        }
        Test::Equal { mask, value } => {
            let ((mh, ml), (h, l)) = (halves(mask), halves(value));
            vec![
                high,
                op(AND, 0, 0, mh),
                op(IF_EQUAL, 0, rest + 3, h),
                low,
                op(AND, 0, 0, ml),
                op(IF_EQUAL, 0, rest, l),
            ]
        }
        Test::NotEqual(value) => {
            let (h, l) = halves(value);
            vec![high, op(IF_EQUAL, 0, 2, h), low, op(IF_EQUAL, rest, 0, l)]
        }
        Test::Greater(value) | Test::LessOrEqual(value) | Test::GreaterOrEqual(value) | Test::Less(value) => {
            let (h, l) = halves(value);
            let (code, wanted) = match condition.test {
                Test::Greater(_) => (IF_GREATER, true),
                Test::LessOrEqual(_) => (IF_GREATER, false),
                Test::GreaterOrEqual(_) => (IF_AT_LEAST, true),
                _ => (IF_AT_LEAST, false),
            };
            // high > h decides, high < h decides the other way, and the low half when equal.
            let (above, below) = if wanted { (3, rest + 2) } else { (rest + 3, 2) };
            let (yes, no) = if wanted { (0, rest) } else { (rest, 0) };
            vec![high, op(IF_GREATER, above, 0, h), op(IF_EQUAL, 0, below, h), low, op(code, yes, no, l)]
        }
    }
}
