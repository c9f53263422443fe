//! Checks of single values.

use super::Path;
use crate::context::Context;
use crate::schema::{Form, Kind, Unique};
use crate::tree::{At, Node, Value, shorten};
use crate::{short, units};
use std::collections::BTreeMap;

/// Reports what is wrong with a value that is no mapping or list of known form.
pub(super) fn check(context: &mut Context, kind: &Kind, node: &Node, path: &Path<'_>) {
    match kind {
        Kind::Text => need(context, node, path, "a text", matches!(node.value, Value::Text(_))),
        Kind::Choice(words) => choice(context, words, node, path),
        Kind::Flag => {
            let fits = node.as_bool().is_some() || node.as_text().is_some_and(|text| flag(text).is_some());
            need(context, node, path, "`true` or `false`", fits);
        }
        Kind::Whole(low, high) => whole(context, *low, *high, node, path),
        Kind::Number => {
            let fits = match &node.value {
                Value::Int(_) => true,
                Value::Float(number) => number.is_finite(),
                Value::Text(text) => text.parse::<f64>().is_ok_and(f64::is_finite),
                _ => false,
            };
            need(context, node, path, "a number", fits);
        }
        Kind::Bytes | Kind::TextBytes => size(context, kind, node, path),
        Kind::Duration => duration(context, node, path),
        Kind::FileMode => {
            let fits = match &node.value {
                Value::Int(mode) => (0..=0o7777).contains(mode),
                Value::Text(text) => octal(text).is_some(),
                _ => false,
            };
            need(context, node, path, "permission bits such as `0440`", fits);
        }
        Kind::Command | Kind::HealthTest => command(context, kind, node, path),
        Kind::Env => pairs(context, node, path, true),
        Kind::Labels => pairs(context, node, path, false),
        Kind::Options | Kind::TextMap => options(context, kind, node, path),
        Kind::MultiOptions => need(context, node, path, "a mapping", node.as_map().is_some()),
        Kind::Texts(rule) => {
            texts(context, node, path, false);
            once(context, *rule, node, path);
        }
        Kind::OneOrMore(_) | Kind::Addresses if node.as_text().is_some() => {}
        Kind::OneOrMore(_) | Kind::Addresses => texts(context, node, path, false),
        Kind::Loose(rule) => {
            texts(context, node, path, true);
            once(context, *rule, node, path);
        }
        Kind::Hosts => hosts(context, node, path),
        Kind::Ulimits => ulimits(context, node, path),
        Kind::External => {
            let fits = match &node.value {
                Value::Bool(_) => true,
                Value::Map(old) => old.keys().all(|key| key == "name" || key.starts_with("x-")),
                Value::Text(text) => flag(text).is_some(),
                _ => false,
            };
            need(context, node, path, "`true` or `false` (or the old mapping with a `name`)", fits);
        }
        Kind::Count => {
            let fits = match &node.value {
                Value::Int(_) => true,
                Value::Text(text) => text.eq_ignore_ascii_case("all") || text.parse::<i64>().is_ok(),
                _ => false,
            };
            need(context, node, path, "`all` or a number", fits);
        }
        Kind::Ssh => ssh(context, node, path),
        Kind::TextOrFlag => {
            need(
                context,
                node,
                path,
                "a text or `true` or `false`",
                matches!(node.value, Value::Text(_) | Value::Bool(_)),
            );
        }
        Kind::TextOrWhole => {
            need(context, node, path, "a text or a number", matches!(node.value, Value::Text(_) | Value::Int(_)));
        }
        _ => {}
    }
}

/// `true`, `yes`, `on` and their opposites, which interpolation leaves as text.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Permission bits in octal.
pub(crate) fn octal(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    i64::from_str_radix(digits, 8).ok().filter(|mode| (0..=0o7777).contains(mode))
}

