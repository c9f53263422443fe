//! `ps`: containers of this host, in Docker's columns.

use crate::args::container::Ps;
use crate::args::stack::ProjectRest;
use crate::context::{Context, now, unexpected};
use crate::project;
use crate::render::human::{ago, created_at, ellipsis, span};
use crate::render::list::{List, Row};
use anyhow::{Result, bail};
use api::{Call, ContainerRow, Reply};
use compose::Options;
use model::{ContainerState, TaskState, Verdict};
use std::time::Duration;

pub(super) async fn run(context: &Context, args: Ps) -> Result<u8> {
    let (filters, files): (Vec<String>, Vec<String>) = args.filter.iter().cloned().partition(|text| is_filter(text));
    let filters = filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
    let stack = stack(context, files, args.project_name.clone())?;
    let newest = if args.latest { Some(1) } else { args.last };
    let all = args.all || newest.is_some() || filters.iter().any(Filter::wants_all);
    let rows = match context.call(Call::Containers { all, stack }).await? {
        Reply::Containers(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let mut rows: Vec<ContainerRow> = rows.into_iter().filter(|row| Filter::all_pass(&filters, row)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    rows.truncate(newest.unwrap_or(usize::MAX));
    let at = now();
    let list = List {
        headings: HEADINGS,
        columns: vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
        key: "ID",
        rows: rows.iter().map(|row| self::row(row, at, args.listing.no_trunc)).collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Health", "HEALTH"),
    ("ExitCode", "EXIT CODE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Name", "NAME"),
    ("Service", "SERVICE"),
    ("Project", "PROJECT"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
];

/// The stack that `-p` or files name, if any.
fn stack(context: &Context, files: Vec<String>, name: Option<String>) -> Result<Option<String>> {
    if name.is_some() || files.is_empty() {
        return Ok(name);
    }
    let loaded = project::load_parts(&files, &ProjectRest::default(), Options::default())?;
    match loaded.project {
        Some(project) if !project.name.is_empty() => Ok(Some(project.name)),
        _ => {
            project::show(context, &loaded.diagnostics);
            Err(crate::failure::Silent(1).into())
        }
    }
}

fn row(row: &ContainerRow, now: u64, whole: bool) -> Row {
    let id = row.id.to_string();
    let command = if whole { row.command.clone() } else { ellipsis(&row.command, 20) };
    let join = |list: Vec<&str>| list.join(",");
    let mounts: Vec<String> =
        row.mounts.iter().map(|mount| if whole { mount.clone() } else { ellipsis(mount, 15) }).collect();
    let volumes = row.mounts.iter().filter(|mount| !mount.starts_with('/')).count();
    Row::default()
        .with("ID", if whole { id } else { row.id.short() })
        .with("Image", row.image.as_str())
        .with("Command", format!("\"{command}\""))
        .with("CreatedAt", created_at(row.created.0))
        .with("RunningFor", ago(row.created.0, now))
        .with("Status", status(row, now))
        .with("State", state(row))
        .with("Health", row.health.map_or("", health))
        .with("ExitCode", row.exit_code.unwrap_or(0).to_string())
        .with("Ports", row.ports.join(", "))
        .with("Names", row.name.as_str())
        .with("Name", row.name.as_str())
        .with("Service", row.service.as_str())
        .with("Project", row.stack.as_deref().unwrap_or(""))
        .with("Mounts", mounts.join(","))
        .with("Networks", join(row.networks.keys().map(String::as_str).collect()))
        .with("LocalVolumes", volumes.to_string())
        .with("Size", "0B")
        .labels(&row.labels)
}

/// `running`, `exited`, …; `waiting` for a task that has no container yet.
fn state(row: &ContainerRow) -> &'static str {
    match row.state {
        Some(ContainerState::Created) => "created",
        Some(ContainerState::Running) => "running",
        Some(ContainerState::Paused) => "paused",
        Some(ContainerState::Restarting) => "restarting",
        Some(ContainerState::Exited) => "exited",
        None if row.task_state.is_terminal() => "dead",
        None => "waiting",
    }
}

fn health(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Starting => "starting",
        Verdict::Healthy => "healthy",
        Verdict::Unhealthy => "unhealthy",
    }
}

/// `Up 5 minutes (healthy)`, `Exited (0) 3 seconds ago`, in moby's words.
fn status(row: &ContainerRow, now: u64) -> String {
    let since = |time: Option<model::Time>| Duration::from_millis(now.saturating_sub(time.map_or(now, |time| time.0)));
    let ended = || ago(row.finished_at.map_or(0, |time| time.0), now);
    match row.state {
        Some(ContainerState::Running) => {
            let checked = match row.health {
                None => String::new(),
                Some(Verdict::Starting) => " (health: starting)".to_owned(),
                Some(verdict) => format!(" ({})", health(verdict)),
            };
            format!("Up {}{checked}", span(since(row.started_at)))
        }
        Some(ContainerState::Paused) => format!("Up {} (Paused)", span(since(row.started_at))),
        Some(ContainerState::Restarting) => format!("Restarting ({}) {}", row.exit_code.unwrap_or(0), ended()),
        Some(ContainerState::Exited) => format!("Exited ({}) {}", row.exit_code.unwrap_or(0), ended()),
        Some(ContainerState::Created) if row.message.is_empty() => "Created".to_owned(),
        Some(ContainerState::Created) => format!("Created ({})", row.message),
        None => waiting(row),
    }
}

fn waiting(row: &ContainerRow) -> String {
    let word = match row.task_state {
        TaskState::Rejected => "Rejected",
        TaskState::Failed => "Failed",
        TaskState::Orphaned => "Orphaned",
        TaskState::Preparing => "Preparing",
        TaskState::Ready => "Ready",
        TaskState::Starting => "Starting",
        _ => "Waiting",
    };
    if row.message.is_empty() { word.to_owned() } else { format!("{word}: {}", row.message) }
}

const KEYS: [&str; 16] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume", "service", "project",
];

/// Is it `KEY=VALUE` and not the name of a file?
fn is_filter(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key) || !key.contains(['/', '.']))
}

