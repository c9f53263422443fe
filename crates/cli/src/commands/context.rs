//! `context …`: daemons and clusters elsewhere, by name.

use crate::args::Listing;
use crate::args::context::{self as args, Create, Export, Import, Inspect, Rm, Update};
use crate::context::{Context, now};
use crate::contexts::{DEFAULT, Store, Stored, check_name};
use crate::endpoint::Endpoint;
use crate::failure::advised;
use crate::render::human;
use crate::render::list::{List, Row};
use crate::settings::Environment;
use crate::template::{Template, unescape};
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use api::client::Client;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

pub(super) async fn run(context: &Context, command: args::Context) -> Result<u8> {
    let environment = Environment::read();
    let contexts = environment.contexts.clone();
    let contexts = contexts.context("there are no contexts without a home: set HOME or RSWARM_CONFIG")?;
    match command {
        args::Context::Create(args) => create(context, &contexts, args).await,
        args::Context::Ls(listing) => ls(context, &contexts, &environment, &listing),
        args::Context::Use(args) => use_one(context, &contexts, &environment, &args.name),
        args::Context::Show => context.line(&environment.context(None)?).map(|()| 0),
        args::Context::Inspect(args) => inspect(context, &contexts, &environment, args),
        args::Context::Update(args) => update(context, &contexts, args),
        args::Context::Rm(args) => rm(context, &contexts, &environment, args).await,
        args::Context::Export(args) => export(context, &contexts, &args),
        args::Context::Import(args) => import(context, &contexts, &args),
    }
}

/// `host=URL`, as Docker wants it, or the URL alone.
fn endpoint(text: &str) -> Result<Endpoint> {
    text.strip_prefix("host=").unwrap_or(text).parse().context("--docker")
}

fn refuse_taken(contexts: &Store, name: &str) -> Result<()> {
    check_name(name)?;
    if contexts.path(name).exists() {
        return Err(advised(format!("there is a context `{name}` already"), format!("`rswarm context rm {name}`")));
    }
    Ok(())
}

async fn create(context: &Context, contexts: &Store, args: Create) -> Result<u8> {
    refuse_taken(contexts, &args.name)?;
    let description = || args.description.clone().unwrap_or_default();
    let stored = match (&args.docker, &args.certificate_from, &args.from) {
        (Some(text), _, _) => Stored::new(description(), &endpoint(text)?, None),
        (_, Some(text), _) => {
            let road = match contexts.names()?.contains(text) {
                true => contexts.get(text)?.road(now())?.0,
                false => text.parse::<Endpoint>().and_then(|host| host.road(None)).context("--certificate-from")?,
            };
            let client = args.client.unwrap_or_else(own_name);
            super::client::enrol(&Client::new(road), client, &args.ttl, description()).await?
        }
        (_, _, Some(from)) => contexts.get(from)?.described(args.description),
        _ => bail!("nothing says where the context leads"),
    };
    contexts.put(&args.name, &stored)?;
    context.line(&args.name)?;
    context.printer.say(&format!("Successfully created context \"{}\"", args.name));
    Ok(0)
}

/// `USER@HOSTNAME` of whoever runs this, as far as both are known.
fn own_name() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "client".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.@-".contains(c) { c } else { '-' })
        .collect()
}

/// What a list and `inspect` tell of one. A context that is damaged is shown with what is wrong.
fn row(contexts: &Store, name: &str, current: &str, listing: &Listing) -> Row {
    let mark = if name == current && !listing.quiet { " *" } else { "" };
    let row = Row::default().with("Name", format!("{name}{mark}")).with("Current", (name == current).to_string());
    if name == DEFAULT {
        let text = "The daemon of this machine";
        return row.with("Description", text).with("DockerEndpoint", "unix:///run/rswarm/rswarm.sock");
    }
    match contexts.get(name) {
        Ok(stored) => {
            let row = row.with("Description", stored.description.as_str()).with("DockerEndpoint", stored.host.as_str());
            row.with("Expires", expires(&stored))
        }
        Err(error) => row.with("Error", format!("{error:#}")),
    }
}

fn expires(stored: &Stored) -> String {
    let Ok(Some(credentials)) = stored.credentials() else { return String::new() };
    match credentials.certificate.expires.0.checked_sub(now()) {
        None => "Ended".to_owned(),
        Some(left) => format!("in {}", human::span(Duration::from_millis(left))),
    }
}

fn ls(context: &Context, contexts: &Store, environment: &Environment, listing: &Listing) -> Result<u8> {
    let current = environment.context(None)?;
    let names = std::iter::once(DEFAULT.to_owned()).chain(contexts.names()?);
    let list = List {
        headings: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("DockerEndpoint", "ENDPOINT"),
            ("Expires", "CERTIFICATE EXPIRES"),
            ("Error", "ERROR"),
            ("Current", "CURRENT"),
        ],
        columns: vec!["Name", "Description", "DockerEndpoint", "Expires", "Error"],
        key: "Name",
        rows: names.map(|name| row(contexts, &name, &current, listing)).collect(),
    };
    context.data(&list.render(listing)?)?;
    warn_of_host(context, environment);
    Ok(0)
}

