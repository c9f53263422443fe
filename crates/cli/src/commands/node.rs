//! `node …`: the machines of the cluster.

pub(super) mod inspect;

use crate::args::swarm::{Ls, NodeTasks, RemoveNodes, UpdateNode};
use crate::commands::cluster;
use crate::context::{Context, unexpected};
use crate::parse;
use crate::render::list::{List, Row};
use anyhow::{Context as _, Result, anyhow, bail};
use api::{Call, DaemonInfo, Reply};
use model::{Availability, Node, Request, State};
use std::collections::BTreeMap;

pub(super) async fn ls(context: &Context, args: Ls) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    const FILTERS: [&str; 6] = ["id", "name", "label", "node.label", "role", "membership"];
    if let Some((key, _)) = filters.iter().find(|(key, _)| !FILTERS.contains(&key.as_str())) {
        bail!("--filter: `{key}` is no filter: {} are", FILTERS.join(", "));
    }
    let own = own(context).await?;
    let state = context.state().await?;
    let mut nodes: Vec<&Node> = state.nodes.iter().filter(|node| passes(&filters, node)).collect();
    nodes.sort_by(|a, b| (&a.hostname, a.id).cmp(&(&b.hostname, b.id)));
    let list = List {
        headings: &[
            ("ID", "ID"),
            ("Hostname", "HOSTNAME"),
            ("Status", "STATUS"),
            ("Availability", "AVAILABILITY"),
            ("ManagerStatus", "MANAGER STATUS"),
            ("EngineVersion", "ENGINE VERSION"),
            ("Self", "SELF"),
        ],
        columns: vec!["ID", "Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion"],
        key: "ID",
        rows: nodes.iter().map(|node| row(node, &state, &own, &args)).collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

fn row(node: &Node, state: &State, own: &DaemonInfo, args: &Ls) -> Row {
    let is_own = node.id.to_string() == own.node;
    let id = if args.listing.no_trunc { node.id.to_string() } else { node.id.short() };
    let mark = if is_own && !args.listing.quiet { " *" } else { "" };
    Row::default()
        .with("ID", format!("{id}{mark}"))
        .with("Hostname", node.hostname.as_str())
        .with("Status", if node.ready { "Ready" } else { "Down" })
        .with("Availability", availability(node.availability))
        .with("ManagerStatus", manager_status(node, state))
        .with("EngineVersion", node.version.as_str())
        .with("Self", is_own.to_string())
}

fn manager_status(node: &Node, state: &State) -> &'static str {
    match (node.manager, state.leader == Some(node.id)) {
        (false, _) => "",
        (true, true) => "Leader",
        // It counts for nothing yet: the others need their majority without it.
        (true, false) if node.ready && has_no_vote(state, node) => "Joining",
        (true, false) if node.ready => "Reachable",
        (true, false) => "Unreachable",
    }
}

/// Is it a manager that the others do not count yet? Where nobody has a vote that is not known, or means nothing.
pub(in crate::commands) fn has_no_vote(state: &State, node: &Node) -> bool {
    node.manager && !state.voters.is_empty() && !state.voters.contains(&node.id)
}

fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "Active",
        Availability::Pause => "Pause",
        Availability::Drain => "Drain",
    }
}

pub(super) async fn ps(context: &Context, args: NodeTasks) -> Result<u8> {
    let own = own(context).await?;
    let state = context.state().await?;
    let mut names = args.names;
    if names.is_empty() {
        names.push("self".to_owned());
    }
    let ids = names.iter().map(|name| Ok(find(&state, &own, name)?.id)).collect::<Result<Vec<_>>>()?;
    let tasks = state.tasks.iter().filter(|task| task.node.is_some_and(|node| ids.contains(&node)));
    let tasks = tasks.filter(|task| !task.spec.standalone).map(AsRef::as_ref).collect();
    super::tasks::print(context, &args.list, &state, tasks)
}

pub(super) async fn update(context: &Context, args: UpdateNode) -> Result<u8> {
    let own = own(context).await?;
    let state = context.state().await?;
    let id = find(&state, &own, &args.node)?.id;
    let availability = args.availability.map(Availability::from);
    let mut labels: BTreeMap<String, Option<String>> = args.label_rm.iter().map(|key| (key.clone(), None)).collect();
    let added = parse::pairs(&args.label_add).context("--label-add")?;
    labels.extend(added.into_iter().map(|(key, value)| (key, Some(value))));
    if availability.is_some() || !labels.is_empty() || args.role.is_none() {
        context.request(Request::UpdateNode { id, availability, labels }).await?;
    }
    if let Some(role) = args.role {
        cluster::set_role(context, id, role.into(), false).await?;
    }
    context.line(&args.node)?;
    Ok(0)
}

pub(super) async fn rm(context: &Context, args: RemoveNodes) -> Result<u8> {
    let own = own(context).await?;
    let state = context.state().await?;
    let (own, state, force) = (&own, &state, args.force);
    super::each(context, &args.names, |name| async move {
        context.request(Request::RemoveNode { id: find(state, own, &name)?.id, force }).await?;
        Ok(Some(name))
    })
    .await
}

pub(super) async fn own(context: &Context) -> Result<DaemonInfo> {
    match context.call(Call::Ping).await? {
        Reply::Pong(info) => Ok(info),
        other => Err(unexpected(&other)),
    }
}

/// By host name, id, unique prefix of an id, or `self`.
pub(super) fn find<'a>(state: &'a State, own: &DaemonInfo, wanted: &str) -> Result<&'a Node> {
    let wanted = if wanted == "self" { own.node.as_str() } else { wanted };
    let nodes = || state.nodes.iter();
    let exact = nodes().filter(|node| node.id.to_string() == wanted || node.hostname == wanted);
    let mut found: Vec<&Node> = exact.collect();
    if found.is_empty() && !wanted.is_empty() {
        found = nodes().filter(|node| node.id.to_string().starts_with(wanted)).collect();
    }
    match found.as_slice() {
        [] => Err(anyhow!("no such node: {wanted}")),
        [node] => Ok(node),
        _ => bail!("`{wanted}` may mean several nodes: give the id"),
    }
}

/// Values of one key are alternatives, keys must all pass.
fn passes(filters: &[(String, String)], node: &Node) -> bool {
    let fits = |key: &str, value: &str| match key {
        "id" => node.id.to_string().starts_with(value),
        "name" => node.hostname.starts_with(value),
        "role" => value == if node.manager { "manager" } else { "worker" },
        "membership" => value == "accepted",
        key => {
            // Those of the machine count for `label`, as with Docker, and those of the cluster for both.
            let own = node.engine_labels.iter().filter(|_| key == "label");
            let (name, wanted) = value.split_once('=').map_or((value, None), |(name, wanted)| (name, Some(wanted)));
            let fits = |(key, found): (&String, &String)| key == name && wanted.is_none_or(|wanted| wanted == found);
            node.labels.iter().chain(own).any(fits)
        }
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(other, value)| other == key && fits(key, value)))
}
