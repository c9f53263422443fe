//! Durations, sizes and numbers as Compose files write them and as the reference prints them.

use std::ops::Range;
use std::time::Duration;

const NANOS: [(&str, u64); 9] = [
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// `1m30s`, `1.5s`, `2d`, `500ms`; `0` needs no unit.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, factor) = NANOS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(digits, *factor)?)?;
        rest = after;
    }
    u64::try_from(nanos).ok().filter(|nanos| i64::try_from(*nanos).is_ok()).map(Duration::from_nanos)
}

/// `digits` (perhaps with a fraction) times `factor`, rounded down.
fn scaled(digits: &str, factor: u64) -> Option<u128> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(u128::from(factor))?;
    let mut unit = u128::from(factor);
    for digit in part.bytes() {
        unit /= 10;
        total = total.checked_add(unit * u128::from(digit - b'0'))?;
    }
    Some(total)
}

/// As Go prints it: `1h0m0s`, `1m30s`, `1.5s`, `500ms`, `0s`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (unit, factor) in [("ns", 1u128), ("µs", 1_000), ("ms", 1_000_000)] {
        if nanos < factor * 1000 {
            return format!("{}{unit}", decimal(nanos, factor));
        }
    }
    let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(number: u128, factor: u128) -> String {
    let (whole, part) = (number / factor, number % factor);
    if part == 0 {
        return whole.to_string();
    }
    let width = factor.ilog10() as usize;
    format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
}

/// `512m`, `1.5g`, `2 GiB`, `1024`: bytes; units are powers of 1024, case does not matter.
pub fn bytes(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.is_empty() || unit == "b" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * 1024f64.powi(power);
    // the largest i64 is not a double; one step below it is
    (bytes < 9.2e18).then_some(bytes as i64)
}

/// A number as Go's `%v` prints it: shortest digits that read back, `1e+06` from there on.
pub(crate) fn float(number: f64) -> String {
    shortest(number, 1e-4..1e6)
}

/// A number as Go writes it into JSON, where exponents begin later.
pub(crate) fn json_float(number: f64) -> String {
    shortest(number, 1e-6..1e21).replace("e-0", "e-")
}

/// Sizes out of `plain` get an exponent of at least two digits.
fn shortest(number: f64, plain: Range<f64>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = number.abs();
    if size == 0.0 || plain.contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, shown) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("10s", "10s"),
            ("1m30s", "1m30s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("500ms", "500ms"),
            ("1h", "1h0m0s"),
            ("1d", "24h0m0s"),
            ("2w1d", "360h0m0s"),
            ("1500us", "1.5ms"),
            ("10ns", "10ns"),
            ("1h0.5s", "1h0m0.5s"),
        ] {
            assert_eq!(duration(text).map(show_duration).as_deref(), Some(shown), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s", "1..5s", ".s", "1 s", "99999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in [
            ("1024", 1024),
            ("-1", -1),
            ("1k", 1024),
            ("512m", 512 << 20),
            ("1.5G", 3 << 29),
            ("2 GiB", 2 << 30),
            ("1gb", 1 << 30),
            ("64KB", 64 << 10),
            ("10b", 10),
            ("0.5k", 512),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "1x", "1 mm", "1mbi", "-1m", "1e3", "99999p"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_print_as_in_go() {
        for (number, text) in [
            (1.1, "1.1"),
            (3.0, "3"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (20_000_000.5, "2.00000005e+07"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.5, "0.5"),
        ] {
            assert_eq!(float(number), text);
        }
        for (number, text) in
            [(2e6, "2000000"), (1e21, "1e+21"), (0.00001, "0.00001"), (1e-7, "1e-7"), (1e-10, "1e-10")]
        {
            assert_eq!(json_float(number), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*|[0-9.]{0,12}[a-zµ ]{0,3}[0-9]{0,3}") {
            let _ = (duration(&text), bytes(&text));
        }

        #[test]
        fn what_is_printed_reads_back(nanos in 0u64..=i64::MAX as u64) {
            let value = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&show_duration(value)), Some(value));
        }
    }
}
