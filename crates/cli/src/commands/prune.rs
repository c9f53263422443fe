//! `… prune`.

use crate::args::image;
use crate::args::object::{PruneContainers, PruneVolumes};
use crate::args::system::Prune;
use crate::context::{Context, unexpected};
use crate::failure::{Silent, advised};
use crate::render::human::decimal_size;
use crate::terminal;
use anyhow::Result;
use api::{Call, PruneReport, Reply};

pub(super) async fn containers(context: &Context, args: PruneContainers) -> Result<u8> {
    agree(args.force, "all containers that have ended")?;
    let report = prune(context, Call::PruneContainers).await?;
    show(context, &[("Deleted Containers", report)])
}

pub(super) async fn networks(context: &Context, args: PruneContainers) -> Result<u8> {
    agree(args.force, "all networks that nothing uses")?;
    let report = prune(context, Call::PruneNetworks).await?;
    show(context, &[("Deleted Networks", report)])
}

pub(super) async fn volumes(context: &Context, args: PruneVolumes) -> Result<u8> {
    let what = if args.all {
        "all volumes that nothing uses, with their data"
    } else {
        "anonymous volumes that nothing uses, with their data"
    };
    agree(args.force, what)?;
    let report = prune(context, Call::PruneVolumes { all: args.all }).await?;
    show(context, &[("Deleted Volumes", report)])
}

pub(super) async fn images(context: &Context, args: image::Prune) -> Result<u8> {
    let what = if args.all { "all images that no container uses" } else { "all images without a name" };
    agree(args.force, what)?;
    let report = prune(context, Call::PruneImages { all: args.all }).await?;
    show(context, &[("Deleted Images", report)])
}

pub(super) async fn system(context: &Context, args: Prune) -> Result<u8> {
    let mut what = "all containers that have ended, networks that nothing uses and ".to_owned();
    what.push_str(if args.all { "images that no container uses" } else { "images without a name" });
    if args.volumes {
        what.push_str(", and anonymous volumes that nothing uses");
    }
    agree(args.force, &what)?;
    let mut reports = vec![
        ("Deleted Containers", prune(context, Call::PruneContainers).await?),
        ("Deleted Networks", prune(context, Call::PruneNetworks).await?),
    ];
    if args.volumes {
        reports.push(("Deleted Volumes", prune(context, Call::PruneVolumes { all: false }).await?));
    }
    reports.push(("Deleted Images", prune(context, Call::PruneImages { all: args.all }).await?));
    show(context, &reports)
}

async fn prune(context: &Context, call: Call) -> Result<PruneReport> {
    match context.call(call).await? {
        Reply::Pruned(report) => Ok(report),
        other => Err(unexpected(&other)),
    }
}

fn show(context: &Context, reports: &[(&str, PruneReport)]) -> Result<u8> {
    let mut out = String::new();
    for (title, report) in reports.iter().filter(|(_, report)| !report.removed.is_empty()) {
        out.push_str(&format!("{title}:\n{}\n\n", report.removed.join("\n")));
    }
    let bytes: u64 = reports.iter().map(|(_, report)| report.reclaimed).sum();
    out.push_str(&format!("Total reclaimed space: {}\n", decimal_size(bytes)));
    context.data(&out)?;
    Ok(0)
}

/// Asks on a terminal; elsewhere `-f` is needed.
fn agree(force: bool, what: &str) -> Result<()> {
    if force {
        return Ok(());
    }
    if !terminal::stdin_is_terminal() {
        return Err(advised(format!("this removes {what}, and nobody can be asked"), "-f removes without asking"));
    }
    match terminal::agrees(&format!("this removes {what}\nremove?"))? {
        true => Ok(()),
        false => Err(Silent(1).into()),
    }
}
