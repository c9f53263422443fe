//! The normalised model as JSON and YAML.

use crate::scalar;
use crate::tree::{Map, Node, Tag, Value};
use crate::units;
use std::fmt::Write;

/// Keys that come first in a mapping, in this order; the rest is sorted.
const FIRST: [&str; 12] = [
    "name",
    "type",
    "source",
    "mode",
    "host_ip",
    "target",
    "published",
    "protocol",
    "test",
    "timeout",
    "interval",
    "retries",
];
/// Sections of the file in the order of YAML output.
const SECTIONS: [&str; 6] = ["name", "services", "networks", "volumes", "secrets", "configs"];

fn sorted<'a>(map: &'a Map, first: &[&str], yaml: bool) -> Vec<(&'a String, &'a Node)> {
    let shown = |tag| tag != Tag::Hidden && tag != if yaml { Tag::Json } else { Tag::Extra };
    let mut entries: Vec<_> = map.iter().filter(|(_, node)| shown(node.tag)).collect();
    entries.sort_by_key(|(name, _)| first.iter().position(|first| first == name).unwrap_or(usize::MAX));
    entries
}

/// JSON, indented by two spaces, without a line break at the end.
pub(crate) fn json(node: &Node) -> String {
    let mut out = String::new();
    json_value(node, 0, &mut out);
    out
}

fn json_value(node: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth + 1);
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) if number.is_finite() => out.push_str(&units::json_float(*number)),
        Value::Float(_) => out.push_str("null"),
        Value::Text(text) => json_text(text, out),
        Value::List(items) if items.is_empty() => out.push_str("[]"),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(out, "{}\n{indent}", if index == 0 { "[" } else { "," });
                json_value(item, depth + 1, out);
            }
            let _ = write!(out, "\n{}]", "  ".repeat(depth));
        }
        Value::Map(map) => {
            let entries = sorted(map, &FIRST, false);
            if entries.is_empty() {
                return out.push_str("{}");
            }
            for (index, (name, entry)) in entries.into_iter().enumerate() {
                let _ = write!(out, "{}\n{indent}", if index == 0 { "{" } else { "," });
                json_text(name, out);
                out.push_str(": ");
                json_value(entry, depth + 1, out);
            }
            let _ = write!(out, "\n{}}}", "  ".repeat(depth));
        }
    }
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// YAML, sections in the usual order.
pub(crate) fn yaml(top: &Node) -> String {
    let mut out = String::new();
    for (name, node) in top.as_map().map(|map| sorted(map, &SECTIONS, true)).unwrap_or_default() {
        yaml_entry(name, node, 0, &mut out);
    }
    out
}

fn yaml_entry(name: &str, node: &Node, depth: usize, out: &mut String) {
    let _ = write!(out, "{}{}:", "  ".repeat(depth), yaml_text(name, depth));
    yaml_after(node, depth, out);
}

/// What follows a key or a dash, with the line break.
fn yaml_after(node: &Node, depth: usize, out: &mut String) {
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                yaml_item(item, depth + 1, out);
            }
        }
        Value::Map(map) if !sorted(map, &FIRST, true).is_empty() => {
            out.push('\n');
            for (name, entry) in sorted(map, &FIRST, true) {
                yaml_entry(name, entry, depth + 1, out);
            }
        }
        _ => {
            let _ = writeln!(out, " {}", yaml_scalar(node, depth + 1));
        }
    }
}

fn yaml_item(item: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match &item.value {
        Value::Map(map) if !sorted(map, &FIRST, true).is_empty() => {
            for (index, (name, entry)) in sorted(map, &FIRST, true).into_iter().enumerate() {
                let mut text = String::new();
                yaml_entry(name, entry, depth + 1, &mut text);
                match index {
                    0 => {
                        let _ = write!(out, "{indent}- {}", text.trim_start());
                    }
                    _ => out.push_str(&text),
                }
            }
        }
        Value::List(items) if !items.is_empty() => {
            let _ = write!(out, "{indent}-");
            yaml_after(item, depth, out);
        }
        _ => {
            let _ = writeln!(out, "{indent}- {}", yaml_scalar(item, depth + 1));
        }
    }
}

fn yaml_scalar(node: &Node, depth: usize) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => units::float(*number),
        Value::Text(text) => yaml_text(text, depth),
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

fn yaml_text(text: &str, depth: usize) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let printable = text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{feff}');
    if text.contains('\n')
        && printable
        && !text.starts_with([' ', '\n'])
        && !text.lines().any(|line| line.ends_with(' '))
    {
        let indent = "  ".repeat(depth);
        let body = text.trim_end_matches('\n');
        let lines: Vec<String> = body
            .split('\n')
            .map(|line| if line.is_empty() { String::new() } else { format!("{indent}{line}") })
            .collect();
        let chomp = match text.len() - body.len() {
            0 => "-",
            1 => "",
            _ => return quoted(text),
        };
        return format!("|{chomp}\n{}", lines.join("\n"));
    }
    quoted(text)
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json_text(text, &mut out);
    out
}

/// Would a reader take the bare text for this very text?
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "=", "<<", "true", "false"];
    let start = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '$' | '(' | '^' | '+');
    let inside = |c: char| !c.is_control() && c != '\u{feff}';
    text.starts_with(start)
        && text.chars().all(inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && matches!(scalar::resolve(text.into()), Value::Text(_))
        && !text.starts_with(|c: char| c.is_ascii_digit() && text.contains(':'))
        && !looks_like_date(text)
}

fn looks_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_read_back(text in "[a-z0-9:#\\-\" '\n\t{}\\[\\],&*!|>%@`?=.~$]{0,20}|.*") {
            let node = Node::new(Value::Map(Map::from([
                ("a".to_owned(), Node::text(text.clone(), Default::default())),
                ("l".to_owned(), Node::new(Value::List(vec![Node::text(text.clone(), Default::default())]), Default::default())),
            ])), Default::default());
            let (documents, problems) = crate::yaml::parse(&yaml(&node), 0);
            prop_assert_eq!(problems, []);
            prop_assert_eq!(documents[0].get_text("a"), Some(text.as_str()));
            prop_assert_eq!(documents[0].items("l")[0].as_text(), Some(text.as_str()));
            let value: serde_json::Value = serde_json::from_str(&json(&node)).unwrap();
            prop_assert_eq!(value["a"].as_str(), Some(text.as_str()));
        }
    }
}
