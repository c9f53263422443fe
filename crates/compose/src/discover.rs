//! Which files make a project when nobody named them.

/// Names of the main file, best first.
pub const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of the file that is merged on top of the main one when it stands beside it.
pub const OVERRIDES: [&str; 4] =
    ["compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// The files of the project that `cwd` (absolute) is in: the first of [`NAMES`] in `cwd` or the
/// nearest parent that has one, and its override. Empty when there is none.
pub fn discover(cwd: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut folder = cwd.trim_end_matches('/');
    loop {
        let find = |names: &[&str]| names.iter().map(|name| format!("{folder}/{name}")).find(|path| exists(path));
        if let Some(main) = find(&NAMES) {
            return std::iter::once(main).chain(find(&OVERRIDES)).collect();
        }
        match folder.rfind('/') {
            Some(at) => folder = &folder[..at],
            None => return Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cwd: &str, files: &[&str]) -> Vec<String> {
        discover(cwd, &|path| files.contains(&path))
    }

    #[test]
    fn the_nearest_folder_wins_and_brings_its_override() {
        let files = ["/a/compose.yaml", "/a/b/docker-compose.yml", "/a/b/docker-compose.override.yml"];
        assert_eq!(found("/a/b/c", &files), [files[1], files[2]]);
        assert_eq!(found("/a/", &files), [files[0]]);
    }

    #[test]
    fn the_root_folder_is_looked_into_and_none_is_empty() {
        assert_eq!(found("/", &["/compose.yml"]), ["/compose.yml"]);
        assert_eq!(found("/x", &["/compose.yml"]), ["/compose.yml"]);
        assert!(found("/x/y", &[]).is_empty());
    }
}
