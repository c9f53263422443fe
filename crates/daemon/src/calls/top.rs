//! `top`: the processes of a container.

use super::looks::task;
use crate::shared::Daemon;
use crate::{clock, failure};
use api::{ApiError, TopTable};
use model::TaskId;
use runtime::engine::Process;
use std::collections::BTreeSet;

/// In the columns of `ps -ef`, or as the host's `ps` shows them with these options.
///
/// # Errors
/// It does not run; `ps` is not there, or does not know the options.
pub(crate) async fn top(daemon: &Daemon, name: &str, options: &[String]) -> Result<TopTable, ApiError> {
    let task = task(daemon, name).await?;
    let processes = daemon.engine.top(task.id).await.map_err(|error| failure::engine(&error))?;
    if options.is_empty() { Ok(own(processes)) } else { by_ps(task.id, &processes, options).await }
}

fn own(processes: Vec<Process>) -> TopTable {
    let now = clock::now();
    let rows = processes.into_iter().map(|process| {
        let seconds = process.cpu_ms / 1000;
        // The share of the process's life, as `ps` computes it; 0 to 99.
        let share = (process.cpu_ms.saturating_mul(100) / now.since(process.started).as_millis().max(1) as u64).min(99);
        vec![
            process.uid.to_string(),
            process.pid.to_string(),
            process.ppid.to_string(),
            share.to_string(),
            start_time(process.started, now),
            process.tty,
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            process.command,
        ]
    });
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    TopTable { titles: titles.map(str::to_owned).to_vec(), processes: rows.collect() }
}

async fn by_ps(task: TaskId, processes: &[Process], options: &[String]) -> Result<TopTable, ApiError> {
    let short = task.short();
    let output = tokio::process::Command::new("ps").args(options).kill_on_drop(true).output().await;
    let output = output.map_err(|error| failure::invalid(format!("top of {short}: run ps on its node: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
        return Err(failure::invalid(format!("top of {short}: ps {}: {why}", options.join(" "))));
    }
    let pids = processes.iter().map(|process| process.pid).collect();
    let text = String::from_utf8_lossy(&output.stdout);
    let without = || failure::invalid(format!("top of {short}: ps {}: it shows no column PID", options.join(" ")));
    pick(&text, &pids).ok_or_else(without)
}

/// The lines of these processes; `None` where no column tells whose line it is.
fn pick(text: &str, pids: &BTreeSet<u32>) -> Option<TopTable> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next()?.split_whitespace().map(str::to_owned).collect();
    let place = titles.iter().position(|title| title == "PID")?;
    let own = |line: &&str| {
        let pid = line.split_whitespace().nth(place);
        pid.and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid))
    };
    let processes = lines.filter(own).map(|line| cells(line, titles.len())).collect();
    Some(TopTable { titles, processes })
}

/// So many columns: the last holds spaces.
fn cells(line: &str, count: usize) -> Vec<String> {
    let mut cells = Vec::new();
    let mut rest = line.trim();
    while cells.len() + 1 < count && !rest.is_empty() {
        let (cell, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        cells.push(cell.to_owned());
        rest = more.trim_start();
    }
    cells.push(rest.to_owned());
    cells
}

/// The clock time for what began within a day, else the date.
fn start_time(started: model::Time, now: model::Time) -> String {
    let Some(time) = i64::try_from(started.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) else {
        return "?".to_owned();
    };
    let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    let recent = now.since(started) < std::time::Duration::from_secs(24 * 3600);
    local.strftime(if recent { "%H:%M" } else { "%b%d" }).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn lines_of_other_processes_are_left_out_and_commands_stay_whole() {
        let text = "  PID COMMAND\n    7 sleep  1 2\n   77 other\n    9\n";
        let table = pick(text, &BTreeSet::from([7, 9])).unwrap();
        assert_eq!(table.titles, ["PID", "COMMAND"]);
        assert_eq!(table.processes, [["7", "sleep  1 2"], ["9", ""]]);
        assert_eq!(pick("COMMAND\nsleep\n", &BTreeSet::from([7])), None);
    }
}
