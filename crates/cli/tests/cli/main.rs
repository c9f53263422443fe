//! Whole runs of the command line against a daemon that answers by a script: what the user sees, and
//! what the daemon is asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod containers;
mod fake;
mod images;
mod lists;
mod objects;
mod stacks;
mod swarm;

use fake::Fake;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

/// The command, talking to this daemon, in the daemon's folder.
fn command(fake: &Fake, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rswarm"));
    command.arg("-H").arg(format!("unix://{}", fake.socket().display())).args(words);
    command.current_dir(fake.root.path()).env_clear().env("PATH", "/bin:/usr/bin").env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, standard output and standard error as one text.
fn snapshot(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "exit {}\n-- out\n{}-- err\n{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

fn run(fake: &Fake, words: &[&str]) -> String {
    snapshot(command(fake, words).spawn().unwrap())
}

fn run_with_input(fake: &Fake, words: &[&str], input: &[u8]) -> String {
    let mut child = command(fake, words).stdin(Stdio::piped()).spawn().unwrap();
    // One that asks nobody ends without reading.
    let written = child.stdin.take().unwrap().write_all(input);
    assert!(written.as_ref().err().is_none_or(|error| error.kind() == std::io::ErrorKind::BrokenPipe), "{written:?}");
    snapshot(child)
}
