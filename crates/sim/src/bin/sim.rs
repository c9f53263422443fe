//! Layer: pure.
//!
//! Runs seeds of the simulator: `sim --seed N [--trace]` one of them, `sim --from N --count M` many; with `--group`
//! those of a group of managers, with `--joint` those of whole clusters; `--flaw NAME` (a group's) and `--slip NAME`
//! (a cluster's) with a bug planted.

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
    world: World,
    flaw: Option<sim::Flaw>,
    slip: Option<sim::Slip>,
}

/// What is simulated.
#[derive(Debug, Default, Clone, Copy)]
enum World {
    #[default]
    One,
    Group,
    Joint,
}

fn main() -> ExitCode {
    let wanted = match parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            println!(
                "{why}\nusage: sim [--group | --joint] [--flaw NAME | --slip NAME] --seed N [--trace]\n       sim [--group | --joint] [--flaw NAME | --slip NAME] --from N --count M [--quiet]"
            );
            return ExitCode::from(64);
        }
    };
    let mut failed = 0_u64;
    for seed in wanted.from..wanted.from.saturating_add(wanted.count) {
        let again = match wanted.world {
            World::One => "",
            World::Group => "--group ",
            World::Joint => "--joint ",
        };
        let again = format!("to see it again: cargo run -p sim --bin sim -- {again}--seed {seed} --trace");
        let live = || match wanted.world {
            World::One => sim::run(seed, wanted.trace).map(told),
            World::Group => group(seed, wanted.trace, wanted.flaw),
            World::Joint => sim::run_joint(seed, wanted.trace, wanted.slip).map(told),
        };
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

fn told(summary: sim::Summary) -> (Vec<String>, String) {
    let sim::Summary { hash, events, requests, entries, effects, trace } = summary;
    let sum = format!("{events} events, {requests} answers, {entries} entries, {effects} effects, history {hash:016x}");
    (trace, sum)
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
            wanted.world = World::Group;
            continue;
        }
        if word == "--slip" {
            let name = words.next().unwrap_or_default();
            let slip = sim::Slip::ALL.into_iter().find(|slip| format!("{slip:?}") == name);
            wanted.slip = Some(slip.ok_or_else(|| format!("no bug `{name}` can be planted: {:?}", sim::Slip::ALL))?);
            wanted.world = World::Joint;
            continue;
        }
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--seed" | "--from" => wanted.from = number()?,
            "--count" => wanted.count = number()?,
            "--trace" => wanted.trace = true,
            "--quiet" => wanted.quiet = true,
            "--group" => wanted.world = World::Group,
            "--joint" => wanted.world = World::Joint,
            _ => return Err(format!("unknown word `{word}`")),
        }
    }
    Ok(wanted)
}
