//! `gitops …`: stacks that the cluster follows.

use crate::args::gitops::{Add, Allow, Diff, Format, Gitops, History, Ls, Name, Rm, Rollback, Status};
use crate::commands::{down, node, up};
use crate::context::{Context, now, unexpected};
use crate::failure::{Silent, advised};
use crate::parse;
use crate::project;
use crate::render::human;
use crate::render::plan as render;
use crate::render::table::table;
use crate::start;
use anyhow::{Context as _, Result, bail};
use api::{Call, Reply};
use model::{Allowance, Credentials, Origin, Request, Response, Source, SourceRequest, SourceSpec, SyncOutcome, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Exit code while a commit is on its way.
const ON_ITS_WAY: u8 = 3;

/// Exit code of `diff` when something would change.
const CHANGES: u8 = 2;

/// How often `status --wait` looks.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context, command: Gitops) -> Result<u8> {
    match command {
        Gitops::Add(args) => add(context, *args).await,
        Gitops::Ls(args) => ls(context, &args).await,
        Gitops::Status(args) => status(context, &args).await,
        Gitops::Sync(Name { name }) => sync(context, &name, true).await,
        Gitops::Suspend(Name { name }) => suspend(context, name, true).await,
        Gitops::Resume(Name { name }) => suspend(context, name, false).await,
        Gitops::History(args) => history(context, &args).await,
        Gitops::Rollback(args) => rollback(context, args).await,
        Gitops::Diff(args) => diff(context, args).await,
        Gitops::Rm(args) => rm(context, args).await,
    }
}

async fn ask(context: &Context, request: SourceRequest) -> Result<Response> {
    context.request(Request::Source(Box::new(request))).await
}

async fn all(context: &Context) -> Result<Vec<Source>> {
    Ok(context.state().await?.sources)
}

async fn find(context: &Context, name: &str) -> Result<Source> {
    let mut sources = all(context).await?;
    match sources.iter().position(|source| source.spec.name == name) {
        Some(place) => Ok(sources.swap_remove(place)),
        None => Err(advised(format!("no such source: {name}"), "`rswarm gitops ls` lists them")),
    }
}

async fn add(context: &Context, args: Add) -> Result<u8> {
    start::ensure(context).await?;
    let spec = Box::new(spec(context, &args).await?);
    let origin = spec.origin.clone();
    ask(context, SourceRequest::Put { spec, create: !args.replace }).await?;
    context.printer.say(&format!("source {}: follows {}", args.name, shown(&origin)));
    if args.no_wait {
        return Ok(0);
    }
    sync(context, &args.name, false).await
}

async fn spec(context: &Context, args: &Add) -> Result<SourceSpec> {
    let wait = |text: &str, what: &'static str| parse::patience(text).context(what);
    Ok(SourceSpec {
        name: args.name.clone(),
        origin: origin(context, args).await?,
        paths: args.paths.clone(),
        stacks: args.stacks.clone(),
        interval: wait(&args.interval, "--interval")?,
        prune: args.prune,
        prune_volumes: args.prune_volumes,
        self_heal: args.self_heal,
        forward_only: args.forward_only,
        rollback: args.rollback,
        patience: wait(&args.health_timeout, "--health-timeout")?,
        allow: args.allow.iter().map(|allow| allowance(*allow)).collect::<BTreeSet<_>>(),
        env: variables(&args.env)?,
        credentials: Credentials {
            token: file(args.token_file.as_deref(), "--token-file")?,
            ssh_key: file(args.ssh_key.as_deref(), "--ssh-key")?,
            known_hosts: file(args.known_hosts.as_deref(), "--known-hosts")?,
            allowed_signers: file(args.verify.as_deref(), "--verify")?,
            webhook: file(args.webhook_secret.as_deref(), "--webhook-secret")?,
            age_keys: age_keys(args.age_key.as_deref())?,
        },
    })
}

fn allowance(allow: Allow) -> Allowance {
    match allow {
        Allow::Bind => Allowance::Bind,
        Allow::Privileged => Allowance::Privileged,
        Allow::Host => Allowance::Host,
        Allow::Device => Allowance::Device,
        Allow::External => Allowance::External,
    }
}

fn variables(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("--env: `{text}` is not of the form NAME=VALUE"),
    };
    texts.iter().map(pair).collect()
}

/// Said now, and not with the first secret that can't be opened.
fn age_keys(path: Option<&str>) -> Result<Option<String>> {
    let text = file(path, "--age-key")?;
    if let Some(text) = &text {
        gitops::age::Keys::parse(text).with_context(|| format!("--age-key: read {}", path.unwrap_or_default()))?;
    }
    Ok(text)
}

