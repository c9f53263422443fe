//! `volume ls`, `create`, `rm`.

use super::each;
use crate::args::object::{CreateVolume, Ls, Rm};
use crate::context::{Context, is_not_found, random, unexpected};
use crate::render::list::{List, Row};
use crate::{parse, start};
use anyhow::{Context as _, Result, bail};
use api::{Call, Reply, VolumeRow};
use model::{Request, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn ls(context: &Context, args: Ls) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    let dangling = filters.iter().find(|(key, _)| key == "dangling").map(|(_, value)| value == "true" || value == "1");
    if let Some((key, _)) =
        filters.iter().find(|(key, _)| !matches!(key.as_str(), "name" | "driver" | "label" | "dangling"))
    {
        bail!("--filter: `{key}` is no filter: name, driver, label and dangling are");
    }
    let all = match context.call(Call::Volumes).await? {
        Reply::Volumes(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let used = if dangling.is_some() { mounted(context).await? } else { BTreeSet::new() };
    let volumes = all
        .iter()
        .filter(|row| passes(&filters, &row.spec.name, driver(row), &row.spec.labels))
        .filter(|row| dangling.is_none_or(|wanted| used.contains(&row.spec.name) != wanted));
    let rows = volumes.map(|row| {
        Row::default()
            .with("Driver", driver(row))
            .with("Name", row.spec.name.as_str())
            .with("Scope", "local")
            .with("Mountpoint", row.mountpoint.as_str())
            .labels(&row.spec.labels)
    });
    let list = List {
        headings: &[
            ("Driver", "DRIVER"),
            ("Name", "VOLUME NAME"),
            ("Scope", "SCOPE"),
            ("Mountpoint", "MOUNTPOINT"),
            ("Labels", "LABELS"),
        ],
        columns: vec!["Driver", "Name"],
        key: "Name",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

fn driver(row: &VolumeRow) -> &str {
    row.spec.driver.as_deref().unwrap_or("local")
}

/// Volumes that a container has, running or not.
async fn mounted(context: &Context) -> Result<BTreeSet<String>> {
    match context.call(Call::Containers { all: true, stack: None }).await? {
        Reply::Containers(rows) => Ok(rows.into_iter().flat_map(|row| row.mounts).collect()),
        other => Err(unexpected(&other)),
    }
}

/// Do name, driver and labels pass? Names are alternatives.
pub(super) fn passes(
    filters: &[(String, String)],
    name: &str,
    driver: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let mut names = filters.iter().filter(|(key, _)| key == "name").peekable();
    if names.peek().is_some() && !names.any(|(_, text)| name.contains(text.as_str())) {
        return false;
    }
    filters.iter().all(|(key, value)| match key.as_str() {
        "driver" => driver == value,
        "label" => match value.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(value),
        },
        _ => true,
    })
}

pub(super) async fn create(context: &Context, args: CreateVolume) -> Result<u8> {
    let name = match args.name {
        Some(name) => name,
        None => format!("{:032x}", u128::from_be_bytes(random()?)),
    };
    let spec = VolumeSpec {
        name: name.clone(),
        stack: None,
        driver: Some(args.driver).filter(|driver| driver != "local"),
        driver_opts: parse::strict_pairs(&args.opt).context("--opt")?,
        labels: parse::pairs(&args.label).context("--label")?,
    };
    start::ensure(context).await?;
    context.request(Request::CreateVolume(Box::new(spec))).await?;
    context.line(&name)?;
    Ok(0)
}

pub(super) async fn rm(context: &Context, args: Rm) -> Result<u8> {
    let force = args.force;
    each(context, &args.names, |name| async move {
        match context.order(Call::RemoveVolume(name.clone())).await {
            Ok(()) => Ok(Some(name)),
            // As in Docker: what is not there is as good as removed.
            Err(error) if force && is_not_found(&error) => Ok(Some(name)),
            Err(error) => Err(error.into()),
        }
    })
    .await
}
