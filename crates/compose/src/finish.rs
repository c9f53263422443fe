//! Values as the normalised model holds and prints them: durations, sizes and flags in one
//! spelling, nothing that is empty unless it means something.

use crate::canon::clean_path;
use crate::check::Path;
use crate::check::values::{flag, octal};
use crate::context::Context;
use crate::schema::{self, Absent, Done, Field, Form, Kind};
use crate::tree::{Map, Node, Tag, Value};
use crate::{short, units};

/// The finished form of a value; `None` when there is nothing to say. Values that failed their
/// checks are left out.
pub(crate) fn value(kind: &Kind, mut node: Node) -> Option<Node> {
    let open = node.as_text().is_some_and(|text| text.contains('$'));
    let finished = match kind {
        // a variable that was not filled in, because nobody wanted that; else it failed its check
        Kind::Flag | Kind::Whole(..) | Kind::Number | Kind::Bytes | Kind::TextBytes | Kind::Short(..) if open => {
            return Some(node);
        }
        Kind::Duration | Kind::FileMode | Kind::Count | Kind::External if open => return Some(node),
        Kind::Text | Kind::Choice(_) => return node.as_text().is_some().then_some(node),
        Kind::Flag | Kind::External => Value::Bool(node.as_bool().or_else(|| node.as_text().and_then(flag))?),
        Kind::Whole(..) => Value::Int(whole(&node)?),
        Kind::Number => Value::Float(number(&node)?),
        Kind::Bytes | Kind::TextBytes => match &node.value {
            Value::Text(text) => Value::Text(units::bytes(text)?.to_string()),
            _ => Value::Text(whole(&node)?.to_string()),
        },
        Kind::Duration => Value::Text(units::show_duration(units::duration(node.as_text()?)?)),
        Kind::FileMode => {
            let mode = node.as_int().or_else(|| node.as_text().and_then(octal))?;
            Value::Text(format!("0{mode:o}"))
        }
        Kind::Command => command(&mut node)?,
        Kind::HealthTest => match &node.value {
            Value::Text(text) => Value::List(vec![node.with_text("CMD-SHELL"), node.with_text(text.as_str())]),
            _ => texts(&mut node)?,
        },
        Kind::Env => pairs(&mut node, true)?,
        Kind::Labels | Kind::Options | Kind::TextMap => pairs(&mut node, false)?,
        Kind::MultiOptions => multi(&mut node)?,
        Kind::Texts(_) | Kind::OneOrMore(_) | Kind::Loose(_) => texts(&mut node)?,
        Kind::Addresses => Value::List(node.take_list()?.into_iter().filter(|item| !item.is_empty()).collect()),
        Kind::Object(fields) | Kind::Strict(fields) | Kind::Nullable(fields) => return object(fields, node),
        Kind::Named(inner) => named(inner, &mut node)?,
        Kind::List(inner, _) => {
            Value::List(node.take_list()?.into_iter().filter_map(|item| value(inner, item)).collect())
        }
        Kind::Short(form, fields) => return short_form(*form, fields, node),
        Kind::Names(form, fields) => names(*form, fields, &mut node)?,
        Kind::Hosts => hosts(&node)?,
        Kind::Ulimits => ulimits(&node)?,
        Kind::Count => Value::Int(count(&node)?),
        Kind::Gpus => {
            Value::List(node.take_list()?.into_iter().filter_map(|item| object(schema::DEVICES, item)).collect())
        }
        Kind::Ssh => ssh(&node)?,
        Kind::TextOrFlag | Kind::TextOrWhole => Value::Text(plain_text(&node)?),
    };
    node.value = finished;
    Some(node)
}

/// A scalar as Go prints it.
pub(crate) fn plain_text(node: &Node) -> Option<String> {
    Some(match &node.value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => units::float(*number),
        Value::Text(text) => text.clone(),
        Value::List(_) | Value::Map(_) => return None,
    })
}

