//! Groups of managers: fixed seeds on every change; and each planted bug is caught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sim::Flaw;
use std::ops::Range;
use std::panic::catch_unwind;

/// What a seed came to; a panic of the system under test is a failure with the panic's own message.
fn live(seed: u64, flaw: Option<Flaw>) -> Result<sim::GroupSummary, String> {
    match catch_unwind(|| sim::run_group(seed, false, flaw)) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(failure)) => Err(failure.what),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Runs seeds; the first failure ends it, with the words that show it again.
fn hold(seeds: Range<u64>) {
    for seed in seeds {
        if let Err(what) = live(seed, None) {
            panic!("seed {seed}: {what}\nto see it again: cargo run -p sim --bin sim -- --group --seed {seed} --trace");
        }
    }
}

#[test]
fn groups_hold_first_quarter() {
    hold(0..750);
}

#[test]
fn groups_hold_second_quarter() {
    hold(750..1500);
}

#[test]
fn groups_hold_third_quarter() {
    hold(1500..2250);
}

#[test]
fn groups_hold_fourth_quarter() {
    hold(2250..3000);
}

/// Seeds that failed once, beyond those above, with what they taught.
#[test]
fn groups_that_failed_once_hold() {
    for line in include_str!("../regressions-group.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed: u64 = line.split_whitespace().next().unwrap_or_default().parse().unwrap();
        hold(seed..seed + 1);
    }
}

#[test]
fn a_storm_is_one() {
    let all: Vec<_> = (0..20).map(|seed| live(seed, None).unwrap()).collect();
    let sum = |of: fn(&sim::GroupSummary) -> u64| all.iter().map(of).sum::<u64>();
    assert!(sum(|it| it.writes) > 200 && sum(|it| it.reads) > 200, "clients do little");
    assert!(sum(|it| it.leaders) > 40 && sum(|it| it.crashes) > 40, "little happens");
    assert!(sum(|it| it.restored) > 10 && sum(|it| it.reshaped) > 10, "groups stay as they are");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 11] {
        assert_eq!(sim::run_group(seed, false, None).unwrap(), sim::run_group(seed, false, None).unwrap());
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let silent = Flaw::ALL.into_iter().filter(|flaw| (0..60).all(|seed| live(seed, Some(*flaw)).is_ok()));
    let silent: Vec<Flaw> = silent.collect();
    assert!(silent.is_empty(), "nobody noticed {silent:?}");
}
