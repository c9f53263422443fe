//! Short syntaxes become long ones, lists of pairs become mappings: one form for everything, so
//! that merging need not know how somebody wrote it. What does not fit is left for the checks.

use crate::merge;
use crate::schema::{self, Field, Form, Kind, Unique};
use crate::short;
use crate::tree::{At, Map, Node, Value};

/// Brings a value into its one form.
pub(crate) fn value(kind: &Kind, node: &mut Node) {
    match kind {
        Kind::Object(fields) | Kind::Strict(fields) | Kind::Nullable(fields) => object(fields, node),
        Kind::Named(inner) => {
            for entry in node.as_map_mut().into_iter().flat_map(|map| map.values_mut()) {
                value(inner, entry);
            }
        }
        Kind::List(inner, unique) => {
            list(inner, node);
            merge::unique(*unique, node);
        }
        Kind::Short(form, fields) => short_form(*form, fields, node),
        Kind::Names(form, fields) => names(*form, fields, node),
        Kind::Env | Kind::Labels => pairs(kind, node),
        Kind::OneOrMore(unique) => one_or_more(*unique, node),
        Kind::Addresses => one_or_more(Unique::Key, node),
        Kind::Texts(unique) | Kind::Loose(unique) => merge::unique(*unique, node),
        Kind::Hosts => hosts(node),
        Kind::Gpus => gpus(node),
        Kind::Ssh => ssh(node),
        _ => {}
    }
}

fn one_or_more(unique: Unique, node: &mut Node) {
    if matches!(node.value, Value::Text(_)) {
        node.value = Value::List(vec![Node { tag: Default::default(), ..node.clone() }]);
    }
    merge::unique(unique, node);
}

fn object(fields: &'static [Field], node: &mut Node) {
    let Some(map) = node.as_map_mut() else { return };
    for (name, entry) in &mut *map {
        if let Some(field) = schema::find(fields, name) {
            value(&field.kind, entry);
        }
    }
    external(map);
}

/// `external: {name: x}` is old for `external: true` and `name: x`.
fn external(map: &mut Map) {
    let Some(external) = map.get_mut("external") else { return };
    if let Value::Map(old) = &mut external.value {
        let name = old.remove("name");
        external.value = Value::Bool(true);
        if let Some(name) = name {
            map.or_insert_with("name", || name);
        }
    }
}

fn list(inner: &Kind, node: &mut Node) {
    if let (Kind::Short(Form::EnvFile, _), Value::Text(_)) = (inner, &node.value) {
        node.value = Value::List(vec![node.clone()]);
    }
    let Value::List(items) = &mut node.value else { return };
    if let Kind::Short(Form::Port, fields) = inner {
        let ports = std::mem::take(items);
        *items = ports.into_iter().flat_map(|port| port_items(fields, port)).collect();
        return;
    }
    items.iter_mut().for_each(|item| value(inner, item));
}

fn port_items(fields: &'static [Field], mut node: Node) -> Vec<Node> {
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => {
            object(fields, &mut node);
            return vec![node];
        }
    };
    let Ok(ports) = short::ports(&text) else { return vec![node] };
    let make = |port: short::Port| {
        let mut map = Map::new();
        let mut put = |name: &str, value| map.insert(name.to_owned(), node.with(value));
        put("mode", Value::Text("ingress".to_owned()));
        put("target", Value::Int(i64::from(port.target)));
        put("protocol", Value::Text(port.protocol));
        if !port.host_ip.is_empty() {
            put("host_ip", Value::Text(port.host_ip));
        }
        if !port.published.is_empty() {
            put("published", Value::Text(port.published));
        }
        node.with(Value::Map(map))
    };
    ports.into_iter().map(make).collect()
}

fn short_form(form: Form, fields: &'static [Field], node: &mut Node) {
    let Value::Text(text) = &node.value else {
        object(fields, node);
        if let (Form::EnvFile, Value::Map(_)) = (form, &node.value) {
            default(node, "required", Value::Bool(true));
        }
        return;
    };
    let entries: Vec<(&str, Value)> = match form {
        Form::Mount => match short::volume(text) {
            Ok(volume) => mount(volume, node),
            Err(_) => return,
        },
        Form::Device => match short::device(text) {
            Ok((source, target, permissions)) => vec![
                ("source", Value::Text(source)),
                ("target", Value::Text(target)),
                ("permissions", Value::Text(permissions)),
            ],
            Err(_) => return,
        },
        Form::FileMount | Form::Secret => vec![("source", Value::Text(text.clone()))],
        Form::EnvFile => vec![("path", Value::Text(text.clone())), ("required", Value::Bool(true))],
        Form::Extends => vec![("service", Value::Text(text.clone()))],
        Form::Include => {
            let path = Node { tag: Default::default(), ..node.clone() };
            vec![("path", Value::List(vec![path]))]
        }
        Form::Build => vec![("context", Value::Text(text.clone()))],
        Form::Port | Form::DependsOn | Form::Networks | Form::Models => return,
    };
    let plain = node.clone_places();
    let map = entries.into_iter().map(|(name, value)| (name.to_owned(), plain.with(value))).collect();
    node.value = Value::Map(map);
}

