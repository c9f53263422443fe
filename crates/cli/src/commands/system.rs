//! `info`, `system df`.

use crate::args::Listing;
use crate::args::system::{Df, Info};
use crate::context::{Context, unexpected};
use crate::render::human::decimal_size;
use crate::render::list::{List, Row};
use crate::template::{Template, unescape};
use anyhow::Result;
use api::{Call, Reply};
use model::ContainerState;
use serde_json::json;
use std::collections::BTreeSet;

pub(super) async fn info(context: &Context, args: Info) -> Result<u8> {
    let daemon = match context.call(Call::Ping).await? {
        Reply::Pong(info) => info,
        other => return Err(unexpected(&other)),
    };
    let state = context.state().await?;
    let images = match context.call(Call::Images { all: true }).await? {
        Reply::Images(rows) => rows.iter().map(|row| row.id.as_str()).collect::<BTreeSet<_>>().len(),
        other => return Err(unexpected(&other)),
    };
    let count = |wanted: &[ContainerState]| {
        let states = state.tasks.iter().filter_map(|task| task.status.container.as_ref()).map(|c| c.state);
        states.filter(|state| wanted.contains(state)).count()
    };
    use ContainerState::{Created, Exited, Paused, Restarting, Running};
    let stacks: BTreeSet<_> = state.services.iter().filter_map(|service| service.spec.stack.as_ref()).collect();
    let value = json!({
        "ServerVersion": daemon.version, "Pid": daemon.pid, "ID": daemon.node,
        "Containers": count(&[Created, Running, Paused, Restarting, Exited]),
        "ContainersRunning": count(&[Running, Restarting]), "ContainersPaused": count(&[Paused]),
        "ContainersStopped": count(&[Created, Exited]),
        "Images": images, "Stacks": stacks.len(), "Services": state.services.len(),
        "Networks": state.networks.len(), "Volumes": state.volumes.len(),
        "DataRoot": daemon.data_root, "RunRoot": daemon.run_root,
        "CgroupVersion": daemon.cgroup, "Runtime": daemon.oci_runtime, "Revision": state.revision,
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
                ("Runtime", "Runtime"),
                ("Cgroup Version", "CgroupVersion"),
                ("Data Root", "DataRoot"),
                ("Run Root", "RunRoot"),
            ];
            let text = |key: &str| {
                value.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default()
            };
            let lines: String = rows.iter().map(|(title, key)| format!("{title}: {}\n", text(key))).collect();
            context.data(&lines)?;
        }
    }
    Ok(0)
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
    let running = containers.iter().filter(|row| row.state == Some(ContainerState::Running)).count();
    let mut seen = BTreeSet::new();
    let image_bytes: u64 = images.iter().filter(|row| seen.insert(row.id.as_str())).map(|row| row.size).sum();
    let used: BTreeSet<&str> = containers.iter().map(|row| row.image.as_str()).collect();
    let mounted: BTreeSet<&str> = containers.iter().flat_map(|row| &row.mounts).map(String::as_str).collect();
    let mounted = volumes.iter().filter(|(name, _)| mounted.contains(name.as_str())).count();
    let row = |kind: &str, total: usize, active: usize, size: Option<u64>| {
        Row::default()
            .with("Type", kind)
            .with("TotalCount", total.to_string())
            .with("Active", active.to_string())
            .with("Size", size.map_or_else(|| "N/A".to_owned(), decimal_size))
    };
    let list = List {
        headings: &[("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE")],
        columns: vec!["Type", "TotalCount", "Active", "Size"],
        key: "Type",
        rows: vec![
            row("Images", seen.len(), used.len().min(seen.len()), Some(image_bytes)),
            row("Containers", containers.len(), running, None),
            row("Local Volumes", volumes.len(), mounted, Some(volumes.iter().map(|(_, bytes)| bytes).sum())),
        ],
    };
    context.data(&list.render(&Listing { format: args.format, ..Listing::default() })?)?;
    Ok(0)
}
