//! `info`, `system df`.

use super::images::is_named;
use crate::args::Listing;
use crate::args::system::{Df, Info};
use crate::context::{Context, unexpected};
use crate::render::human::{binary_size, decimal_size};
use crate::render::list::{List, Row};
use crate::template::{Template, unescape};
use anyhow::Result;
use api::{Call, ImageRow, Reply};
use model::{ContainerState, State};
use serde_json::json;
use std::collections::BTreeSet;

pub(super) async fn info(context: &Context, args: Info) -> Result<u8> {
    let daemon = match context.call(Call::Ping).await? {
        Reply::Pong(info) => info,
        other => return Err(unexpected(&other)),
    };
    // A manager without a majority answers for its machine all the same.
    let (state, standing) = match (&daemon.worker, daemon.locked) {
        (Some(worker), _) => ((**worker).clone(), Standing::Worker),
        (None, true) => (State::default(), Standing::Locked),
        (None, false) => match context.state().await {
            Ok(state) => (state, Standing::Manager),
            Err(error) => (State::default(), Standing::Unknown(format!("{error:#}"))),
        },
    };
    let images = match daemon.locked {
        true => 0,
        false => match context.call(Call::Images { all: true }).await? {
            Reply::Images(rows) => rows.iter().map(|row| row.id.as_str()).collect::<BTreeSet<_>>().len(),
            other => return Err(unexpected(&other)),
        },
    };
    let count = |wanted: &[ContainerState]| {
        let states = state.tasks.iter().filter_map(|task| task.status.container.as_ref()).map(|c| c.state);
        states.filter(|state| wanted.contains(state)).count()
    };
    let node = state.nodes.iter().find(|node| node.id.to_string() == daemon.node);
    use ContainerState::{Created, Exited, Paused, Restarting, Running};
    let stacks: BTreeSet<_> = state.services.iter().filter_map(|service| service.spec.stack.as_ref()).collect();
    let value = json!({
        "ServerVersion": daemon.version, "Pid": daemon.pid, "ID": daemon.node,
        "Containers": count(&[Created, Running, Paused, Restarting, Exited]),
        "ContainersRunning": count(&[Running, Restarting]), "ContainersPaused": count(&[Paused]),
        "ContainersStopped": count(&[Created, Exited]),
        "Images": images, "Stacks": stacks.len(), "Services": state.services.iter().filter(|service| !service.spec.standalone).count(),
        "Networks": state.networks.len(), "Volumes": state.volumes.len(),
        "Name": node.map(|node| &node.hostname), "Platform": node.map(|node| &node.platform),
        "NCPU": node.map(|node| node.nano_cpus / 1_000_000_000), "MemTotal": node.map(|node| node.memory),
        "DataRoot": daemon.data_root, "RunRoot": daemon.run_root,
        "CgroupVersion": daemon.cgroup, "Runtime": daemon.oci_runtime, "Revision": state.revision,
        "Swarm": swarm(&state, &daemon.node, &standing),
    });
    match args.format.as_deref() {
        Some("json") => context.line(&value.to_string())?,
        Some(template) => context.line(&Template::parse(&unescape(template))?.render(&value)?)?,
        None => {
            let rows = [
                ("Server Version", "ServerVersion"),
                ("PID", "Pid"),
                ("Node", "ID"),
                ("Containers", "Containers"),
                (" Running", "ContainersRunning"),
                (" Paused", "ContainersPaused"),
                (" Stopped", "ContainersStopped"),
                ("Images", "Images"),
                ("Stacks", "Stacks"),
                ("Services", "Services"),
                ("Networks", "Networks"),
                ("Volumes", "Volumes"),
                ("Cluster", "LocalNodeState"),
                (" Manager", "ControlAvailable"),
                (" Error", "Error"),
                ("Runtime", "Runtime"),
                ("Cgroup Version", "CgroupVersion"),
                ("Platform", "Platform"),
                ("CPUs", "NCPU"),
                ("Total Memory", "MemTotal"),
                ("Name", "Name"),
                ("Data Root", "DataRoot"),
                ("Run Root", "RunRoot"),
            ];
            let value = |key: &str| value.get(key).or_else(|| value["Swarm"].get(key));
            let text = |key: &str| match (key, value(key).and_then(serde_json::Value::as_u64)) {
                ("MemTotal", Some(bytes)) => binary_size(bytes),
                _ => value(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default(),
            };
            let lines: String = rows.iter().map(|(title, key)| format!("{title}: {}\n", text(key))).collect();
            context.data(&lines)?;
        }
    }
    Ok(0)
}

/// What a daemon is to its cluster, if it is in one.
enum Standing {
    /// Also of itself alone.
    Manager,
    Worker,
    Locked,
    /// A manager that does not know more, and why.
    Unknown(String),
}

/// Engine API, Swarm of SystemInfo.
fn swarm(state: &State, own: &str, standing: &Standing) -> serde_json::Value {
    let (word, error) = match (standing, &state.cluster) {
        (Standing::Unknown(why), _) => ("error", why.as_str()),
        (Standing::Locked, _) => ("locked", ""),
        (Standing::Worker, _) | (Standing::Manager, Some(_)) => ("active", ""),
        (Standing::Manager, None) => ("inactive", ""),
    };
    let leads = state.cluster.is_some();
    let is_manager = state.nodes.iter().any(|node| node.manager && node.id.to_string() == own);
    json!({
        "NodeID": if word == "inactive" { "" } else { own },
        "LocalNodeState": word,
        "ControlAvailable": leads && is_manager,
        "Error": error,
        "Nodes": if leads { state.nodes.len() } else { 0 },
        "Managers": if leads { state.nodes.iter().filter(|node| node.manager).count() } else { 0 },
    })
}

pub(super) async fn df(context: &Context, args: Df) -> Result<u8> {
    let images = match context.call(Call::Images { all: true }).await? {
        Reply::Images(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let volumes = match context.call(Call::VolumeUsage).await? {
        Reply::Usage(list) => list,
        other => return Err(unexpected(&other)),
    };
    let containers = match context.call(Call::Containers { all: true, stack: None }).await? {
        Reply::Containers(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let written = match context.call(Call::ContainerUsage(Vec::new())).await? {
        Reply::Usage(list) => list,
        other => return Err(unexpected(&other)),
    };
    let running = containers.iter().filter(|row| row.state == Some(ContainerState::Running)).count();
    let mut seen = BTreeSet::new();
    let distinct: Vec<&ImageRow> = images.iter().filter(|row| seen.insert(row.id.as_str())).collect();
    let is_used =
        |id: &str| images.iter().any(|row| row.id == id && containers.iter().any(|it| is_named(row, &it.image)));
    let used = distinct.iter().filter(|row| is_used(&row.id)).map(|row| row.size);
    let mounted: BTreeSet<&str> = containers.iter().flat_map(|row| &row.mounts).map(String::as_str).collect();
    let mounted = volumes.iter().filter(|(name, _)| mounted.contains(name.as_str())).map(|(_, bytes)| *bytes);
    let is_running =
        |id: &str| containers.iter().any(|row| row.state == Some(ContainerState::Running) && row.id.to_string() == id);
    let row = |kind: &str, total: usize, active: usize, (all, used): (u64, u64)| {
        Row::default()
            .with("Type", kind)
            .with("TotalCount", total.to_string())
            .with("Active", active.to_string())
            .with("Size", decimal_size(all))
            .with("Reclaimable", decimal_size(all.saturating_sub(used)))
    };
    let image_sizes = (distinct.iter().map(|row| row.size).sum(), used.clone().sum());
    let volume_sizes = (volumes.iter().map(|(_, bytes)| bytes).sum(), mounted.clone().sum());
    let running_bytes = written.iter().filter(|(id, _)| is_running(id)).map(|(_, bytes)| bytes).sum();
    let container_sizes = (written.iter().map(|(_, bytes)| bytes).sum(), running_bytes);
    let list = List {
        headings: &[
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ],
        columns: vec!["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        key: "Type",
        rows: vec![
            row("Images", distinct.len(), used.count(), image_sizes),
            row("Containers", containers.len(), running, container_sizes),
            row("Local Volumes", volumes.len(), mounted.count(), volume_sizes),
        ],
    };
    context.data(&list.render(&Listing { format: args.format, ..Listing::default() })?)?;
    Ok(0)
}
