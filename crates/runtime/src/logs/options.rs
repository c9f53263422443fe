//! `logging` of a service: driver and options, with Docker's names and meanings.

use model::Logging;

/// Whether a container's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Driver `none`.
    Nothing,
    /// Driver `json-file`.
    Keep(LogOptions),
}

/// Options of `json-file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Bytes after which a new file is begun; `None` never.
    pub(crate) max_size: Option<u64>,
    /// Files kept, the newest included.
    pub(crate) max_file: u32,
}

impl Policy {
    /// Reads the options. `mode`, `compress`, `labels`, `env`, `tag` and buffer sizes are accepted and
    /// change nothing here: the shim always writes without making the container wait for a reader.
    ///
    /// # Errors
    /// A driver or option that is not known, or a value that makes no sense, as a sentence.
    pub(crate) fn parse(logging: &Logging) -> Result<Policy, String> {
        match logging.driver.as_deref() {
            Some("none") => return Ok(Policy::Nothing),
            None | Some("" | "json-file" | "local") => {}
            Some(other) => return Err(format!("logging driver `{other}` is not known: json-file, local or none")),
        }
        let mut options = LogOptions { max_size: None, max_file: 1 };
        if logging.driver.as_deref() == Some("local") {
            options = LogOptions { max_size: Some(20 << 20), max_file: 5 };
        }
        for (name, value) in &logging.options {
            match name.as_str() {
                "max-size" => options.max_size = parse_size(value)?,
                "max-file" => {
                    options.max_file = value
                        .parse()
                        .ok()
                        .filter(|count| *count >= 1)
                        .ok_or_else(|| format!("logging option max-file: `{value}` is not a number from 1"))?;
                }
                "mode" | "max-buffer-size" | "compress" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
                other => return Err(format!("logging option `{other}` is not known for driver json-file")),
            }
        }
        Ok(Policy::Keep(options))
    }
}

/// `10m`, `1g`, `500k`, `4096`, `-1` for without end.
fn parse_size(text: &str) -> Result<Option<u64>, String> {
    let bad = || format!("logging option max-size: `{text}` is no size such as 10m");
    if text == "-1" {
        return Ok(None);
    }
    let lower = text.to_ascii_lowercase();
    let trimmed = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match trimmed.chars().last() {
        Some('k') => (trimmed.trim_end_matches('k'), 10),
        Some('m') => (trimmed.trim_end_matches('m'), 20),
        Some('g') => (trimmed.trim_end_matches('g'), 30),
        _ => (trimmed, 0),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_shl(shift).filter(|size| size >> shift == number && *size > 0).map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logging(driver: Option<&str>, options: &[(&str, &str)]) -> Logging {
        Logging {
            driver: driver.map(str::to_owned),
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn sizes_counts_and_refusals() {
        let keep = |max_size, max_file| Ok(Policy::Keep(LogOptions { max_size, max_file }));
        assert_eq!(Policy::parse(&logging(None, &[])), keep(None, 1));
        let rotated = logging(Some("json-file"), &[("max-size", "10m"), ("max-file", "3"), ("mode", "non-blocking")]);
        assert_eq!(Policy::parse(&rotated), keep(Some(10 << 20), 3));
        assert_eq!(Policy::parse(&logging(Some("none"), &[])), Ok(Policy::Nothing));
        for bad in ["", "m", "0", "10x", "-2", "99999999999999999999", "99999999999g"] {
            assert!(Policy::parse(&logging(None, &[("max-size", bad)])).is_err(), "{bad}");
        }
        assert!(Policy::parse(&logging(None, &[("max-file", "0")])).is_err());
        assert!(Policy::parse(&logging(None, &[("max-fiel", "1")])).is_err());
        assert!(Policy::parse(&logging(Some("syslog"), &[])).is_err());
    }
}