/// Reports a value of the wrong type.
pub(super) fn wrong_type(context: &mut Context, node: &Node, path: &Path<'_>, expected: &str) {
    let message = format!("{path} must be {expected}, not {}", node.describe());
    let quote =
        expected.starts_with("a text") && matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
    let hint = if quote {
        Some("put the value in quotes".to_owned())
    } else if node.value == Value::Null {
        Some("remove the key or give it a value".to_owned())
    } else {
        None
    };
    context.error_on("RS0302", node, message, hint);
}

fn need(context: &mut Context, node: &Node, path: &Path<'_>, expected: &str, fits: bool) {
    if !fits {
        wrong_type(context, node, path, expected);
    }
}

fn choice(context: &mut Context, words: &[&str], node: &Node, path: &Path<'_>) {
    let Some(text) = node.as_text() else {
        return wrong_type(context, node, path, "a text");
    };
    if words.contains(&text) {
        return;
    }
    let close = words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(text, word), *word))
        .filter(|(distance, word)| *distance <= 2 + word.len() / 4)
        .min();
    let hint = match close {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("one of: {}", words.join(", ")),
    };
    context.error_on("RS0303", node, format!("{path} can't be `{}`", shorten(text)), Some(hint));
}

fn whole(context: &mut Context, low: i64, high: i64, node: &Node, path: &Path<'_>) {
    let number = match &node.value {
        Value::Int(number) => Some(*number),
        // a whole number in the clothes of a fraction, such as 1e3
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => Some(*number as i64),
        Value::Text(text) => text.parse::<i64>().ok(),
        _ => None,
    };
    match number {
        None => wrong_type(context, node, path, "a whole number"),
        Some(number) if !(low..=high).contains(&number) => {
            let hint = if high == i64::MAX || high == i64::from(u32::MAX) {
                format!("it must be at least {low}")
            } else {
                format!("it must be from {low} to {high}")
            };
            context.error_on("RS0304", node, format!("{path} can't be {number}"), Some(hint));
        }
        Some(_) => {}
    }
}

fn size(context: &mut Context, kind: &Kind, node: &Node, path: &Path<'_>) {
    match (&node.value, kind) {
        (Value::Int(_), Kind::Bytes) => {}
        (Value::Float(number), Kind::Bytes) if number.fract() == 0.0 => {}
        (Value::Text(text), _) => {
            if units::bytes(text).is_none() {
                let message = format!("{path}: `{}` is no size", shorten(text));
                let hint = "write a number of bytes, or a number with k, m or g, such as `512m`";
                context.error_on("RS0308", node, message, Some(hint.to_owned()));
            }
        }
        (_, Kind::Bytes) => wrong_type(context, node, path, "a size such as `512m`"),
        _ => wrong_type(context, node, path, "a text such as `512m`"),
    }
}

fn duration(context: &mut Context, node: &Node, path: &Path<'_>) {
    let Some(text) = node.as_text() else {
        return wrong_type(context, node, path, "a text such as `1m30s`");
    };
    if units::duration(text).is_none() {
        let message = format!("{path}: `{}` is no duration", shorten(text));
        let bare = text.parse::<f64>().is_ok();
        let hint = if bare { format!("add a unit: `{text}s`") } else { "write it as `1m30s` or `500ms`".to_owned() };
        context.error_on("RS0307", node, message, Some(hint));
    }
}

fn command(context: &mut Context, kind: &Kind, node: &Node, path: &Path<'_>) {
    match (&node.value, kind) {
        (Value::Text(text), Kind::Command) => command_line(context, text, node, path),
        (Value::Text(_), _) | (Value::Null, Kind::Command) => {}
        (Value::List(_), _) => texts(context, node, path, false),
        _ => wrong_type(context, node, path, "a text or a list of texts"),
    }
}

