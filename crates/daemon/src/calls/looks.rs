//! Looking at containers: `ps`, `inspect`, `top`, `stats`.

use crate::shared::Daemon;
use crate::{clock, failure, names, node, views};
use api::{ApiError, ContainerRow, Stats, TopTable};
use model::Task;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
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

/// Bytes in the writable layers of the named containers, or of all, by id.
///
/// # Errors
/// One of the names means nothing.
pub(crate) async fn usage(daemon: &Daemon, containers: Vec<String>) -> Result<Vec<(String, u64)>, ApiError> {
    let state = daemon.cluster.state().await?;
    let tasks: Vec<&Arc<Task>> = match containers.is_empty() {
        true => state.tasks.iter().collect(),
        false => containers.iter().map(|name| names::container(&state, name)).collect::<Result<_, _>>()?,
    };
    let mut layers = Vec::new();
    for task in tasks {
        if let Ok(inspect) = daemon.engine.inspect(task.id).await {
            layers.push((task.id.to_string(), inspect.upper));
        }
    }
    let measure = move || layers.into_iter().map(|(id, upper)| (id, bytes_below(&upper))).collect();
    tokio::task::spawn_blocking(measure).await.map_err(failure::joined)
}

/// Bytes of all files below a folder; what is linked twice counts once, what goes meanwhile not at all.
fn bytes_below(folder: &Path) -> u64 {
    let (mut folders, mut linked, mut bytes) = (vec![folder.to_owned()], BTreeSet::new(), 0u64);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || linked.insert(metadata.ino())) {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    bytes
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    #[test]
    fn links_count_once_and_what_is_linked_to_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("sub/a"), [0; 1000]).unwrap();
        std::fs::hard_link(at("sub/a"), at("b")).unwrap();
        std::os::unix::fs::symlink("sub/a", at("c")).unwrap();
        std::fs::write(at("d"), [0; 24]).unwrap();
        assert_eq!(super::bytes_below(root.path()), 1024);
        assert_eq!(super::bytes_below(&at("none")), 0);
    }
}
