//! `logging` of a service: driver and options, with Docker's names and meanings.

use super::Attrs;
use model::Logging;

/// Whether a container's output is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Driver `none`.
    Nothing,
    /// Driver `json-file`, and what stands beside each of its lines.
    Keep(LogOptions, Attrs),
}

/// Options of `json-file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Bytes after which a new file is begun; `None` never.
    pub(crate) max_size: Option<u64>,
    /// Files kept, the newest included.
    pub(crate) max_file: u32,
    /// Files that are no longer written are kept as gzip.
    pub(crate) compress: bool,
}

impl Policy {
    /// Reads the options. `mode` and `max-buffer-size` must make sense but change nothing: no line is
    /// dropped, and a container waits for nobody but the disk.
    ///
    /// # Errors
    /// A driver or option that is not known, or a value that makes no sense, as a sentence.
    pub(crate) fn parse(logging: &Logging) -> Result<Policy, String> {
        let mut options = match logging.driver.as_deref() {
            Some("none") => return Ok(Policy::Nothing),
            None | Some("" | "json-file") => LogOptions { max_size: None, max_file: 1, compress: false },
            Some("local") => LogOptions { max_size: Some(20 << 20), max_file: 5, compress: true },
            Some(other) => return Err(format!("logging driver `{other}` is not known: json-file, local or none")),
        };
        let mut attrs = Attrs::default();
        for (name, value) in &logging.options {
            let bad = |expected: &str| format!("logging option {name}: `{value}` is {expected}");
            match name.as_str() {
                "max-size" => options.max_size = parse_size(name, value)?,
                "max-file" => {
                    let count = value.parse().ok().filter(|count| *count >= 1);
                    options.max_file = count.ok_or_else(|| bad("not a number from 1"))?;
                }
                "compress" => options.compress = value.parse().map_err(|_| bad("neither true nor false"))?,
                "mode" if matches!(value.as_str(), "" | "blocking" | "non-blocking") => {}
                "mode" => return Err(bad("neither blocking nor non-blocking")),
                "max-buffer-size" if logging.options.get("mode").is_some_and(|mode| mode == "non-blocking") => {
                    parse_size(name, value)?;
                }
                "max-buffer-size" => return Err(format!("logging option {name} is for mode non-blocking")),
                other if attrs.set(other, value)? => {}
                other => return Err(format!("logging option `{other}` is not known for driver json-file")),
            }
        }
        if options.compress && (options.max_file < 2 || options.max_size.is_none()) {
            if logging.options.contains_key("compress") {
                return Err("logging option compress needs max-size, and a max-file of 2 or more".to_owned());
            }
            options.compress = false;
        }
        Ok(Policy::Keep(options, attrs))
    }
}

/// `10m`, `1g`, `500k`, `4096`, `-1` for without end.
fn parse_size(name: &str, text: &str) -> Result<Option<u64>, String> {
    let bad = || format!("logging option {name}: `{text}` is no size such as 10m");
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
        let keep =
            |max_size, max_file| Ok(Policy::Keep(LogOptions { max_size, max_file, compress: false }, Attrs::default()));
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
        assert!(Policy::parse(&logging(None, &[("mode", "now")])).is_err());
        assert!(Policy::parse(&logging(None, &[("max-buffer-size", "1m")])).is_err());
        assert!(Policy::parse(&logging(None, &[("tag", "{{.Nmae}}")])).is_err());
        assert!(Policy::parse(&logging(None, &[("labels-regex", "(")])).is_err());
    }

    #[test]
    fn what_is_never_exchanged_is_not_compressed() {
        assert!(Policy::parse(&logging(None, &[("compress", "true")])).is_err());
        assert!(Policy::parse(&logging(None, &[("compress", "true"), ("max-size", "1m")])).is_err());
        let options = |logging: &Logging| match Policy::parse(logging) {
            Ok(Policy::Keep(options, _)) => options,
            other => panic!("{other:?}"),
        };
        let all = [("compress", "true"), ("max-size", "1m"), ("max-file", "2")];
        assert!(options(&logging(None, &all)).compress);
        assert!(options(&logging(Some("local"), &[])).compress);
        assert!(!options(&logging(Some("local"), &[("max-file", "1")])).compress);
    }
}
