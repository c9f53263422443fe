//! When to ask a repository again: a function of time, of what it answered, and of a seed.

use model::{Ids, Time};
use std::time::Duration;

/// Longest pause after failures in a row.
const LONGEST: Duration = Duration::from_secs(600);

/// The times of one source.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    failures: u32,
    next: Option<Time>,
    dice: Ids,
}

impl Schedule {
    /// The first time is at once. An interval of zero: only then, and when told.
    pub fn new(interval: Duration, seed: u64, now: Time) -> Schedule {
        Schedule { interval, failures: 0, next: Some(now), dice: Ids::new(seed) }
    }

    /// When to ask; `None`: when told.
    pub fn next(&self) -> Option<Time> {
        self.next
    }

    /// It was asked, and answered or not.
    pub fn asked(&mut self, now: Time, answered: bool) {
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        // A repository that should be asked never is asked again all the same while it does not answer.
        let pause = match (answered, self.interval.is_zero()) {
            (true, true) => None,
            (true, false) => Some(self.interval),
            (false, _) => {
                let first = if self.interval.is_zero() { Duration::from_secs(30) } else { self.interval };
                let doubled = first.saturating_mul(1 << self.failures.saturating_sub(1).min(10));
                Some(doubled.min(LONGEST.max(first)))
            }
        };
        self.next = pause.map(|pause| now.after(self.spread(pause)));
    }

    /// A tenth more or less, so that many sources do not ask at once for ever.
    fn spread(&mut self, pause: Duration) -> Duration {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let tenth = (millis / 10).max(1);
        Duration::from_millis(millis - tenth + self.dice.next_u64() % (2 * tenth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_at_its_interval_and_backs_off() {
        let start = Time(1_000_000);
        let mut schedule = Schedule::new(Duration::from_secs(60), 1, start);
        assert_eq!(schedule.next(), Some(start));
        let pause = |schedule: &mut Schedule, answered| {
            schedule.asked(start, answered);
            schedule.next().map(|next| next.since(start).as_secs())
        };
        let near = |found: Option<u64>, secs: u64| found.is_some_and(|found| found.abs_diff(secs) <= secs / 10);
        for (answered, secs) in [(true, 60), (false, 60), (false, 120), (false, 240), (true, 60)] {
            let found = pause(&mut schedule, answered);
            assert!(near(found, secs), "{found:?} {secs}");
        }
        for _ in 0..20 {
            pause(&mut schedule, false);
        }
        assert!(near(pause(&mut schedule, false), 600));
        let mut told = Schedule::new(Duration::ZERO, 1, start);
        assert_eq!(pause(&mut told, true), None);
        assert!(near(pause(&mut told, false), 30));
    }

    #[test]
    fn an_hour_of_silence_costs_few_questions_and_one_answer_ends_it() {
        for seed in 0..50 {
            let start = Time(1_000_000);
            let (mut schedule, mut now, mut asked) = (Schedule::new(Duration::from_secs(60), seed, start), start, 0);
            while now.since(start) < Duration::from_secs(3600) {
                schedule.asked(now, false);
                asked += 1;
                let next = schedule.next().expect("it asks again by itself");
                assert!(next > now && next.since(now) <= LONGEST * 11 / 10, "{next:?} after {now:?}");
                now = next;
            }
            // 1, 2, 4 and 8 minutes, then every ten.
            assert!((8..=11).contains(&asked), "asked {asked} times");
            schedule.asked(now, true);
            let next = schedule.next().map(|next| next.since(now));
            assert!(next.is_some_and(|next| next <= Duration::from_secs(66)), "{next:?}");
        }
    }
}
