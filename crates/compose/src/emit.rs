//! The normalised model as JSON and YAML.

mod order;

use crate::scalar;
use crate::schema::{self, Kind};
use crate::tree::{Map, Node, Tag, Value};
use crate::units;
use std::fmt::Write;

/// An entry of a mapping, and what it is, where that is known.
type Entry<'a> = (&'a String, &'a Node, Option<Kind>);

/// The entries that are printed, in their order: that of the tables, else by name. Numbers in names count as such in
/// YAML, not in JSON.
fn entries<'a>(map: &'a Map, kind: Option<Kind>, yaml: bool) -> Vec<Entry<'a>> {
    let hidden = if yaml { Tag::Json } else { Tag::Extra };
    let shown = map.iter().filter(|(_, node)| node.tag != Tag::Hidden && node.tag != hidden);
    if let Some(fields) = kind.as_ref().and_then(schema::keys_of) {
        let of = |name: &str| schema::find(fields, name).map(|field| field.kind);
        let mut entries: Vec<Entry<'a>> = shown.map(|(name, node)| (name, node, of(name))).collect();
        // the reference's JSON of the file itself is in the order of names
        if yaml || !std::ptr::eq(fields, schema::TOP) {
            entries.sort_by_key(|(name, ..)| (schema::rank(fields, name), order::shown_as(name)));
        }
        return entries;
    }
    let each = match kind {
        Some(Kind::Named(inner)) => Some(*inner),
        Some(Kind::Names(_, fields)) => Some(Kind::Object(fields)),
        Some(Kind::Ulimits) => Some(Kind::Object(schema::LIMITS)),
        _ => None,
    };
    let mut entries: Vec<Entry<'a>> = shown.map(|(name, node)| (name, node, each)).collect();
    if yaml {
        entries.sort_by(|(a, ..), (b, ..)| order::natural(a, b));
    }
    entries
}

/// What the items of a list are.
fn item_kind(kind: Option<Kind>) -> Option<Kind> {
    match kind {
        Some(Kind::List(inner, _)) => Some(*inner),
        Some(Kind::Gpus) => Some(Kind::Object(schema::DEVICES)),
        _ => None,
    }
}

/// JSON, indented by two spaces, without a line break at the end.
pub(crate) fn json(node: &Node, kind: Option<Kind>) -> String {
    let mut out = String::new();
    json_value(node, kind, 0, &mut out);
    out
}

fn json_value(node: &Node, kind: Option<Kind>, depth: usize, out: &mut String) {
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
                json_value(item, item_kind(kind), depth + 1, out);
            }
            let _ = write!(out, "\n{}]", "  ".repeat(depth));
        }
        Value::Map(map) => {
            let entries = entries(map, kind, false);
            if entries.is_empty() {
                return out.push_str("{}");
            }
            for (index, (name, entry, kind)) in entries.into_iter().enumerate() {
                let _ = write!(out, "{}\n{indent}", if index == 0 { "{" } else { "," });
                json_text(name, out);
                out.push_str(": ");
                json_value(entry, kind, depth + 1, out);
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

/// The file as YAML.
pub(crate) fn yaml(top: &Node, kind: Option<Kind>) -> String {
    let mut out = String::new();
    for entry in top.as_map().map(|map| entries(map, kind, true)).unwrap_or_default() {
        yaml_entry(entry, 0, &mut out);
    }
    out
}

fn yaml_entry((name, node, kind): Entry<'_>, depth: usize, out: &mut String) {
    let _ = write!(out, "{}{}:", "  ".repeat(depth), yaml_text(name, depth));
    yaml_after(node, kind, depth, out);
}

/// What follows a key or a dash, with the line break.
fn yaml_after(node: &Node, kind: Option<Kind>, depth: usize, out: &mut String) {
    let entries = node.as_map().map(|map| entries(map, kind, true)).unwrap_or_default();
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                yaml_item(item, item_kind(kind), depth + 1, out);
            }
        }
        _ if !entries.is_empty() => {
            out.push('\n');
            for entry in entries {
                yaml_entry(entry, depth + 1, out);
            }
        }
        _ => {
            let _ = writeln!(out, " {}", yaml_scalar(node, depth + 1));
        }
    }
}

