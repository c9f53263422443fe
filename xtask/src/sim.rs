//! Fresh seeds of the simulator, for as long as somebody likes.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::{chores, say};

/// Seeds of one kind until the next kind has its turn.
const BATCH: u64 = 200;

/// Runs seeds that nobody ran before, of groups of managers, of one manager with its nodes and of whole clusters in
/// turn, until the time is over or one fails; that one is printed with the command that shows it again.
pub(crate) fn run(root: &Path, minutes: Option<&str>) -> anyhow::Result<()> {
    let minutes: u64 = minutes.unwrap_or("1").parse().context("--minutes takes a whole number")?;
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let mut from = u64::try_from(now.as_micros()).context("the clock stands far ahead")?;
    let mut seeds = 0_u64;
    for kind in [Some("--group"), None, Some("--joint")].into_iter().cycle() {
        if Instant::now() >= end {
            break;
        }
        let (first, count) = (from.to_string(), BATCH.to_string());
        let mut words = vec!["run", "--quiet", "--locked", "--release", "-p", "sim", "--bin", "sim", "--", "--quiet"];
        words.extend(["--from", &first, "--count", &count]);
        words.extend(kind);
        if chores::cargo(root, &words, &[]).is_err() {
            bail!("a seed failed; once mended it belongs in one of the crates/sim/regressions*.txt");
        }
        (from, seeds) = (from.saturating_add(BATCH), seeds + BATCH);
    }
    say(&format!("{seeds} fresh seeds hold"));
    Ok(())
}
