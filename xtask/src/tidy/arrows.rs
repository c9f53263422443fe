//! Which crate may use which. Arrows across the purity line only go up: edge crates use pure ones, never the reverse.

use crate::metadata::{Dependency, Package};

/// Crates without clock, chance, disk, network or threads.
pub(crate) const PURE: &[&str] = &["model", "compose", "consensus", "orchestrator", "node-agent", "sim"];

/// Every crate of the workspace and those of ours it may use. ARCHITECTURE.md draws the same arrows.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("compose", &["model"]),
    ("consensus", &["model"]),
    ("orchestrator", &["model", "consensus"]),
    ("node-agent", &["model"]),
    ("sim", &["model", "compose", "consensus", "orchestrator", "node-agent"]),
    ("api", &["model"]),
    ("store", &["model", "consensus"]),
    ("image", &["model"]),
    ("overlay-net", &["model"]),
    ("runtime", &["model"]),
    ("gitops", &["model", "compose"]),
    ("pki", &["model"]),
    (
        "daemon",
        &[
            "model",
            "api",
            "compose",
            "orchestrator",
            "consensus",
            "node-agent",
            "store",
            "overlay-net",
            "image",
            "runtime",
            "gitops",
            "pki",
        ],
    ),
    // the command line plans locally, and is the one binary: daemon, shim, OCI runtime and netd are entry points of it
    ("cli", &["model", "api", "compose", "orchestrator", "gitops", "image", "daemon", "runtime", "overlay-net", "pki"]),
    // tests and chores see the product from outside only
    ("e2e", &[]),
    // the data plane has no command of its own: its benches speak to `netd` as the daemon does; and 64 clients that
    // each start a process would measure that
    ("bench", &["api", "e2e", "model", "overlay-net"]),
    ("xtask", &[]),
];

/// What pure crates may take from the registry: values, parsers and proven algorithms, none of which reaches outside.
const PURE_MAY_USE: &[(&str, &str)] = &[
    ("bytes", "shared slices of what raft-rs hands over"),
    ("hex", "digests as text"),
    ("indexmap", "maps in the order of a file"),
    ("protobuf", "raft-rs's own messages"),
    ("raft", "the proven consensus machine, driven without I/O"),
    ("saphyr-parser", "YAML events with positions"),
    ("serde", "the log's and the API's form of the nouns"),
    ("serde_json", "values of unknown keys, golden tests"),
    ("sha2", "a config's identity is its content"),
    ("slog", "raft-rs wants a logger; it gets one that is silent"),
    ("strsim", "did you mean …?"),
    ("thiserror", "error enums"),
];

/// And for their tests.
const PURE_TESTS_MAY_USE: &[&str] = &["proptest"];

pub(crate) fn check(ours: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for package in ours {
        match ARROWS.iter().find(|(name, _)| *name == package.name) {
            None => problems.push(format!("{}: has no line in xtask/src/tidy/arrows.rs", package.name)),
            Some((_, may_use)) => problems.extend(arrows(package, may_use)),
        }
        if PURE.contains(&package.name.as_str()) {
            problems.extend(package.dependencies.iter().filter_map(|dependency| purity(&package.name, dependency)));
        }
    }
    problems
}

/// Tests may look around; only what is shipped is drawn.
fn arrows(package: &Package, may_use: &[&str]) -> Vec<String> {
    let strays = package.dependencies.iter().filter(|used| used.ours && !used.dev);
    let strays = strays.filter(|used| !may_use.contains(&used.name.as_str()));
    strays.map(|used| format!("{}: must not depend on {}", package.name, used.name)).collect()
}

fn purity(name: &str, used: &Dependency) -> Option<String> {
    let known = if used.ours {
        PURE.contains(&used.name.as_str())
    } else {
        PURE_MAY_USE.iter().any(|(allowed, _)| *allowed == used.name)
            || used.dev && PURE_TESTS_MAY_USE.contains(&used.name.as_str())
    };
    (!known).then(|| format!("{name}: is pure and must not depend on {}", used.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |(name, ours): &(&str, bool)| Dependency { name: (*name).to_owned(), dev: false, ours: *ours };
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            source: None,
            license: None,
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn a_pure_crate_that_takes_tokio_is_told() {
        let problems = check(&[package("orchestrator", &[("model", true), ("tokio", false)])]);
        assert_eq!(problems, ["orchestrator: is pure and must not depend on tokio"]);
    }

    #[test]
    fn brain_and_hands_stay_apart() {
        let problems = check(&[package("node-agent", &[("orchestrator", true)])]);
        assert_eq!(problems, ["node-agent: must not depend on orchestrator"]);
    }

    #[test]
    fn an_arrow_down_across_the_line_is_told() {
        let problems = check(&[package("compose", &[("runtime", true)])]);
        assert!(problems.contains(&"compose: is pure and must not depend on runtime".to_owned()), "{problems:?}");
    }

    #[test]
    fn a_new_crate_must_be_drawn() {
        assert_eq!(check(&[package("gizmo", &[])]).len(), 1);
    }
}
