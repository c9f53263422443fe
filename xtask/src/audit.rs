//! What we depend on, audited with nothing but cargo: licences, sources, doubled versions, yanked versions.
//!
//! Published advisories need RustSec's database, which is a git repository; `cargo deny` fetches it. Where either is
//! missing that part is skipped and said, never passed in silence.

mod advisories;
mod license;
mod policy;
mod yanked;

use std::path::Path;

use anyhow::bail;

use crate::metadata::{self, Package};
use crate::say;
use policy::Policy;

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let policy = Policy::read(root)?;
    let packages = metadata::read(root)?;
    let theirs: Vec<_> = packages.iter().filter(|package| package.source.is_some()).collect();
    let mut problems: Vec<_> = theirs.iter().flat_map(|package| one(&policy, package)).collect();
    problems.extend(theirs.iter().filter_map(|package| banned(&policy, package, &packages)));
    problems.extend(doubled(&policy, &theirs));
    match yanked::check(&theirs)? {
        yanked::Answer::None => {}
        yanked::Answer::Some(text) => problems.push(text),
        yanked::Answer::Unreachable(text) => {
            say(&format!("audit: YANKED VERSIONS NOT CHECKED: the registry does not answer: {text}"));
        }
    }
    for problem in &problems {
        say(&format!("audit: {problem}"));
    }
    advisories::check(root)?;
    match problems.len() {
        0 => say(&format!("audit: {} packages, all licences and sources as deny.toml allows", theirs.len())),
        count => bail!("{count} findings; deny.toml says what is allowed"),
    }
    Ok(())
}

/// What a package alone can get wrong.
fn one(policy: &Policy, package: &Package) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut problems = Vec::new();
    match &package.license {
        None => problems.push(format!("{name}: names no licence")),
        Some(license) if !license::satisfied(license, &policy.licenses) => {
            problems.push(format!("{name}: its licence `{license}` is not allowed"));
        }
        Some(_) => {}
    }
    let source = package.source.as_deref().unwrap_or_default();
    if !policy.registries.iter().any(|allowed| source.strip_prefix("registry+") == Some(allowed)) {
        problems.push(format!("{name}: comes from `{source}`, which is not allowed"));
    }
    problems
}

/// Who uses what nobody should, but for those that may.
fn banned(policy: &Policy, package: &Package, all: &[Package]) -> Option<String> {
    let ban = policy.banned.get(&package.name)?;
    let users = all.iter().filter(|user| user.dependencies.iter().any(|it| !it.dev && it.name == package.name));
    let others: Vec<&str> = users
        .map(|user| user.name.as_str())
        .filter(|user| !ban.wrappers.iter().any(|wrapper| wrapper == user))
        .collect();
    let used = !others.is_empty() || ban.wrappers.is_empty();
    used.then(|| {
        format!("{} {}: is banned: {} (used by {})", package.name, package.version, ban.reason, others.join(", "))
    })
}

/// Two versions of one crate, unless the older one is excused; and excuses that excuse nothing.
fn doubled(policy: &Policy, packages: &[&Package]) -> Vec<String> {
    let mut problems = Vec::new();
    let excused = |package: &Package| policy.skips.iter().any(|skip| skip.covers(&package.name, &package.version));
    for pair in packages.windows(2) {
        let [a, b] = pair else { continue };
        if a.name == b.name && !excused(a) && !excused(b) {
            problems.push(format!("{}: is there as {} and {}", a.name, a.version, b.version));
        }
    }
    for skip in &policy.skips {
        let several = packages.iter().filter(|package| package.name == skip.name).count() > 1;
        if !several || !packages.iter().any(|package| skip.covers(&package.name, &package.version)) {
            problems.push(format!("deny.toml: the skip of {}@{} excuses nothing any more", skip.name, skip.version));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            source: Some("registry+https://registry.example/index".to_owned()),
            license: Some(license.to_owned()),
            dependencies: Vec::new(),
        }
    }

    fn policy() -> Policy {
        Policy::parse(
            r#"
            [licenses]
            allow = ["MIT"]
            [bans]
            deny = [{ crate = "evil", wrappers = ["tamed"], reason = "because" }]
            skip = [{ crate = "old@1", reason = "because" }]
            [sources]
            allow-registry = ["https://registry.example/index"]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn each_kind_of_finding_is_told() {
        assert_eq!(one(&policy(), &package("good", "1.0.0", "MIT OR GPL-3.0")), Vec::<String>::new());
        assert_eq!(one(&policy(), &package("bad", "1.0.0", "GPL-3.0")).len(), 1);
        let evil = package("evil", "1.0.0", "MIT");
        let user = |name: &str| Package {
            dependencies: vec![crate::metadata::Dependency { name: "evil".to_owned(), dev: false, ours: false }],
            ..package(name, "1.0.0", "MIT")
        };
        assert!(banned(&policy(), &evil, &[user("good")]).is_some());
        assert!(banned(&policy(), &evil, &[user("tamed")]).is_none());
        let from_git = Package { source: Some("git+https://x".to_owned()), ..package("good", "1.0.0", "MIT") };
        assert_eq!(one(&policy(), &from_git).len(), 1);
    }

    #[test]
    fn doubled_versions_need_an_excuse_and_excuses_a_use() {
        let (a, b) = (package("new", "1.0.0", "MIT"), package("new", "2.0.0", "MIT"));
        let (c, d) = (package("old", "1.9.0", "MIT"), package("old", "2.0.0", "MIT"));
        assert_eq!(doubled(&policy(), &[&a, &b, &c, &d]), ["new: is there as 1.0.0 and 2.0.0"]);
        assert_eq!(doubled(&policy(), &[&d]).len(), 1);
    }
}
