//! The tables as a JSON Schema, for editors (`docs/compose.schema.json`). It says the forms that
//! values may have; what values mean, the loader checks itself.

use super::{Done, Field, Form, Kind, TOP, Unique};
use serde_json::{Map, Value, json};

/// Keys of one's own.
const EXTRA: &str = "^x-";
/// Names of services, networks and so on.
const NAME: &str = "^[a-zA-Z0-9._-]+$";
/// A variable, which may become anything.
const VARIABLE: &str = "\\$";

/// The whole document.
pub(crate) fn schema() -> String {
    let mut top = object(TOP, true, false, true);
    let head = [
        ("$schema", "https://json-schema.org/draft/2020-12/schema"),
        ("title", "Compose file"),
        ("description", "Made from the loader's tables; UPDATE=1 cargo test -p compose --test keys writes it anew."),
    ];
    if let Value::Object(map) = &mut top {
        map.extend(head.map(|(name, text)| (name.to_owned(), text.into())));
    }
    format!("{top:#}\n")
}

/// A mapping with known keys; `whole` when those that are required must be there.
fn object(fields: &[Field], extras: bool, nullable: bool, whole: bool) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<&str> = fields.iter().filter(|field| whole && field.required).map(|field| field.name).collect();
    let mut out = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if nullable {
        out["type"] = json!(["object", "null"]);
    }
    if extras {
        out["patternProperties"] = json!({ EXTRA: {} });
    }
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn property(field: &Field) -> Value {
    let mut out = value(&field.kind);
    match field.done {
        Done::Yes => {}
        Done::But(exceptions) => out["description"] = format!("done, but {exceptions}").into(),
        Done::NotYet(instead) => out["description"] = format!("not yet: {instead}").into(),
        Done::Only(values, instead) => {
            out["description"] = format!("only `{}`, others not yet: {instead}", values.join("`, `")).into();
        }
        Done::Meaningless(why) => out["description"] = format!("meaningless: {why}").into(),
    }
    out
}

fn value(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::TextBytes | Kind::Duration => json!({ "type": "string" }),
        Kind::Choice(words) => json!({ "type": "string", "anyOf": [{ "enum": words }, { "pattern": VARIABLE }] }),
        Kind::Flag => json!({ "type": ["boolean", "string"] }),
        Kind::Whole(low, high) => whole(*low, *high),
        Kind::Number | Kind::Bytes => json!({ "type": ["number", "string"] }),
        Kind::FileMode | Kind::Count | Kind::TextOrWhole => json!({ "type": ["integer", "string"] }),
        Kind::Command => json!({ "type": ["string", "array", "null"], "items": { "type": "string" } }),
        Kind::HealthTest | Kind::OneOrMore(_) | Kind::Addresses => {
            json!({ "type": ["string", "array"], "items": { "type": "string" } })
        }
        Kind::Env | Kind::Labels | Kind::Ssh => json!({
            "type": ["object", "array"],
            "items": { "type": "string" },
            "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
        }),
        Kind::Options => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } })
        }
        Kind::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::MultiOptions => json!({ "type": "object" }),
        Kind::Texts(rule) => texts(*rule, json!({ "type": "string" })),
        Kind::Loose(rule) => texts(*rule, json!({ "type": ["string", "number"] })),
        Kind::TextOrFlag => json!({ "type": ["string", "boolean"] }),
        Kind::Object(fields) => object(fields, true, false, true),
        Kind::Strict(fields) => object(fields, false, false, true),
        Kind::Nullable(fields) => object(fields, true, true, true),
        Kind::Named(inner) => named(value(inner)),
        Kind::List(inner, _) => list(inner),
        Kind::Short(form, fields) => short(*form, fields),
        Kind::Names(form, fields) => {
            // what a file leaves out of an entry may stand in the one that it is merged over
            let entries = named(object(fields, true, *form != Form::DependsOn, false));
            json!({ "anyOf": [texts(Unique::Once, json!({ "type": "string" })), entries] })
        }
        Kind::Hosts => json!({
            "type": ["object", "array"],
            "items": { "type": "string" },
            "additionalProperties": { "type": ["string", "array"], "items": { "type": "string" } },
        }),
        Kind::Ulimits => json!({ "type": "object", "additionalProperties": ulimit() }),
        Kind::External => json!({ "type": ["boolean", "string", "object"] }),
        Kind::Gpus => {
            let requests = json!({ "type": "array", "items": object(super::DEVICES, true, false, false) });
            json!({ "anyOf": [{ "type": "string", "enum": ["all"] }, requests] })
        }
    }
}

