//! Small habits: module docs, no `mod.rs`, no ignored tests, no stray white space.

use super::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let everywhere = tree.files.iter().flat_map(white_space);
    let rust = tree.rust().flat_map(rust);
    everywhere.chain(rust).collect()
}

fn white_space(file: &File) -> Vec<String> {
    let stray = file.text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
    let mut problems: Vec<_> =
        stray.map(|(at, _)| format!("{}:{}: white space at the end of the line", file.path, at + 1)).collect();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        problems.push(format!("{}: must end with a newline", file.path));
    }
    problems
}

fn rust(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        problems.push(format!("{}: must begin with `//!` and say what it is for", file.path));
    }
    if file.path.ends_with("/mod.rs") {
        problems.push(format!("{}: a module's file has the module's name", file.path));
    }
    // spelled in two parts, so that this file is no finding of its own
    let ignored = concat!("#[", "ignore");
    let found = file.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(ignored));
    problems.extend(found.map(|(at, _)| format!("{}:{}: no test is ignored", file.path, at + 1)));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn stray_white_space_is_told_with_its_line() {
        assert_eq!(white_space(&file("a.md", "one\ntwo \n")), ["a.md:2: white space at the end of the line"]);
        assert_eq!(white_space(&file("a.md", "one")), ["a.md: must end with a newline"]);
    }

    #[test]
    fn modules_have_docs_and_names() {
        assert_eq!(rust(&file("crates/x/src/y/mod.rs", "fn f() {}\n")).len(), 2);
        assert_eq!(rust(&file("crates/x/src/y.rs", "//! Why.\n")).len(), 0);
    }

    #[test]
    fn ignored_tests_are_told() {
        let text = ["//! Why.\n", "#[", "ignore]\n"].concat();
        assert_eq!(rust(&file("crates/x/src/y.rs", &text)), ["crates/x/src/y.rs:2: no test is ignored"]);
    }
}
