//! `ls`: the stacks, as Compose lists projects.

use crate::args::Listing;
use crate::args::stack::Ls;
use crate::context::Context;
use crate::render::list::{List, Row};
use anyhow::{Result, bail};
use model::{ContainerState, State};
use std::collections::BTreeMap;

pub(super) async fn run(context: &Context, args: Ls) -> Result<u8> {
    let mut names = Vec::new();
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("name", text)) => names.push(text.to_owned()),
            _ => bail!("--filter {filter}: only name=TEXT is known"),
        }
    }
    let state = context.state().await?;
    let stacks: Vec<(String, Counts)> =
        counts(&state).into_iter().filter(|(name, _)| names.iter().all(|text| name.contains(text))).collect();
    if args.format.as_deref() == Some("json") && !args.quiet {
        let list: Vec<_> = stacks
            .iter()
            .map(|(name, counts)| {
                serde_json::json!({ "Name": name, "Status": counts.status(), "Services": counts.services, "ConfigFiles": "" })
            })
            .collect();
        context.line(&serde_json::to_string(&list)?)?;
        return Ok(0);
    }
    let rows = stacks.iter().map(|(name, counts)| {
        Row::default()
            .with("Name", name.as_str())
            .with("Status", counts.status())
            .with("Services", counts.services.to_string())
    });
    let list = List {
        headings: &[("Name", "NAME"), ("Status", "STATUS"), ("Services", "SERVICES")],
        columns: vec!["Name", "Status", "Services"],
        key: "Name",
        rows: rows.collect(),
    };
    context.data(&list.render(&Listing { format: args.format, quiet: args.quiet, no_trunc: true })?)?;
    Ok(0)
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    services: usize,
    states: BTreeMap<&'static str, usize>,
}

impl Counts {
    /// `running(2), exited(1)`.
    fn status(&self) -> String {
        let parts: Vec<String> = self.states.iter().rev().map(|(state, count)| format!("{state}({count})")).collect();
        parts.join(", ")
    }
}

fn counts(state: &State) -> BTreeMap<String, Counts> {
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    for service in &state.services {
        if let Some(stack) = &service.spec.stack {
            all.entry(stack.clone()).or_default().services += 1;
        }
    }
    for task in state.tasks.iter().filter(|task| task.desired <= model::Desired::Running) {
        let Some(counts) = task.spec.stack.as_ref().and_then(|stack| all.get_mut(stack)) else { continue };
        let word = match task.status.container.as_ref().map(|container| container.state) {
            None => "waiting",
            Some(ContainerState::Created) => "created",
            Some(ContainerState::Running) => "running",
            Some(ContainerState::Paused) => "paused",
            Some(ContainerState::Restarting) => "restarting",
            Some(ContainerState::Exited) => "exited",
        };
        *counts.states.entry(word).or_default() += 1;
    }
    all
}
