//! `explain`: what an error code means, and why a service, a task or a node is as it is.

mod why;

use crate::args::stack::Explain;
use crate::codes;
use crate::context::{Context, now};
use crate::failure::advised;
use anyhow::Result;
use model::{State, Task};
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: Explain) -> Result<u8> {
    let Some(wanted) = args.what else {
        for code in codes::all() {
            context.line(&format!("{}  {}", code.code, code.title))?;
        }
        return Ok(0);
    };
    if is_code(&wanted) {
        return code(context, &wanted);
    }
    let own = super::node::own(context).await?;
    let state = context.state().await?;
    let lines = if let Ok(service) = super::service::find(&state, &wanted) {
        why::service(&state, service, now())
    } else if let Some(task) = task(&state, &wanted) {
        why::task(&state, task, now())
    } else if let Ok(node) = super::node::find(&state, &own, &wanted) {
        why::node(&state, node, now())
    } else {
        return Err(advised(
            format!("there is no service, task, container or node `{wanted}`"),
            "`rswarm service ls`, `rswarm ps -a` and `rswarm node ls` list them; a code is RS and four digits",
        ));
    };
    for line in lines {
        context.line(&line)?;
    }
    Ok(0)
}

/// `RS` and four digits.
fn is_code(text: &str) -> bool {
    let is_prefix = text.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("RS"));
    is_prefix && text.len() == 6 && text.bytes().skip(2).all(|byte| byte.is_ascii_digit())
}

fn code(context: &Context, wanted: &str) -> Result<u8> {
    match codes::find(wanted) {
        Some(code) => {
            context.line(&format!("{}: {}\n\n{}", code.code, code.title, code.explanation))?;
            Ok(0)
        }
        None => Err(advised(format!("there is no code `{wanted}`"), "`rswarm explain` lists all")),
    }
}

/// The task of that id or name (`web.1` too): of several in a slot the newest.
fn task<'a>(state: &'a State, wanted: &str) -> Option<&'a Task> {
    let is = |task: &&Arc<Task>| {
        task.name() == wanted || super::tasks::name(task) == wanted || task.id.to_string().starts_with(wanted)
    };
    state.tasks.iter().filter(is).max_by_key(|task| (task.created, task.id)).map(AsRef::as_ref)
}
