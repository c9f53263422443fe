//! `stop`, `start`, `restart` of one container in place.

use super::{Done, Refusal, changed, network, ports};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use crate::plan::allocate::{self, Held};
use crate::plan::has_room;
use model::{ObjectChange, PowerAction, Service, Task, TaskId};
use std::sync::Arc;

pub(super) fn power(draft: &mut Draft<'_>, id: TaskId, action: &PowerAction) -> Result<Done, Refusal> {
    let (task, service) = find(draft, id)?;
    let change = match action {
        PowerAction::Stop { timeout, signal } => stop(draft, &task, *timeout, signal.as_deref()),
        PowerAction::Start if task.has_ended() || task.stopped_by_user => start(draft, &service, &task, None)?,
        PowerAction::Start => unchanged(&task),
        PowerAction::Restart { timeout } => start(draft, &service, &task, Some(*timeout))?,
    };
    Ok(Done::one(id.to_string(), change))
}

/// A container that is not over, with what it is kept as.
pub(super) fn find(draft: &Draft<'_>, id: TaskId) -> Result<(Arc<Task>, Arc<Service>), Refusal> {
    let Some(task) = draft.cluster().tasks.get(&id).cloned() else {
        return Err(Refusal::not_found(format!("no such container: {}", id.short())));
    };
    let service = draft.cluster().services.get(&task.service).cloned();
    match service.filter(|service| task.is_live() && !service.removing) {
        Some(service) => Ok((task, service)),
        None => Err(over(&task)),
    }
}

fn over(task: &Task) -> Refusal {
    let refusal = Refusal::conflict(format!(
        "container {} is over: its service has replaced it, or is being removed",
        task.name()
    ));
    refusal.hint("`rswarm ps` lists those that run")
}

fn unchanged(task: &Task) -> ObjectChange {
    changed("task", &task.name(), "unchanged")
}

fn stop(draft: &mut Draft<'_>, task: &Task, timeout: Option<u64>, signal: Option<&str>) -> ObjectChange {
    if task.has_ended() && task.stopped_by_user {
        return unchanged(task);
    }
    draft.edit().edit_task(task.id, |task| {
        task.stopped_by_user = true;
        (task.stop_signal, task.stop_timeout) = (signal.map(str::to_owned), timeout);
    });
    changed("task", &task.name(), "updated")
}

/// The next attempt. `restart`: stop it first, with that grace.
pub(super) fn start(
    draft: &mut Draft<'_>,
    service: &Service,
    task: &Arc<Task>,
    restart: Option<Option<u64>>,
) -> Result<ObjectChange, Refusal> {
    if task.has_ended() {
        for attachment in &task.spec.networks {
            if attachment.network == model::DEFAULT_NETWORK {
                network::ensure_bridge(draft)?;
            } else if draft.cluster().network_named(&attachment.network).is_none() {
                let text = format!("container {}: there is no network {}", task.name(), attachment.network);
                return Err(Refusal::not_found(text));
            }
        }
        Refusal::all(ports::check(draft, service, &[]))?;
        if !has_room(draft.cluster(), service, task) {
            let text = format!("container {}: what it reserves of its node is others' by now", task.name());
            return Err(Refusal::conflict(text).hint("stop one of those first, or reserve less"));
        }
        readdress(draft, task)?;
    }
    draft.edit().edit_task(task.id, |task| {
        task.attempt += 1;
        task.stopped_by_user = false;
        (task.stop_signal, task.stop_timeout) = (None, restart.flatten());
    });
    Ok(changed("task", &task.name(), "updated"))
}

/// A container that ended has given up its addresses; if another has them, or its network was made anew,
/// it gets others.
fn readdress(draft: &mut Draft<'_>, task: &Arc<Task>) -> Result<(), Refusal> {
    let mut held = Held::default();
    let gone = task.endpoints.iter().any(|endpoint| !draft.cluster().networks.contains_key(&endpoint.network));
    if task.endpoints.is_empty() || !(gone || held.conflicts(draft.cluster(), task)) {
        return Ok(());
    }
    let now = draft.now;
    let networks = allocate::by_name(draft.cluster());
    let endpoints = allocate::endpoints(draft, &mut held, &networks, task)
        .map_err(|wait| Refusal::conflict(format!("container {}: {}", task.name(), wait.sentence(now))))?;
    draft.edit().edit_task(task.id, |task| task.endpoints = endpoints);
    Ok(())
}
