//! YAML text to trees. Anchors, aliases and merge keys are resolved here; sizes and depth are
//! bounded, because files come from anywhere.

use crate::scalar;
use crate::tree::{At, Map, Node, Tag, Value, Via};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Deepest nesting; real files stay below 20.
const MAX_DEPTH: usize = 100;
/// Most values of one file. A file of 2,000 services has about 100,000.
const MAX_NODES: usize = 400_000;
/// Most nodes that aliases may add. A node takes about 150 bytes.
const MAX_ALIASED: usize = 400_000;
/// How far lines are moved that stand too far left inside of brackets or quotes; deeper than any nesting.
const DEEPER: usize = 200;
/// Most bytes that are read again because of such lines.
const MAX_REREAD: usize = 8 << 20;
/// Largest text, in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// What is wrong with a text, with a code for `explain`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    /// Such as `RS0101`.
    pub(crate) code: &'static str,
    /// Where.
    pub(crate) at: At,
    /// What.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Another place that matters.
    pub(crate) other: Option<(String, At)>,
}

impl Problem {
    fn new(code: &'static str, at: At, message: impl Into<String>) -> Problem {
        Problem { code, at, message: message.into(), hint: None, other: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// The documents of a text, and everything that is wrong with it. A syntax error ends the reading;
/// the other problems do not.
pub(crate) fn parse(text: &str, file: u32) -> (Vec<Node>, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_TEXT {
        let message = format!("the file has {} bytes, more than the {MAX_TEXT} that are read", text.len());
        return (Vec::new(), vec![Problem::new("RS0103", At { file, line: 1, column: 1, length: 1 }, message)]);
    }
    let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
    let mut current = Cow::Borrowed(text);
    let mut read = 0;
    loop {
        let builder = Builder { file, moved, ..Builder::default() };
        let (mut builder, error) = builder.read(&current);
        let Some(error) = error else { return (builder.documents, builder.problems) };
        // reading to the error costs most; the copy of the text is that much cheaper a byte
        read += error.marker().index() + current.len() / 64;
        let mended = if read < MAX_REREAD { mend(&current, &error, &mut builder.moved) } else { None };
        let Some(mended) = mended else {
            let problem = syntax(&builder.file_place(error.marker()), text, &error);
            return (builder.documents, builder.problems.into_iter().chain([problem]).collect());
        };
        moved = builder.moved;
        current = Cow::Owned(mended);
    }
}

/// The text with one line written as our parser wants it, where it is stricter than YAML or than the parsers that
/// people are used to; `None` when the error is a real one. Places stay the same but for lines in `moved`.
fn mend(text: &str, error: &ScanError, moved: &mut BTreeMap<usize, usize>) -> Option<String> {
    let line = error.marker().line();
    let start = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum::<usize>();
    let (before, rest) = text.split_at_checked(start)?;
    if error.info().starts_with("':' must be followed by") {
        return tabs_to_spaces(before, rest, error.marker().col());
    }
    let shallow = match error.info() {
        // brackets and braces may stand further left than their key
        info if info.starts_with("invalid indentation") => true,
        // a tab at the start of a line is no indentation in quotes, nor between brackets
        "tab cannot be used as indentation" => true,
        info if info.starts_with("tabs disallowed within this context") => is_open(before),
        _ => false,
    };
    let first = shallow && moved.insert(line, DEEPER).is_none();
    first.then(|| format!("{before}{}{rest}", " ".repeat(DEEPER)))
}

/// The tabs before a value become spaces; `column` is where it begins. As long as nothing that lasts longer than
/// its line begins (a quote, a bracket, a block), so do those of the lines that follow: files are full of them or free.
fn tabs_to_spaces(before: &str, rest: &str, column: usize) -> Option<String> {
    let (at, _) = rest.char_indices().nth(column)?;
    let key = rest[..at].trim_end_matches(['\t', ' ']);
    let mut out = String::with_capacity(before.len() + rest.len());
    out.push_str(before);
    out.push_str(key);
    out.extend(std::iter::repeat_n(' ', at - key.len()));
    let mut lines = rest[at..].split_inclusive('\n');
    let mut line = lines.next().unwrap_or_default();
    out.push_str(line);
    while !line.contains(['"', '\'', '[', '{', '|', '>', '&', '*', '!', '#'])
        && let Some(next) = lines.next()
    {
        line = next;
        let (key, value) = line.split_at(line.find(":\t").map_or(line.len(), |colon| colon + 1));
        let value_only = value.trim_start_matches('\t');
        out.push_str(key);
        out.extend(std::iter::repeat_n(' ', value.len() - value_only.len()));
        out.push_str(value_only);
    }
    lines.for_each(|line| out.push_str(line));
    (key.len() < at).then_some(out)
}

/// Does a text end between brackets or braces?
fn is_open(text: &str) -> bool {
    Parser::new_from_str(text).any(|event| event.is_err())
}

fn syntax(at: &At, text: &str, error: &ScanError) -> Problem {
    let line = text.lines().nth((at.line as usize).saturating_sub(1)).unwrap_or("");
    let problem = Problem::new("RS0101", *at, format!("this is not YAML: {}", error.info()));
    if line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t') {
        return problem.hint("indent with spaces; YAML does not allow tabs there");
    }
    let advice = [
        ("mapping values are not allowed", "a line above may lack its colon, or a text with `: ` in it needs quotes"),
        ("unexpected end of stream", "the quote that opens here is never closed"),
        ("unknown anchor", "an anchor (`&name`) must stand above its aliases (`*name`)"),
        ("did not find expected", "brackets, commas or indentation do not fit together here or a line above"),
    ];
    match advice.iter().find(|(part, _)| error.info().contains(part)) {
        Some((_, hint)) => problem.hint(*hint),
        None => problem,
    }
}

/// A list or mapping that is being read.
struct Frame {
    node: Node,
    anchor: usize,
    content: Content,
}

/// What it holds so far lies on the stacks of the builder, from `start` on: each list is allocated once,
/// when its length is known.
enum Content {
    List { start: usize },
    Map { start: usize, key: Option<(String, At)>, merged: Option<(At, Node)>, skip: bool },
}

#[derive(Default)]
struct Builder {
    file: u32,
    /// Lines that were moved to the right, and how far.
    moved: BTreeMap<usize, usize>,
    stack: Vec<Frame>,
    /// Items of all lists that are open.
    items: Vec<Node>,
    /// Entries of all mappings that are open.
    entries: Vec<(String, Node)>,
    anchors: BTreeMap<usize, (Node, usize)>,
    aliased: usize,
    nodes: usize,
    documents: Vec<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    fn at(&self, span: Span) -> At {
        let (start, end) = (span.start, span.end);
        let length = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let start_column = start.col().saturating_sub(self.moved.get(&start.line()).copied().unwrap_or(0));
        At { file: self.file, line: number(start.line()), column: number(start_column + 1), length: number(length) }
    }

    fn file_place(&self, mark: &Marker) -> At {
        self.at(Span::new(*mark, *mark))
    }

    /// Takes in a text, to its end or to the first thing that makes no sense.
    fn read(mut self, text: &str) -> (Builder, Option<ScanError>) {
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => {
                    if let Err(problem) = self.event(event, span) {
                        self.problems.push(problem);
                        break;
                    }
                }
                Err(error) => return (self, Some(error)),
            }
        }
        (self, None)
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), span),
            Event::SequenceStart(anchor, tag) => {
                self.open(Content::List { start: self.items.len() }, anchor, tag.as_deref(), span)
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { start: self.entries.len(), key: None, merged: None, skip: false };
                self.open(content, anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&saphyr_parser::Tag>,
        span: Span,
    ) -> Result<(), Problem> {
        let at = self.at(span);
        let plain = style == ScalarStyle::Plain;
        if plain && text == "<<" && self.wants_key() {
            return self.key("<<".to_owned(), at, true);
        }
        let steer = steering(tag);
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let value = match core {
            Some("str") => Value::Text(text.into_owned()),
            Some("null") => Value::Null,
            Some(_) => scalar::resolve(text),
            None if plain && (tag.is_none() || steer != Tag::None) => scalar::resolve(text),
            None => Value::Text(text.into_owned()),
        };
        let node = Node { tag: steer, ..Node::new(value, at) };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), 1));
        }
        self.put(node)
    }

    fn open(
        &mut self,
        content: Content,
        anchor: usize,
        tag: Option<&saphyr_parser::Tag>,
        span: Span,
    ) -> Result<(), Problem> {
        let at = self.at(span);
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Problem::new("RS0103", at, message).hint("no Compose file needs more than a few levels"));
        }
        if self.wants_key() {
            return Err(Problem::new("RS0104", at, "a list or mapping can't be a key"));
        }
        let node = Node { tag: steering(tag), ..Node::new(Value::Null, at) };
        self.stack.push(Frame { node, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(mut frame) = self.stack.pop() else { return Ok(()) };
        frame.node.value = match frame.content {
            Content::List { start } => Value::List(self.items.split_off(start)),
            Content::Map { start, merged, .. } => {
                let entries = self.entries.split_off(start);
                let mut map = self.distinct(entries);
                if let Some((at, source)) = merged {
                    map = self.merge_key(map, at, source);
                }
                Value::Map(map)
            }
        };
        if frame.anchor > 0 {
            let size = frame.node.size();
            self.anchors.insert(frame.anchor, (frame.node.clone(), size));
        }
        self.put(frame.node)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let at = self.at(span);
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Problem::new("RS0105", at, "this alias refers to the value that it is part of"));
        };
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            let message = format!("the aliases of this file repeat more than {MAX_ALIASED} values");
            return Err(Problem::new("RS0103", at, message)
                .hint("anchors that contain aliases of each other multiply; write the values out"));
        }
        let mut node = node.clone();
        let step = Via { note: "used through the alias".to_owned(), at, before: None, quiet: false };
        node.came_via(&Arc::new(step));
        self.put(node)
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }))
    }

    /// A finished value goes into what is open; a scalar may be a key.
    fn put(&mut self, mut node: Node) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the file has more than {MAX_NODES} values");
            return Err(Problem::new("RS0103", node.at, message).hint("split the project"));
        }
        if self.wants_key() {
            return match node.value {
                Value::Text(text) => self.key(text, node.at, false),
                _ => {
                    let message = format!("keys are text, this one is {}", node.describe());
                    let problem = Problem::new("RS0104", node.at, message).hint("put it in quotes");
                    self.problems.push(problem);
                    self.key(String::new(), node.at, true)
                }
            };
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.documents.push(node),
            Some(Content::List { .. }) => self.items.push(node),
            Some(Content::Map { key, merged, skip, .. }) => {
                let Some((name, at)) = key.take() else { return Ok(()) };
                if std::mem::take(skip) {
                    if name == "<<" {
                        *merged = Some((at, node));
                    }
                    return Ok(());
                }
                node.key = at;
                self.entries.push((name, node));
            }
        }
        Ok(())
    }

    fn key(&mut self, name: String, at: At, special: bool) -> Result<(), Problem> {
        if let Some(Frame { content: Content::Map { key, skip, merged, .. }, .. }) = self.stack.last_mut() {
            if special && name == "<<" && merged.is_some() {
                let problem = Problem::new("RS0102", at, "the key `<<` is already there")
                    .hint("give one `<<` a list: `<<: [*a, *b]`");
                self.problems.push(problem);
            }
            *key = Some((name, at));
            *skip = special;
        }
        Ok(())
    }

    /// A mapping of entries; of those with the same key the first stays, and the others are told.
    fn distinct(&mut self, mut entries: Vec<(String, Node)>) -> Map {
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    let message = format!("the key `{}` is already there", first.0);
                    let mut problem = Problem::new("RS0102", later.1.key, message).hint("remove one of the two");
                    problem.other = Some(("first defined".to_owned(), first.1.key));
                    self.problems.push(problem);
                }
                same
            });
        }
        Map::from_sorted(entries)
    }

    /// `<<`: entries that the mapping does not have itself; of several sources the first wins.
    fn merge_key(&mut self, mut map: Map, at: At, source: Node) -> Map {
        let sources = match source.value {
            Value::Map(_) => vec![source],
            Value::List(items) => items,
            _ => vec![source],
        };
        for source in sources {
            let place = source.place();
            let Value::Map(entries) = source.value else {
                let mut problem = Problem::new("RS0106", place, "`<<` takes a mapping or a list of mappings");
                problem.other = Some(("merged".to_owned(), at));
                self.problems.push(problem.hint("write `<<: *anchor` where the anchor is on a mapping"));
                continue;
            };
            let step = Arc::new(Via { note: "merged by `<<`".to_owned(), at, before: None, quiet: false });
            let told = entries.into_iter().map(|(name, mut node)| {
                if node.via.is_none() {
                    node.came_via(&step);
                }
                (name, node)
            });
            map = map.union(told.collect(), |_, own, merged| match own.tag {
                // what `!reset` takes away are the words of earlier files, not those of this one
                Tag::Reset => Node { tag: Tag::Override, ..merged },
                _ => own,
            });
        }
        map
    }
}

