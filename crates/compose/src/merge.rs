//! One file on top of another, and a service on top of the one that it extends.

use crate::schema::{self, Field, Kind, SERVICE, Unique};
use crate::tree::{Map, Node, Tag, Value, Via};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// `over` on top of `base`; both in their one form (see [`crate::canon`]).
pub(crate) fn value(kind: &Kind, base: Node, over: Node) -> Node {
    if over.tag != Tag::None {
        return replace(base, over);
    }
    match kind {
        Kind::Command => replace(base, over),
        _ if over.value == Value::Null => base,
        Kind::Object(fields) | Kind::Strict(fields) | Kind::Nullable(fields) | Kind::Short(_, fields) => {
            object(fields, base, over)
        }
        Kind::Named(inner) => map(base, over, |_, base, over| value(inner, base, over)),
        Kind::Names(_, fields) => map(base, over, |_, base, over| match over.value {
            Value::Null => base,
            _ => object(fields, base, over),
        }),
        Kind::Env | Kind::Labels | Kind::Options | Kind::TextMap | Kind::Ulimits | Kind::Ssh => {
            map(base, over, |_, base, over| replace(base, over))
        }
        Kind::List(_, Unique::Subnet) => pools(base, over),
        Kind::List(_, rule) | Kind::Texts(rule) | Kind::OneOrMore(rule) | Kind::Loose(rule) => {
            append(*rule, base, over)
        }
        Kind::Hosts => append(Unique::Value, base, over),
        Kind::Addresses => append(Unique::Key, base, over),
        Kind::Gpus => append(Unique::No, base, over),
        _ => replace(base, over),
    }
}

/// `over` in place of `base`, which `explain` still tells.
fn replace(base: Node, mut over: Node) -> Node {
    let at = base.place();
    if at.is_known() && over.place() != at {
        let note = format!("in place of {}", base.describe());
        over.via = Some(Arc::new(Via { note, at, before: over.via.take(), quiet: true }));
    }
    over
}

/// A service on top of the one that it extends.
pub(crate) fn extend(mut base: Node, over: Node) -> Node {
    settle(&mut base);
    object(SERVICE, base, over)
}

/// Takes away what `!reset` marks, and the marks.
pub(crate) fn settle(node: &mut Node) {
    if node.tag != Tag::Hidden {
        node.tag = Tag::None;
    }
    match &mut node.value {
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(settle);
        }
        Value::Map(map) => {
            map.retain(|_, entry| entry.tag != Tag::Reset);
            map.values_mut().for_each(settle);
        }
        _ => {}
    }
}

fn map(mut base: Node, over: Node, both: impl FnMut(&str, Node, Node) -> Node) -> Node {
    match (&mut base.value, over.value) {
        (Value::Map(entries), Value::Map(others)) => {
            *entries = std::mem::take(entries).union(others, both);
            base
        }
        (_, value) => Node { value, at: over.at, key: over.key, via: over.via, tag: over.tag },
    }
}

fn object(fields: &'static [Field], base: Node, over: Node) -> Node {
    map(base, over, |name, base, over| match schema::find(fields, name) {
        // options belong to a driver; another driver starts afresh
        Some(_) if name == "logging" && other_driver(&base, &over) => over,
        Some(field) => value(&field.kind, base, over),
        None => anything(base, over),
    })
}

fn other_driver(base: &Node, over: &Node) -> bool {
    match (base.get_text("driver"), over.get_text("driver")) {
        (Some(base), Some(over)) => base != over,
        _ => false,
    }
}

fn anything(base: Node, over: Node) -> Node {
    match (&base.value, &over.value) {
        (_, Value::Null) => base,
        (Value::Map(_), Value::Map(_)) => map(base, over, |_, base, over| anything(base, over)),
        (Value::List(_), Value::List(_)) => append(Unique::No, base, over),
        _ => replace(base, over),
    }
}

fn append(rule: Unique, mut base: Node, over: Node) -> Node {
    match (&mut base.value, over.value) {
        (Value::List(items), Value::List(others)) => {
            items.extend(others);
            unique(rule, &mut base);
            base
        }
        (_, value) => Node { value, at: over.at, key: over.key, via: over.via, tag: over.tag },
    }
}

/// Of items that are the same by the rule, the last one stays, at the place of the first.
pub(crate) fn unique(rule: Unique, node: &mut Node) {
    let Value::List(items) = &mut node.value else { return };
    if rule == Unique::No || items.len() < 2 {
        return;
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in std::mem::take(items) {
        match identity(rule, &item).map(|key| places.entry(key)) {
            Some(Entry::Occupied(entry)) => {
                let place = *entry.get();
                let earlier = std::mem::take(&mut kept[place]);
                kept[place] = replace(earlier, item);
            }
            Some(Entry::Vacant(entry)) => {
                entry.insert(kept.len());
                kept.push(item);
            }
            None => kept.push(item),
        }
    }
    *items = kept;
}

/// Pools of a network: those of `over`, each on top of the one with the same subnet.
fn pools(base: Node, mut over: Node) -> Node {
    let Value::List(pools) = &mut over.value else { return over };
    for pool in pools {
        let same = base.as_list().into_iter().flatten().find(|old| old.get_text("subnet") == pool.get_text("subnet"));
        if let Some(old) = same {
            *pool = map(old.clone(), std::mem::take(pool), |_, base, over| anything(base, over));
        }
    }
    over
}

fn identity(rule: Unique, item: &Node) -> Option<String> {
    let part = |name: &str| match item.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    };
    match rule {
        // pools are one network each, and are put together in their own way
        Unique::No | Unique::Subnet => None,
        Unique::Key => item.as_text().map(|text| text.split_once('=').map_or(text, |(key, _)| key).to_owned()),
        Unique::Value | Unique::Once => match &item.value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        },
        Unique::Target => item.get_text("target").map(crate::canon::clean_path),
        Unique::Path => item.get_text("path").map(str::to_owned),
        Unique::Mount => {
            let target = item.get_text("target").or_else(|| item.get_text("source"))?;
            Some(target.trim_start_matches("/run/secrets/").trim_start_matches('/').to_owned())
        }
        Unique::Port => {
            item.as_map()?;
            let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
            Some(format!(
                "{}:{}:{}/{}",
                or(part("host_ip"), "0.0.0.0"),
                part("published"),
                part("target"),
                or(part("protocol"), "tcp")
            ))
        }
    }
}

/// The entries of a mapping, if it is one, taken out.
pub(crate) fn take_map(node: &mut Node) -> Map {
    node.as_map_mut().map(std::mem::take).unwrap_or_default()
}
