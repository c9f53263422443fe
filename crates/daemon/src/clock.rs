//! The one clock of the daemon, and how its times are written.

use model::Time;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Now, as the machines below know it.
pub(crate) fn now() -> Time {
    Time(u64::try_from(now_ns() / 1_000_000).unwrap_or(0))
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
    fn times_are_written_as_docker_does() {
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(Some(Time(1_500))), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(rfc3339_ns(1_000_000_001), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(nanoseconds("1970-01-01T00:00:01.000000001Z"), 1_000_000_001);
    }
}
