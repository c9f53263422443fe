//! The clocks of the daemon, and how their times are written.

use model::Time;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Now, as the machines below know it.
pub(crate) fn now() -> Time {
    Time(u64::try_from(now_ns() / 1_000_000).unwrap_or(0))
}

/// A machine that starts without knowing the time is told it at once. All else is caught up with slowly.
const LEAP: Duration = Duration::from_secs(60);
/// By a fourth the clock goes faster, or slower, until it is right again.
const SLEW: u32 = 4;

/// Now, for whatever has to wait: an hour's wait takes an hour, about, also if the clock of the machine is set
/// meanwhile. Goes like that, but never back; where that leaps this follows slowly, which keeps whoever waits from being
/// late by as much, or early.
pub(crate) fn steady() -> Time {
    static LAST: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let (at, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let now = last.map_or(wall, |(before, last)| follow(last, at.saturating_duration_since(before), wall));
    *last = Some((at, now));
    Time(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The steady time `elapsed` after `last`, while the clock of the machine says `wall`.
fn follow(last: Duration, elapsed: Duration, wall: Duration) -> Duration {
    let due = last.saturating_add(elapsed);
    let most = elapsed / SLEW;
    match wall.checked_sub(due) {
        Some(behind) if behind > LEAP => wall,
        Some(behind) => due.saturating_add(behind.min(most)),
        None => due.saturating_sub(due.saturating_sub(wall).min(most)),
    }
}

/// A time of the system as one of ours.
pub(crate) fn of(time: SystemTime) -> Time {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// RFC 3339 in UTC with nanoseconds, all nine digits.
pub(crate) fn rfc3339_ns(nanoseconds: u64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => NEVER.to_owned(),
    }
}

/// Nanoseconds since the epoch of what [`rfc3339_ns`] wrote; zero of anything else.
pub(crate) fn nanoseconds(text: &str) -> u64 {
    let time = text.parse::<jiff::Timestamp>().ok();
    time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0)
}

/// What Docker writes where nothing has happened yet.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 of one of our times; [`NEVER`] for none.
pub(crate) fn rfc3339(time: Option<Time>) -> String {
    match time.and_then(|time| jiff::Timestamp::from_millisecond(i64::try_from(time.0).ok()?).ok()) {
        Some(time) => format!("{time:.9}"),
        None => NEVER.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_takes_its_time_whatever_the_wall_clock_does() {
        let seconds = Duration::from_secs;
        // The time of both clocks after so many seconds, if the wall clock was set at the beginning.
        let after = |count: u64, set: u64| {
            (1..=count * 10).fold(seconds(1_000_000), |now, tenth| {
                follow(now, Duration::from_millis(100), seconds(set) + Duration::from_millis(100 * tenth))
            })
        };
        assert_eq!(after(10, 1_000_000), seconds(1_000_010));
        // Set back by an hour, and on by ten seconds.
        assert_eq!(after(10, 996_400), seconds(1_000_000) + Duration::from_millis(7_500));
        assert_eq!(after(10, 1_000_010), seconds(1_000_000) + Duration::from_millis(12_500));
        // It is right in the end, and stays so.
        assert_eq!(after(3_600 * 4, 996_400), seconds(996_400 + 3_600 * 4));
        assert_eq!(after(100, 1_000_010), seconds(1_000_110));
        // A machine that has just learned what year it is.
        assert_eq!(after(1, 50_000_000), seconds(50_000_001));
    }

    #[test]
    fn times_are_written_as_docker_does() {
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(Some(Time(1_500))), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(rfc3339_ns(1_000_000_001), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(nanoseconds("1970-01-01T00:00:01.000000001Z"), 1_000_000_001);
    }
}
