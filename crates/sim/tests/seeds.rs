//! Fixed seeds on every change; and each planted bug is caught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sim::Sabotage;
use std::panic::catch_unwind;

/// What a seed came to; a panic of the system under test is a failure with the panic's own message.
fn live(seed: u64, sabotage: Option<Sabotage>) -> Result<sim::Summary, String> {
    match catch_unwind(|| sim::run_with(seed, false, sabotage)) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(failure)) => Err(failure.what),
        Err(_) => Err("it panicked".to_owned()),
    }
}

/// Runs seeds; the first failure ends it. To live it again: `cargo run -p sim --bin sim -- --seed N --trace`.
fn hold(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(what) = live(seed, None) {
            panic!("seed {seed}: {what}");
        }
    }
}

#[test]
fn seeds_hold_first_quarter() {
    hold(0..75);
}

#[test]
fn seeds_hold_second_quarter() {
    hold(75..150);
}

#[test]
fn seeds_hold_third_quarter() {
    hold(150..225);
}

#[test]
fn seeds_hold_fourth_quarter() {
    hold(225..300);
}

/// Seeds that failed once, with what they taught.
#[test]
fn seeds_that_failed_once_hold() {
    for line in include_str!("../regressions.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().unwrap_or_else(|| panic!("a line without a seed"));
        hold(seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 11, 42] {
        let first = sim::run(seed, false).unwrap();
        let second = sim::run(seed, false).unwrap();
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.hash, sim::run(seed + 1000, false).unwrap().hash);
    }
}

#[test]
fn every_planted_bug_is_caught() {
    const SEEDS: u64 = 40;
    let silent = Sabotage::ALL.into_iter().filter(|bug| (0..SEEDS).all(|seed| live(seed, Some(*bug)).is_ok()));
    let silent: Vec<Sabotage> = silent.collect();
    assert!(silent.is_empty(), "nobody noticed {silent:?}");
}
