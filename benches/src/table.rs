//! Medians, ratios, and the one table of the end.

use std::io::Write;
use std::time::Duration;

/// What was measured, in the order it was.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    job: String,
    ours: f64,
    peer: Option<f64>,
    /// Peer over ours.
    ratio: Option<f64>,
    unit: &'static str,
    /// How many times the peer's figure may be ours at least: 8 means eight times faster or smaller.
    bar: Bar,
}

/// What the project promises.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// Peer over ours is at least this.
    Times(f64),
    /// Ours is at most this, in the row's unit.
    AtMost(f64),
}

impl Table {
    /// A job by its samples in seconds; prints progress.
    pub(crate) fn times(&mut self, job: &str, ours: &[Duration], peer: &[Duration], bar: Bar) {
        let peer = (!peer.is_empty()).then(|| median(peer));
        self.push(job, median(ours) * 1e3, peer.map(|seconds| seconds * 1e3), "ms", bar);
    }

    /// A job that both did in turns, by the samples of each: the ratio is the one in the middle of all turns, so that a
    /// machine that is slow for a while is so for both.
    pub(crate) fn turns(&mut self, job: &str, ours: &[Duration], peer: &[Duration], bar: Bar) {
        let ratios: Vec<f64> =
            ours.iter().zip(peer).map(|(ours, peer)| peer.as_secs_f64() / ours.as_secs_f64()).collect();
        let (ours, peer, ratio) = (median(ours) * 1e3, Some(median(peer) * 1e3), Some(middle(ratios)));
        self.add(Row { job: job.to_owned(), ours, peer, ratio, unit: "ms", bar });
    }

    /// A share in per cent.
    pub(crate) fn shares(&mut self, job: &str, ours: f64, bar: Bar) {
        self.push(job, ours, None, "%", bar);
    }

    /// How often something happened.
    pub(crate) fn counts(&mut self, job: &str, ours: f64, bar: Bar) {
        self.push(job, ours, None, "times", bar);
    }

    /// Bytes per second.
    pub(crate) fn rates(&mut self, job: &str, ours: f64, bar: Bar) {
        self.push(job, ours, None, "B/s", bar);
    }

    /// A size in MiB.
    pub(crate) fn sizes(&mut self, job: &str, ours: f64, peer: Option<f64>, bar: Bar) {
        self.push(job, ours, peer, "MiB", bar);
    }

    fn push(&mut self, job: &str, ours: f64, peer: Option<f64>, unit: &'static str, bar: Bar) {
        let ratio = peer.map(|peer| peer / ours);
        self.add(Row { job: job.to_owned(), ours, peer, ratio, unit, bar });
    }

    fn add(&mut self, row: Row) {
        say(&row.line());
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        let mut out = String::from("\n| job | rswarm | peer | ratio | bar | met |\n|---|---|---|---|---|---|\n");
        for row in &self.rows {
            out.push_str(&row.line());
            out.push('\n');
        }
        let _closed = std::io::stdout().write_all(out.as_bytes());
    }
}

impl Row {
    fn line(&self) -> String {
        let figure = |value: f64| format!("{value:.1} {}", self.unit);
        let (bar, met) = match self.bar {
            Bar::Times(times) => {
                (format!("≥ {} times", (times * 100.0).round() / 100.0), self.ratio.map(|ratio| ratio >= times))
            }
            Bar::AtMost(limit) => (format!("≤ {}", figure(limit)), Some(self.ours <= limit)),
        };
        let met = met.map_or("–", |met| if met { "yes" } else { "NO" });
        let peer = self.peer.map_or_else(|| "–".to_owned(), figure);
        let ratio = self.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        format!("| {} | {} | {peer} | {ratio} | {bar} | {met} |", self.job, figure(self.ours))
    }
}

/// In seconds.
pub(crate) fn median(samples: &[Duration]) -> f64 {
    middle(samples.iter().map(Duration::as_secs_f64).collect())
}

fn middle(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Progress, on stderr.
pub(crate) fn say(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_verdicts() {
        assert!((median(&[3, 1, 2].map(Duration::from_secs)) - 2.0).abs() < 1e-9);
        let row = |bar| Row { job: "j".to_owned(), ours: 10.0, peer: Some(75.0), ratio: Some(7.5), unit: "ms", bar };
        assert_eq!(row(Bar::Times(8.0)).line(), "| j | 10.0 ms | 75.0 ms | 7.50 | ≥ 8 times | NO |");
        assert_eq!(row(Bar::AtMost(10.0)).line(), "| j | 10.0 ms | 75.0 ms | 7.50 | ≤ 10.0 ms | yes |");
    }
}
