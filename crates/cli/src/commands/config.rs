//! `config`: what a Compose file means. Needs no daemon, no settings, and no threads but for digests.

mod digests;

use crate::args::stack::{Config, ConfigFormat};
use crate::failure::{Silent, advised};
use crate::printer::Printer;
use crate::project;
use anyhow::{Context as _, Result};
use compose::{Options, Project};
use std::mem::ManuallyDrop;

/// Runs the command; its exit code.
///
/// # Errors
/// What the user is to be told.
pub(crate) fn run(printer: Printer, args: &Config) -> Result<u8> {
    let options = Options {
        interpolate: !args.no_interpolate,
        normalize: !args.no_normalize,
        absolute_paths: !args.no_path_resolution,
        check: !args.no_consistency,
        running: false,
        services: args.only.clone(),
    };
    if let Some(path) = &args.explain {
        return explain(printer, args, options, path);
    }
    let (loaded, places) = project::load_with_places(&args.project, options)?;
    // The process ends with this command: to give memory back piece by piece would only take time.
    let (mut loaded, places) = (ManuallyDrop::new(loaded), ManuallyDrop::new(places));
    project::print(printer, &loaded.diagnostics);
    let is_wrong = loaded.has_errors();
    let Some(project) = loaded.project.take().filter(|_| !is_wrong) else {
        return Err(Silent(1).into());
    };
    let mut project = ManuallyDrop::new(project);
    if args.resolve_image_digests {
        let places = ManuallyDrop::into_inner(places);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let errors = runtime.block_on(digests::resolve(&mut project, places, &args.insecure_registries));
        project::print(printer, &errors);
        if !errors.is_empty() {
            return Err(Silent(1).into());
        }
    }
    if args.quiet {
        return Ok(0);
    }
    if !args.only.is_empty() {
        project.keep_services(&args.only);
    }
    print(printer, args, &text(args, &project)?)
}

fn print(printer: Printer, args: &Config, text: &str) -> Result<u8> {
    match &args.output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("write {path}"))?,
        None => printer.data(text.as_bytes()).map_err(crate::failure::stdout)?,
    }
    Ok(0)
}

/// `--explain`: also of a project with mistakes, as far as it could be read.
fn explain(printer: Printer, args: &Config, options: Options, path: &str) -> Result<u8> {
    let (loaded, explained) = project::explain(&args.project, options, path)?;
    match explained {
        Some(Ok(explanation)) => print(printer, args, &explanation.to_text()),
        Some(Err(missing)) => {
            project::print(printer, &loaded.diagnostics);
            match missing.hint {
                Some(hint) => Err(advised(missing.message, hint)),
                None => Err(anyhow::anyhow!(missing.message)),
            }
        }
        None => {
            project::print(printer, &loaded.diagnostics);
            Err(Silent(1).into())
        }
    }
}

fn text(args: &Config, project: &Project) -> Result<String> {
    let lines = |list: Vec<String>| list.into_iter().map(|line| line + "\n").collect::<String>();
    if let Some(service) = &args.hash {
        return hashes(service, project);
    }
    Ok(if args.services {
        lines(project.services())
    } else if args.images {
        lines(project.images())
    } else if args.volumes {
        lines(project.volumes())
    } else if args.networks {
        lines(project.networks())
    } else if args.profiles {
        lines(project.profiles.clone())
    } else {
        let mut text = match args.format {
            ConfigFormat::Yaml => project.to_yaml(),
            ConfigFormat::Json => project.to_json(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    })
}

/// `web 4f2a…`, a line a service.
fn hashes(wanted: &str, project: &Project) -> Result<String> {
    let names = match wanted {
        "*" => project.services(),
        list => list.split(',').map(str::to_owned).collect(),
    };
    let mut out = String::new();
    for name in names {
        let Some(hash) = project.hash(&name) else {
            let known = project.services().join(", ");
            return Err(advised(format!("--hash: there is no service `{name}`"), format!("there are: {known}")));
        };
        out.push_str(&format!("{name} {hash}\n"));
    }
    Ok(out)
}
