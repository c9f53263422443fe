//! What people call containers: by their own names and ids, and, as with Compose, by services of a stack.

use crate::args::container::OfStack;
use crate::args::stack::ProjectRest;
use crate::context::Context;
use crate::failure::advised;
use crate::project;
use anyhow::{Result, bail};
use compose::{Loaded, Options};
use model::{ContainerState, Desired, ServiceSpec, State, Task};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The containers that these names mean. With `-p` they are services of that stack (none: all of them); without it,
/// a name that no container has may be a service of the stack that the working folder is in.
///
/// # Errors
/// The stack has no such service, or none of its containers is there.
pub(crate) async fn of(context: &Context, names: &[String], stack: &OfStack) -> Result<Vec<String>> {
    that_are(context, names, stack, |_| true).await
}

/// The same; of services only what is in such a state.
///
/// # Errors
/// As [`of`].
pub(crate) async fn that_are(
    context: &Context,
    names: &[String],
    stack: &OfStack,
    fits: impl Fn(ContainerState) -> bool,
) -> Result<Vec<String>> {
    let Some((stack, state)) = stack_of(context, names, stack).await? else { return Ok(names.to_vec()) };
    let fits = |task: &&Arc<Task>| task.status.container.as_ref().is_some_and(|container| fits(container.state));
    let ids = |tasks: Vec<&Arc<Task>>| tasks.into_iter().filter(fits).map(|task| task.id.to_string()).collect();
    let mut all: Vec<String> = Vec::new();
    for name in names {
        match Stack(&state, &stack.name).containers(name) {
            _ if stack.is_guess && is_container(&state, name) => all.push(name.clone()),
            Some(tasks) => all.append(&mut ids(tasks)),
            None if stack.is_guess => all.push(name.clone()),
            None => return Err(unknown(name, &stack.name)),
        }
    }
    if names.is_empty() {
        all.append(&mut ids(Stack(&state, &stack.name).tasks(|_| true)));
    }
    if all.is_empty() {
        bail!("stack {} has no containers that this is for", stack.name);
    }
    Ok(all)
}

/// The same in steps: of a whole stack those first that others depend on.
///
/// # Errors
/// As [`of`].
pub(crate) async fn in_steps(context: &Context, names: &[String], stack: &OfStack) -> Result<Vec<Vec<String>>> {
    let Some(name) = stack.project.as_ref().filter(|_| names.is_empty()) else {
        return Ok(vec![of(context, names, stack).await?]);
    };
    let state = context.state().await?;
    let services = state.services.iter().map(|service| &service.spec).filter(|spec| spec.stack.as_ref() == Some(name));
    let depends: BTreeMap<&str, Vec<&str>> =
        services.map(|spec| (spec.key.as_str(), spec.depends_on.keys().map(String::as_str).collect())).collect();
    let depths = depths(&depends);
    let mut steps: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for task in Stack(&state, name).tasks(|_| true) {
        let depth = depths.get(task.spec.key.as_str()).copied().unwrap_or(0);
        steps.entry(depth).or_default().push(task.id.to_string());
    }
    match steps.is_empty() {
        true => bail!("stack {name} has no containers that this is for"),
        false => Ok(steps.into_values().collect()),
    }
}

/// How many services stand one behind the other that a service depends on.
fn depths<'a>(depends: &BTreeMap<&'a str, Vec<&str>>) -> BTreeMap<&'a str, usize> {
    let mut depths: BTreeMap<&str, usize> = depends.keys().map(|key| (*key, 0)).collect();
    // Each round settles one more; a circle, which there is none, would not end otherwise.
    for _ in depends {
        for (key, on) in depends {
            let deepest = on.iter().filter_map(|other| depths.get(other)).max().map_or(0, |depth| depth + 1);
            depths.insert(key, deepest);
        }
    }
    depths
}