/// Secrets come from files: words of a command can be read by every user of the machine.
fn file(path: Option<&str>, what: &str) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("{what}: read {path}"))?;
    match text.trim().is_empty() {
        true => bail!("{what}: {path} is empty"),
        false => Ok(Some(text.trim().to_owned())),
    }
}

/// A path of this machine, or the address of a repository.
async fn origin(context: &Context, args: &Add) -> Result<Origin> {
    let text = &args.origin;
    if text.contains("://") || gitops::git::check_url(text).is_ok() {
        gitops::git::check_url(text)?;
        return Ok(Origin::Git { url: text.clone(), reference: args.reference.clone() });
    }
    if args.reference != "HEAD" || args.token_file.is_some() || args.ssh_key.is_some() || args.verify.is_some() {
        return Err(advised(
            format!("{text} is a path, which has no commits"),
            "a repository on this machine is file:///PATH",
        ));
    }
    let path = std::path::absolute(text).with_context(|| format!("find {text}"))?;
    if args.node.is_none() && !path.exists() {
        bail!("{}: there is no such file or folder", path.display());
    }
    if path.join("HEAD").is_file() && path.join("objects").is_dir() {
        let hint = format!("its commits are followed as file://{}", path.display());
        return Err(advised(format!("{text} is a bare repository, which has no files"), hint));
    }
    let path = path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("{text} is no UTF-8"))?;
    let own = node::own(context).await?;
    let node = match &args.node {
        Some(name) => node::find(&context.state().await?, &own, name)?.id,
        None => own.node.parse()?,
    };
    Ok(Origin::Path { path, node })
}

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Path { path, .. } => path.clone(),
        Origin::Git { url, reference } => format!("{url} at {reference}"),
    }
}

async fn sync(context: &Context, name: &str, again: bool) -> Result<u8> {
    context.order(Call::SyncSource { name: name.to_owned(), again }).await?;
    let source = find(context, name).await?;
    tell(context, &source)?;
    Ok(code(&source))
}

/// 1 when the newest commit is not what runs, or not well.
fn code(source: &Source) -> u8 {
    match source.status.outcome {
        SyncOutcome::Healthy | SyncOutcome::Settling | SyncOutcome::New => 0,
        _ => 1,
    }
}

async fn ls(context: &Context, args: &Ls) -> Result<u8> {
    let sources = all(context).await?;
    if args.quiet {
        for source in &sources {
            context.line(&source.spec.name)?;
        }
        return Ok(0);
    }
    if args.format == Format::Json {
        context.line(&serde_json::to_string_pretty(&sources)?)?;
        return Ok(0);
    }
    let head = ["NAME", "FROM", "COMMIT", "STATE", "SINCE", "STACKS"];
    let mut rows = vec![head.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()];
    for source in &sources {
        let status = &source.status;
        rows.push(vec![
            source.spec.name.clone(),
            shown(&source.spec.origin),
            status.applied.as_ref().map_or("-", |commit| commit.short()).to_owned(),
            state(source),
            ago(status.since),
            status.stacks.iter().cloned().collect::<Vec<_>>().join(", "),
        ]);
    }
    context.data(&table(&rows))?;
    Ok(0)
}

/// In a word or two.
fn state(source: &Source) -> String {
    let mut text = source.status.outcome.word().to_owned();
    if source.suspended {
        text.push_str(", suspended");
    }
    if source.pinned.is_some() {
        text.push_str(", held back");
    }
    if !source.status.drift.is_empty() {
        text.push_str(", drifted");
    }
    text
}

fn ago(time: Time) -> String {
    human::ago(time.0, now())
}

async fn status(context: &Context, args: &Status) -> Result<u8> {
    let mut source = find(context, &args.name).await?;
    while args.wait && matches!(source.status.outcome, SyncOutcome::Settling | SyncOutcome::New) {
        tokio::time::sleep(LOOK).await;
        source = find(context, &args.name).await?;
    }
    match args.format {
        Format::Json => context.line(&serde_json::to_string_pretty(&source)?)?,
        Format::Table => tell(context, &source)?,
    }
    Ok(match source.status.outcome {
        SyncOutcome::Healthy if source.status.drift.is_empty() => 0,
        SyncOutcome::Settling | SyncOutcome::New => ON_ITS_WAY,
        _ => 1,
    })
}

