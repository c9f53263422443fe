//! An example that no test runs is a promise that nobody keeps.

use super::tree::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let tests: Vec<_> = tree.rust().filter(|file| file.path.starts_with("tests/")).collect();
    let examples = tree.files.iter().filter_map(|file| {
        let name = file.path.strip_prefix("examples/compose/")?;
        (name.ends_with(".yaml") && !name.contains('/')).then_some((file, name))
    });
    let mut problems = Vec::new();
    for (file, name) in examples {
        if !tests.iter().any(|test| test.text.contains(&format!("\"{name}\""))) {
            problems.push(format!("{}: no test under tests/ names \"{name}\"", file.path));
        }
        if !file.text.starts_with("# ") {
            problems.push(format!("{}: must begin with a comment that says what it shows", file.path));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_without_a_test_is_told() {
        let example = ("examples/compose/hello.yaml", "# Shows hello.\n");
        assert_eq!(check(&Tree::of(&[example])).len(), 1);
        assert_eq!(check(&Tree::of(&[example, ("tests/tests/examples.rs", "run(\"hello.yaml\")")])).len(), 0);
    }

    #[test]
    fn an_example_without_a_comment_is_told() {
        let tree = Tree::of(&[("examples/compose/a.yaml", "services:\n"), ("tests/tests/a.rs", "\"a.yaml\"")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
