//! A code that `rswarm explain` does not know helps nobody.

use std::collections::BTreeSet;

use super::tree::{File, Tree};

/// Where codes are explained.
const TABLES: [&str; 2] = ["crates/compose/src/codes.rs", "crates/cli/src/codes.rs"];

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let known: BTreeSet<&str> = TABLES.iter().filter_map(|path| tree.get(path)).flat_map(codes).collect();
    let told = tree.rust().filter(|file| file.path.starts_with("crates/") && file.path.contains("/src/"));
    let told = told.filter(|file| !file.path.ends_with("tests.rs") && !TABLES.contains(&file.path.as_str()));
    let unknown = told.flat_map(|file| codes(file).into_iter().map(move |code| (file, code)));
    let unknown = unknown.filter(|(_, code)| !known.contains(code));
    unknown.map(|(file, code)| format!("{}: {code} stands in no table of {}", file.path, TABLES.join(", "))).collect()
}

/// The codes that a file writes as literals, tests aside.
fn codes(file: &File) -> BTreeSet<&str> {
    let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    text.match_indices("\"RS")
        .filter_map(|(at, _)| text.get(at + 1..at + 8)?.strip_suffix('"'))
        .filter(is_code)
        .collect()
}

fn is_code(text: &&str) -> bool {
    text.strip_prefix("RS").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_an_explanation_is_told() {
        let table = ("crates/cli/src/codes.rs", "code(\"RS0001\", \"a title\", \"words\")");
        let known = ("crates/x/src/a.rs", "Diagnostic::error(\"RS0001\", text)");
        assert!(check(&Tree::of(&[table, known])).is_empty());
        let unknown = ("crates/x/src/b.rs", "Diagnostic::error(\"RS0002\", text)");
        assert_eq!(check(&Tree::of(&[table, known, unknown])).len(), 1);
        let tested = ("crates/x/src/c.rs", "#[cfg(test)]\nmod tests { find(\"RS0003\") }");
        assert!(check(&Tree::of(&[table, tested])).is_empty());
    }
}