/// The same of one name: of a service its container in slot `index`, or else the first that runs.
///
/// # Errors
/// As [`of`]; no such slot.
pub(crate) async fn one(context: &Context, name: &str, stack: &OfStack, index: Option<u32>) -> Result<String> {
    let names = [name.to_owned()];
    let found = stack_of(context, &names, stack).await?;
    let Some((stack, state)) = found.filter(|(stack, state)| !stack.is_guess || !is_container(state, name)) else {
        return Ok(name.to_owned());
    };
    let Some(tasks) = Stack(&state, &stack.name).containers(name) else {
        return if stack.is_guess { Ok(name.to_owned()) } else { Err(unknown(name, &stack.name)) };
    };
    let fits = |task: &&Arc<Task>| index.is_none_or(|index| task.slot.max(1) == index);
    let best = tasks.into_iter().filter(fits).min_by_key(|task| (!task.is_serving(), task.slot, task.id));
    match best {
        Some(task) => Ok(task.id.to_string()),
        None => bail!("service {name} has no container{}", index.map(|index| format!(" {index}")).unwrap_or_default()),
    }
}

/// A stack whose services may be meant.
struct Known {
    name: String,
    /// Nobody said so: it is the one of the working folder.
    is_guess: bool,
}

/// Which stack, and all that there is. `None`: only containers can be meant.
async fn stack_of(context: &Context, names: &[String], stack: &OfStack) -> Result<Option<(Known, Box<State>)>> {
    if let Some(name) = &stack.project {
        let known = Known { name: name.clone(), is_guess: false };
        return Ok(Some((known, Box::new(context.state().await?))));
    }
    let Ok(here) = here() else { return Ok(None) };
    // A file that is being edited may say nothing of what runs.
    let has = |name: &String| here.stack.as_ref().is_none_or(|it| it.services.values().any(|it| it.key == *name));
    match &here.project {
        Some(project) if !project.name.is_empty() && names.iter().any(has) => {
            // A worker knows no stacks: it answers for containers all the same.
            let state = context.state().await.ok();
            let known = Known { name: project.name.clone(), is_guess: true };
            Ok(state.map(|state| (known, Box::new(state))))
        }
        _ => Ok(None),
    }
}

/// The file of the working folder, with all that it has.
fn here() -> Result<Loaded> {
    let all = ProjectRest { profiles: vec!["*".to_owned()], ..ProjectRest::default() };
    project::load_parts(&[], &all, Options::default())
}

/// Is it a service of the file of the working folder, whose image is called otherwise?
pub(crate) fn is_service_here(name: &str) -> bool {
    let stack = here().ok().and_then(|loaded| loaded.stack);
    let is_image = |image: &str| image.split([':', '@']).next().and_then(|path| path.rsplit('/').next()) == Some(name);
    let meant = |service: &ServiceSpec| service.key == name && !is_image(&service.container.image);
    stack.is_some_and(|stack| stack.services.values().any(meant))
}

/// A stack, as it is.
struct Stack<'a>(&'a State, &'a str);

impl<'a> Stack<'a> {
    /// The containers of a service; `None`: there is no such service.
    fn containers(&self, key: &str) -> Option<Vec<&'a Arc<Task>>> {
        let mut services = self.0.services.iter().map(|service| &service.spec);
        services
            .any(|spec| spec.stack.as_deref() == Some(self.1) && spec.key == key)
            .then(|| self.tasks(|it| it == key))
    }

    /// Those that hold the slots of its services, in order.
    fn tasks(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<&'a Arc<Task>> {
        let own = |task: &&Arc<Task>| task.spec.stack.as_deref() == Some(self.1) && is_wanted(&task.spec.key);
        let there = |task: &&Arc<Task>| task.desired <= Desired::Running && task.status.container.is_some();
        let mut tasks: Vec<_> = self.0.tasks.iter().filter(own).filter(there).collect();
        tasks.sort_by(|a, b| (&a.spec.key, a.slot, a.created).cmp(&(&b.spec.key, b.slot, b.created)));
        tasks
    }
}

fn is_container(state: &State, name: &str) -> bool {
    // As much of an id as is shown; `db` is no id.
    let is_id = |task: &Task| name.len() >= 12 && task.id.to_string().starts_with(name);
    state.tasks.iter().any(|task| task.name() == name || is_id(task))
}

fn unknown(name: &str, stack: &str) -> anyhow::Error {
    advised(format!("stack {stack} has no service {name}"), format!("rswarm stack services {stack} lists them"))
}