fn mount(volume: short::Volume, node: &Node) -> Vec<(&'static str, Value)> {
    let text = |text: String| Value::Text(text);
    let mut entries = vec![
        ("type", text(if volume.bind { "bind" } else { "volume" }.to_owned())),
        ("target", text(clean_path(&volume.target))),
    ];
    if !volume.source.is_empty() {
        entries.push(("source", text(volume.source)));
    }
    if volume.read_only {
        entries.push(("read_only", Value::Bool(true)));
    }
    let plain = node.clone_places();
    let mut inner = Map::new();
    if volume.bind {
        inner.insert("create_host_path".to_owned(), plain.with(Value::Bool(true)));
    }
    if volume.nocopy {
        let nocopy = Map::from([("nocopy".to_owned(), plain.with(Value::Bool(true)))]);
        if volume.bind {
            entries.push(("volume", Value::Map(nocopy)));
        } else {
            inner.add(nocopy);
        }
    }
    let mut bind = Map::new();
    if let Some(propagation) = volume.propagation {
        bind.insert("propagation".to_owned(), plain.with(text(propagation)));
    }
    if let Some(selinux) = volume.selinux {
        bind.insert("selinux".to_owned(), plain.with(text(selinux)));
    }
    if volume.bind {
        inner.add(bind);
        entries.push(("bind", Value::Map(inner)));
    } else {
        entries.push(("volume", Value::Map(inner)));
        if !bind.is_empty() {
            entries.push(("bind", Value::Map(bind)));
        }
    }
    entries
}

fn default(node: &mut Node, name: &str, value: Value) {
    let place = Node { at: At::default(), ..node.clone_places() };
    if let Some(map) = node.as_map_mut() {
        map.or_insert_with(name, || place.with(value));
    }
}

fn names(form: Form, fields: &'static [Field], node: &mut Node) {
    if let Value::List(items) = &node.value {
        let mut map = Map::new();
        for item in items {
            let Some(name) = item.as_text() else { return };
            let mut entry = Node { key: item.at, ..item.with(Value::Null) };
            if form == Form::DependsOn {
                // a list says it all; a mapping may be one part of what several files say
                entry.value = Value::Map(Map::new());
                default(&mut entry, "condition", Value::Text("service_started".to_owned()));
                default(&mut entry, "required", Value::Bool(true));
            }
            map.insert(name.to_owned(), entry);
        }
        node.value = Value::Map(map);
    }
    let Some(map) = node.as_map_mut() else { return };
    for entry in map.values_mut() {
        object(fields, entry);
    }
}

fn pairs(kind: &Kind, node: &mut Node) {
    if let Value::List(items) = &node.value {
        let mut map = Map::new();
        for item in items {
            let Some(text) = item.as_text() else { return };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Value::Text(value.to_owned())),
                None => (text, Value::Null),
            };
            map.insert(name.to_owned(), Node { key: item.at, ..item.with(value) });
        }
        node.value = Value::Map(map);
    }
    if let (Kind::Labels, Some(map)) = (kind, node.as_map_mut()) {
        for entry in map.values_mut().filter(|entry| entry.value == Value::Null) {
            entry.value = Value::Text(String::new());
        }
    }
}

fn hosts(node: &mut Node) {
    let Value::Map(map) = &node.value else { return };
    let mut items = Vec::new();
    for (name, entry) in map {
        let addresses = match &entry.value {
            Value::List(addresses) => addresses.clone(),
            _ => vec![entry.clone()],
        };
        for address in addresses {
            let Some(text) = address.as_text() else { return };
            items.push(address.with_text(format!("{name}={text}")));
        }
    }
    node.value = Value::List(items);
}

fn gpus(node: &mut Node) {
    if node.as_text().is_some() {
        let plain = node.clone_places();
        let all = Map::from([("count".to_owned(), plain.with_text("all"))]);
        node.value = Value::List(vec![plain.with(Value::Map(all))]);
    } else if let Value::List(items) = &mut node.value {
        items.iter_mut().for_each(|item| object(schema::DEVICES, item));
    }
}

fn ssh(node: &mut Node) {
    if matches!(node.value, Value::List(_)) {
        pairs(&Kind::Env, node);
    }
}

/// A slashed path without `.`, `..` and double slashes, as Go's `path.Clean` makes it.
pub(crate) fn clean_path(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
