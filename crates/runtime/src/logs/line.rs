//! One line of a log file.

use super::{LogRecord, LogStream};
use serde::Deserialize;

/// Appends a record as a line: `text` is the bytes as they were written by the container, `attrs` a JSON
/// object or empty. They come first, so that the end of a record, by which lines are counted, is short.
pub(super) fn encode(out: &mut Vec<u8>, attrs: &[u8], stream: LogStream, time_ns: u64, text: &[u8], newline: bool) {
    if attrs.is_empty() {
        out.push(b'{');
    } else {
        out.extend_from_slice(b"{\"attrs\":");
        out.extend_from_slice(attrs);
        out.push(b',');
    }
    out.extend_from_slice(b"\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    if newline {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    push_time(out, time_ns);
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            other => out.push(other),
        }
    }
}

/// `2024-05-01T12:00:00.123456789Z`, always nine digits so that times compare as text.
fn push_time(out: &mut Vec<u8>, time_ns: u64) {
    let seconds = time_ns / 1_000_000_000;
    let nanos = time_ns % 1_000_000_000;
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
    let text = time.to_string();
    out.extend_from_slice(text.strip_suffix('Z').unwrap_or(&text).as_bytes());
    let mut digits = *b".000000000Z";
    let mut rest = nanos;
    for place in (1..=9).rev() {
        digits[place] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

#[derive(Deserialize)]
struct Raw<'a> {
    log: String,
    #[serde(borrow)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    time: std::borrow::Cow<'a, str>,
}

/// Reads one line (without its newline); `None` for what is no record.
pub(super) fn decode(line: &[u8]) -> Option<LogRecord> {
    let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    let stream = if raw.stream == "stderr" { LogStream::Stderr } else { LogStream::Stdout };
    let time: jiff::Timestamp = raw.time.parse().ok()?;
    let time_ns = u64::try_from(time.as_nanosecond()).ok()?;
    let mut text = raw.log;
    let newline = text.ends_with('\n');
    if newline {
        text.pop();
    }
    Some(LogRecord { stream, time_ns, line: text, newline })
}

/// Does this line, or its last part, hold the end of what the container meant as a line? Without reading
/// all of it.
pub(super) fn ends_line(line: &[u8]) -> bool {
    const MARK: &[u8] = b"\",\"stream\":\"";
    // No text can hold the mark itself, whose quotes would be escaped; attributes can, but come before.
    let Some(at) = line.windows(MARK.len()).rposition(|window| window == MARK) else { return false };
    let Some(text) = line.get(..at).and_then(|text| text.strip_suffix(b"n")) else { return false };
    // An even number of backslashes is a text that ends with `\n` in two letters.
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            newline: bool,
            error: bool,
            time_ns in 0u64..4_000_000_000_000_000_000,
        ) {
            let stream = if error { LogStream::Stderr } else { LogStream::Stdout };
            let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\n').collect();
            let mut out = Vec::new();
            let attrs: &[u8] = if error { br#"{"a":"b\n","stream":"x"}"# } else { b"" };
            encode(&mut out, attrs, stream, time_ns, &text, newline);
            prop_assert_eq!(out.pop(), Some(b'\n'));
            prop_assert!(!out.contains(&b'\n'));
            let record = decode(&out).unwrap();
            let line = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(&record, &LogRecord { stream, time_ns, line, newline });
            prop_assert_eq!(ends_line(&out), newline);
            // An independent reader of JSON agrees.
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(value["stream"].as_str(), Some(stream.name()));
        }

        #[test]
        fn noise_is_no_record(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&noise);
        }
    }

    #[test]
    fn letters_that_look_like_an_end_are_none() {
        for (text, newline) in [("c:\\n", false), ("c:\\\\n", false), ("c:\\n", true), ("n", false), ("", true)] {
            let mut out = Vec::new();
            encode(&mut out, b"", LogStream::Stdout, 1, text.as_bytes(), newline);
            assert_eq!(ends_line(&out), newline, "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn docker_s_own_lines_are_read() {
        let line = br#"{"log":"hi\u003cthere\n","stream":"stderr","attrs":{"a":"b"},"time":"2024-05-01T12:00:00.5Z"}"#;
        let record = decode(line).unwrap();
        assert_eq!((record.line.as_str(), record.newline, record.stream), ("hi<there", true, LogStream::Stderr));
        assert_eq!(record.time_ns, 1_714_564_800_500_000_000);
    }
}
