//! ARCHITECTURE.md stays true: it names every crate of the workspace, and none that is gone.

use super::tree::Tree;
use crate::metadata::Package;

const MAP: &str = "ARCHITECTURE.md";

pub(crate) fn check(tree: &Tree, ours: &[Package]) -> Vec<String> {
    let Some(map) = tree.get(MAP) else { return vec![format!("{MAP}: is missing")] };
    let missing = ours.iter().filter(|package| !map.text.contains(&format!("`{}`", package.name)));
    let mut problems: Vec<_> = missing.map(|package| format!("{MAP}: does not name `{}`", package.name)).collect();
    problems.extend(gone(&map.text, tree));
    problems
}

/// Paths like `crates/gizmo/src/lib.rs` in the map must exist.
fn gone(text: &str, tree: &Tree) -> Vec<String> {
    let words = text.split('`').skip(1).step_by(2);
    let paths = words.filter(|word| word.starts_with("crates/") && !word.contains(['*', '{', '<', ' ']));
    let stale = paths.filter(|path| !tree.files.iter().any(|file| file.path.starts_with(path.trim_end_matches('/'))));
    stale.map(|path| format!("{MAP}: points to {path}, which is not there")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_not_on_the_map_is_told() {
        let tree = Tree::of(&[(MAP, "`model` is there\n")]);
        let package = |name: &str| Package {
            name: name.to_owned(),
            version: String::new(),
            source: None,
            license: None,
            dependencies: Vec::new(),
        };
        assert_eq!(check(&tree, &[package("model"), package("api")]), ["ARCHITECTURE.md: does not name `api`"]);
    }

    #[test]
    fn a_path_that_is_gone_is_told() {
        let tree = Tree::of(&[(MAP, ""), ("crates/model/src/ids.rs", "")]);
        assert_eq!(gone("see `crates/model/src/ids.rs` and `crates/model/src/old.rs`", &tree).len(), 1);
    }
}
