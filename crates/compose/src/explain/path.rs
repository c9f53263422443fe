//! `services.web.ports[0].published`: a path, and the value there.

use super::NotThere;
use crate::names::did_you_mean;
use crate::tree::{Node, Tag, Value};

/// A value that was asked for.
pub(super) struct Found<'a> {
    /// Names and indexes on the way, each name whole.
    pub(super) path: Vec<String>,
    pub(super) node: &'a Node,
    /// What it is in.
    pub(super) above: Option<&'a Node>,
}

/// The value at a path. Names may hold dots (`labels.com.example.team`): the longest that is there
/// is taken.
pub(super) fn find<'a>(top: &'a Node, path: &str) -> Result<Found<'a>, NotThere> {
    let mut found = Found { path: Vec::new(), node: top, above: None };
    let mut rest = path;
    while !rest.is_empty() {
        let (name, node, after) = step(found.node, rest).ok_or_else(|| missing(&found, path, rest))?;
        found = Found { path: found.path, node, above: Some(found.node) };
        found.path.push(name);
        rest = after;
    }
    Ok(found)
}

fn step<'a, 'p>(node: &'a Node, rest: &'p str) -> Option<(String, &'a Node, &'p str)> {
    match &node.value {
        Value::List(items) => {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((format!("[{index}]"), item, after.strip_prefix('.').unwrap_or(after)))
        }
        Value::Map(map) => {
            let fits = |name: &str| {
                let after = rest.strip_prefix(name)?;
                let after = after
                    .strip_prefix('.')
                    .or_else(|| (after.is_empty() || after.starts_with('[')).then_some(after))?;
                Some((name.to_owned(), after))
            };
            let shown = map.iter().filter(|(_, entry)| entry.tag != Tag::Hidden);
            let best = shown.filter_map(|(name, entry)| fits(name).map(|(name, after)| (name, entry, after)));
            best.max_by_key(|(name, ..)| name.len())
        }
        _ => None,
    }
}

fn missing(found: &Found<'_>, path: &str, rest: &str) -> NotThere {
    let before = path.strip_suffix(rest).unwrap_or(path).trim_end_matches('.');
    let place = if before.is_empty() { "the project".to_owned() } else { before.to_owned() };
    let (message, hint) = match &found.node.value {
        Value::List(items) => {
            let hint = match items.len() {
                0 => "the list is empty".to_owned(),
                count => format!("there are {count}: [0] to [{}]", count - 1),
            };
            (format!("there is no item `{rest}` in {place}"), Some(hint))
        }
        Value::Map(map) => {
            let name = rest.split(['.', '[']).next().unwrap_or(rest);
            let names: Vec<&str> =
                map.iter().filter(|(_, entry)| entry.tag != Tag::Hidden).map(|(name, _)| name.as_str()).collect();
            (format!("there is no `{name}` in {place}"), did_you_mean(name, names.into_iter()))
        }
        _ => (format!("{place} is a single value; there is no `{rest}` in it"), None),
    };
    NotThere { message, hint }
}