fn steering(tag: Option<&saphyr_parser::Tag>) -> Tag {
    match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
        Some(("!", "reset")) => Tag::Reset,
        Some(("!", "override")) => Tag::Override,
        _ => Tag::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let (mut documents, problems) = parse(text, 0);
        assert_eq!(problems, []);
        documents.remove(0)
    }

    fn codes(text: &str) -> Vec<&'static str> {
        parse(text, 0).1.into_iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn values_know_their_places() {
        let node = one("a:\n  b: [1, two]\n");
        let list = node.get("a").and_then(|a| a.get("b")).unwrap();
        assert_eq!(list.key, At { file: 0, line: 2, column: 3, length: 1 });
        assert_eq!(list.items_at(1), At { file: 0, line: 2, column: 10, length: 3 });
    }

    impl Node {
        fn items_at(&self, index: usize) -> At {
            self.as_list().unwrap()[index].at
        }
    }

    #[test]
    fn merge_keys_give_way_to_written_ones_and_tell_where_they_come_from() {
        let node = one("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 3}\n");
        let z = node.get("z").unwrap();
        assert_eq!((z.get_int("a"), z.get_int("b"), z.get_int("c")), (Some(3), Some(1), Some(2)));
        assert_eq!(z.get("b").unwrap().via.as_ref().unwrap().at.line, 3);
        let node = one("x: &x {a: 1}\ny: {<<: *x, a: !reset null, b: !reset null}\n");
        let y = node.get("y").and_then(Node::as_map).unwrap();
        let told = y.iter().map(|(name, node)| (name.as_str(), node.as_int(), node.tag));
        assert_eq!(told.collect::<Vec<_>>(), [("a", Some(1), Tag::Override), ("b", None, Tag::Reset)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_a_code() {
        assert_eq!(codes("a: [1"), ["RS0101"]);
        assert_eq!(codes("a: 1\na: 2\n"), ["RS0102"]);
        assert_eq!(codes("1: a\n"), ["RS0104"]);
        assert_eq!(codes("a: &a [*a]\n"), ["RS0105"]);
        assert_eq!(codes("a: {<<: 1}\n"), ["RS0106"]);
    }

    #[test]
    fn tabs_part_words_wherever_yaml_lets_them() {
        let node = one("a:\tb\nc:\t\t1 # x\nd:\n  - e:\tf\nt: |\n  a:\tb\n");
        assert_eq!((node.get_text("a"), node.get_int("c"), node.get_text("t")), (Some("b"), Some(1), Some("a:\tb\n")));
        assert_eq!(node.get("c").unwrap().at, At { file: 0, line: 2, column: 5, length: 1 });
        let node = one("a:\n  b: {\n\tc: d,\n\te: \"f\n\tg\" }\n");
        let inner = node.get("a").and_then(|a| a.get("b")).unwrap();
        assert_eq!((inner.get_text("c"), inner.get_text("e")), (Some("d"), Some("f g")));
        assert_eq!(inner.get("c").unwrap().at, At { file: 0, line: 3, column: 5, length: 1 });
        let many: String = (0..5000).map(|n| format!("k{n}:\t\tv{n}\n")).collect();
        assert_eq!(one(&many).get_text("k4999"), Some("v4999"));
        for text in ["a:\n\tb: c\n", "a:\n  b: c\n\td: e\n", "a:\t- b\n", "a: b\n\tc\n"] {
            assert_eq!(codes(text), ["RS0101"], "{text:?}");
        }
    }

    #[test]
    fn bombs_and_deep_nests_end_early() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert_eq!(codes(&bomb), ["RS0103"]);
        assert_eq!(codes(&"[".repeat(10_000)).len(), 1);
        assert_eq!(codes(&(0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>()).len(), 1);
    }
}
