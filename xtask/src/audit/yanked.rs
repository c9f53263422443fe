//! Was a locked version withdrawn by its author?
//!
//! Cargo keeps a yanked version that a lock file names, but never picks one anew. So a package that wants exactly our
//! versions is resolved without a lock: it resolves if and only if none of them is yanked.

use std::fmt::Write;
use std::process::Command;

use anyhow::Context;

use crate::metadata::Package;

/// What the registry says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing is yanked.
    None,
    /// Something is: cargo's words.
    Some(String),
    /// Nobody could be asked.
    Unreachable(String),
}

pub(crate) fn check(packages: &[&Package]) -> anyhow::Result<Answer> {
    let folder = std::env::temp_dir().join(format!("rswarm-audit-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("src")).with_context(|| format!("make {}", folder.display()))?;
    std::fs::write(folder.join("src/lib.rs"), "")?;
    std::fs::write(folder.join("Cargo.toml"), manifest(packages))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).arg("generate-lockfile").current_dir(&folder).output();
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    let output = output.context("start cargo generate-lockfile")?;
    Ok(judge(output.status.success(), &String::from_utf8_lossy(&output.stderr)))
}

fn judge(resolved: bool, said: &str) -> Answer {
    if resolved {
        return Answer::None;
    }
    let said = said.trim().to_owned();
    if said.contains("yanked") { Answer::Some(said) } else { Answer::Unreachable(said) }
}

/// Keys are numbered because one crate may be there in two versions.
fn manifest(packages: &[&Package]) -> String {
    let mut text = String::from(
        "[package]\nname = \"audit\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n",
    );
    for (at, package) in packages.iter().enumerate() {
        // build metadata (`+spec-1.1.0`) is no part of a requirement
        let version = package.version.split('+').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "d{at} = {{ package = \"{}\", version = \"={version}\", default-features = false }}",
            package.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yanked_version_is_not_mistaken_for_a_missing_network() {
        let yanked =
            "error: failed to select a version for the requirement `a = \"=1.0.0\"`\n  version 1.0.0 is yanked";
        assert!(matches!(judge(false, yanked), Answer::Some(_)));
        assert!(matches!(judge(false, "error: could not connect to server"), Answer::Unreachable(_)));
        assert_eq!(judge(true, ""), Answer::None);
    }

    #[test]
    fn both_versions_of_a_crate_are_asked_for() {
        let package = |version: &str| Package {
            name: "a".to_owned(),
            version: version.to_owned(),
            source: None,
            license: None,
            dependencies: Vec::new(),
        };
        let text = manifest(&[&package("1.0.0"), &package("2.0.0+meta")]);
        assert!(text.contains("d0 = { package = \"a\", version = \"=1.0.0\""), "{text}");
        assert!(text.contains("d1 = { package = \"a\", version = \"=2.0.0\""), "{text}");
    }
}
