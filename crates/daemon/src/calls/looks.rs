//! Looking at containers: `ps`, `inspect`, `top`, `stats`.

use crate::shared::Daemon;
use crate::{clock, failure, names, node, views};
use api::{ApiError, ContainerRow, Stats, TopTable};
use model::Task;
use std::sync::Arc;

/// The container that a user means.
///
/// # Errors
/// None, or several.
pub(crate) async fn task(daemon: &Daemon, name: &str) -> Result<Arc<Task>, ApiError> {
    names::container(&*daemon.cluster.state().await?, name).cloned()
}

/// `ps`, newest first.
///
/// # Errors
/// The daemon is on its way out.
pub(crate) async fn rows(daemon: &Daemon, all: bool, stack: Option<&str>) -> Result<Vec<ContainerRow>, ApiError> {
    let state = daemon.cluster.state().await?;
    let mut rows = Vec::new();
    for task in &state.tasks {
        let fits = stack.is_none_or(|stack| task.spec.stack.as_deref() == Some(stack));
        if fits && views::container::is_listed(task, all) {
            let inspect = daemon.engine.inspect(task.id).await.ok();
            rows.push(views::container::row(task, &state, inspect.as_ref()));
        }
    }
    rows.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    Ok(rows)
}

/// `inspect`.
///
/// # Errors
/// No such container.
pub(crate) async fn inspect(daemon: &Daemon, name: &str) -> Result<serde_json::Value, ApiError> {
    let state = daemon.cluster.state().await?;
    let task = names::container(&state, name)?;
    let inspect = daemon.engine.inspect(task.id).await.ok();
    Ok(views::inspect::container(task, &state, inspect.as_ref()))
}

/// The named containers, or all that run.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn chosen(daemon: &Daemon, containers: &[String]) -> Result<Vec<Arc<Task>>, ApiError> {
    let state = daemon.cluster.state().await?;
    if containers.is_empty() {
        return Ok(state.tasks.iter().filter(|task| views::container::is_up(task)).cloned().collect());
    }
    containers.iter().map(|name| names::container(&state, name).cloned()).collect()
}

/// Readings; of one that does not run, zeros.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn stats(daemon: &Daemon, containers: &[String]) -> Result<Vec<Stats>, ApiError> {
    let mut all = Vec::new();
    for task in chosen(daemon, containers).await? {
        let read = daemon.engine.stats(task.id).await.unwrap_or_default();
        all.push(Stats {
            id: task.id.to_string(),
            name: task.name(),
            read_at: clock::now().0,
            cpu_ns: read.cpu_ns,
            cpus: u32::try_from(node::cpus()).unwrap_or(u32::MAX),
            memory: read.memory,
            memory_limit: read.memory_limit.unwrap_or_else(node::memory),
            net_rx: read.net_rx,
            net_tx: read.net_tx,
            block_read: read.block_read,
            block_write: read.block_write,
            pids: read.pids,
        });
    }
    Ok(all)
}

/// `top`, in the columns of `ps -ef`.
///
/// # Errors
/// It does not run.
pub(crate) async fn top(daemon: &Daemon, name: &str) -> Result<TopTable, ApiError> {
    let task = task(daemon, name).await?;
    let processes = daemon.engine.top(task.id).await.map_err(|error| failure::engine(&error))?;
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
    Ok(TopTable { titles: titles.map(str::to_owned).to_vec(), processes: rows.collect() })
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
