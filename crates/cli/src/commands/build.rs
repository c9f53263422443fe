//! `build`, and what `up` builds: images of services, by a builder that is there already. It runs where the files are,
//! and the daemon, which may be elsewhere, is given the image.

mod tool;

use self::tool::{How, Tool};
use super::{load, pull};
use crate::args::stack::{Build, Up};
use crate::context::Context;
use crate::failure::{Silent, advised};
use crate::{project, start};
use anyhow::{Context as _, Result, bail};
use api::{Call, UploadCall};
use model::StackSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) async fn run(context: &Context, args: Build) -> Result<u8> {
    let loaded = project::load(&args.project, project::naming(&args.services))?;
    project::tell(context, &loaded)?;
    let Some(project) = loaded.project else { return Err(Silent(1).into()) };
    let builds = project.builds();
    let services = project.services();
    if let Some(unknown) = args.services.iter().find(|name| !services.contains(name)) {
        bail!("there is no service `{unknown}` in the project");
    }
    let is_meant = |build: &compose::Build| args.services.is_empty() || args.services.contains(&build.service);
    if !builds.iter().any(is_meant) {
        context.printer.say("no service has a `build`: nothing is to be done");
        return Ok(0);
    }
    // One that the environment does not have keeps the value of the Dockerfile.
    let variable = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), std::env::var(text).ok()?)),
    };
    let args_given = args.build_arg.iter().filter_map(variable).collect();
    let how = How { no_cache: args.no_cache, pull: args.pull, args: args_given };
    start::ensure(context).await?;
    let wanted = builds.iter().filter(|build| is_meant(build)).map(|build| build.service.as_str()).collect();
    unless_interrupted(all(context, &builds, &wanted, &how, args.quiet)).await?;
    Ok(0)
}

/// Builds what a stack lacks: images that are not there, those of `pull_policy: build`, or what `up` is told to.
///
/// # Errors
/// There is no builder, or it fails.
pub(super) async fn missing(context: &Context, builds: &[compose::Build], stack: &StackSpec, args: &Up) -> Result<()> {
    if args.no_build {
        return Ok(());
    }
    let mut wanted = BTreeSet::new();
    let is_meant = |build: &&compose::Build| stack.services.values().any(|service| service.key == build.service);
    for build in builds.iter().filter(is_meant) {
        if args.build || build.always || !pull::is_here(context, &build.image).await? {
            wanted.insert(build.service.as_str());
        }
    }
    unless_interrupted(all(context, builds, &wanted, &How::default(), args.quiet)).await
}

/// The builder hears of ctrl-c itself; what was made so far goes with us.
async fn unless_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Silent(130).into()),
    }
}

/// One after the other, as they use the same cache, and those first that others begin with.
async fn all(
    context: &Context,
    builds: &[compose::Build],
    wanted: &BTreeSet<&str>,
    how: &How,
    quiet: bool,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let (tool, program) = tool::find()?;
    let wanted = &tool::with_bases(builds, wanted);
    let images: BTreeMap<&str, &str> = builds.iter().map(|it| (it.service.as_str(), it.image.as_str())).collect();
    for build in tool::sorted(builds, wanted)? {
        context.printer.say(&format!("building {} for service {}", build.image, build.service));
        let folder = tempfile::tempdir().context("make a folder for what is built")?;
        let dockerfile = match &build.dockerfile_inline {
            Some(text) => {
                let path = folder.path().join("Dockerfile");
                std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                Some(path)
            }
            None => None,
        };
        let mut command = Command::new(&program);
        command.args(tool.build(build, dockerfile.as_deref(), &images, how)?);
        call(tool, command, &build.service, quiet).await?;
        let archive = folder.path().join("image.tar");
        let mut command = Command::new(&program);
        command.args(tool.export(&build.image, &archive));
        if tool != Tool::Docker {
            // They look for a file of logins also where none is needed, and want it to be there if it is named.
            command.env_remove("DOCKER_CONFIG").env_remove("REGISTRY_AUTH_FILE");
        }
        call(tool, command, &build.service, true).await?;
        let own = tool.own(&build.image);
        let is_new = own != tool::tagged(&build.image) && !pull::is_here(context, &own).await?;
        give(context, build, &archive).await?;
        // The name by which its builder knows it comes along.
        if is_new && pull::is_here(context, &own).await? {
            context.call(Call::RemoveImage { reference: own, force: false }).await?;
        }
    }
    Ok(())
}

/// Runs the builder; what it says goes to people.
async fn call(tool: Tool, mut command: Command, service: &str, quiet: bool) -> Result<()> {
    command.stdin(Stdio::null());
    let name = tool.name();
    let run = move || -> Result<(bool, Vec<u8>)> {
        let failed = || format!("run {name}");
        if quiet {
            let output = command.output().with_context(failed)?;
            return Ok((output.status.success(), [output.stdout, output.stderr].concat()));
        }
        let people = std::io::stderr().as_fd().try_clone_to_owned().with_context(failed)?;
        let status = command.stdout(people).status().with_context(failed)?;
        Ok((status.success(), Vec::new()))
    };
    let (went_well, said) = tokio::task::spawn_blocking(run).await??;
    if went_well {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let said = if said.trim().is_empty() { String::new() } else { format!(":\n{}", said.trim_end()) };
    bail!("service {service}: {name} did not make the image{said}")
}

/// The daemon takes the image, under all its names.
async fn give(context: &Context, build: &compose::Build, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let mut items = context.client.upload(&UploadCall::Load, load::stream(Box::new(file))).await?;
    while items.next().await?.is_some() {}
    for tag in &build.tags {
        context.call(Call::Tag { source: build.image.clone(), target: tag.clone() }).await?;
    }
    if !pull::is_here(context, &build.image).await? {
        return Err(advised(
            format!("service {}: what was built is not called {}", build.service, build.image),
            "give the service an `image` without a digest",
        ));
    }
    Ok(())
}
