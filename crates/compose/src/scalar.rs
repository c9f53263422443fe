//! Which type a plain YAML scalar has, as the reference's YAML library decides it.

use crate::tree::Value;
use std::borrow::Cow;

/// The value of a plain scalar.
pub(crate) fn resolve(text: Cow<'_, str>) -> Value {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::Text(text.into_owned());
    }
    let plain = text.replace('_', "");
    if let Some(number) = integer(&plain) {
        // beyond the range of the type nothing counts with it; as text, nothing of it is lost
        return i64::try_from(number).map_or_else(|_| too_large(number), Value::Int);
    }
    if is_float(&plain)
        && let Ok(number) = plain.parse::<f64>()
    {
        return Value::Float(number);
    }
    Value::Text(text.into_owned())
}

/// A number that is no `i64`: the reference still keeps those of 64 bits without a sign.
fn too_large(number: i128) -> Value {
    match u64::try_from(number) {
        Ok(number) => Value::Text(number.to_string()),
        Err(_) => Value::Float(number as f64),
    }
}

/// Decimal, `0x`, `0o`, `0b` and the octal `0…` of YAML 1.1.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        parse_digits(hex, 16)?
    } else if let Some(binary) = digits.strip_prefix("0b").or_else(|| digits.strip_prefix("0B")) {
        parse_digits(binary, 2)?
    } else if let Some(octal) = digits.strip_prefix("0o").or_else(|| digits.strip_prefix("0O")) {
        parse_digits(octal, 8)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        parse_digits(&digits[1..], 8)?
    } else {
        parse_digits(digits, 10)?
    };
    Some(if negative { -number } else { number })
}

fn parse_digits(digits: &str, radix: u32) -> Option<i128> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, part)) => all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|part| {
        let digits = part.strip_prefix(['-', '+']).unwrap_or(part);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_have_the_types_that_people_expect() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (source, value) in [
            ("80", Value::Int(80)),
            ("-1", Value::Int(-1)),
            ("0444", Value::Int(0o444)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("1_000", Value::Int(1000)),
            ("089", Value::Float(89.0)),
            ("1.10", Value::Float(1.1)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("yes", text("yes")),
            ("on", text("on")),
            ("1.2.3", text("1.2.3")),
            ("80:80", text("80:80")),
            ("-", text("-")),
            (".", text(".")),
            ("0x", text("0x")),
            ("~", Value::Null),
            ("99999999999999999999", Value::Float(99_999_999_999_999_999_999.0)),
            ("12345678901234567890", text("12345678901234567890")),
        ] {
            assert_eq!(resolve(source.into()), value, "{source}");
        }
    }
}
