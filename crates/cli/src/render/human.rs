//! Times and sizes for people, in Docker's words.

use std::time::Duration;

/// `5 minutes`, `About an hour`, `2 weeks`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 if minutes < 46 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// The same with `ago`; both in milliseconds since the epoch, 0 for unknown.
pub(crate) fn ago(then: u64, now: u64) -> String {
    if then == 0 {
        return "N/A".to_owned();
    }
    format!("{} ago", span(Duration::from_millis(now.saturating_sub(then))))
}

/// Decimal units, three digits: `1.24MB`.
pub(crate) fn decimal_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

/// Binary units, four digits: `1.184MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = format!("{value:.0}").len();
    let mut text = format!("{value:.*}", digits.saturating_sub(whole));
    // As Go's %g: no zeros at the end.
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{text}{}", units.get(unit).copied().unwrap_or(""))
}

/// Docker's `CreatedAt`: `2026-01-02 15:04:05 +0000 UTC`.
pub(crate) fn created_at(millis: u64) -> String {
    let stamp = i64::try_from(millis).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.filter(|_| millis > 0).map_or_else(
        || "N/A".to_owned(),
        |stamp| stamp.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
    )
}

/// Shortened to so many characters, the last being `…`.
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(length.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (45 * 60, "45 minutes"),
            (50 * 60, "About an hour"),
            (2 * 3600, "2 hours"),
            (49 * 3600, "2 days"),
            (20 * 86400, "2 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(ago(0, 5), "N/A");
        assert_eq!(ago(1_000, 6_500), "5 seconds ago");
    }

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_241_513, "1.24MB", "1.184MiB"),
            (5_000_000, "5MB", "4.768MiB"),
            (123_456_789, "123MB", "117.7MiB"),
        ] {
            assert_eq!((decimal_size(bytes).as_str(), binary_size(bytes).as_str()), (decimal, binary));
        }
    }

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abc", 4), "abc");
    }
}
