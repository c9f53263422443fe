//! Layer: pure.
//!
//! Runs seeds of the simulator: `sim --seed N [--trace]` one of them, `sim --from N --count M` many.

#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]
#![expect(clippy::disallowed_methods, reason = "a program reads its arguments; the world it runs reads nothing")]

use std::process::ExitCode;

/// What was asked for.
#[derive(Debug, Default)]
struct Wanted {
    from: u64,
    count: u64,
    trace: bool,
}

fn main() -> ExitCode {
    let wanted = match parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            println!("{why}\nusage: sim --seed N [--trace] | sim --from N --count M");
            return ExitCode::from(64);
        }
    };
    let mut failed = 0_u64;
    for seed in wanted.from..wanted.from.saturating_add(wanted.count) {
        match sim::run(seed, wanted.trace) {
            Ok(summary) => {
                summary.trace.iter().for_each(|line| println!("{line}"));
                let sim::Summary { hash, events, requests, entries, effects, .. } = summary;
                println!(
                    "seed {seed}: {events} events, {requests} answers, {entries} entries, {effects} effects, history {hash:016x}"
                );
            }
            Err(failure) => {
                failed += 1;
                failure.trace.iter().for_each(|line| println!("{line}"));
                println!("seed {seed} at {}: {}", failure.at.0, failure.what);
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { count: 1, ..Wanted::default() };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} needs a number"));
        match word.as_str() {
            "--seed" | "--from" => wanted.from = number()?,
            "--count" => wanted.count = number()?,
            "--trace" => wanted.trace = true,
            _ => return Err(format!("unknown word `{word}`")),
        }
    }
    Ok(wanted)
}