/// One `--filter`.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    key: &'static str,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Filter> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let Some(key) = KEYS.iter().find(|known| **known == key) else {
            bail!("--filter: `{key}` is no filter: {} are", KEYS.join(", "));
        };
        if matches!(*key, "before" | "since" | "expose" | "publish" | "is-task") {
            bail!("--filter: `{key}` is not done by rswarm yet");
        }
        Ok(Filter { key, value: value.to_owned() })
    }

    /// Those that ask for ended containers are asked of all, as in Docker.
    fn wants_all(&self) -> bool {
        matches!(self.key, "status" | "exited")
    }

    /// Values of one key are alternatives, keys must all pass; every label must pass.
    fn all_pass(filters: &[Filter], row: &ContainerRow) -> bool {
        filters.iter().all(|filter| {
            let same = filters.iter().filter(|other| other.key == filter.key);
            if filter.key == "label" { filter.passes(row) } else { same.into_iter().any(|other| other.passes(row)) }
        })
    }

    fn passes(&self, row: &ContainerRow) -> bool {
        let value = self.value.as_str();
        match self.key {
            "ancestor" => row.image == value || row.image.split([':', '@']).next() == Some(value),
            "exited" => {
                row.state == Some(ContainerState::Exited)
                    && row.exit_code.map(|c| c.to_string()).as_deref() == Some(value)
            }
            "health" => row.health.map_or("none", health) == value,
            "id" => row.id.to_string().starts_with(value),
            "label" => match value.split_once('=') {
                Some((key, value)) => row.labels.get(key).is_some_and(|found| found == value),
                None => row.labels.contains_key(value),
            },
            "name" => row.name.contains(value.trim_start_matches('/')),
            "network" => row.networks.contains_key(value),
            "status" => state(row) == value,
            "volume" => row.mounts.iter().any(|mount| mount == value),
            "service" => row.service == value,
            "project" => row.stack.as_deref() == Some(value),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use model::{TaskId, Time};

    fn example() -> ContainerRow {
        ContainerRow {
            id: TaskId(0xab << 120),
            name: "web".to_owned(),
            image: "nginx:1.27".to_owned(),
            command: "nginx -g daemon off;".to_owned(),
            created: Time(1_000_000),
            state: Some(ContainerState::Running),
            task_state: TaskState::Running,
            message: String::new(),
            exit_code: None,
            started_at: Some(Time(1_000_000)),
            finished_at: None,
            health: None,
            ports: Vec::new(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            networks: [("net".to_owned(), "10.0.0.2".to_owned())].into(),
            mounts: Vec::new(),
            stack: Some("shop".to_owned()),
            service: "web".to_owned(),
            slot: 1,
            restart_count: 0,
        }
    }

    #[test]
    fn states_in_dockers_words() {
        let mut row = example();
        let now = 1_000_000 + 65_000;
        assert_eq!(status(&row, now), "Up About a minute");
        row.health = Some(Verdict::Starting);
        assert_eq!(status(&row, now), "Up About a minute (health: starting)");
        row.state = Some(ContainerState::Exited);
        (row.exit_code, row.finished_at) = (Some(137), Some(Time(now - 5000)));
        assert_eq!(status(&row, now), "Exited (137) 5 seconds ago");
        (row.state, row.task_state, row.message) = (None, TaskState::Pending, "waits for db".to_owned());
        assert_eq!(status(&row, now), "Waiting: waits for db");
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let row = example();
        let pass = |texts: &[&str]| {
            let filters: Vec<Filter> = texts.iter().map(|text| Filter::parse(text).unwrap()).collect();
            Filter::all_pass(&filters, &row)
        };
        assert!(pass(&["status=running"]) && !pass(&["status=exited"]));
        assert!(pass(&["status=exited", "status=running", "name=we"]));
        assert!(pass(&["ancestor=nginx", "label=a", "network=net", "id=ab00", "project=shop"]));
        assert!(!pass(&["label=a", "label=zz"]) && !pass(&["label=a=c"]));
        assert!(pass(&["health=none"]));
        assert!(Filter::parse("colour=red").is_err());
    }

    #[test]
    fn a_file_is_no_filter() {
        assert!(!is_filter("stack.yaml") && !is_filter("./a=b.yaml") && is_filter("status=exited"));
    }
}
