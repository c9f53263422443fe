//! Checks that no compiler makes: each file of `tidy/` is one of them and has a test that hears it bark.
//!
//! `cargo test -p xtask` runs them over the real tree, so a change that breaks one cannot be merged by accident.

mod arrows;
mod codes;
mod examples;
mod layers;
mod map;
mod sizes;
mod style;
mod tree;

use std::path::Path;

use anyhow::bail;

use crate::{metadata, say};
use tree::Tree;

/// Runs every check and tells all problems at once.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let problems = problems(root)?;
    for problem in &problems {
        say(&format!("tidy: {problem}"));
    }
    match problems.len() {
        0 => say("tidy: all is in its place"),
        count => bail!("{count} things are out of place"),
    }
    Ok(())
}

fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let ours: Vec<_> = metadata::read(root)?.into_iter().filter(|package| package.source.is_none()).collect();
    let mut problems = arrows::check(&ours);
    problems.extend(layers::check(&tree, root));
    problems.extend(map::check(&tree, &ours));
    problems.extend(codes::check(&tree));
    problems.extend(examples::check(&tree));
    problems.extend(sizes::check(&tree));
    problems.extend(style::check(&tree));
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let root = crate::root().unwrap();
        let problems = super::problems(&root).unwrap();
        assert!(problems.is_empty(), "out of place:\n{}", problems.join("\n"));
    }
}
