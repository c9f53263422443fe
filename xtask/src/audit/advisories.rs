//! Known vulnerabilities, from RustSec's database, where it can be reached.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::say;

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    if !succeeds(root, &["deny", "--version"]) {
        say("audit: ADVISORIES NOT CHECKED: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    if !succeeds(root, &["deny", "fetch", "db"]) {
        say("audit: ADVISORIES NOT CHECKED: RustSec's database cannot be fetched from here");
        return Ok(());
    }
    let status = cargo(root, &["deny", "check"]).status().context("start cargo deny")?;
    if !status.success() {
        bail!("cargo deny check failed: {status}");
    }
    Ok(())
}

fn succeeds(root: &Path, args: &[&str]) -> bool {
    let status = cargo(root, args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root);
    command
}
