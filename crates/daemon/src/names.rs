//! Which container a user means.

use api::{ApiError, ErrorKind};
use model::{Desired, State, Task};
use std::sync::Arc;

/// Finds the task by its name, `PROJECT-SERVICE-N`, `PROJECT_SERVICE.N`, id or unique prefix of an
/// id. Of several attempts at one slot the one that is wanted is meant, else the newest.
///
/// # Errors
/// `NotFound`; `Conflict` naming the candidates of a prefix that is not unique.
pub(crate) fn container<'a>(state: &'a State, name: &str) -> Result<&'a Arc<Task>, ApiError> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::testing::{service, task};

    fn state() -> State {
        let web = service("shop_web", "web", Some("shop"));
        let mut box_ = service("box", "box", None);
        box_.standalone = true;
        let mut old = task(0xa1 << 120, &web, 1);
        old.desired = Desired::Shutdown;
        let mut box_task = task(0xb0 << 120, &box_, 1);
        box_task.created = model::Time(9);
        let tasks = vec![task(0xa2 << 120, &web, 1), old, task(0xa3 << 120, &web, 2), box_task];
        State { tasks: tasks.into_iter().map(Arc::new).collect(), ..State::default() }
    }

    #[test]
    fn every_way_to_name_a_container() {
        let state = state();
        let found = |name: &str| container(&state, name).map(|task| task.id.0 >> 120).map_err(|error| error.kind);
        assert_eq!(found("shop-web-1"), Ok(0xa2));
        assert_eq!(found("shop_web.1"), Ok(0xa2));
        assert_eq!(found("shop-web-2"), Ok(0xa3));
        assert_eq!(found(&format!("shop_web.1.{}", state.tasks[1].id)), Ok(0xa1));
        assert_eq!(found("/box"), Ok(0xb0));
        assert_eq!(found("b0"), Ok(0xb0));
        assert_eq!(found("a1"), Ok(0xa1));
        assert_eq!(found("a"), Err(ErrorKind::Conflict));
        assert_eq!(found("shop-web-3"), Err(ErrorKind::NotFound));
        assert_eq!(found("box.1"), Err(ErrorKind::NotFound));
        assert_eq!(found(""), Err(ErrorKind::NotFound));
        let text = container(&state, "a").unwrap_err().message;
        assert!(text.contains("a20000000000 (shop_web.1.") && text.contains("a30000000000"), "{text}");
    }
}
