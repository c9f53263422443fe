//! `stack …`: Swarm's words for what `up`, `down`, `ls` and `ps` do.

use crate::args::stack::{Changes, Down, Project, ProjectRest, Up};
use crate::args::swarm::{Deploy, RemoveStacks, StackServices, StackTasks};
use crate::context::Context;
use crate::failure;
use anyhow::{Result, bail};

pub(super) async fn deploy(context: &Context, args: Deploy) -> Result<u8> {
    let up = Up {
        project: project(args.files, args.stack),
        detach: args.patience.detach,
        wait: false,
        no_wait: args.patience.detach,
        timeout: None,
        changes: Changes { remove_orphans: args.prune, ..Changes::default() },
        // As with Swarm, which wants images that are there.
        build: false,
        no_build: true,
        pull: None,
        resolve: args.resolve_image,
        with_registry_auth: args.with_registry_auth,
        quiet: args.patience.quiet,
        dry_run: false,
        // `stack deploy` does not ask (Docker).
        yes: true,
        plan: None,
        watch: false,
        services: Vec::new(),
    };
    super::up::run(context, up).await
}

fn project(files: Vec<String>, name: String) -> Project {
    Project { files, rest: ProjectRest { name: Some(name), ..ProjectRest::default() } }
}

pub(super) async fn ps(context: &Context, args: StackTasks) -> Result<u8> {
    let state = context.state().await?;
    let is_of_it = |stack: &Option<String>| stack.as_ref() == Some(&args.stack);
    if !state.services.iter().any(|service| is_of_it(&service.spec.stack)) {
        bail!("nothing found in stack: {}", args.stack);
    }
    let tasks = state.tasks.iter().filter(|task| is_of_it(&task.spec.stack)).map(AsRef::as_ref).collect();
    super::tasks::print(context, &args.list, &state, tasks)
}

pub(super) async fn services(context: &Context, args: StackServices) -> Result<u8> {
    super::service::ls::run(context, args.list, Some(&args.stack)).await
}

/// One after the other: they are shown as they go.
pub(super) async fn rm(context: &Context, args: RemoveStacks) -> Result<u8> {
    let mut code = 0;
    for stack in args.stacks {
        let down = Down {
            project: project(Vec::new(), stack),
            volumes: false,
            remove_orphans: false,
            timeout: None,
            wait_timeout: None,
            no_wait: args.patience.detach,
            quiet: args.patience.quiet,
        };
        code = match super::down::run(context, down).await {
            Ok(one) => code.max(one),
            Err(error) => failure::tell(context.printer, &error).max(1),
        };
    }
    Ok(code)
}
