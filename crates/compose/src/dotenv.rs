//! `.env` files, read as the reference reads them: comments, `export`, quotes, escapes, variables.

use crate::interpolate::{self, TemplateError};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DotenvError {
    /// Line from 1.
    pub(crate) line: u32,
    /// What.
    pub(crate) message: String,
}

/// Adds the variables of a text to `out`. `lookup` knows variables from outside, which go before
/// those of the file when values refer to them.
pub(crate) fn parse(
    text: &str,
    out: &mut BTreeMap<String, String>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(), DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1 };
    while reader.skip_to_statement() {
        let line = reader.line;
        let (key, inherited) = reader.key()?;
        if key.contains(char::is_whitespace) {
            return Err(DotenvError { line, message: format!("the name `{key}` contains a space") });
        }
        let value = if inherited { lookup(&key) } else { Some(reader.value(out, lookup)?) };
        if let Some(value) = value {
            out.insert(key, value);
        }
    }
    Ok(())
}

/// The names that a text sets, each with its line (from 1), in order.
pub(crate) fn places(text: &str) -> Vec<(String, u32)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1 };
    let mut found = Vec::new();
    while reader.skip_to_statement() {
        let line = reader.line;
        let Ok((name, inherited)) = reader.key() else { break };
        // what is wrong with a value has been told; its end is known all the same
        if !inherited && reader.value(&BTreeMap::new(), &|_| None).is_err() && reader.line == line {
            reader.advance(reader.rest.find('\n').unwrap_or(reader.rest.len()));
        }
        found.push((name, line));
    }
    found
}

/// The variables of a text in the `raw` format: everything after the first `=` is the value.
pub(crate) fn raw(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
}

impl<'a> Reader<'a> {
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += u32::try_from(taken.bytes().filter(|b| *b == b'\n').count()).unwrap_or(0);
        self.rest = rest;
        taken
    }

    /// Skips blanks and comments; false at the end.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
        self.advance(self.rest.len() - rest.len());
    }

    /// The name, and whether it stands alone on its line (its value comes from outside).
    fn key(&mut self) -> Result<(String, bool), DotenvError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.advance("export".len());
            self.skip_blanks();
        }
        for (at, c) in self.rest.char_indices() {
            match c {
                '=' | ':' => {
                    let key = self.advance(at).trim_end().to_owned();
                    self.advance(1);
                    self.skip_blanks();
                    return Ok((key, false));
                }
                '\n' => return Ok((self.advance(at).trim_end().to_owned(), true)),
                '_' | '.' | '-' | '[' | ']' => {}
                c if c.is_whitespace() || c.is_alphanumeric() => {}
                c => {
                    let text = self.rest.lines().next().unwrap_or("");
                    let message =
                        format!("unexpected character `{c}` in the variable name `{}`", crate::tree::shorten(text));
                    return Err(DotenvError { line: self.line, message });
                }
            }
        }
        Ok((self.advance(self.rest.len()).trim_end().to_owned(), true))
    }

    fn value(
        &mut self,
        known: &BTreeMap<String, String>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, DotenvError> {
        let line = self.line;
        let expand = |text: &str| {
            let find = |name: &str| lookup(name).or_else(|| known.get(name).cloned());
            interpolate::substitute(text, &find, &mut BTreeSet::new())
                .map_err(|error| DotenvError { line, message: template_message(text, &error) })
        };
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let inside = self.quoted(quote)?;
                if quote == '"' { expand(&unescape(&inside)) } else { Ok(inside) }
            }
            _ => {
                let text = self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
                let text = text.split_once(" #").map_or(text, |(value, _)| value);
                expand(text.trim_end())
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let mut inside = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            if c == quote && !escaped {
                self.advance(at + 1);
                return Ok(inside);
            }
            if c == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if std::mem::take(&mut escaped) && c != quote {
                inside.push('\\');
            }
            inside.push(c);
        }
        let start = self.rest.lines().next().unwrap_or("");
        let message = format!("the quote of `{}` is never closed", crate::tree::shorten(start));
        Err(DotenvError { line: self.line, message })
    }
}

fn template_message(text: &str, error: &TemplateError) -> String {
    match error {
        TemplateError::Invalid => format!("`{}` is no valid template", crate::tree::shorten(text)),
        TemplateError::Required { name, reason } if reason.is_empty() => format!("the variable `{name}` has no value"),
        TemplateError::Required { name, reason } => format!("the variable `{name}` has no value: {reason}"),
        TemplateError::TooLarge => "the value is nested too deeply or too long".to_owned(),
    }
}

/// Escapes of double-quoted values; `\$` keeps the dollar from being a variable.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match c {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '"' | '\\' => c,
            '$' => {
                out.push_str("$$");
                rest = &rest[1..];
                continue;
            }
            '0' => {
                rest = octal(&rest[1..], &mut out);
                continue;
            }
            _ => {
                out.push('\\');
                continue;
            }
        };
        out.push(plain);
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
    out
}

/// `\0123` is one character; other lengths stay as they are.
fn octal<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let length = digits.bytes().take(3).take_while(u8::is_ascii_digit).count();
    match u8::from_str_radix(&digits[..length], 8) {
        Ok(code) if length == 3 => out.push(char::from(code)),
        _ => {
            out.push_str("\\0");
            out.push_str(&digits[..length]);
        }
    }
    &digits[length..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let mut out = BTreeMap::new();
        let lookup = |name: &str| (name == "OUT").then(|| "side".to_owned());
        parse(text, &mut out, &lookup).unwrap();
        out.into_iter().collect()
    }

    fn value(text: &str) -> String {
        read(text).remove(0).1
    }

    #[test]
    fn values_are_read_as_the_reference_reads_them() {
        for (text, expected) in [
            ("A=1", "1"),
            ("export A=1\n", "1"),
            ("A: yes", "yes"),
            ("A = spaced  \n", "spaced"),
            ("A=x # comment", "x"),
            ("A=x#no comment", "x#no comment"),
            ("A='$X \\n'", "$X \\n"),
            ("A='it\\'s'", "it's"),
            ("A=\"two\\nlines\"", "two\nlines"),
            ("A=\"over\nlines\"", "over\nlines"),
            ("A=\"\\$X $OUT\"", "$X side"),
            ("A=${OUT}/${B:-b}", "side/b"),
            ("A=\n", ""),
            ("A=\"\\0101\"", "A"),
            ("# c\n\n  A=1", "1"),
            ("A='#'", "#"),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_alone_take_their_value_from_outside() {
        assert_eq!(read("OUT\nB=2\n"), [("B".to_owned(), "2".to_owned()), ("OUT".to_owned(), "side".to_owned())]);
        assert_eq!(read("NOWHERE"), []);
    }

    #[test]
    fn earlier_values_fill_later_ones() {
        assert_eq!(read("A=1\nB=${A}2"), [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "12".to_owned())]);
    }

    #[test]
    fn errors_name_their_line() {
        let lines = |text: &str| parse(text, &mut BTreeMap::new(), &|_| None).unwrap_err().line;
        assert_eq!(lines("A=1\nB!=2"), 2);
        assert_eq!(lines("A=1\nA B=2"), 2);
        assert_eq!(lines("\n\nA=\"x\n"), 3);
        assert_eq!(lines("A=${"), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A=\"'\\\\$#\n :0n{}]{0,30}|.*") {
            let _ = parse(&text, &mut BTreeMap::new(), &|_| None);
        }
    }
}
