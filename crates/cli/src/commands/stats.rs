//! `stats`.

use crate::args::Listing;
use crate::args::container::Stats as Args;
use crate::context::{Context, unexpected};
use crate::render::human::{binary_size, decimal_size};
use crate::render::list::{List, Row};
use anyhow::Result;
use api::{Call, Reply, Stats, StreamCall, StreamItem};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

pub(super) async fn run(context: &Context, args: Args) -> Result<u8> {
    let listing = Listing { format: args.format.clone(), quiet: false, no_trunc: args.no_trunc };
    if args.no_stream {
        // A share of CPU time needs two readings.
        let first = read(context, &args.names).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let second = read(context, &args.names).await?;
        return print(context, &listing, &first, &second, false);
    }
    let mut items = context.client.stream(&StreamCall::Stats(args.names.clone())).await?;
    let redraw =
        std::io::stdout().is_terminal() && listing.format.as_deref().is_none_or(|format| format.starts_with("table"));
    let mut last = Vec::new();
    while let Some(item) = items.next().await? {
        if let StreamItem::Stats(readings) = item {
            print(context, &listing, &last, &readings, redraw)?;
            last = readings;
        }
    }
    Ok(0)
}

async fn read(context: &Context, names: &[String]) -> Result<Vec<Stats>> {
    match context.call(Call::Stats(names.to_vec())).await? {
        Reply::Stats(list) => Ok(list),
        other => Err(unexpected(&other)),
    }
}

fn print(context: &Context, listing: &Listing, before: &[Stats], now: &[Stats], redraw: bool) -> Result<u8> {
    let before: BTreeMap<&str, &Stats> = before.iter().map(|reading| (reading.id.as_str(), reading)).collect();
    let list = List {
        headings: &[
            ("ID", "CONTAINER ID"),
            ("Container", "CONTAINER"),
            ("Name", "NAME"),
            ("CPUPerc", "CPU %"),
            ("MemUsage", "MEM USAGE / LIMIT"),
            ("MemPerc", "MEM %"),
            ("NetIO", "NET I/O"),
            ("BlockIO", "BLOCK I/O"),
            ("PIDs", "PIDS"),
        ],
        columns: vec!["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"],
        key: "ID",
        rows: now
            .iter()
            .map(|reading| row(before.get(reading.id.as_str()).copied(), reading, listing.no_trunc))
            .collect(),
    };
    let text = list.render(listing)?;
    // Home, draw, clear what is left below.
    context.data(&if redraw { format!("\x1b[H\x1b[2J{text}") } else { text })?;
    Ok(0)
}

fn row(before: Option<&Stats>, now: &Stats, whole: bool) -> Row {
    let id = if whole { now.id.clone() } else { now.id.chars().take(12).collect() };
    Row::default()
        .with("ID", id.as_str())
        .with("Container", id)
        .with("Name", now.name.as_str())
        .with("CPUPerc", before.map_or_else(|| "--".to_owned(), |before| format!("{:.2}%", cpu_percent(before, now))))
        .with("MemUsage", format!("{} / {}", binary_size(now.memory), binary_size(now.memory_limit)))
        .with("MemPerc", format!("{:.2}%", percent(now.memory, now.memory_limit)))
        .with("NetIO", format!("{} / {}", decimal_size(now.net_rx), decimal_size(now.net_tx)))
        .with("BlockIO", format!("{} / {}", decimal_size(now.block_read), decimal_size(now.block_write)))
        .with("PIDs", now.pids.to_string())
}

/// Of one CPU: two busy CPUs are 200 %.
fn cpu_percent(before: &Stats, now: &Stats) -> f64 {
    let wall = now.read_at.saturating_sub(before.read_at).saturating_mul(1_000_000);
    percent(now.cpu_ns.saturating_sub(before.cpu_ns), wall)
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_cpu_is_between_two_readings() {
        let reading = |read_at, cpu_ns| Stats { read_at, cpu_ns, ..Stats::default() };
        let share = cpu_percent(&reading(1000, 5_000_000), &reading(2000, 505_000_000));
        assert!((share - 50.0).abs() < 0.001, "{share}");
        assert!(cpu_percent(&reading(1000, 5), &reading(1000, 9)).abs() < 0.001);
    }
}
