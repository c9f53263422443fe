//! `plan`, and what `up` shows before it changes something.

use crate::args::stack::{Plan, PlanFormat, Up};
use crate::commands::up;
use crate::context::{Context, now, refused, unexpected};
use crate::failure::{Silent, advised};
use crate::printer::{Colour, paint};
use crate::render::plan as render;
use crate::{project, terminal};
use anyhow::{Context as _, Result, bail};
use api::client::ClientError;
use api::{Call, Reply};
use compose::Options;
use model::{Response, SavedPlan, StackPlan, StackSpec, Time, Wanted};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Form of saved plans.
const VERSION: u32 = 1;

/// Exit code when something would change.
const CHANGES: u8 = 2;

pub(super) async fn run(context: &Context, args: Plan) -> Result<u8> {
    let loaded = project::load(&args.project, Options::default())?;
    project::tell(context, &loaded)?;
    let Some(mut stack) = loaded.stack else { return Err(Silent(1).into()) };
    up::scale(&mut stack, &args.changes.scale)?;
    let wanted = Wanted { show_values: args.show_values, ..up::wanted(stack, &args.changes) };
    let (plan, wanted) = make(context, wanted).await?;
    match args.format {
        PlanFormat::Text if args.quiet => {}
        PlanFormat::Text => print(context, &plan)?,
        PlanFormat::Json => context.line(&serde_json::to_string_pretty(&plan)?)?,
    }
    let code = code(&plan);
    if let Some(file) = &args.out {
        write(file, &SavedPlan { version: VERSION, wanted, plan })?;
        context.printer.hint(&format!("`rswarm up --plan {file}` does exactly this, or nothing"));
    }
    Ok(code)
}

/// `up --dry-run`.
pub(super) async fn show(context: &Context, wanted: Wanted, quiet: bool) -> Result<u8> {
    let (plan, _) = make(context, wanted).await?;
    if !quiet {
        print(context, &plan)?;
    }
    Ok(code(&plan))
}

fn code(plan: &StackPlan) -> u8 {
    if plan.is_empty() { 0 } else { CHANGES }
}

fn print(context: &Context, plan: &StackPlan) -> Result<()> {
    project::show(context, &plan.warnings);
    context.data(&render::whole(plan, context.printer.colour_out))
}

/// Asks the daemon; where none runs there is nothing yet, and the planner is here too.
async fn make(context: &Context, wanted: Wanted) -> Result<(StackPlan, Wanted)> {
    match context.call(Call::Plan(Box::new(wanted.clone()))).await {
        Ok(Reply::Plan(planned)) => Ok(*planned),
        Ok(other) => Err(unexpected(&other)),
        Err(ClientError::Connect { .. }) if !context.settings.named_host => {
            context.printer.say("no daemon runs: this is the plan for an empty machine");
            match orchestrator::preview(orchestrator::Snapshot::default(), &wanted, Time(now())) {
                // Where replicas would land is not known without a node.
                Ok(plan) => Ok((StackPlan { waiting: Vec::new(), ..plan }, wanted)),
                Err(Response::Refused { kind, diagnostics }) => Err(refused(kind, &diagnostics).into()),
                Err(_) => bail!("the plan was answered with something else than a plan"),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// What `up` has shown before it changes something.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Of the plan that a person agreed to: that is what is done.
    pub(super) basis: Option<String>,
    /// The plan was shown, so that its fields need not be told again.
    pub(super) shown: bool,
}

/// The plan, before `up` changes what is there. A person at a terminal is asked before something is removed, and
/// gets then what was shown.
pub(super) async fn before(context: &Context, stack: &StackSpec, args: &Up, agreed: bool) -> Result<Before> {
    let wanted = up::wanted(stack.clone(), &args.changes);
    let Ok(Reply::Plan(planned)) = context.call(Call::Plan(Box::new(wanted))).await else {
        // The deployment will say what is wrong.
        return Ok(Before::default());
    };
    let (plan, _) = *planned;
    let shown = !args.quiet && !plan.is_empty() && !render::is_all_new(&plan);
    if shown {
        context.printer.say(render::whole(&plan, context.printer.colour_err).trim_end());
    }
    if !plan.removes() || agreed || !terminal::stdin_is_terminal() || !context.printer.live {
        return Ok(Before { basis: None, shown });
    }
    if !shown {
        context.printer.say(render::removed(&plan).trim_end());
    }
    match terminal::agrees(&paint(context.printer.colour_err, Colour::Bold, "go on?"))? {
        true => Ok(Before { basis: Some(plan.basis), shown }),
        false => {
            context.printer.say("nothing was changed");
            Err(Silent(1).into())
        }
    }
}

fn write(path: &str, saved: &SavedPlan) -> Result<()> {
    let text = serde_json::to_vec_pretty(saved)?;
    // Written beside it and renamed: an old file with other permissions is not kept, half of one is never read.
    let new = format!("{path}.new");
    let _left_over = std::fs::remove_file(&new);
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(&new).with_context(|| format!("make {new}"))?;
    let written = file.write_all(&text).and_then(|()| std::fs::rename(&new, path));
    written.with_context(|| format!("write the plan to {path}"))
}

/// A plan that was saved.
///
/// # Errors
/// There is none, or it is of another form.
pub(super) fn read(path: &str) -> Result<SavedPlan> {
    let text = std::fs::read(path).with_context(|| format!("read the plan {path}"))?;
    let saved: Result<SavedPlan, _> = serde_json::from_slice(&text);
    match saved {
        Ok(saved) if saved.version == VERSION => Ok(saved),
        Ok(SavedPlan { version, .. }) => Err(advised(
            format!("{path} is a plan of form {version}, this is rswarm of form {VERSION}"),
            "make it anew with `rswarm plan --out`",
        )),
        Err(error) => Err(advised(format!("{path} is no saved plan: {error}"), "`rswarm plan --out FILE` makes one")),
    }
}