fn warn_of_host(context: &Context, environment: &Environment) {
    if environment.host.is_some() {
        context.printer.warn("RSWARM_HOST is set, and wins over every context");
    }
}

fn use_one(context: &Context, contexts: &Store, environment: &Environment, name: &str) -> Result<u8> {
    if name != DEFAULT {
        contexts.get(name)?;
    }
    contexts.use_one(name)?;
    context.line(name)?;
    context.printer.say(&format!("Current context is now \"{name}\""));
    warn_of_host(context, environment);
    Ok(0)
}

fn inspect(context: &Context, contexts: &Store, environment: &Environment, args: Inspect) -> Result<u8> {
    let names = if args.names.is_empty() { vec![environment.context(None)?] } else { args.names };
    let values = names.iter().map(|name| told(contexts, name)).collect::<Result<Vec<_>>>()?;
    match args.format.as_deref() {
        None | Some("json") => context.line(&serde_json::to_string_pretty(&values)?)?,
        Some(format) => {
            let template = Template::parse(&unescape(format))?;
            for value in &values {
                context.line(&template.render(value)?)?;
            }
        }
    }
    Ok(0)
}

/// In Docker's shape; of the certificate what everybody may know.
fn told(contexts: &Store, name: &str) -> Result<Value> {
    if name == DEFAULT {
        let endpoints = json!({ "docker": { "Host": "unix:///run/rswarm/rswarm.sock", "SkipTLSVerify": false } });
        return Ok(json!({ "Name": DEFAULT, "Metadata": {}, "Endpoints": endpoints, "TLSMaterial": {} }));
    }
    let stored = contexts.get(name)?;
    let material = match stored.credentials()? {
        None => json!({}),
        Some(credentials) => {
            let identity = credentials.certificate.identity;
            json!({ "docker": {
                "Cluster": identity.cluster.to_string(),
                "Client": identity.node.to_string(),
                "Expires": human::created_at(credentials.certificate.expires.0),
            } })
        }
    };
    Ok(json!({
        "Name": name,
        "Metadata": { "Description": stored.description },
        "Endpoints": { "docker": { "Host": stored.host, "SkipTLSVerify": false } },
        "TLSMaterial": material,
        "Storage": { "MetadataPath": contexts.path(name).display().to_string() },
    }))
}

fn update(context: &Context, contexts: &Store, args: Update) -> Result<u8> {
    let mut stored = contexts.get(&args.name)?;
    if let Some(text) = &args.docker {
        stored = stored.towards(&endpoint(text)?);
    }
    contexts.put(&args.name, &stored.described(args.description))?;
    context.line(&args.name)?;
    context.printer.say(&format!("Successfully updated context \"{}\"", args.name));
    Ok(0)
}

async fn rm(context: &Context, contexts: &Store, environment: &Environment, args: Rm) -> Result<u8> {
    let (current, used) = (contexts.current()?, environment.context(None)?);
    let (current, used, force) = (&current, &used, args.force);
    super::each(context, &args.names, |name| async move {
        if name == *used && !force {
            return Err(advised(format!("the context `{name}` is in use"), "--force removes it all the same"));
        }
        if !contexts.remove(&name)? && !force {
            return Err(advised(format!("there is no context `{name}`"), "`rswarm context ls` lists them"));
        }
        if name == *current {
            contexts.use_one(DEFAULT)?;
        }
        Ok(Some(name))
    })
    .await
}

fn export(context: &Context, contexts: &Store, args: &Export) -> Result<u8> {
    let text = contexts.get(&args.name)?.to_text()?;
    let file = args.file.clone().unwrap_or_else(|| format!("{}.rswarmcontext", args.name));
    if file == "-" {
        if terminal::stdout_is_terminal() {
            bail!("there is a key in it that should not be on a screen: write it to a file");
        }
        context.data(&text)?;
        return Ok(0);
    }
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let written = made.and_then(|mut made| made.write_all(text.as_bytes()));
    written.with_context(|| format!("write {file}"))?;
    context.printer.say(&format!("Written file \"{file}\""));
    Ok(0)
}

fn import(context: &Context, contexts: &Store, args: &Import) -> Result<u8> {
    refuse_taken(contexts, &args.name)?;
    let text = match args.file.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text).context("read standard input")?
        }
        file => std::fs::read_to_string(file).with_context(|| format!("read {file}"))?,
    };
    let stored = Stored::parse(&text).with_context(|| format!("import {}", args.file))?;
    contexts.put(&args.name, &stored)?;
    context.line(&args.name)?;
    context.printer.say(&format!("Successfully imported context \"{}\"", args.name));
    Ok(0)
}
