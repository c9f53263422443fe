//! Compose projects: files and the environment are read here, at the edge.

use crate::args::stack::{Project, ProjectRest};
use crate::context::Context;
use crate::failure::Silent;
use crate::printer::{Colour, Printer, paint};
use anyhow::{Context as _, Result};
use compose::{Explanation, Files, Input, Loaded, NotThere, Options, Places};
use gitops::files::{Disk, Folder, Recorder, Touched};
use model::diagnostic::{Diagnostic, Severity};

/// Files of this machine; `-` is standard input.
static DISK: Disk = Disk { stdin: true };

/// The working folder as text.
///
/// # Errors
/// It is gone, or its name is no UTF-8.
pub(crate) fn cwd() -> Result<String> {
    let path = std::env::current_dir().context("find the working folder")?;
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("the working folder {} is no UTF-8", path.display()))
}

/// Loads the project that the options name, or that the working folder is in.
///
/// # Errors
/// The working folder can't be found. What is wrong with the files is in the result.
pub(crate) fn load(project: &Project, options: Options) -> Result<Loaded> {
    load_parts(&project.files, &project.rest, options)
}

/// What is read where services are named on the command line: they count as active, whatever their profiles.
pub(crate) fn naming(services: &[String]) -> Options {
    Options { services: services.to_vec(), ..Options::default() }
}

/// The same where `-f` is another option's.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_parts(files: &[String], rest: &ProjectRest, options: Options) -> Result<Loaded> {
    Ok(compose::load(&input(files, rest, options)?))
}

/// The same, with the places of values for what is found wrong later.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_with_places(project: &Project, options: Options) -> Result<(Loaded, Places)> {
    Ok(compose::load_with_places(&input(&project.files, &project.rest, options)?))
}

/// Where a value came from, and the project that it is in.
///
/// # Errors
/// As [`load`].
pub(crate) fn explain(
    project: &Project,
    options: Options,
    path: &str,
) -> Result<(Loaded, Option<Result<Explanation, NotThere>>)> {
    Ok(compose::explain(&input(&project.files, &project.rest, options)?, path))
}

/// The same, with the files that it was read from.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_touching(project: &Project, options: Options, files: &dyn Folder) -> Result<(Loaded, Touched)> {
    let recorder = Recorder::new(files);
    let loaded = compose::load(&input_from(&project.files, &project.rest, options, &recorder)?);
    Ok((loaded, recorder.finish()))
}

fn input(files: &[String], rest: &ProjectRest, options: Options) -> Result<Input<'static>> {
    input_from(files, rest, options, &DISK)
}

fn input_from<'f>(files: &[String], rest: &ProjectRest, options: Options, source: &'f dyn Files) -> Result<Input<'f>> {
    let mut input = Input::new(cwd()?, source);
    input.files = files.to_vec();
    input.project_dir = rest.directory.clone();
    input.project_name = rest.name.clone();
    input.profiles = rest.profiles.clone();
    input.env_files = rest.env_files.clone();
    // Variables that are no UTF-8 cannot be named in a file.
    input.env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    input.options = options;
    Ok(input)
}

/// Shows what was found wrong, errors and warnings alike.
///
/// # Errors
/// There was an error: it has been shown.
pub(crate) fn tell(context: &Context, loaded: &Loaded) -> Result<()> {
    show(context, &loaded.diagnostics);
    if loaded.has_errors() || loaded.stack.is_none() {
        let errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        if errors > 1 {
            context.printer.say(&format!("{errors} errors: nothing was changed"));
        }
        return Err(Silent(1).into());
    }
    Ok(())
}

/// Diagnostics on standard error.
pub(crate) fn show(context: &Context, diagnostics: &[Diagnostic]) {
    print(context.printer, diagnostics);
}

/// The same for one who needs nothing but a printer.
pub(crate) fn print(printer: Printer, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = compose::render(diagnostic);
        printer.raw_err(&tint(printer.colour_err, diagnostic.severity, &text));
    }
}

/// Colours the first word of the first line.
fn tint(colour: bool, severity: Severity, text: &str) -> String {
    let (word, shade) = match severity {
        Severity::Error => ("error", Colour::Red),
        Severity::Warning => ("warning", Colour::Yellow),
    };
    match text.strip_prefix(word) {
        Some(rest) if colour => format!("{}{rest}", paint(true, shade, word)),
        _ => text.to_owned(),
    }
}

/// The name of the project that is meant: `-p`, else that of the files. Their errors matter only
/// when they hide the name.
///
/// # Errors
/// There is no project.
pub(crate) fn name(context: &Context, project: &Project) -> Result<String> {
    if let Some(name) = &project.rest.name {
        return Ok(name.clone());
    }
    let loaded = load(project, Options::default())?;
    match &loaded.project {
        Some(project) if !project.name.is_empty() => Ok(project.name.clone()),
        _ => {
            show(context, &loaded.diagnostics);
            Err(Silent(1).into())
        }
    }
}
