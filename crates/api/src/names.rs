//! Which container a user means.

use crate::{ApiError, ErrorKind};
use model::{Desired, State, Task};
use std::sync::Arc;

/// Finds the task by its name, `PROJECT-SERVICE-N`, `PROJECT_SERVICE.N`, id or unique prefix of an
/// id. Of several attempts at one slot the one that is wanted is meant, else the newest.
///
/// # Errors
/// `NotFound`; `Conflict` naming the candidates of a prefix that is not unique.
pub fn container<'a>(state: &'a State, name: &str) -> Result<&'a Arc<Task>, ApiError> {
    let wanted = name.strip_prefix('/').unwrap_or(name);
    if let Some(task) = state.tasks.iter().find(|task| task.id.to_string() == wanted) {
        return Ok(task);
    }
    let mut named: Vec<&Arc<Task>> = state.tasks.iter().filter(|task| is_called(task, wanted)).collect();
    named.sort_by_key(|task| (task.desired <= Desired::Running, task.created, task.id));
    if let Some(task) = named.last() {
        return Ok(task);
    }
    let prefixed: Vec<&Arc<Task>> = if wanted.is_empty() {
        Vec::new()
    } else {
        state.tasks.iter().filter(|task| task.id.to_string().starts_with(wanted)).collect()
    };
    match prefixed.as_slice() {
        [] => {
            let mut error = ApiError::new(ErrorKind::NotFound, format!("no such container: {name}"));
            error.hint = Some("`rswarm ps -a` lists all".to_owned());
            Err(error)
        }
        [task] => Ok(task),
        several => {
            let list: Vec<String> =
                several.iter().map(|task| format!("{} ({})", task.id.short(), task.name())).collect();
            let text = format!("`{name}` may mean several containers: {}", list.join(", "));
            let mut error = ApiError::new(ErrorKind::Conflict, text);
            error.hint = Some("give more digits of the id, or the name".to_owned());
            Err(error)
        }
    }
}

fn is_called(task: &Task, wanted: &str) -> bool {
    if task.name() == wanted {
        return true;
    }
    if task.spec.standalone {
        return false;
    }
    let slot = task.slot.max(1);
    if let Some(stack) = &task.spec.stack
        && wanted == format!("{stack}-{}-{slot}", task.spec.key)
    {
        return true;
    }
    wanted == format!("{}.{slot}", task.spec.name)
}
