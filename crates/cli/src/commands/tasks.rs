//! Tasks in Swarm's columns: `service ps`, `stack ps`, `node ps`.

use crate::args::swarm::TaskList;
use crate::context::{Context, now};
use crate::parse;
use crate::render::human::{ago, ellipsis};
use crate::render::list::{List, Row};
use anyhow::{Context as _, Result, bail};
use model::{Desired, PortMode, State, Task, TaskState};

/// Prints these tasks, newest of a slot first and its history below.
///
/// # Errors
/// A filter or a format that makes no sense.
pub(super) fn print(context: &Context, args: &TaskList, state: &State, mut tasks: Vec<&Task>) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    if let Some((key, _)) =
        filters.iter().find(|(key, _)| !matches!(key.as_str(), "id" | "name" | "node" | "desired-state"))
    {
        bail!("--filter: `{key}` is no filter: id, name, node and desired-state are");
    }
    tasks.retain(|task| passes(&filters, state, task));
    tasks.sort_by_key(|task| (slot(task), task.desired > Desired::Running, std::cmp::Reverse((task.created, task.id))));
    let at = now();
    let mut before = None;
    let rows = tasks.iter().map(|task| {
        let newest = before.replace(slot(task)) != Some(slot(task));
        row(args, state, task, newest, at)
    });
    let list = List {
        headings: &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("Image", "IMAGE"),
            ("Node", "NODE"),
            ("DesiredState", "DESIRED STATE"),
            ("CurrentState", "CURRENT STATE"),
            ("Error", "ERROR"),
            ("Ports", "PORTS"),
        ],
        columns: vec!["ID", "Name", "Image", "Node", "DesiredState", "CurrentState", "Error", "Ports"],
        key: "ID",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

/// Tasks of one slot stand together.
fn slot(task: &Task) -> (String, u32, Option<model::NodeId>) {
    (task.spec.name.clone(), task.slot, task.node.filter(|_| task.slot == 0))
}

fn row(args: &TaskList, state: &State, task: &Task, newest: bool, at: u64) -> Row {
    let whole = args.listing.no_trunc;
    let mark = if newest || args.listing.quiet { "" } else { " \\_ " };
    let error = problem(state, task);
    let error = if whole || error.is_empty() { error } else { ellipsis(&error, 40) };
    Row::default()
        .with("ID", if whole { task.id.to_string() } else { task.id.short() })
        .with("Name", format!("{mark}{}", name(task)))
        .with("Image", task.spec.container.image.as_str())
        .with("Node", node(state, task, args.no_resolve))
        .with("DesiredState", capital(desired(task)))
        .with("CurrentState", format!("{} {}", capital(word(task.status.state)), ago(task.status.since.0, at)))
        .with("Error", if error.is_empty() { error } else { format!("\"{error}\"") })
        .with("Ports", ports(task))
}

/// `shop_web.1`; where the node is the slot, the node's id.
pub(super) fn name(task: &Task) -> String {
    match task.node {
        _ if task.spec.standalone => task.spec.name.clone(),
        Some(node) if task.slot == 0 => format!("{}.{node}", task.spec.name),
        _ => format!("{}.{}", task.spec.name, task.slot),
    }
}

pub(super) fn node(state: &State, task: &Task, id_only: bool) -> String {
    let Some(id) = task.node else { return String::new() };
    let known = state.nodes.iter().find(|node| node.id == id).filter(|_| !id_only);
    known.map_or_else(|| id.short(), |node| node.hostname.clone())
}

/// Why it waits, or why it ended otherwise than it should.
fn problem(state: &State, task: &Task) -> String {
    match task.status.state {
        TaskState::Failed | TaskState::Rejected | TaskState::Orphaned => task.status.message.clone(),
        // What is in the way of its start, and when that is tried again.
        TaskState::Preparing | TaskState::Ready | TaskState::Starting => task.status.message.clone(),
        TaskState::New | TaskState::Pending => state.waiting.get(&task.id).cloned().unwrap_or_default(),
        // The same container was started again: there is no task of before that would tell.
        TaskState::Running => match &task.status.container {
            Some(container) if container.restart_count > 0 => {
                let code = container.exit_code.map(|code| format!(", last after exit code {code}")).unwrap_or_default();
                format!("restarted {} times{code}", container.restart_count)
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn ports(task: &Task) -> String {
    let host = task.spec.ports.iter().filter(|port| port.mode == PortMode::Host);
    let shown = host.filter_map(|port| Some((port, port.published?)));
    let shown: Vec<String> = shown.map(|(port, published)| super::service::ls::port(port, published)).collect();
    shown.join(",")
}

fn desired(task: &Task) -> &'static str {
    match task.desired {
        Desired::Ready => "ready",
        // A person stopped it: it stays so until a person starts it.
        Desired::Running if task.stopped_by_user => "shutdown",
        // What has ended, and is not replaced, is wanted no more.
        Desired::Running if task.status.attempt == task.attempt && task.status.state.is_terminal() => {
            let is_done = task.spec.mode.is_job() && task.status.state == TaskState::Complete;
            if is_done { "complete" } else { "shutdown" }
        }
        Desired::Running => "running",
        Desired::Shutdown => "shutdown",
        Desired::Remove => "remove",
    }
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::New => "new",
        TaskState::Pending => "pending",
        TaskState::Assigned => "assigned",
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "ready",
        TaskState::Starting => "starting",
        TaskState::Running => "running",
        TaskState::Complete => "complete",
        TaskState::Shutdown => "shutdown",
        TaskState::Failed => "failed",
        TaskState::Rejected => "rejected",
        TaskState::Orphaned => "orphaned",
    }
}

pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// Values of one key are alternatives, keys must all pass.
fn passes(filters: &[(String, String)], state: &State, task: &Task) -> bool {
    let fits = |key: &str, value: &str| match key {
        "id" => task.id.to_string().starts_with(value),
        "name" => name(task).starts_with(value) || task.spec.name == value,
        "node" => node(state, task, false) == value || task.node.is_some_and(|id| id.to_string().starts_with(value)),
        // In Swarm a task that is prepared is wanted to run, and one that goes is wanted to be shut down.
        _ => match desired(task) {
            "ready" => matches!(value, "ready" | "running" | "accepted"),
            word => word == value,
        },
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(other, value)| other == key && fits(key, value)))
}