fn whole(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Int(number) => Some(*number),
        // bounds keep the conversion exact
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => Some(*number as i64),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// Numbers have the precision of 32 bits in the reference, which shows when they print.
fn number(node: &Node) -> Option<f64> {
    let exact = match &node.value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    format!("{}", exact as f32).parse().ok()
}

fn count(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Int(number) => Some(*number),
        Value::Text(text) if text.eq_ignore_ascii_case("all") => Some(-1),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn command(node: &mut Node) -> Option<Value> {
    match &node.value {
        Value::Null => Some(Value::Null),
        Value::Text(text) => {
            let words = short::words(text).ok()?.words;
            Some(Value::List(words.into_iter().map(|word| node.with_text(word)).collect()))
        }
        _ => texts(node),
    }
}

/// The node with its scalar as text.
fn as_text(mut node: Node) -> Option<Node> {
    if node.as_text().is_none() {
        node.value = Value::Text(plain_text(&node)?);
    }
    Some(node)
}

fn texts(node: &mut Node) -> Option<Value> {
    Some(Value::List(node.take_list()?.into_iter().filter_map(as_text).collect()))
}

fn entries(node: &mut Node, mut finish: impl FnMut(Node) -> Option<Node>) -> Option<Value> {
    Some(Value::Map(node.take_map()?.changed(|_, entry| finish(entry))))
}

fn multi(node: &mut Node) -> Option<Value> {
    entries(node, |mut entry| {
        entry.value = match &entry.value {
            Value::List(_) => texts(&mut entry)?,
            _ => Value::List(vec![entry.with_text(plain_text(&entry)?)]),
        };
        Some(entry)
    })
}

fn pairs(node: &mut Node, nulls: bool) -> Option<Value> {
    entries(node, |entry| if nulls && entry.value == Value::Null { Some(entry) } else { as_text(entry) })
}

fn ssh(node: &Node) -> Option<Value> {
    let line = |(id, path): (&String, &Node)| match path.as_text() {
        Some(path_text) => path.with_text(format!("{id}={path_text}")),
        None => path.with_text(id.as_str()),
    };
    Some(Value::List(node.as_map()?.iter().map(line).collect()))
}

fn object(fields: &'static [Field], mut node: Node) -> Option<Node> {
    let finish = |name: &str, entry: Node| {
        let Some(field) = schema::find(fields, name) else {
            let tag = if entry.tag == Tag::Hidden { Tag::Hidden } else { Tag::Extra };
            return Some(Node { tag, ..entry });
        };
        let place = Node { tag: Tag::Hidden, ..entry.clone_places() };
        let Some(finished) = value(&field.kind, entry) else {
            // it was said, if wrongly: the checks that follow need not miss it
            return Some(place);
        };
        let kept = field.keep && finished.value != Value::Null;
        (kept || !says_nothing(&field.kind, &finished)).then_some(finished)
    };
    let mut map = node.take_map()?.changed(finish);
    always(fields, &mut map);
    node.value = Value::Map(map);
    Some(node)
}

fn says_nothing(kind: &Kind, finished: &Node) -> bool {
    let zero = match kind {
        Kind::Duration => "0s",
        Kind::Bytes | Kind::TextBytes => "0",
        _ => "",
    };
    finished.as_text().map_or_else(|| finished.is_empty(), |text| text == zero)
}

/// What the reference prints even when nobody wrote it.
fn always(fields: &'static [Field], map: &mut Map) {
    let empty = || Node { tag: Tag::Json, ..Node::new(Value::Map(Map::new()), Default::default()) };
    let null = || Node { tag: Tag::Json, ..Node::default() };
    for field in fields.iter().filter(|field| field.absent != Absent::Nothing) {
        match field.absent {
            Absent::Nothing => {}
            Absent::Empty => {
                map.or_insert_with(field.name, empty);
            }
            Absent::Null => {
                map.or_insert_with(field.name, null);
            }
            Absent::NoHook => {
                let hook = || Value::Map(Map::from([("command".to_owned(), null())]));
                map.or_insert_with(field.name, || Node { tag: Tag::Json, ..Node::new(hook(), Default::default()) });
            }
            Absent::AllDevices if map.contains_key("device_ids") => {}
            Absent::AllDevices => {
                map.or_insert_with(field.name, || Node::new(Value::Int(-1), Default::default()));
            }
        }
    }
}

fn named(inner: &Kind, node: &mut Node) -> Option<Value> {
    entries(node, |mut entry| {
        if entry.value == Value::Null {
            entry.value = Value::Map(Map::new());
        }
        value(inner, entry)
    })
}

fn names(form: Form, fields: &'static [Field], node: &mut Node) -> Option<Value> {
    entries(node, |entry| {
        if entry.value == Value::Null {
            return Some(entry);
        }
        let mut finished = object(fields, entry)?;
        if form == Form::DependsOn {
            let place = finished.clone_places();
            let map = finished.as_map_mut()?;
            map.or_insert_with("condition", || place.with_text("service_started"));
            map.or_insert_with("required", || place.with(Value::Bool(true)));
        }
        Some(finished)
    })
}

fn hosts(node: &Node) -> Option<Value> {
    let mut lines = Vec::new();
    for item in node.as_list()? {
        let text = item.as_text()?;
        let (name, addresses) = text.split_once('=').or_else(|| text.split_once(':'))?;
        for address in addresses.split(',') {
            let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
            lines.push(item.with_text(format!("{name}={address}")));
        }
    }
    lines.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
    Some(Value::List(lines))
}

fn ulimits(node: &Node) -> Option<Value> {
    let entry = |(name, entry): (&String, &Node)| {
        let value = match &entry.value {
            Value::Map(sides) => {
                let side = |name: &str| Some((name.to_owned(), entry.with(Value::Int(whole(sides.get(name)?)?))));
                Value::Map(["soft", "hard"].into_iter().filter_map(side).collect())
            }
            _ => Value::Int(whole(entry)?),
        };
        Some((name.clone(), entry.with(value)))
    };
    Some(Value::Map(node.as_map()?.iter().filter_map(entry).collect()))
}

fn short_form(form: Form, fields: &'static [Field], node: Node) -> Option<Node> {
    let written = |name: &str| node.as_map().is_some_and(|map| map.contains_key(name));
    let has_file = written("dockerfile") || written("dockerfile_inline");
    let has_context = written("context");
    let mut node = object(fields, node)?;
    let place = node.clone_places();
    let map = node.as_map_mut()?;
    let source = map.get("source").and_then(Node::as_text).unwrap_or_default().to_owned();
    let mut default = |name: &str, value: Value| {
        map.or_insert_with(name, || place.with(value));
    };
    match form {
        Form::Port => {
            default("protocol", Value::Text("tcp".to_owned()));
            default("mode", Value::Text("ingress".to_owned()));
        }
        Form::Build => {
            if !has_context {
                default("context", Value::Text(".".to_owned()));
            }
            if !has_file {
                default("dockerfile", Value::Text("Dockerfile".to_owned()));
            }
        }
        Form::Secret => default("target", Value::Text(format!("/run/secrets/{source}"))),
        Form::Mount => {
            if let Some(Value::Text(target)) = map.get_mut("target").map(|target| &mut target.value) {
                *target = clean_path(target);
            }
            // missing folders are made unless somebody says no
            if let Some(bind) = map.get_mut("bind").and_then(Node::as_map_mut) {
                bind.retain(|name, entry| name != "create_host_path" || entry.as_bool() == Some(false));
            }
        }
        _ => {}
    }
    Some(node)
}

/// Tells of keys that are known but not done, in a finished service or resource.
pub(crate) fn tell_not_done(context: &mut Context, kind: &Kind, node: &Node, path: &Path<'_>) {
    match kind {
        Kind::Object(fields) | Kind::Strict(fields) | Kind::Nullable(fields) | Kind::Short(_, fields) => {
            for (name, entry) in node.as_map().into_iter().flatten() {
                let Some(field) = schema::find(fields, name) else { continue };
                let path = path.key(name);
                match field.done {
                    Done::Only(values, _) if plain_text(entry).is_some_and(|text| values.contains(&text.as_str())) => {}
                    Done::NotYet(instead) | Done::Only(_, instead) => {
                        let place = Node { at: entry.key, ..entry.clone_places() };
                        let message = format!("{path} is not done yet: {instead}");
                        context.warn_on("RS0701", &place, message, None);
                    }
                    Done::Yes | Done::But(_) | Done::Meaningless(_) => {
                        tell_not_done(context, &field.kind, entry, &path)
                    }
                }
            }
        }
        Kind::Named(inner) => {
            for (name, entry) in node.as_map().into_iter().flatten() {
                tell_not_done(context, inner, entry, &path.key(name));
            }
        }
        Kind::Names(_, fields) => {
            for (name, entry) in node.as_map().into_iter().flatten() {
                tell_not_done(context, &Kind::Object(fields), entry, &path.key(name));
            }
        }
        Kind::List(inner, _) => {
            for (index, item) in node.as_list().into_iter().flatten().enumerate() {
                tell_not_done(context, inner, item, &path.item(index));
            }
        }
        _ => {}
    }
}