fn command_line(context: &mut Context, text: &str, node: &Node, path: &Path<'_>) {
    let hint = "no shell runs it; for one write `[\"sh\", \"-c\", \"...\"]`".to_owned();
    match short::words(text) {
        Err(reason) => {
            context.error_on("RS0312", node, format!("{path} can't be split into words: {reason}"), Some(hint));
        }
        Ok(short::Words { dropped: Some(rest), .. }) => {
            let message = format!("{path}: what follows `{}` is dropped", shorten(&rest));
            context.warn_on("RS0313", node, message, Some(hint));
        }
        Ok(_) => {}
    }
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, Value::List(_) | Value::Map(_))
}

/// Names and values; of `variables`, a name can't end with a space.
fn pairs(context: &mut Context, node: &Node, path: &Path<'_>, variables: bool) {
    match &node.value {
        Value::Map(map) => {
            for (name, entry) in map {
                if !is_scalar(entry) {
                    wrong_type(context, entry, &path.key(name), "a text, a number, `true`, `false` or nothing");
                }
                if name.is_empty() {
                    let place = Node { at: entry.key, ..entry.clone_places() };
                    context.error_on("RS0314", &place, format!("a name in {path} is empty"), None);
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = path.item(index);
                let Some(text) = item.as_text() else {
                    wrong_type(context, item, &path, "a text such as `KEY=value`");
                    continue;
                };
                let name = text.split_once('=').map_or(text, |(name, _)| name);
                if variables && name.ends_with(char::is_whitespace) {
                    let message = format!("{path}: the name `{}` ends with a space", shorten(name));
                    context.error_on("RS0314", item, message, Some("remove the space before `=`".to_owned()));
                }
            }
        }
        _ => wrong_type(context, node, path, "a mapping or a list of `KEY=value`"),
    }
}

fn options(context: &mut Context, kind: &Kind, node: &Node, path: &Path<'_>) {
    let Value::Map(map) = &node.value else {
        return wrong_type(context, node, path, "a mapping");
    };
    for (name, entry) in map {
        let fits = match &entry.value {
            Value::Text(_) => true,
            Value::Int(_) | Value::Float(_) | Value::Null | Value::Bool(_) => matches!(kind, Kind::Options),
            Value::List(_) | Value::Map(_) => false,
        };
        need(context, entry, &path.key(name), "a text or a number", fits);
    }
}

fn texts(context: &mut Context, node: &Node, path: &Path<'_>, numbers: bool) {
    let Value::List(items) = &node.value else {
        return wrong_type(context, node, path, "a list");
    };
    for (index, item) in items.iter().enumerate() {
        let fits = match &item.value {
            Value::Text(_) => true,
            Value::Int(_) | Value::Float(_) => numbers,
            _ => false,
        };
        if !fits && item.tag != crate::tree::Tag::Reset {
            wrong_type(context, item, &path.item(index), if numbers { "a text or a number" } else { "a text" });
        }
    }
}

/// Reports items that are there twice, where that is an error.
pub(super) fn once(context: &mut Context, rule: Unique, node: &Node, path: &Path<'_>) {
    let items = node.as_list().unwrap_or(&[]);
    if rule != Unique::Once || items.len() < 2 {
        return;
    }
    let mut seen: BTreeMap<String, At> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let text = match &item.value {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            _ => continue,
        };
        let message = format!("{}: `{}` is there already", path.item(index), shorten(&text));
        if let Some(first) = seen.insert(text, item.at) {
            context.error_two(
                "RS0316",
                item.at,
                message,
                ("first named", first),
                Some("remove one of the two".to_owned()),
            );
        }
    }
}

fn hosts(context: &mut Context, node: &Node, path: &Path<'_>) {
    match &node.value {
        Value::Map(map) => {
            for (name, entry) in map {
                let list_of_texts =
                    entry.as_list().is_some_and(|items| items.iter().all(|item| item.as_text().is_some()));
                let fits = list_of_texts || entry.as_text().is_some();
                need(context, entry, &path.key(name), "an address or a list of them", fits);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = path.item(index);
                let Some(text) = item.as_text() else {
                    wrong_type(context, item, &path, "a text such as `name=address`");
                    continue;
                };
                if !text.contains(['=', ':']) {
                    let message = format!("{path}: `{}` lacks an address", shorten(text));
                    context.error_on("RS0315", item, message, Some("write `name=address`".to_owned()));
                }
            }
        }
        _ => wrong_type(context, node, path, "a mapping or a list of `name=address`"),
    }
}