/// How it fares, with what is wrong where.
fn tell(context: &Context, source: &Source) -> Result<()> {
    let status = &source.status;
    let since = ago(status.since).to_lowercase();
    context.line(&format!("{}: {}, since {since}", source.spec.name, state(source)))?;
    context.line(&format!("  from     {}", shown(&source.spec.origin)))?;
    let commit = |what: &str, commit: &Option<model::Commit>| match commit {
        Some(commit) => context.line(&format!("  {what} {} {}  {}", commit.short(), commit.subject, commit.author)),
        None => Ok(()),
    };
    commit("applied ", &status.applied)?;
    if status.seen.as_ref().map(|seen| &seen.id) != status.applied.as_ref().map(|applied| &applied.id) {
        commit("newest  ", &status.seen)?;
    }
    if let Some(pinned) = &source.pinned {
        let pinned = pinned.get(..12).unwrap_or(pinned);
        context.line(&format!("  held at  {pinned}, until `rswarm gitops resume {}`", source.spec.name))?;
    }
    if !status.stacks.is_empty() {
        context.line(&format!("  stacks   {}", status.stacks.iter().cloned().collect::<Vec<_>>().join(", ")))?;
    }
    for line in status.message.lines() {
        context.line(&format!("  {line}"))?;
    }
    for drift in &status.drift {
        context.line(&format!("  drift: {drift}"))?;
    }
    project::show(context, &status.diagnostics);
    Ok(())
}

async fn suspend(context: &Context, name: String, suspended: bool) -> Result<u8> {
    ask(context, SourceRequest::Suspend { name: name.clone(), suspended }).await?;
    if !suspended {
        // What is new is there before `status` is asked; how it fares is told there, and not an error of this.
        let looked = context.order(Call::SyncSource { name: name.clone(), again: false }).await;
        looked.unwrap_or_else(|error| context.printer.say(&format!("it is not looked yet: {error:#}")));
    }
    context.line(&name)?;
    Ok(0)
}

async fn history(context: &Context, args: &History) -> Result<u8> {
    let source = find(context, &args.name).await?;
    if args.format == Format::Json {
        context.line(&serde_json::to_string_pretty(&source.status.history)?)?;
        return Ok(0);
    }
    for record in source.status.history.iter().rev() {
        let commit = &record.commit;
        let message = if record.message.is_empty() { String::new() } else { format!(": {}", record.message) };
        context.line(&format!("{}  {}  {}{message}", commit.short(), ago(record.at), record.outcome.word()))?;
        if !commit.author.is_empty() {
            context.line(&format!("    {}  {}", commit.author, commit.subject))?;
        }
        for change in &record.changes {
            context.line(&format!("    {change}"))?;
        }
    }
    Ok(0)
}

async fn rollback(context: &Context, args: Rollback) -> Result<u8> {
    let source = find(context, &args.name).await?;
    if matches!(source.spec.origin, Origin::Path { .. }) {
        bail!("source {} is a path, which has no earlier commits", args.name);
    }
    let known = source.status.history.iter().map(|record| &record.commit.id);
    let mut matching: Vec<&String> = known.filter(|id| id.starts_with(&args.commit)).collect();
    matching.sort();
    matching.dedup();
    let commit = match matching.as_slice() {
        [one] => (*one).clone(),
        [] if gitops::git::is_hash(&args.commit) => args.commit.clone(),
        [] => {
            return Err(advised(
                format!("`{}` is no commit that source {} was at", args.commit, args.name),
                format!("`rswarm gitops history {}` lists them; any other is named by its whole hash", args.name),
            ));
        }
        _ => bail!("`{}` is the beginning of several commits", args.commit),
    };
    ask(context, SourceRequest::Pin { name: args.name.clone(), commit }).await?;
    sync(context, &args.name, true).await
}

async fn diff(context: &Context, args: Diff) -> Result<u8> {
    let (commit, plans) = match context.call(Call::DiffSource(args.name.clone())).await? {
        Reply::Diff(diff) => *diff,
        other => return Err(unexpected(&other)),
    };
    match args.format {
        Format::Json => context.line(&serde_json::to_string_pretty(&plans)?)?,
        Format::Table => {
            context.line(&format!("commit {} {}  {}", commit.short(), commit.subject, commit.author))?;
            for plan in &plans {
                project::show(context, &plan.warnings);
                context.data(&render::whole(plan, context.printer.colour_out))?;
            }
        }
    }
    Ok(if plans.iter().all(model::StackPlan::is_empty) { 0 } else { CHANGES })
}

async fn rm(context: &Context, args: Rm) -> Result<u8> {
    let source = find(context, &args.name).await?;
    match ask(context, SourceRequest::Remove { name: args.name.clone(), down: args.down }).await? {
        Response::Done { changes, warnings, .. } => {
            project::show(context, &warnings);
            up::tell(context, &changes);
        }
        _ => return Err(Silent(1).into()),
    }
    for stack in source.status.stacks.iter().filter(|_| args.down) {
        down::follow(context, stack, None, false).await?;
    }
    Ok(0)
}
