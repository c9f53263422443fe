//! Nodes and a value → text.

use super::parse::{Node, Operand, Pipeline};
use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// What Go prints for a key that a mapping does not have.
const NO_VALUE: &str = "<no value>";

/// Variables, innermost last; the first is `$`.
type Scope = Vec<(String, Value)>;

pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String> {
    let mut out = String::new();
    let mut scope = vec![(String::new(), value.clone())];
    all(nodes, value, &mut scope, &mut out)?;
    Ok(out)
}

fn all(nodes: &[Node], dot: &Value, scope: &mut Scope, out: &mut String) -> Result<()> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => {
                let value = evaluate(pipeline, dot, scope)?;
                match pipeline.variables.first() {
                    Some(name) => scope.push((name.clone(), value)),
                    None => out.push_str(&text(&value)),
                }
            }
            Node::If { condition, then, otherwise } => {
                let depth = scope.len();
                let value = evaluate(condition, dot, scope)?;
                declare(condition, &value, scope);
                all(if truth(&value) { then } else { otherwise }, dot, scope, out)?;
                scope.truncate(depth);
            }
            Node::With { value, then, otherwise } => {
                let depth = scope.len();
                let inner = evaluate(value, dot, scope)?;
                declare(value, &inner, scope);
                if truth(&inner) {
                    all(then, &inner, scope, out)?;
                } else {
                    all(otherwise, dot, scope, out)?;
                }
                scope.truncate(depth);
            }
            Node::Range { over, body, otherwise } => range(over, body, otherwise, dot, scope, out)?,
        }
    }
    Ok(())
}

fn declare(pipeline: &Pipeline, value: &Value, scope: &mut Scope) {
    if let Some(name) = pipeline.variables.first() {
        scope.push((name.clone(), value.clone()));
    }
}

fn range(
    over: &Pipeline,
    body: &[Node],
    otherwise: &[Node],
    dot: &Value,
    scope: &mut Scope,
    out: &mut String,
) -> Result<()> {
    let items: Vec<(Value, Value)> = match evaluate(over, dot, scope)? {
        Value::Array(list) => list.into_iter().enumerate().map(|(index, item)| (Value::from(index), item)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (Value::from(key), item)).collect(),
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        other => bail!("template: {} cannot be ranged over", text(&other)),
    };
    if items.is_empty() {
        return all(otherwise, dot, scope, out);
    }
    for (key, item) in items {
        let depth = scope.len();
        match over.variables.as_slice() {
            [] => {}
            [value] => scope.push((value.clone(), item.clone())),
            [index, value, ..] => {
                scope.push((index.clone(), key));
                scope.push((value.clone(), item.clone()));
            }
        }
        all(body, &item, scope, out)?;
        scope.truncate(depth);
    }
    Ok(())
}

fn evaluate(pipeline: &Pipeline, dot: &Value, scope: &mut Scope) -> Result<Value> {
    let mut result = None;
    for command in &pipeline.commands {
        result = Some(run(command, result, dot, scope)?);
    }
    result.ok_or_else(|| anyhow!("template: a value is missing"))
}

fn run(command: &[Operand], piped: Option<Value>, dot: &Value, scope: &mut Scope) -> Result<Value> {
    let (first, rest) = command.split_first().ok_or_else(|| anyhow!("template: a value is missing"))?;
    let mut arguments = rest.iter().map(|operand| value(operand, dot, scope)).collect::<Result<Vec<_>>>()?;
    arguments.extend(piped);
    if let Operand::Function(name) = first {
        return call(name, &arguments);
    }
    let found = value(first, dot, scope)?;
    match arguments.as_slice() {
        [] => Ok(found),
        // `.Label "key"`: a method of Docker's rows; one that is not there is empty.
        [key] if found.is_object() => {
            Ok(key.as_str().and_then(|key| found.get(key)).cloned().unwrap_or_else(|| Value::from("")))
        }
        _ => bail!("template: {} is no function", text(&found)),
    }
}

fn value(operand: &Operand, dot: &Value, scope: &mut Scope) -> Result<Value> {
    match operand {
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Dot(fields) => walk(dot, fields),
        Operand::Variable(name, fields) => {
            let found = scope.iter().rev().find(|(known, _)| known == name);
            let (_, found) = found.ok_or_else(|| anyhow!("template: there is no variable ${name}"))?;
            walk(found, fields)
        }
        Operand::Nested(pipeline, fields) => walk(&evaluate(pipeline, dot, scope)?, fields),
        Operand::Function(name) => call(name, &[]),
    }
}

fn walk(from: &Value, fields: &[String]) -> Result<Value> {
    let mut at = from;
    for field in fields {
        at = match at {
            Value::Object(map) => match map.get(field) {
                Some(value) => value,
                None => return absent(map, field),
            },
            _ => bail!("template: there is no field .{field} in {}", text(at)),
        };
    }
    Ok(at.clone())
}

/// What is left out of JSON where there is none is empty all the same (Docker's types), and so is what a mapping of names,
/// such as labels, does not have. Anything else is a mistake.
fn absent(map: &Map<String, Value>, field: &str) -> Result<Value> {
    const TEXTS: [&str; 5] = ["Name", "Driver", "Propagation", "Error", "Type"];
    const OBJECTS: [&str; 6] = ["Health", "UpdateStatus", "PreviousSpec", "ManagerStatus", "JobStatus", "Healthcheck"];
    let is_of_docker = |key: &String| key.starts_with(char::is_uppercase) && key.chars().all(char::is_alphanumeric);
    match field {
        _ if OBJECTS.contains(&field) => Ok(Value::Null),
        _ if TEXTS.contains(&field) && !map.is_empty() => Ok(Value::from("")),
        _ if map.is_empty() || !map.keys().all(is_of_docker) => Ok(Value::from(NO_VALUE)),
        _ => Err(unknown(field, map.keys())),
    }
}

