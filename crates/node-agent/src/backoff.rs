//! How long to wait before something is tried again.

use model::Time;
use std::time::Duration;

/// First delay of an in-place restart (moby, restartmanager).
const FIRST: Duration = Duration::from_millis(100);
/// Longest delay of an in-place restart (moby).
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next delay the first one again (moby).
const STEADY: Duration = Duration::from_secs(10);

/// The back-off of in-place restarts: 100 ms doubling to 1 min, from the start again after a run of 10 s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    last: Option<Duration>,
}

impl Restarts {
    /// The delay after a run of this length.
    pub(crate) fn next(&mut self, ran: Duration) -> Duration {
        let delay = match self.last {
            Some(last) if ran < STEADY => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(delay);
        delay
    }
}

/// First delay before a failed effect is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest delay before a failed effect is tried again.
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// The back-off of effects that failed: 250 ms doubling to 30 s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    failures: u32,
    at: Option<Time>,
}

impl Retry {
    /// It failed; the delay until it may be tried again.
    pub(crate) fn failed(&mut self, now: Time) -> Duration {
        let delay = RETRY_FIRST.saturating_mul(1 << self.failures.min(16)).min(RETRY_LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.at = Some(now.after(delay));
        delay
    }

    /// When it may be tried again, if that is still ahead.
    pub(crate) fn wait(&self, now: Time) -> Option<Time> {
        self.at.filter(|at| *at > now)
    }
}

/// A delay for people: `100 ms`, `2 s`.
pub(crate) fn shown(delay: Duration) -> String {
    if delay < Duration::from_secs(1) { format!("{} ms", delay.as_millis()) } else { format!("{} s", delay.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_double_to_a_minute_and_begin_again_after_a_steady_run() {
        let mut restarts = Restarts::default();
        let short = Duration::from_secs(1);
        let delays: Vec<u128> = (0..12).map(|_| restarts.next(short).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(restarts.next(Duration::from_secs(10)), FIRST);
        assert_eq!(restarts.next(short), Duration::from_millis(200));
    }

    #[test]
    fn retries_double_to_half_a_minute() {
        let mut retry = Retry::default();
        assert_eq!(retry.wait(Time(0)), None);
        let delays: Vec<u128> = (0..9).map(|_| retry.failed(Time(0)).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(retry.wait(Time(29_999)), Some(Time(30_000)));
        assert_eq!(retry.wait(Time(30_000)), None);
    }
}
