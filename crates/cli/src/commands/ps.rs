//! `ps`: containers of this host, in Docker's columns.

use crate::args::container::Ps;
use crate::args::stack::ProjectRest;
use crate::context::{Context, now, unexpected};
use crate::project;
use crate::render::human::{ago, created_at, decimal_size, ellipsis, span};
use crate::render::list::{List, Row};
use anyhow::{Result, anyhow, bail};
use api::{Call, ContainerRow, Reply};
use compose::Options;
use model::{ContainerState, TaskState, Verdict};
use std::collections::BTreeMap;
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
    let filters = self::moments(context, filters, &rows).await?;
    let mut rows: Vec<ContainerRow> = rows.into_iter().filter(|row| Filter::all_pass(&filters, row)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    rows.truncate(newest.unwrap_or(usize::MAX));
    let wanted = args.size || args.listing.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let sizes = if wanted { sizes(context, &rows).await? } else { BTreeMap::new() };
    let at = now();
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if args.size {
        columns.push("Size");
    }
    let list = List {
        headings: HEADINGS,
        columns,
        key: "ID",
        rows: rows.iter().map(|row| self::row(row, at, args.listing.no_trunc, &sizes)).collect(),
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

/// `12B (virtual 2MB)` by id: what the container has written, and that with its image.
async fn sizes(context: &Context, rows: &[ContainerRow]) -> Result<BTreeMap<String, String>> {
    if rows.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids = rows.iter().map(|row| row.id.to_string()).collect();
    let written = match context.call(Call::ContainerUsage(ids)).await? {
        Reply::Usage(list) => list,
        other => return Err(unexpected(&other)),
    };
    let images = match context.call(Call::Images { all: true }).await? {
        Reply::Images(list) => list,
        other => return Err(unexpected(&other)),
    };
    let text = |(id, bytes): (String, u64)| {
        let name = rows.iter().find(|row| row.id.to_string() == id).map(|row| row.image.as_str());
        let image = images.iter().find(|image| name.is_some_and(|name| super::images::is_named(image, name)));
        let whole = image.map(|image| format!(" (virtual {})", decimal_size(image.size.saturating_add(bytes))));
        (id, decimal_size(bytes) + &whole.unwrap_or_default())
    };
    Ok(written.into_iter().map(text).collect())
}

/// `before` and `since` name containers: when those were made is what counts.
async fn moments(context: &Context, mut filters: Vec<Filter>, listed: &[ContainerRow]) -> Result<Vec<Filter>> {
    if !filters.iter().any(|filter| filter.is_moment()) {
        return Ok(filters);
    }
    let all = match context.call(Call::Containers { all: true, stack: None }).await? {
        Reply::Containers(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    for filter in filters.iter_mut().filter(|filter| filter.is_moment()) {
        let named = |row: &&ContainerRow| {
            row.name == filter.value || !filter.value.is_empty() && row.id.to_string().starts_with(&filter.value)
        };
        match listed.iter().chain(&all).find(named) {
            Some(row) => filter.value = row.created.0.to_string(),
            None => bail!("--filter: no such container: {}", filter.value),
        }
    }
    Ok(filters)
}

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

fn row(row: &ContainerRow, now: u64, whole: bool, sizes: &BTreeMap<String, String>) -> Row {
    let id = row.id.to_string();
    let size = sizes.get(&id).cloned();
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
        .with("Size", size.unwrap_or_else(|| "0B".to_owned()))
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
        Some(ContainerState::Exited) => {
            // More than the code says: it was not started again because of this, was out of memory, unhealthy.
            let told = row.message.is_empty() || row.message.starts_with("exit code");
            let why = if told { String::new() } else { format!(" ({})", row.message) };
            format!("Exited ({}) {}{why}", row.exit_code.unwrap_or(0), ended())
        }
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
        if matches!(*key, "publish" | "expose") {
            compose::short::ports(value).map_err(|why| anyhow!("--filter {text}: {why}"))?;
        }
        Ok(Filter { key, value: value.to_owned() })
    }

    /// Those that ask for ended containers are asked of all, as in Docker.
    fn wants_all(&self) -> bool {
        matches!(self.key, "status" | "exited")
    }

    fn is_moment(&self) -> bool {
        matches!(self.key, "before" | "since")
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
            "before" => value.parse().is_ok_and(|moment| row.created.0 < moment),
            "since" => value.parse().is_ok_and(|moment| row.created.0 > moment),
            "publish" => is_published(row, value, false),
            "expose" => is_published(row, value, true),
            // A container of `run` is called as its service is.
            "is-task" => (row.service != row.name) == matches!(value, "true" | "1"),
            _ => false,
        }
    }
}

/// Has it one of these ports: on the host, or, exposed, in the container?
fn is_published(row: &ContainerRow, wanted: &str, exposed: bool) -> bool {
    let wanted = compose::short::ports(wanted).unwrap_or_default();
    row.ports.iter().any(|text| {
        let (host, target) = text.split_once("->").unwrap_or(("", text));
        let (inside, protocol) = target.split_once('/').unwrap_or((target, "tcp"));
        let port = if exposed { inside } else { host.rsplit(':').next().unwrap_or("") };
        wanted.iter().any(|wanted| wanted.target.to_string() == port && wanted.protocol == protocol)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use model::{TaskId, Time};

    fn example() -> ContainerRow {
        ContainerRow {
            id: TaskId(0xab << 120),
            name: "shop_web.1".to_owned(),
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
            ports: vec!["0.0.0.0:8080->80/tcp".to_owned()],
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
        assert!(pass(&["since=999999", "before=1000001"]) && !pass(&["before=1000000"]));
        assert!(pass(&["publish=8080", "expose=80/tcp"]) && pass(&["publish=8000-9000"]));
        assert!(!pass(&["publish=80"]) && !pass(&["expose=80/udp"]) && Filter::parse("expose=x").is_err());
        assert!(pass(&["is-task=true"]) && !pass(&["is-task=false"]));
        assert!(Filter::parse("colour=red").is_err());
    }

    #[test]
    fn a_file_is_no_filter() {
        assert!(!is_filter("stack.yaml") && !is_filter("./a=b.yaml") && is_filter("status=exited"));
    }
}
