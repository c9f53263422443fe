//! `${VARIABLES}` in texts, in every form of the Compose specification.

use crate::tree::{Node, Value, Via};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Deepest `${A:-${B:-…}}`.
const MAX_NESTING: usize = 30;
/// Largest result of one text, in bytes.
const MAX_RESULT: usize = 4 << 20;

/// Why a text could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// `${` that is no variable.
    Invalid,
    /// `${NAME:?reason}` without a value.
    Required {
        /// The variable.
        name: String,
        /// The reason as written, perhaps empty.
        reason: String,
    },
    /// Too deep or too long.
    TooLarge,
}

/// Looks up variables.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text with its variables filled in; names without a value are added to `unset`.
pub(crate) fn substitute(
    template: &str,
    lookup: Lookup<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<String, TemplateError> {
    fill(template, lookup, unset, 0)
}

fn fill(
    template: &str,
    lookup: Lookup<'_>,
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > MAX_NESTING {
        return Err(TemplateError::TooLarge);
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if rest.starts_with('{') {
            let (inside, after) = braced(rest).ok_or(TemplateError::Invalid)?;
            out.push_str(&expression(inside, lookup, unset, depth)?);
            rest = after;
        } else {
            let length = name_length(rest);
            if length == 0 {
                out.push('$');
                continue;
            }
            out.push_str(&plain(&rest[..length], lookup, unset));
            rest = &rest[length..];
        }
        if out.len() > MAX_RESULT {
            return Err(TemplateError::TooLarge);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Length of the variable name that a text starts with.
fn name_length(text: &str) -> usize {
    let start = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !start {
        return 0;
    }
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

/// Splits `{A:-{b}}rest` at the brace that closes the first.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut open = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some((&text[1..at], &text[at + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

/// One variable of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use<'t> {
    /// The variable.
    pub(crate) name: &'t str,
    /// What follows the name: nothing, `-`, `:-`, `+`, `:+`, `?` or `:?`.
    pub(crate) operator: &'t str,
    /// What follows the operator, itself a template.
    pub(crate) word: &'t str,
}

/// The variables of a template in order; those of a default only show when asked of its `word`.
pub(crate) fn uses(template: &str) -> Vec<Use<'_>> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if rest.starts_with('{') {
            let Some((inside, after)) = braced(rest) else { break };
            let (name, tail) = inside.split_at(name_length(inside));
            let (operator, word) = tail.split_at(tail.find(['-', '+', '?']).map_or(0, |at| at + 1));
            found.push(Use { name, operator, word });
            rest = after;
        } else {
            let (name, after) = rest.split_at(name_length(rest));
            if !name.is_empty() {
                found.push(Use { name, operator: "", word: "" });
            }
            rest = after;
        }
    }
    found
}

fn plain(name: &str, lookup: Lookup<'_>, unset: &mut BTreeSet<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        unset.insert(name.to_owned());
        String::new()
    })
}

fn expression(
    inside: &str,
    lookup: Lookup<'_>,
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    let length = name_length(inside);
    if length == 0 {
        return Err(TemplateError::Invalid);
    }
    let (name, operator) = inside.split_at(length);
    if operator.is_empty() {
        return Ok(plain(name, lookup, unset));
    }
    let (not_empty, operator) = match operator.strip_prefix(':') {
        Some(operator) => (true, operator),
        None => (false, operator),
    };
    let word = operator.get(1..).unwrap_or("");
    // the reference's pattern stops at a line break
    if word.contains('\n') {
        return Err(TemplateError::Invalid);
    }
    let value = lookup(name).filter(|value| !(not_empty && value.is_empty()));
    match (operator.chars().next(), value) {
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => fill(word, lookup, unset, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let reason = fill(word, lookup, unset, depth + 1)?;
            Err(TemplateError::Required { name: name.to_owned(), reason })
        }
        _ => Err(TemplateError::Invalid),
    }
}

