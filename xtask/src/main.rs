//! Layer: edge.
//!
//! The one door for chores: `cargo xtask WORD`. CI says the same words, so what is green here is green there.

mod audit;
mod chores;
mod metadata;
mod sim;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

const HELP: &str = "\
cargo xtask WORD

  check    fmt, clippy, tidy: what to run before a commit
  fmt      formatting only, `--fix` repairs
  clippy   lints, warnings denied
  docs     rustdoc, warnings denied
  tidy     layers, arrows between crates, module docs, the map, examples, sizes
  audit    licences, sources, versions and advisories of what we depend on
  test     every test of the workspace; the end-to-end ones need root
  sim      fresh seeds of the simulator: `--minutes N`, else one
  ci       all of the above, in the order that fails soonest
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> anyhow::Result<()> {
    let root = root()?;
    let mut words = words.iter().map(String::as_str);
    match (words.next(), words.next()) {
        (None | Some("help" | "--help" | "-h"), _) => say(HELP),
        (Some("check"), None) => chores::check(&root)?,
        (Some("fmt"), None) => chores::fmt(&root)?,
        (Some("fmt"), Some("--fix")) => chores::fmt_fix(&root)?,
        (Some("clippy"), None) => chores::clippy(&root)?,
        (Some("docs"), None) => chores::docs(&root)?,
        (Some("tidy"), None) => tidy::run(&root)?,
        (Some("audit"), None) => audit::run(&root)?,
        (Some("test"), None) => chores::test(&root)?,
        (Some("sim"), None) => sim::run(&root, None)?,
        (Some("sim"), Some("--minutes")) => sim::run(&root, words.next())?,
        (Some("ci"), None) => chores::ci(&root)?,
        (Some(word), rest) => bail!("no such chore: {word} {}\n\n{HELP}", rest.unwrap_or_default()),
    }
    Ok(())
}

/// The workspace's folder, wherever the door was opened from.
fn root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask lies in no workspace")?.to_path_buf())
}

/// Chores speak on stderr; stdout stays free for data.
fn say(text: &str) {
    use std::io::Write;
    // a closed stderr leaves nobody to tell
    let _ = writeln!(std::io::stderr(), "{text}");
}
