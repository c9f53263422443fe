//! Layer: pure.
//!
//! Runs seeds of the simulator: `sim --seed N [--trace]` one of them, `sim --from N --count M` many; with `--group`
//! those of a group of managers, `--flaw NAME` with a bug planted.

#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]
#![expect(clippy::disallowed_methods, reason = "a program reads its arguments; the world it runs reads nothing")]

use std::process::ExitCode;

/// What was asked for.
#[derive(Debug, Default)]
struct Wanted {
    from: u64,
    count: u64,
    trace: bool,
    /// Say nothing of seeds that hold.
    quiet: bool,
    group: bool,
    flaw: Option<sim::Flaw>,
}

fn main() -> ExitCode {
    let wanted = match parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            println!(
                "{why}\nusage: sim [--group] [--flaw NAME] --seed N [--trace] | sim [--group] [--flaw NAME] --from N --count M"
            );
            return ExitCode::from(64);
        }
    };
    let mut failed = 0_u64;
    for seed in wanted.from..wanted.from.saturating_add(wanted.count) {
        let again = if wanted.group { "--group " } else { "" };
        let again = format!("to see it again: cargo run -p sim --bin sim -- {again}--seed {seed} --trace");
        let live = || if wanted.group { group(seed, wanted.trace, wanted.flaw) } else { one(seed, wanted.trace) };
        let Ok(lived) = std::panic::catch_unwind(live) else {
            failed += 1;
            println!("seed {seed} panicked\n{again}");
            continue;
        };
        match lived {
            Ok((trace, sum)) => {
                trace.iter().for_each(|line| println!("{line}"));
                if !wanted.quiet {
                    println!("seed {seed}: {sum}");
                }
            }
            Err(failure) => {
                failed += 1;
                failure.trace.iter().for_each(|line| println!("{line}"));
                println!("seed {seed} at {}: {}", failure.at.0, failure.what);
                println!("{again}");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A history, and what it came to in a line.
type Lived = Result<(Vec<String>, String), Box<sim::Failure>>;

fn one(seed: u64, whole: bool) -> Lived {
    let sim::Summary { hash, events, requests, entries, effects, trace } = sim::run(seed, whole)?;
    let sum = format!("{events} events, {requests} answers, {entries} entries, {effects} effects, history {hash:016x}");
    Ok((trace, sum))
}

fn group(seed: u64, whole: bool, flaw: Option<sim::Flaw>) -> Lived {
    let summary = sim::run_group(seed, whole, flaw)?;
    let sim::GroupSummary { hash, events, writes, reads, leaders, crashes, restored, reshaped, trace } = summary;
    let sum = format!(
        "{events} events, {writes} writes, {reads} reads, {leaders} leaders, {crashes} crashes, {restored} restored, \
         {reshaped} changes of the group, history {hash:016x}"
    );
    Ok((trace, sum))
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { count: 1, ..Wanted::default() };
    while let Some(word) = words.next() {
        if word == "--flaw" {
            let name = words.next().unwrap_or_default();
            let flaw = sim::Flaw::ALL.into_iter().find(|flaw| format!("{flaw:?}") == name);
            wanted.flaw = Some(flaw.ok_or_else(|| format!("no bug `{name}` can be planted: {:?}", sim::Flaw::ALL))?);
            wanted.group = true;
            continue;
        }
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--seed" | "--from" => wanted.from = number()?,
            "--count" => wanted.count = number()?,
            "--trace" => wanted.trace = true,
            "--quiet" => wanted.quiet = true,
            "--group" => wanted.group = true,
            _ => return Err(format!("unknown word `{word}`")),
        }
    }
    Ok(wanted)
}