/// Something to tell about one text of a tree.
pub(crate) enum Finding {
    /// The text could not be filled in.
    Failed(Node, TemplateError),
    /// A variable had no value and became nothing.
    Unset(Node, String),
}

/// Fills in every text of a tree; `spend` counts the bytes that were made and says when to stop.
pub(crate) fn tree(
    node: &mut Node,
    lookup: Lookup<'_>,
    spend: &mut dyn FnMut(usize) -> bool,
    findings: &mut Vec<Finding>,
) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let mut unset = BTreeSet::new();
            let result = substitute(text, lookup, &mut unset);
            for name in unset {
                findings.push(Finding::Unset(node.clone(), name));
            }
            match result {
                Ok(filled) if spend(filled.len()) => replace(node, filled),
                Ok(_) => findings.push(Finding::Failed(node.clone(), TemplateError::TooLarge)),
                Err(error) => findings.push(Finding::Failed(node.clone(), error)),
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| tree(item, lookup, spend, findings)),
        Value::Map(map) => map.values_mut().for_each(|item| tree(item, lookup, spend, findings)),
        _ => {}
    }
}

fn replace(node: &mut Node, filled: String) {
    let Value::Text(text) = &node.value else { return };
    if *text == filled {
        return;
    }
    let note = format!("filled in from `{}`", crate::tree::shorten(text));
    node.via = Some(Arc::new(Via { note, at: node.at, before: node.via.take(), quiet: false }));
    node.value = Value::Text(filled);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn sub(template: &str) -> Result<String, TemplateError> {
        substitute(template, &lookup, &mut BTreeSet::new())
    }

    #[test]
    fn every_form_means_what_the_specification_says() {
        for (template, expected) in [
            ("$A-${A}", "a-a"),
            ("$$A $$$$", "$A $$"),
            ("cost $5 and $ and $", "cost $5 and $ and $"),
            ("${B-x}${EMPTY-x}${A-x}", "xa"),
            ("${B:-x}${EMPTY:-y}${A:-z}", "xya"),
            ("${B+x}${EMPTY+y}${A+z}", "yz"),
            ("${B:+x}${EMPTY:+y}${A:+z}", "z"),
            ("${A?no}${EMPTY?no}", "a"),
            ("${B:-${C:-${A}}}!", "a!"),
            ("${B:-a:-b}", "a:-b"),
            ("${B:-{\"x\": {}}}", "{\"x\": {}}"),
            ("${B}", ""),
            ("${A}${B:-http://x/y?z=1}", "ahttp://x/y?z=1"),
        ] {
            assert_eq!(sub(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn variables_of_a_template_are_found_in_order() {
        let found = uses("$A$$B ${C:-${D}}x${E?no}$");
        let parts: Vec<_> = found.iter().map(|found| (found.name, found.operator, found.word)).collect();
        assert_eq!(parts, [("A", "", ""), ("C", ":-", "${D}"), ("E", "?", "no")]);
    }

    #[test]
    fn broken_templates_and_missing_values_are_errors() {
        for template in ["${", "${}", "${1}", "${A", "${A B}", "${A:}", "${A!x}", "${B:-x\ny}"] {
            assert_eq!(sub(template), Err(TemplateError::Invalid), "{template}");
        }
        let required = |reason: &str| TemplateError::Required { name: "B".to_owned(), reason: reason.to_owned() };
        assert_eq!(sub("${B:?set $A}"), Err(required("set a")));
        assert_eq!(sub("${B?}"), Err(required("")));
        assert_eq!(sub(&"${B:-".repeat(50)), Err(TemplateError::Invalid));
        assert_eq!(sub(&format!("{}{}", "${B:-".repeat(50), "}".repeat(50))), Err(TemplateError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_panics(template in "[$A{}:?+-]{0,24}|.*") {
            let _ = sub(&template);
        }

        #[test]
        fn text_without_dollars_stays(template in "[^$]*") {
            prop_assert_eq!(sub(&template).unwrap(), template);
        }
    }
}
