//! Small texts that Docker's users type: sizes, durations, moments, `KEY=VALUE`.

use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes: `512m`, `1.5g`, `64KiB`, `100`. Units are powers of 1024, as in Docker.
///
/// # Errors
/// The text is no size.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let size = compose::units::bytes(text.trim()).and_then(|bytes| u64::try_from(bytes).ok());
    size.ok_or_else(|| anyhow!("`{text}` is no size: write a number with b, k, m, g or t, such as 512m"))
}

/// `digits` (plain decimal notation) times `unit`, fractions dropped; `None` when it is no number or
/// too large.
fn decimal(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.')?;
    let numeric = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than these say nothing.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let part = match fraction {
        "" => 0,
        digits => {
            digits.parse::<u128>().ok()? * u128::from(unit) / 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?
        }
    };
    u64::try_from(u128::from(whole) * u128::from(unit) + part).ok()
}

/// Billionths of a core: `1.5`, `.5`, `2`.
///
/// # Errors
/// The text is no positive number.
pub(crate) fn cpus(text: &str) -> Result<u64> {
    let value = match text.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1_000_000_000),
        Err(_) => decimal(text, 1_000_000_000),
    };
    match value {
        Some(value) if value > 0 => Ok(value),
        _ => bail!("`{text}` is no number of CPUs: write 2 or 0.5"),
    }
}

/// Go's durations: `1m30s`, `500ms`, `1.5h`, `0`. Days (`d`) and weeks (`w`) are understood too.
///
/// # Errors
/// The text is no duration.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    compose::units::duration(text).ok_or_else(|| anyhow!("`{text}` is no duration: write 10s, 1m30s or 500ms"))
}

/// The same, and plain seconds: `30`, `2m`.
///
/// # Errors
/// The text is neither.
pub(crate) fn patience(text: &str) -> Result<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text),
    }
}

/// A moment in milliseconds since the epoch: RFC 3339, a date, seconds since the epoch, or how long
/// ago (`10m`). `now` in the same unit.
///
/// # Errors
/// The text is no moment.
pub(crate) fn moment(text: &str, now: u64) -> Result<u64> {
    let bad = || anyhow!("`{text}` is no time: write 2026-01-02T15:04:05Z, 1767366245 or how long ago, such as 10m");
    let millis = |stamp: jiff::Timestamp| u64::try_from(stamp.as_millisecond()).map_err(|_| bad());
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !text.is_empty() {
        return match text.parse::<u64>() {
            Ok(seconds) => seconds.checked_mul(1000).ok_or_else(bad),
            Err(_) => decimal(text, 1000).ok_or_else(bad),
        };
    }
    if let Ok(ago) = duration(text) {
        return Ok(now.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return millis(stamp);
    }
    // Without an offset local time is meant.
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| bad())?;
    millis(civil.to_zoned_datetime(jiff::tz::TimeZone::system()).map_err(|_| bad())?.timestamp())
}

/// `KEY=VALUE`, or `KEY` for an empty value.
///
/// # Errors
/// The key is empty.
pub(crate) fn pair(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        bail!("`{text}` has no name before the `=`");
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Many of them; a later one wins.
///
/// # Errors
/// One has an empty key.
pub(crate) fn pairs(texts: &[String]) -> Result<BTreeMap<String, String>> {
    texts.iter().map(|text| pair(text)).collect()
}

/// The same where the value must be there.
///
/// # Errors
/// One has no key or no `=`.
pub(crate) fn strict_pairs(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let one = |text: &String| match text.contains('=') {
        true => pair(text),
        false => Err(anyhow!("`{text}` is not of the form NAME=VALUE")),
    };
    texts.iter().map(one).collect()
}

/// The same where the value is a number: how many there are of each kind.
///
/// # Errors
/// One has no key, or its value is no number.
pub(crate) fn counts(texts: &[String]) -> Result<BTreeMap<String, u64>> {
    let number = |(kind, count): (String, String)| match count.parse() {
        Ok(number) => Ok((kind, number)),
        Err(_) => Err(anyhow!("`{count}` is not how many {kind} there are: names of single things are not known here")),
    };
    strict_pairs(texts)?.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, value) in [
            ("0", 0),
            ("100", 100),
            ("100b", 100),
            ("1k", 1024),
            ("1kb", 1024),
            ("64KiB", 65536),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("1 G", 1 << 30),
        ] {
            assert_eq!(bytes(text).unwrap(), value, "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.2.3m", "1e3", "99999999999999999999", "20000p", "."] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("0", 0), ("10s", 10_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("500ms", 500), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s", "1m30", "999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(patience("10").unwrap(), Duration::from_secs(10));
        assert_eq!(patience("1m").unwrap(), Duration::from_secs(60));
    }

    #[test]
    fn cpus_keep_nine_digits() {
        assert_eq!(cpus("1.5").unwrap(), 1_500_000_000);
        assert_eq!(cpus(".000000001").unwrap(), 1);
        assert_eq!(cpus("2").unwrap(), 2_000_000_000);
        for text in ["0", "", "-1", "x", "0.0"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_absolute_or_ago() {
        let now = 1_800_000_000_000;
        assert_eq!(moment("10m", now).unwrap(), now - 600_000);
        assert_eq!(moment("1700000000", now).unwrap(), 1_700_000_000_000);
        assert_eq!(moment("1700000000.5", now).unwrap(), 1_700_000_000_500);
        assert_eq!(moment("2023-11-14T22:13:20Z", now).unwrap(), 1_700_000_000_000);
        assert_eq!(moment("2023-11-14T23:13:20.5+01:00", now).unwrap(), 1_700_000_000_500);
        assert!(moment("2023-11-14", now).is_ok());
        assert!(moment("yesterday", now).is_err() && moment("", now).is_err());
    }

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(pair("a").unwrap(), ("a".to_owned(), String::new()));
        assert!(pair("=x").is_err() && strict_pairs(&["a".to_owned()]).is_err());
        assert_eq!(counts(&["GPU=2".to_owned()]).unwrap(), [("GPU".to_owned(), 2)].into());
        assert!(counts(&["GPU=uuid1".to_owned()]).is_err() && counts(&["GPU".to_owned()]).is_err());
    }
}
