//! Chores that are one or more calls of cargo.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{audit, say, tidy};

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    fmt(root)?;
    tidy::run(root)?;
    clippy(root)
}

/// Cheap checks first, so that a slip is told in seconds and not after the tests.
pub(crate) fn ci(root: &Path) -> anyhow::Result<()> {
    fmt(root)?;
    tidy::run(root)?;
    audit::run(root)?;
    clippy(root)?;
    docs(root)?;
    test(root)
}

pub(crate) fn fmt(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["fmt", "--all", "--check"], &[])
}

pub(crate) fn fmt_fix(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["fmt", "--all"], &[])
}

pub(crate) fn clippy(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
}

pub(crate) fn docs(root: &Path) -> anyhow::Result<()> {
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    cargo(root, &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"], &deny)
}

/// The script is the README's second command: it installs what tests need, builds once and counts what ran.
pub(crate) fn test(root: &Path) -> anyhow::Result<()> {
    run(Command::new("bash").arg(root.join("tests/run.sh")).current_dir(root), "tests/run.sh")
}

pub(crate) fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).envs(env.iter().copied()).current_dir(root);
    run(&mut command, &format!("cargo {}", args.join(" ")))
}

fn run(command: &mut Command, words: &str) -> anyhow::Result<()> {
    say(&format!("xtask: {words}"));
    let status = command.status().with_context(|| format!("start `{words}`"))?;
    if !status.success() {
        bail!("`{words}` failed: {status}");
    }
    Ok(())
}
