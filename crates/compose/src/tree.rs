//! The tree that everything works on: YAML values that know where they were written.

use std::sync::Arc;

/// A place in one of the loaded texts. The default is "nowhere": values that nobody wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    /// Index into the loader's texts.
    pub(crate) file: u32,
    /// From 1; 0 means nowhere.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
    /// Characters to underline.
    pub(crate) length: u32,
}

impl At {
    /// Does it point anywhere?
    pub(crate) fn is_known(self) -> bool {
        self.line > 0
    }
}

/// How a value came to the place where it is used; nearest step first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Via {
    /// Such as `used through the alias`.
    pub(crate) note: String,
    /// Where that happened.
    pub(crate) at: At,
    /// What happened before.
    pub(crate) before: Option<Arc<Via>>,
    /// Told by `explain` only; diagnostics are short without it.
    pub(crate) quiet: bool,
}

/// Tags that steer merging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Merge by the usual rules.
    #[default]
    None,
    /// `!reset`: drop what earlier files said.
    Reset,
    /// `!override`: replace what earlier files said.
    Override,
    /// An `x-` key inside of something: kept, printed as YAML only.
    Extra,
    /// Printed as JSON only.
    Json,
    /// Known to the loader only; never printed.
    Hidden,
}

pub(crate) use crate::map::Map;

/// A YAML value after resolving its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// A value with its places.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where the value stands.
    pub(crate) at: At,
    /// Where its key stands, in a mapping.
    pub(crate) key: At,
    /// How it came here, when it was not written here.
    pub(crate) via: Option<Arc<Via>>,
    /// `!reset`, `!override`.
    pub(crate) tag: Tag,
}

impl Node {
    /// A value at a place.
    pub(crate) fn new(value: Value, at: At) -> Node {
        Node { value, at, ..Node::default() }
    }

    /// Text at a place.
    pub(crate) fn text(text: impl Into<String>, at: At) -> Node {
        Node::new(Value::Text(text.into()), at)
    }

    /// Another value with the places of this one.
    pub(crate) fn with(&self, value: Value) -> Node {
        Node { value, at: self.at, key: self.key, via: self.via.clone(), tag: self.tag }
    }

    /// Another text with the places of this one.
    pub(crate) fn with_text(&self, text: impl Into<String>) -> Node {
        self.with(Value::Text(text.into()))
    }

    /// The best place to point at: the value, else its key.
    pub(crate) fn place(&self) -> At {
        if self.at.is_known() { self.at } else { self.key }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The entries to change, if it is a mapping.
    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, taken out, if it is a list.
    pub(crate) fn take_list(&mut self) -> Option<Vec<Node>> {
        match &mut self.value {
            Value::List(items) => Some(std::mem::take(items)),
            _ => None,
        }
    }

    /// The entries, taken out, if it is a mapping.
    pub(crate) fn take_map(&mut self) -> Option<Map> {
        match &mut self.value {
            Value::Map(map) => Some(std::mem::take(map)),
            _ => None,
        }
    }

    /// An entry of a mapping that is not null.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// A text entry of a mapping.
    pub(crate) fn get_text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// A number entry of a mapping.
    pub(crate) fn get_int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// A flag entry of a mapping; false when absent.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Node::as_bool).unwrap_or(false)
    }

    /// A list entry of a mapping; empty when absent.
    pub(crate) fn items(&self, key: &str) -> &[Node] {
        self.get(key).and_then(Node::as_list).unwrap_or(&[])
    }

    /// The entries of a mapping entry; empty when absent.
    pub(crate) fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.get(key).and_then(Node::as_map).into_iter().flatten()
    }

    /// Is there nothing in it: null, empty text, list or mapping, zero, false?
    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Int(number) => *number == 0,
            Value::Float(number) => *number == 0.0,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.is_empty(),
        }
    }

    /// How many nodes, this one included.
    pub(crate) fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(map) => 1 + map.values().map(Node::size).sum::<usize>(),
            _ => 1,
        }
    }

    /// Adds a step to the story of this node and all below.
    pub(crate) fn came_via(&mut self, step: &Arc<Via>) {
        self.via = Some(match self.via.take() {
            None => step.clone(),
            Some(before) => {
                Arc::new(Via { note: step.note.clone(), at: step.at, before: Some(before), quiet: step.quiet })
            }
        });
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.came_via(step)),
            Value::Map(map) => map.values_mut().for_each(|item| item.came_via(step)),
            _ => {}
        }
    }

    /// What it is, in words for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(flag) => format!("the boolean `{flag}`"),
            Value::Int(number) => format!("the number `{number}`"),
            Value::Float(number) => format!("the number `{}`", crate::units::float(*number)),
            Value::Text(text) => format!("the text `{}`", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// The start of a long text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    if line.chars().count() <= 60 && line.len() == text.len() {
        return line.to_owned();
    }
    line.chars().take(57).chain("...".chars()).collect()
}
