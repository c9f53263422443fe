//! Each crate is pure or edge, says so in its first line, and a pure one stands behind its walls.

use std::path::Path;

use super::arrows::PURE;
use super::tree::Tree;

pub(crate) fn check(tree: &Tree, root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for name in tree.crates() {
        problems.extend(layer_line(tree, name));
        if PURE.contains(&name) {
            problems.extend(forbids_unsafe(tree, name));
            let link = root.join("crates").join(name).join("clippy.toml");
            problems.extend(wall(&format!("crates/{name}"), std::fs::read_link(link).ok().as_deref()));
        }
    }
    problems
}

/// `//! Layer: pure.` or `//! Layer: edge.`, and no lie.
fn layer_line(tree: &Tree, name: &str) -> Option<String> {
    let wanted = if PURE.contains(&name) { "//! Layer: pure." } else { "//! Layer: edge." };
    let roots = [format!("crates/{name}/src/lib.rs"), format!("crates/{name}/src/main.rs")];
    let Some(file) = roots.iter().find_map(|path| tree.get(path)) else {
        return Some(format!("crates/{name}: has neither src/lib.rs nor src/main.rs"));
    };
    let first = file.text.lines().next().unwrap_or_default();
    (first != wanted).then(|| format!("{}: must begin with `{wanted}`, begins with `{first}`", file.path))
}

fn forbids_unsafe(tree: &Tree, name: &str) -> Option<String> {
    let file = tree.get(&format!("crates/{name}/src/lib.rs"))?;
    let says = file.text.lines().any(|line| line == "#![forbid(unsafe_code)]");
    (!says).then(|| format!("{}: a pure crate says `#![forbid(unsafe_code)]`", file.path))
}

fn wall(folder: &str, target: Option<&Path>) -> Option<String> {
    let stands = target == Some(Path::new("../../clippy.pure.toml"));
    (!stands).then(|| format!("{folder}/clippy.toml: must be a symlink to ../../clippy.pure.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_about_the_layer_is_told() {
        let tree = Tree::of(&[("crates/model/src/lib.rs", "//! Layer: edge.\n")]);
        let problem = layer_line(&tree, "model").unwrap();
        assert!(problem.contains("must begin with `//! Layer: pure.`"), "{problem}");
    }

    #[test]
    fn unsafe_must_be_forbidden_in_pure_crates() {
        let tree = Tree::of(&[("crates/model/src/lib.rs", "//! Layer: pure.\n#![forbid(unsafe_code)]\n")]);
        assert_eq!(forbids_unsafe(&tree, "model"), None);
        let tree = Tree::of(&[("crates/model/src/lib.rs", "//! Layer: pure.\n")]);
        assert!(forbids_unsafe(&tree, "model").is_some());
    }

    #[test]
    fn a_missing_or_wrong_symlink_is_told() {
        assert!(wall("crates/model", None).is_some());
        assert!(wall("crates/model", Some(Path::new("../../clippy.toml"))).is_some());
        assert!(wall("crates/model", Some(Path::new("../../clippy.pure.toml"))).is_none());
    }
}
