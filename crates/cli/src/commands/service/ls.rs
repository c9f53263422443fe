//! `service ls`, `stack services`.

use crate::args::swarm::Ls;
use crate::context::Context;
use crate::parse;
use crate::render::list::{List, Row};
use anyhow::{Context as _, Result, bail};
use model::{Mode, PortMode, PortSpec, Protocol, Service, State, Task, TaskState};

/// Services of this stack, or of all.
pub(in crate::commands) async fn run(context: &Context, args: Ls, stack: Option<&str>) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    if let Some((key, _)) =
        filters.iter().find(|(key, _)| !matches!(key.as_str(), "id" | "name" | "label" | "mode" | "stack"))
    {
        bail!("--filter: `{key}` is no filter: id, name, label, mode and stack are");
    }
    let state = context.state().await?;
    let mut services: Vec<&Service> = state
        .services
        .iter()
        .filter(|service| !service.spec.standalone)
        .filter(|service| stack.is_none() || service.spec.stack.as_deref() == stack)
        .filter(|service| passes(&filters, service))
        .collect();
    if let (Some(stack), true, true) = (stack, services.is_empty(), filters.is_empty()) {
        bail!("nothing found in stack: {stack}");
    }
    services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    let whole = args.listing.no_trunc;
    let rows = services.into_iter().map(|service| {
        Row::default()
            .with("ID", if whole { service.id.to_string() } else { service.id.short() })
            .with("Name", service.spec.name.as_str())
            .with("Mode", mode(service.spec.mode))
            .with("Replicas", replicas(&state, service))
            .with("Image", service.spec.container.image.as_str())
            .with("Ports", ports(service))
            .labels(&service.spec.labels)
    });
    let list = List {
        headings: &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("Mode", "MODE"),
            ("Replicas", "REPLICAS"),
            ("Image", "IMAGE"),
            ("Ports", "PORTS"),
            ("Labels", "LABELS"),
        ],
        columns: vec!["ID", "Name", "Mode", "Replicas", "Image", "Ports"],
        key: "ID",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

/// Swarm's name of a mode.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Replicated { .. } => "replicated",
        Mode::Global => "global",
        Mode::ReplicatedJob { .. } => "replicated job",
        Mode::GlobalJob => "global job",
    }
}

/// `running/wanted`; of a job also how many have completed.
pub(super) fn replicas(state: &State, service: &Service) -> String {
    let wanted = |task: &&Task| task.desired <= model::Desired::Running;
    let tasks = || state.tasks.iter().map(AsRef::as_ref).filter(|task: &&Task| task.service == service.id);
    let running = tasks().filter(wanted).filter(|task| task.is_serving()).count();
    // Of this run: a job that is updated begins anew.
    let current = |task: &&Task| !orchestrator::is_dirty(service, task);
    let complete = || tasks().filter(current).filter(|task| task.status.state == TaskState::Complete).count();
    match service.spec.mode {
        Mode::Replicated { replicas } => {
            let most = service.spec.placement.max_replicas_per_node;
            let limit = if most > 0 { format!(" (max {most} per node)") } else { String::new() };
            format!("{running}/{replicas}{limit}")
        }
        Mode::Global => format!("{running}/{}", tasks().filter(wanted).count()),
        Mode::ReplicatedJob { total, concurrent } => {
            format!("{running}/{concurrent} ({}/{total} completed)", complete())
        }
        Mode::GlobalJob => format!("{running}/{0} ({1}/{0} completed)", tasks().filter(wanted).count(), complete()),
    }
}

fn ports(service: &Service) -> String {
    let mut shown = Vec::new();
    for (index, spec) in service.spec.ports.iter().enumerate() {
        let chosen = service.chosen_port(index);
        if let (PortMode::Ingress, Some(published)) = (spec.mode, spec.published.or(chosen)) {
            shown.push(port(spec, published));
        }
    }
    shown.join(", ")
}

/// `*:8080->80/tcp`.
pub(in crate::commands) fn port(spec: &PortSpec, published: u16) -> String {
    let protocol = match spec.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}:{published}->{}/{protocol}", spec.host_ip.as_deref().unwrap_or("*"), spec.target)
}

/// Values of one key are alternatives, keys must all pass; every label must pass.
fn passes(filters: &[(String, String)], service: &Service) -> bool {
    let fits = |key: &str, value: &str| match key {
        "id" => service.id.to_string().starts_with(value),
        "name" => service.spec.name.starts_with(value),
        "mode" => mode(service.spec.mode).replace(' ', "-") == value.replace(' ', "-"),
        "stack" => service.spec.stack.as_deref() == Some(value),
        _ => match value.split_once('=') {
            Some((key, value)) => service.spec.labels.get(key).is_some_and(|found| found == value),
            None => service.spec.labels.contains_key(value),
        },
    };
    filters.iter().all(|(key, value)| match key.as_str() {
        "label" => fits(key, value),
        _ => filters.iter().any(|(other, value)| other == key && fits(key, value)),
    })
}
