//! `secret …` and `config ls|create|inspect|rm`: contents that belong to no stack.

use super::each;
use super::service::inspect::time;
use crate::args::content::{Content, Create, Rm};
use crate::args::object::{InspectOne, Ls};
use crate::context::{Context, unexpected};
use crate::parse;
use crate::render::human::ago;
use crate::render::list::{List, Row};
use anyhow::{Context as _, Result, anyhow, bail};
use api::{Call, Reply};
use model::{ContentKind, ContentSpec, ContentView, Request, Response, State};
use serde_json::{Value, json};
use std::io::Read as _;

/// What one content may hold, in bytes (Docker: secrets 500 KiB, configs 1 MiB).
const MOST: u64 = 1 << 20;

pub(super) async fn run(context: &Context, kind: ContentKind, command: Content) -> Result<u8> {
    match command {
        Content::Ls(args) => ls(context, kind, args).await,
        Content::Create(args) => create(context, kind, args).await,
        Content::Inspect(args) => inspect(context, kind, args).await,
        Content::Rm(args) => rm(context, kind, args).await,
    }
}

fn of(state: &State, kind: ContentKind) -> &[ContentView] {
    match kind {
        ContentKind::Config => &state.configs,
        ContentKind::Secret => &state.secrets,
    }
}

/// By name, id, or unique prefix of an id.
fn find<'s>(state: &'s State, kind: ContentKind, wanted: &str) -> Result<&'s ContentView> {
    let all = of(state, kind);
    if let Some(exact) = all.iter().find(|content| content.name == wanted || content.id == wanted) {
        return Ok(exact);
    }
    let mut found = all.iter().filter(|content| !wanted.is_empty() && content.id.starts_with(wanted));
    match (found.next(), found.next()) {
        (Some(content), None) => Ok(content),
        (Some(_), Some(_)) => bail!("`{wanted}` may mean several {kind}s: give the name"),
        _ => Err(anyhow!("no such {kind}: {wanted}")),
    }
}

async fn ls(context: &Context, kind: ContentKind, args: Ls) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    if let Some((key, _)) = filters.iter().find(|(key, _)| !matches!(key.as_str(), "id" | "name" | "label")) {
        bail!("--filter: `{key}` is no filter: id, name and label are");
    }
    let state = context.state().await?;
    let now = crate::context::now();
    let passes = |content: &&ContentView| {
        let ids = filters.iter().filter(|(key, _)| key == "id").all(|(_, id)| content.id.starts_with(id.as_str()));
        let rest: Vec<_> = filters.iter().filter(|(key, _)| key != "id").cloned().collect();
        ids && super::volume::passes(&rest, &content.name, "", &content.labels)
    };
    let rows = of(&state, kind).iter().filter(passes).map(|content| {
        let id = if args.listing.no_trunc { content.id.as_str() } else { content.id.get(..12).unwrap_or_default() };
        let since = |time: model::Time| ago(time.0, now);
        Row::default()
            .with("ID", id)
            .with("Name", content.name.as_str())
            .with("CreatedAt", since(content.created))
            .with("UpdatedAt", since(content.updated))
            .labels(&content.labels)
    });
    let list = List {
        headings: &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("CreatedAt", "CREATED"),
            ("UpdatedAt", "UPDATED"),
            ("Labels", "LABELS"),
        ],
        columns: vec!["ID", "Name", "CreatedAt", "UpdatedAt"],
        key: "ID",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

async fn create(context: &Context, kind: ContentKind, args: Create) -> Result<u8> {
    crate::start::ensure(context).await?;
    let labels = parse::pairs(&args.label).context("--label")?.into_iter().collect();
    let data = read(&args.file, kind)?;
    let content = ContentSpec {
        name: args.name,
        labels,
        data,
        template: args.template_driver.is_some(),
        ..ContentSpec::default()
    };
    match context.request(Request::CreateContent { kind, content: Box::new(content) }).await? {
        Response::Done { id: Some(id), .. } => context.line(&id)?,
        _ => bail!("the daemon did not say which {kind} it made"),
    }
    Ok(0)
}

fn read(file: &str, kind: ContentKind) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    let input: Box<dyn std::io::Read> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).with_context(|| format!("open {path}"))?),
    };
    input.take(MOST + 1).read_to_end(&mut data).with_context(|| format!("read {file}"))?;
    if data.len() as u64 > MOST {
        bail!("{file} has more than {MOST} bytes, which is the most that a {kind} may hold");
    }
    Ok(data)
}

async fn inspect(context: &Context, kind: ContentKind, args: InspectOne) -> Result<u8> {
    let state = context.state().await?;
    let mut found = Vec::new();
    for name in &args.names {
        found.push(match find(&state, kind, name) {
            Ok(content) => Ok(view(context, kind, content).await?),
            Err(error) => Err(error),
        });
    }
    super::inspect::print(context, args.format.as_deref(), found)
}

/// Engine API, ConfigInspect and SecretInspect. What is in a secret is shown to nobody.
async fn view(context: &Context, kind: ContentKind, content: &ContentView) -> Result<Value> {
    let mut spec = json!({ "Name": content.name, "Labels": content.labels });
    if kind == ContentKind::Config
        && let Some(spec) = spec.as_object_mut()
    {
        let data = match context.call(Call::ConfigData(content.name.clone())).await? {
            Reply::ConfigData(data) => data,
            other => return Err(unexpected(&other)),
        };
        spec.insert("Data".to_owned(), Value::String(data));
    }
    Ok(json!({
        "ID": content.id,
        "CreatedAt": time(content.created),
        "UpdatedAt": time(content.updated),
        "Spec": spec,
    }))
}

async fn rm(context: &Context, kind: ContentKind, args: Rm) -> Result<u8> {
    let state = context.state().await?;
    let state = &state;
    each(context, &args.names, |name| async move {
        let full = find(state, kind, &name)?.name.clone();
        context.request(Request::RemoveContent { kind, name: full }).await?;
        Ok(Some(name))
    })
    .await
}