fn ulimits(context: &mut Context, node: &Node, path: &Path<'_>) {
    let Value::Map(map) = &node.value else {
        return wrong_type(context, node, path, "a mapping");
    };
    for (name, entry) in map {
        let path = path.key(name);
        let Value::Map(limits) = &entry.value else {
            whole(context, -1, i64::MAX, entry, &path);
            continue;
        };
        for (side, limit) in limits {
            match side.as_str() {
                "soft" | "hard" => whole(context, -1, i64::MAX, limit, &path.key(side)),
                side if side.starts_with("x-") => {}
                _ => {
                    let place = Node { at: limit.key, ..limit.clone_places() };
                    let message = format!("unknown key `{side}` in {path}");
                    context.error_on("RS0301", &place, message, Some("known here: soft, hard".to_owned()));
                }
            }
        }
        for side in ["soft", "hard"] {
            if !limits.contains_key(side) {
                context.error_on("RS0305", entry, format!("{path} lacks `{side}`"), Some(format!("add `{side}:`")));
            }
        }
    }
}

fn ssh(context: &mut Context, node: &Node, path: &Path<'_>) {
    match &node.value {
        Value::Map(_) => pairs(context, node, path, false),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let fits = item.as_text().is_some_and(|text| text == "default" || text.contains('='));
                need(context, item, &path.item(index), "`default` or `ID=PATH`", fits);
            }
        }
        _ => wrong_type(context, node, path, "a mapping or a list of `ID=PATH`"),
    }
}

/// Mount options that nobody knows are ignored, as the reference does, but not in silence.
fn mount_options(context: &mut Context, text: &str, node: &Node, path: &Path<'_>) {
    for option in short::volume(text).map(|volume| volume.unknown).unwrap_or_default() {
        let message = format!("{path}: nobody knows the mount option `{}`, so it is ignored", shorten(&option));
        let hint = "ro, rw, nocopy, z, Z, or how mounts spread: rprivate, private, rshared, shared, rslave, slave";
        context.warn_on("RS0702", node, message, Some(hint.to_owned()));
    }
}

/// Ports of the short syntax count as what they stand for: a range in a few bytes can be 65,535 of them.
fn ports(context: &mut Context, text: &str, node: &Node) -> Result<(), String> {
    /// About what a port takes in memory, in bytes.
    const SIZE: usize = 700;
    let count = short::port_count(text)?;
    let told = context.is_spent();
    if count > 1 && !context.spend(count * SIZE) && !told {
        context.error_on("RS0103", node, "the port ranges of this project stand for too many ports", None);
    }
    Ok(())
}

/// Checks a value in a short syntax.
pub(super) fn short(context: &mut Context, form: Form, text: &str, node: &Node, path: &Path<'_>) {
    let (code, what, result, hint) = match form {
        Form::Port => {
            let hint = "write [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL], such as `8080:80` or `127.0.0.1:53:53/udp`";
            ("RS0309", "port", ports(context, text, node), hint)
        }
        Form::Mount => {
            mount_options(context, text, node, path);
            let hint = "write [SOURCE:]TARGET[:ro], such as `data:/var/lib/data` or `./site:/srv:ro`";
            ("RS0310", "mount", short::volume(text).map(drop), hint)
        }
        Form::Device => ("RS0311", "device", short::device(text).map(drop), "write SOURCE[:TARGET[:PERMISSIONS]]"),
        _ => return,
    };
    if let Err(reason) = result {
        let message = match form {
            Form::Port => format!("{path}: {reason}"),
            _ => format!("{path}: `{}` is no {what}: {reason}", shorten(text)),
        };
        context.error_on(code, node, message, Some(hint.to_owned()));
    }
}