fn unknown<'a>(field: &str, known: impl Iterator<Item = &'a String>) -> anyhow::Error {
    let near = known.into_iter().find(|name| name.eq_ignore_ascii_case(field));
    match near {
        Some(near) => anyhow!("template: there is no field .{field}, but .{near}"),
        None => anyhow!("template: there is no field .{field}"),
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value> {
    let wrong = || anyhow!("template: `{name}` cannot take these arguments");
    let string = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    Ok(match (name, arguments) {
        ("json", [value]) => Value::from(serde_json::to_string(value)?),
        ("upper", [value]) => Value::from(string(value)?.to_uppercase()),
        ("lower", [value]) => Value::from(string(value)?.to_lowercase()),
        ("title", [value]) => {
            let text = string(value)?;
            let mut chars = text.chars();
            let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            Value::from(format!("{first}{}", chars.as_str()))
        }
        ("truncate", [value, Value::Number(count)]) => {
            let count = usize::try_from(count.as_u64().ok_or_else(wrong)?)?;
            Value::from(string(value)?.chars().take(count).collect::<String>())
        }
        ("join", [Value::Array(list), Value::String(between)]) => {
            Value::from(list.iter().map(text).collect::<Vec<_>>().join(between))
        }
        ("split", [Value::String(text), Value::String(at)]) => {
            Value::from(text.split(at.as_str()).map(Value::from).collect::<Vec<_>>())
        }
        ("slice", [Value::String(text), bounds @ ..]) if bounds.len() < 3 => {
            let bound = |at: usize| bounds.get(at).map(|it| it.as_u64().and_then(|it| usize::try_from(it).ok()));
            let from = bound(0).unwrap_or(Some(0)).ok_or_else(wrong)?;
            let to = bound(1).unwrap_or(Some(text.len())).ok_or_else(wrong)?;
            Value::from(text.get(from..to).ok_or_else(|| anyhow!("template: slice {from} to {to} is out of range"))?)
        }
        ("len", [Value::String(text)]) => Value::from(text.len()),
        ("len", [Value::Array(list)]) => Value::from(list.len()),
        ("len", [Value::Object(map)]) => Value::from(map.len()),
        ("len", [Value::Null]) => Value::from(0),
        ("index", [from, keys @ ..]) => index(from, keys)?,
        ("print", values) => Value::from(values.iter().map(text).collect::<String>()),
        ("println", values) => Value::from(format!("{}\n", values.iter().map(text).collect::<Vec<_>>().join(" "))),
        ("printf", [Value::String(format), values @ ..]) => Value::from(printf(format, values)?),
        ("not", [value]) => Value::from(!truth(value)),
        ("and", [first, rest @ ..]) => {
            std::iter::once(first).chain(rest).find(|value| !truth(value)).or(rest.last()).unwrap_or(first).clone()
        }
        ("or", [first, rest @ ..]) => {
            std::iter::once(first).chain(rest).find(|value| truth(value)).or(rest.last()).unwrap_or(first).clone()
        }
        ("eq", [value, others @ ..]) if !others.is_empty() => Value::from(others.iter().any(|other| other == value)),
        ("ne", [a, b]) => Value::from(a != b),
        ("lt", [a, b]) => Value::from(order(a, b)? == Ordering::Less),
        ("le", [a, b]) => Value::from(order(a, b)? != Ordering::Greater),
        ("gt", [a, b]) => Value::from(order(a, b)? == Ordering::Greater),
        ("ge", [a, b]) => Value::from(order(a, b)? != Ordering::Less),
        (
            "json" | "upper" | "lower" | "title" | "truncate" | "join" | "split" | "len" | "index" | "slice" | "printf"
            | "not" | "and" | "or" | "eq" | "ne" | "lt" | "le" | "gt" | "ge",
            _,
        ) => return Err(wrong()),
        _ => bail!("template: there is no function `{name}`"),
    })
}

fn index(from: &Value, keys: &[Value]) -> Result<Value> {
    let mut at = from.clone();
    for key in keys {
        at = match (&at, key) {
            // A key that is not there is the zero value, as in Go's maps of strings.
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| Value::from("")),
            (Value::Array(list), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok()).and_then(|at| list.get(at));
                at.cloned().ok_or_else(|| anyhow!("template: index {number} is out of range"))?
            }
            (Value::Null, _) => Value::from(""),
            (value, _) => bail!("template: {} cannot be indexed", text(value)),
        };
    }
    Ok(at)
}

fn printf(format: &str, values: &[Value]) -> Result<String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.find(|c| c.is_alphabetic() || *c == '%');
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| anyhow!("template: printf has too few values"))?;
        match verb {
            Some('s' | 'd' | 'v') => out.push_str(&text(value)),
            Some('q') => out.push_str(&format!("{:?}", text(value))),
            _ => bail!("template: printf knows %s, %d, %v and %q"),
        }
    }
    Ok(out)
}

fn order(a: &Value, b: &Value) -> Result<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
    .ok_or_else(|| anyhow!("template: {} and {} cannot be compared", text(a), text(b)))
}

/// Go's idea of an empty value.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty() && text != NO_VALUE,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}