fn yaml_item(item: &Node, kind: Option<Kind>, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let entries = item.as_map().map(|map| entries(map, kind, true)).unwrap_or_default();
    match &item.value {
        Value::List(items) if !items.is_empty() => {
            let _ = write!(out, "{indent}-");
            yaml_after(item, kind, depth, out);
        }
        _ if !entries.is_empty() => {
            for (index, entry) in entries.into_iter().enumerate() {
                let mut text = String::new();
                yaml_entry(entry, depth + 1, &mut text);
                match index {
                    0 => {
                        let _ = write!(out, "{indent}- {}", text.trim_start());
                    }
                    _ => out.push_str(&text),
                }
            }
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
    let special = has_special_characters(text);
    if !special && !reads_as_text(text) {
        return quoted(text);
    }
    if !special && can_stand_bare(text) {
        return text.to_owned();
    }
    if !special {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let printable = text.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control() && c != '\u{feff}');
    let bare = |line: &str| line.ends_with([' ', '\t']) || line.starts_with('\t');
    if text.contains('\n') && printable && !text.trim_matches('\n').is_empty() && !text.lines().any(bare) {
        return block(text, &"  ".repeat(depth));
    }
    quoted(text)
}

/// A text of several lines as a block, without its last line break.
fn block(text: &str, indent: &str) -> String {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    // where the first line does not show how far the block is indented
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let chomp = ["-", "", "+"][breaks.min(2)];
    let indented = |line: &str| if line.is_empty() { String::new() } else { format!("{indent}{line}") };
    let lines: Vec<String> = body.split('\n').map(indented).collect();
    format!("|{hint}{chomp}\n{}{}", lines.join("\n"), "\n".repeat(breaks.saturating_sub(1)))
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json_text(text, &mut out);
    out
}

/// Would a reader, of YAML 1.1 or 1.2, take the bare text for a text at all, and not for a number or a truth value?
fn reads_as_text(text: &str) -> bool {
    const WORDS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "=", "<<"];
    !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && matches!(scalar::resolve(text.into()), Value::Text(_))
        && !counts_in_sixties(text)
        && !looks_like_date(text)
}

/// Can the bare text stand where a value stands?
fn can_stand_bare(text: &str) -> bool {
    const INDICATORS: &str = "#,[]{}&*!|>'\"%@`";
    let mut chars = text.chars();
    let (first, second) = (chars.next(), chars.next());
    let begins = match first {
        Some('-' | '?' | ':') => second.is_some_and(|c| c != ' '),
        Some(c) => !INDICATORS.contains(c) && c != ' ',
        None => false,
    };
    begins
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
}

fn has_special_characters(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
}

/// `1:30` is ninety in YAML 1.1.
fn counts_in_sixties(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit() || c == '_');
    let mut parts = text.split(':');
    let whole = parts.next().is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()) && digits(part));
    let mut sixtieths = parts.peekable();
    let few = |part: &str| part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60);
    whole && digits(fraction) && sixtieths.peek().is_some() && sixtieths.all(few)
}

fn looks_like_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[5..]
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'T' | b't' | b'Z' | b' ' | b'+'))
        && bytes[5..].contains(&b'-')
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
            let (documents, problems) = crate::yaml::parse(&yaml(&node, None), 0);
            prop_assert_eq!(problems, []);
            prop_assert_eq!(documents[0].get_text("a"), Some(text.as_str()));
            prop_assert_eq!(documents[0].items("l")[0].as_text(), Some(text.as_str()));
            let value: serde_json::Value = serde_json::from_str(&json(&node, None)).unwrap();
            prop_assert_eq!(value["a"].as_str(), Some(text.as_str()));
        }
    }
}
