//! Checks what somebody wrote against the tables, before anything is merged or changed.

pub(crate) mod values;

use crate::context::Context;
use crate::schema::{self, Field, Form, Kind, Unique};
use crate::tree::{Node, Tag, Value};
use std::fmt;

/// Where in the file a value is; prints as `services.web.ports[0]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    /// The whole file.
    Root,
    /// An entry of a mapping.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// The path of an entry.
    pub(crate) const fn key(&'a self, name: &'a str) -> Path<'a> {
        Path::Key(self, name)
    }

    /// The path of an item.
    pub(crate) const fn item(&'a self, index: usize) -> Path<'a> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, name) => f.write_str(name),
            Path::Key(above, name) => write!(f, "{above}.{name}"),
            Path::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// Checks a value, and everything in it.
pub(crate) struct Check<'a> {
    /// Where findings go.
    pub(crate) context: &'a mut Context,
    /// Other files may add what is missing here.
    pub(crate) partial: bool,
    /// Texts may still hold variables, which could become anything.
    pub(crate) templates: bool,
}

impl Check<'_> {
    /// Reports what is wrong with `node`, which should be a `kind`.
    pub(crate) fn value(&mut self, kind: &Kind, node: &Node, path: &Path<'_>) {
        let open = self.templates && node.as_text().is_some_and(|text| text.contains('$'));
        if node.tag == Tag::Reset || open {
            return;
        }
        match kind {
            Kind::Object(fields) => self.object(fields, true, false, node, path),
            Kind::Strict(fields) => self.object(fields, false, false, node, path),
            Kind::Nullable(fields) => self.object(fields, true, true, node, path),
            Kind::Named(inner) => self.named(inner, node, path),
            Kind::List(inner, _) => self.list(inner, node, path),
            Kind::Short(form, fields) => self.short(*form, fields, node, path),
            Kind::Names(form, fields) => self.names(*form, fields, node, path),
            Kind::Gpus => self.gpus(node, path),
            _ => values::check(self.context, kind, node, path),
        }
    }

    fn wrong(&mut self, node: &Node, path: &Path<'_>, expected: &str) {
        values::wrong_type(self.context, node, path, expected);
    }

    fn object(&mut self, fields: &'static [Field], extras: bool, nullable: bool, node: &Node, path: &Path<'_>) {
        let Value::Map(map) = &node.value else {
            if !(nullable && node.value == Value::Null) {
                self.wrong(node, path, "a mapping");
            }
            return;
        };
        for (name, entry) in map {
            let Some(field) = schema::find(fields, name) else {
                if !(extras && name.starts_with("x-")) {
                    self.unknown(fields, name, entry, path);
                }
                continue;
            };
            self.value(&field.kind, entry, &path.key(name));
        }
        self.missing(fields, node, path);
    }

    fn missing(&mut self, fields: &'static [Field], node: &Node, path: &Path<'_>) {
        if self.partial {
            return;
        }
        for field in fields.iter().filter(|field| field.required) {
            if node.as_map().is_some_and(|map| !map.contains_key(field.name)) {
                let message = format!("{path} lacks `{}`", field.name);
                self.context.error_on("RS0305", node, message, Some(format!("add `{}:`", field.name)));
            }
        }
    }

    fn unknown(&mut self, fields: &[Field], name: &str, entry: &Node, path: &Path<'_>) {
        let known = || fields.iter().map(|field| field.name);
        let close = known()
            .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        let hint = match close {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None if fields.len() <= 12 => {
                format!("known here: {}", known().collect::<Vec<_>>().join(", "))
            }
            None => "keys of your own start with `x-`".to_owned(),
        };
        let place = if matches!(path, Path::Root) { "at the top level".to_owned() } else { format!("in {path}") };
        let at = Node { at: entry.key, ..entry.clone_places() };
        self.context.error_on("RS0301", &at, format!("unknown key `{name}` {place}"), Some(hint));
    }

    fn named(&mut self, inner: &Kind, node: &Node, path: &Path<'_>) {
        let Value::Map(map) = &node.value else {
            self.wrong(node, path, "a mapping");
            return;
        };
        for (name, entry) in map {
            self.name(name, entry, path);
            self.value(inner, entry, &path.key(name));
        }
    }

    fn name(&mut self, name: &str, entry: &Node, path: &Path<'_>) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || !name.chars().all(allowed) {
            let message = format!("`{}` is no name for an entry of {path}", crate::tree::shorten(name));
            let at = Node { at: entry.key, ..entry.clone_places() };
            let hint = "names are made of letters, digits, `.`, `_` and `-`".to_owned();
            self.context.error_on("RS0306", &at, message, Some(hint));
        }
    }

    fn list(&mut self, inner: &Kind, node: &Node, path: &Path<'_>) {
        // `env_file` may be one entry without a list around it
        if let (Kind::Short(Form::EnvFile, _), Value::Text(_)) = (inner, &node.value) {
            return self.value(inner, node, path);
        }
        let Value::List(items) = &node.value else {
            self.wrong(node, path, "a list");
            return;
        };
        for (index, item) in items.iter().enumerate() {
            // items are never merged, so each must be whole
            let partial = std::mem::replace(&mut self.partial, false);
            self.value(inner, item, &path.item(index));
            self.partial = partial;
        }
    }

    fn short(&mut self, form: Form, fields: &'static [Field], node: &Node, path: &Path<'_>) {
        match (&node.value, form) {
            (Value::Map(_), Form::EnvFile | Form::Extends | Form::Include) => {
                self.object(fields, false, false, node, path);
            }
            (Value::Map(_), _) => self.object(fields, true, false, node, path),
            (Value::Text(text), _) => values::short(self.context, form, text, node, path),
            (Value::Int(number), Form::Port) => values::short(self.context, form, &number.to_string(), node, path),
            (_, Form::Port) => self.wrong(node, path, "a port, a text such as `8080:80` or a mapping"),
            _ => self.wrong(node, path, "a text or a mapping"),
        }
    }

    fn names(&mut self, form: Form, fields: &'static [Field], node: &Node, path: &Path<'_>) {
        match &node.value {
            Value::List(items) => {
                values::once(self.context, Unique::Once, node, path);
                for (index, item) in items.iter().enumerate() {
                    if item.as_text().is_none() {
                        self.wrong(item, &path.item(index), "a text");
                    }
                }
            }
            Value::Map(map) => {
                for (name, entry) in map {
                    self.name(name, entry, path);
                    let nullable = form != Form::DependsOn;
                    self.object(fields, true, nullable, entry, &path.key(name));
                }
            }
            _ => self.wrong(node, path, "a list of names or a mapping"),
        }
    }

    fn gpus(&mut self, node: &Node, path: &Path<'_>) {
        match &node.value {
            Value::Text(text) if text == "all" => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.item(index);
                    // unlike `devices`, these need no capabilities
                    let partial = std::mem::replace(&mut self.partial, true);
                    self.object(schema::DEVICES, true, false, item, &path);
                    self.partial = partial;
                }
            }
            _ => self.wrong(node, path, "`all` or a list of device requests"),
        }
    }
}

impl Node {
    /// The places of this node without its value.
    pub(crate) fn clone_places(&self) -> Node {
        Node { value: Value::Null, at: self.at, key: self.key, via: self.via.clone(), tag: Tag::None }
    }
}
