//! Files stay short enough to be read in one sitting.

use super::tree::Tree;

/// Above this, look for the second idea in the file.
const LINES: usize = 600;

/// Files that may be longer, how long, and why. The ratchet only moves down.
const LONGER: &[(&str, usize, &str)] = &[];

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut problems: Vec<_> = tree.rust().filter_map(|file| too_long(&file.path, file.text.lines().count())).collect();
    let stale =
        LONGER.iter().filter(|(path, _, _)| tree.get(path).is_none_or(|file| file.text.lines().count() <= LINES));
    problems.extend(stale.map(|(path, _, _)| format!("{path}: needs no entry in xtask/src/tidy/sizes.rs any more")));
    problems
}

fn too_long(path: &str, lines: usize) -> Option<String> {
    let limit = LONGER.iter().find(|(longer, _, _)| *longer == path).map_or(LINES, |(_, limit, _)| *limit);
    (lines > limit).then(|| format!("{path}: has {lines} lines, more than {limit}; look for the second idea in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_told() {
        assert_eq!(too_long("crates/model/src/spec.rs", LINES), None);
        assert!(too_long("crates/model/src/spec.rs", LINES + 1).is_some());
    }
}
