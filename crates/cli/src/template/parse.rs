//! Text → nodes.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each given the result of the one before; the result goes into variables if there are.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    /// `.A.B`; empty for the dot itself.
    Dot(Vec<String>),
    /// `$x.A`; `$` is the whole value.
    Variable(String, Vec<String>),
    Nested(Pipeline, Vec<String>),
}

/// Text and actions, in order.
enum Piece {
    Text(String),
    Action(String),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>> {
    let mut pieces = split(text)?.into_iter();
    let (nodes, end) = block(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(word) => bail!("template: `{{{{{word}}}}}` ends nothing"),
    }
}

fn split(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_left = false;
    while let Some(open) = rest.find("{{") {
        let (before, tail) = rest.split_at(open);
        let mut tail = tail.get(2..).unwrap_or("");
        let mut before = if trim_left { before.trim_start() } else { before };
        if let Some(trimmed) = tail.strip_prefix('-')
            && trimmed.starts_with(char::is_whitespace)
        {
            before = before.trim_end();
            tail = trimmed;
        }
        let close = closing(tail).ok_or_else(|| anyhow!("template: `{{{{{tail}` is not closed"))?;
        let (action, after) = tail.split_at(close);
        rest = after.get(2..).unwrap_or("");
        trim_left = action.ends_with('-') && action.trim_end_matches('-').ends_with(char::is_whitespace);
        let action = if trim_left { action.trim_end_matches('-') } else { action };
        pieces.push(Piece::Text(before.to_owned()));
        if !action.trim().starts_with("/*") {
            pieces.push(Piece::Action(action.trim().to_owned()));
        }
    }
    pieces.push(Piece::Text(if trim_left { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// Where `}}` stands outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            None => {}
        }
    }
    None
}

/// Nodes up to `end` or `else…`, which is returned.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Option<String>)> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" | "with" | "range" => nodes.push(control(word, rest, pieces)?),
            _ => nodes.push(Node::Print(pipeline(&action)?)),
        }
    }
    Ok((nodes, None))
}

fn control(word: &str, rest: &str, pieces: &mut std::vec::IntoIter<Piece>) -> Result<Node> {
    let value = pipeline(rest)?;
    let (then, end) = block(pieces)?;
    let otherwise = match end.as_deref().map(str::trim) {
        Some("end") => Vec::new(),
        Some("else") => match block(pieces)? {
            (nodes, Some(end)) if end == "end" => nodes,
            _ => bail!("template: `{{{{{word}}}}}` has no `{{{{end}}}}`"),
        },
        // `else if …` is a block of its own that shares the `end`.
        Some(chained) => {
            let chained = chained.trim_start_matches("else").trim_start();
            let (word, rest) = chained.split_once(char::is_whitespace).unwrap_or((chained, ""));
            if word != "if" && word != "with" {
                bail!("template: `{{{{else {chained}}}}}` makes no sense");
            }
            vec![control(word, rest, pieces)?]
        }
        None => bail!("template: `{{{{{word}}}}}` has no `{{{{end}}}}`"),
    };
    Ok(match word {
        "if" => Node::If { condition: value, then, otherwise },
        "with" => Node::With { value, then, otherwise },
        _ => Node::Range { over: value, body: then, otherwise },
    })
}

fn pipeline(text: &str) -> Result<Pipeline> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let pipeline = read(&tokens, &mut at)?;
    match tokens.get(at) {
        None => Ok(pipeline),
        Some(token) => bail!("template: `{text}`: unexpected {token:?}"),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Literal(Value),
    /// `.A.B` right after a closing bracket.
    Fields(String),
    Open,
    Close,
    Pipe,
    Comma,
    Assign,
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let mut glued = false;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' | '=' => (Token::Assign, if rest.starts_with(":=") { 2 } else { 1 }),
            '"' | '`' => {
                let (text, length) = quoted(rest, first)?;
                (Token::Literal(Value::String(text)), length)
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()|,=:\"`".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or("").to_owned();
                let number = word.parse::<i64>().map(Value::from);
                match number {
                    Ok(number) => (Token::Literal(number), length),
                    Err(_) if glued && word.starts_with('.') => (Token::Fields(word), length),
                    Err(_) => (Token::Word(word), length),
                }
            }
        };
        let tail = rest.get(length..).unwrap_or("");
        rest = tail.trim_start();
        glued = token == Token::Close && rest.len() == tail.len();
        tokens.push(token);
    }
    Ok(tokens)
}

/// A quoted text, and how many bytes it takes.
fn quoted(text: &str, quote: char) -> Result<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, at + 1)),
            '\\' if quote == '"' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(c) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    bail!("template: {text} is not closed")
}

fn read(tokens: &[Token], at: &mut usize) -> Result<Pipeline> {
    let mut pipeline = Pipeline { variables: declared(tokens, at), commands: vec![Vec::new()] };
    while let Some(token) = tokens.get(*at) {
        if *token == Token::Close {
            break;
        }
        *at += 1;
        let operand = match token {
            Token::Pipe => {
                pipeline.commands.push(Vec::new());
                continue;
            }
            Token::Literal(value) => Operand::Literal(value.clone()),
            Token::Word(word) => operand(word)?,
            Token::Open => {
                let nested = read(tokens, at)?;
                if tokens.get(*at) != Some(&Token::Close) {
                    bail!("template: a bracket is not closed");
                }
                *at += 1;
                let fields = match tokens.get(*at) {
                    Some(Token::Fields(fields)) => {
                        *at += 1;
                        self::fields(fields)
                    }
                    _ => Vec::new(),
                };
                Operand::Nested(nested, fields)
            }
            Token::Fields(_) | Token::Close | Token::Comma | Token::Assign => {
                bail!("template: unexpected {token:?}")
            }
        };
        if let Some(command) = pipeline.commands.last_mut() {
            command.push(operand);
        }
    }
    if pipeline.commands.iter().any(Vec::is_empty) {
        bail!("template: a value is missing");
    }
    Ok(pipeline)
}

/// `$a :=` or `$a, $b :=` at the front.
fn declared(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let Some(assign) = tokens.iter().position(|token| *token == Token::Assign) else { return Vec::new() };
    let names = tokens.get(..assign).unwrap_or(&[]);
    let variables: Vec<String> = names
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) => word.strip_prefix('$').map(str::to_owned),
            _ => None,
        })
        .collect();
    let expected = names.iter().filter(|token| **token != Token::Comma).count();
    if variables.is_empty() || variables.len() != expected {
        return Vec::new();
    }
    *at = assign + 1;
    variables
}

fn fields(text: &str) -> Vec<String> {
    text.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

fn operand(word: &str) -> Result<Operand> {
    if word.starts_with('.') {
        return Ok(Operand::Dot(fields(word)));
    }
    if let Some(rest) = word.strip_prefix('$') {
        let (name, tail) = rest.split_once('.').unwrap_or((rest, ""));
        return Ok(Operand::Variable(name.to_owned(), fields(tail)));
    }
    match word {
        "true" => Ok(Operand::Literal(Value::Bool(true))),
        "false" => Ok(Operand::Literal(Value::Bool(false))),
        "nil" => Ok(Operand::Literal(Value::Null)),
        _ if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => Ok(Operand::Function(word.to_owned())),
        _ => bail!("template: `{word}` makes no sense"),
    }
}
