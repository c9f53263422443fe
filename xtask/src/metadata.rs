//! What cargo knows of the workspace and of everything it depends on, cut down to what the checks ask.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// One package of the dependency graph.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// `None` for a package of this workspace, else the registry or repository it comes from.
    pub(crate) source: Option<String>,
    /// An SPDX expression, as its author wrote it.
    pub(crate) license: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) dev: bool,
    /// Lies in this workspace.
    pub(crate) ours: bool,
}

/// Every package in `Cargo.lock` that some target could build, ours first.
pub(crate) fn read(root: &Path) -> anyhow::Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .context("start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let value: Value = serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    let packages = value["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut packages: Vec<Package> = packages.iter().map(package).collect::<anyhow::Result<_>>()?;
    packages.sort_by(|a, b| (&a.source, &a.name, &a.version).cmp(&(&b.source, &b.name, &b.version)));
    Ok(packages)
}

fn package(value: &Value) -> anyhow::Result<Package> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    Ok(Package {
        name: text("name").context("a package without a name")?,
        version: text("version").context("a package without a version")?,
        source: text("source"),
        license: text("license"),
        dependencies: dependencies.map(dependency).collect::<anyhow::Result<_>>()?,
    })
}

fn dependency(value: &Value) -> anyhow::Result<Dependency> {
    Ok(Dependency {
        name: value["name"].as_str().context("a dependency without a name")?.to_owned(),
        dev: value["kind"] == "dev",
        ours: value["path"].is_string(),
    })
}