fn whole(low: i64, high: i64) -> Value {
    let mut out = json!({ "type": ["integer", "string"] });
    if low > i64::MIN {
        out["minimum"] = low.into();
    }
    if high < i64::MAX {
        out["maximum"] = high.into();
    }
    out
}

fn ulimit() -> Value {
    let side = whole(-1, i64::MAX);
    let sides = json!({
        "type": "object",
        "properties": { "soft": side, "hard": side },
        "required": ["soft", "hard"],
        "patternProperties": { EXTRA: {} },
        "additionalProperties": false,
    });
    json!({ "anyOf": [side, sides] })
}

fn texts(rule: Unique, item: Value) -> Value {
    match rule {
        Unique::Once => json!({ "type": "array", "items": item, "uniqueItems": true }),
        _ => json!({ "type": "array", "items": item }),
    }
}

fn named(entry: Value) -> Value {
    json!({ "type": "object", "patternProperties": { NAME: entry }, "additionalProperties": false })
}

fn list(inner: &Kind) -> Value {
    let list = json!({ "type": "array", "items": value(inner) });
    match inner {
        // one entry needs no list around it
        Kind::Short(Form::EnvFile, _) => json!({ "anyOf": [{ "type": "string" }, list] }),
        _ => list,
    }
}

fn short(form: Form, fields: &[Field]) -> Value {
    let extras = !matches!(form, Form::EnvFile | Form::Extends | Form::Include);
    let text = match form {
        Form::Port => json!({ "type": ["string", "integer"] }),
        _ => json!({ "type": "string" }),
    };
    json!({ "anyOf": [text, object(fields, extras, false, true)] })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests read the examples")]

    use super::*;
    use crate::tree::{self, Node};
    use crate::yaml;

    /// As much of JSON Schema as the document uses; anything else is a failure.
    fn fits(schema: &Value, node: &Node) -> bool {
        let Value::Object(keys) = schema else { panic!("no schema: {schema}") };
        if node.tag == tree::Tag::Reset {
            return true;
        }
        keys.iter().all(|(key, rule)| match key.as_str() {
            "$schema" | "title" | "description" | "properties" | "patternProperties" => true,
            "type" => match rule {
                Value::Array(names) => names.iter().any(|name| is(name, node)),
                name => is(name, node),
            },
            "anyOf" => rule.as_array().unwrap().iter().any(|one| fits(one, node)),
            "enum" => rule.as_array().unwrap().iter().any(|word| word.as_str() == node.as_text()),
            "pattern" => matches(rule.as_str().unwrap(), node.as_text().unwrap()),
            "items" => node.as_list().is_none_or(|items| items.iter().all(|item| fits(rule, item))),
            "uniqueItems" => node.as_list().is_none_or(|items| {
                items.iter().enumerate().all(|(at, item)| items[..at].iter().all(|other| other.value != item.value))
            }),
            "minimum" => node.as_int().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => node.as_int().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "required" => {
                let there = |name: &Value| node.as_map().is_none_or(|map| map.contains_key(name.as_str().unwrap()));
                rule.as_array().unwrap().iter().all(there)
            }
            "additionalProperties" => node.as_map().is_none_or(|map| {
                map.iter().all(|(name, item)| {
                    let known = schema["properties"].get(name).into_iter();
                    let patterns = schema["patternProperties"].as_object().into_iter().flatten();
                    let mut rules = known
                        .chain(patterns.filter(|(pattern, _)| matches(pattern, name)).map(|(_, rule)| rule))
                        .peekable();
                    match rules.peek() {
                        Some(_) => rules.all(|rule| fits(rule, item)),
                        None => *rule != Value::Bool(false) && fits(rule, item),
                    }
                })
            }),
            key => panic!("`{key}` is not known here"),
        })
    }

    fn is(name: &Value, node: &Node) -> bool {
        match (name.as_str().unwrap(), &node.value) {
            ("null", tree::Value::Null)
            | ("boolean", tree::Value::Bool(_))
            | ("integer" | "number", tree::Value::Int(_))
            | ("number", tree::Value::Float(_))
            | ("string", tree::Value::Text(_))
            | ("array", tree::Value::List(_))
            | ("object", tree::Value::Map(_)) => true,
            ("null" | "boolean" | "integer" | "number" | "string" | "array" | "object", _) => false,
            (name, _) => panic!("`{name}` is no type"),
        }
    }

    fn matches(pattern: &str, text: &str) -> bool {
        match pattern {
            EXTRA => text.starts_with("x-"),
            NAME => !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            VARIABLE => text.contains('$'),
            pattern => panic!("`{pattern}` is not known here"),
        }
    }

    fn check(text: &str) -> bool {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let (documents, problems) = yaml::parse(text, 0);
        assert_eq!(problems, []);
        documents.iter().all(|document| fits(&schema, document))
    }

    #[test]
    fn the_examples_fit() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/compose");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "yaml") {
                assert!(check(&std::fs::read_to_string(&path).unwrap()), "{}", path.display());
                count += 1;
            }
        }
        assert!(count >= 10, "{count}");
    }

    /// Real files that both references take: editors must not mark them.
    #[test]
    #[allow(clippy::print_stderr, reason = "a skipped test says so")]
    fn the_corpus_fits() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
        let Ok(table) = std::fs::read_to_string(root.join("CASES.tsv")) else {
            eprintln!("SKIPPED: the corpus is not there");
            return;
        };
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let mut count = 0;
        for (folder, files) in table.lines().filter_map(valid_case) {
            for file in files {
                let path = root.join("files").join(&folder).join(&file);
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                let documents = yaml::parse(&text, 0).0;
                let fits = documents.iter().all(|node| node.value == tree::Value::Null || fits(&schema, node));
                assert!(fits, "{}", path.display());
                count += 1;
            }
        }
        assert!(count >= 600, "{count}");
    }

    /// Folder and files of a row that both references call valid: id, variant, folder, files, …, verdicts.
    fn valid_case(row: &str) -> Option<(String, Vec<String>)> {
        let cells: Vec<&str> = row.split('\t').collect();
        let verdicts = cells.get(8..10)?;
        let files = cells[3].trim_matches('"').replace("\"\"", "\"");
        let files = serde_json::from_str(&files).ok()?;
        verdicts.iter().all(|verdict| *verdict == "valid").then(|| (cells[2].to_owned(), files))
    }

    #[test]
    fn every_form_fits_and_mistakes_do_not() {
        let service = |text: &str| check(&format!("services: {{a: {{image: i, {text}}}}}"));
        for text in [
            "ports: [80, '80:80', {target: 80, published: 80}]",
            "env_file: a",
            "env_file: [a, {path: b, required: false}]",
            "environment: [A, B=c], labels: {a: 1, b: null}",
            "depends_on: [b], networks: {n: null}",
            "depends_on: {b: {condition: service_healthy}}",
            "depends_on: {b: {required: false}}",
            "command: null, entrypoint: [a, b]",
            "ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}",
            "gpus: all, x-own: {anything: [1]}",
            "init: '${INIT}', oom_score_adj: '${SCORE}', cgroup: '${C}'",
            "healthcheck: {test: true && false, retries: 3}, deploy: null",
        ] {
            assert!(service(text), "{text}");
        }
        for text in [
            "imagee: x",
            "ports: [{published: 80, target: [1]}]",
            "depends_on: {b: null}",
            "depends_on: [b, b]",
            "init: [true]",
            "oom_score_adj: 2000",
            "cgroup: guest",
            "ulimits: {nofile: {soft: 1}}",
            "volumes: [{target: /x}]",
            "healthcheck: {retries: -1}",
        ] {
            assert!(!service(text), "{text}");
        }
        assert!(!check("services: {'a b': {image: i}}") && !check("service: {}") && !check("services: {a: null}"));
        assert!(check("services: {a: {image: i}}\nvolumes: {v: null}\nnetworks: {n: null}\nx-any: 1\n"));
    }
}
