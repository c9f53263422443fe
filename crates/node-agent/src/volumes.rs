//! Volumes that are to be deleted with their data.

use crate::backoff::Retry;
use crate::effect::EffectId;
use crate::launch::mounted;
use crate::task::{Host, Local};
use model::{Assignment, TaskId, Time};
use std::collections::BTreeMap;

/// One volume on its way out.
#[derive(Debug, Clone, Default)]
struct Going {
    flight: Option<EffectId>,
    retry: Retry,
    done: bool,
}

/// The volumes that the newest assignment wants gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volumes {
    going: BTreeMap<String, Going>,
}

impl Volumes {
    /// A new assignment: what it does not name any more is forgotten, so that a volume of the same name
    /// can come and go again.
    pub(crate) fn assigned(&mut self, assignment: &Assignment) {
        self.going.retain(|name, _| assignment.removed_volumes.contains(name));
        for name in &assignment.removed_volumes {
            self.going.entry(name.clone()).or_default();
        }
    }

    /// Those that can go now: no container that is left mounts them.
    pub(crate) fn ready(&self, tasks: &BTreeMap<TaskId, Local>, now: Time) -> Vec<String> {
        let waits = |it: &Going| it.done || it.flight.is_some() || it.retry.wait(now).is_some();
        let free = |name: &str| !tasks.values().any(|local| uses(local, name));
        self.going.iter().filter(|(name, it)| !waits(it) && free(name)).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn begun(&mut self, name: &str, id: EffectId) {
        if let Some(it) = self.going.get_mut(name) {
            it.flight = Some(id);
        }
    }

    /// The removal has ended; says whether the volume is gone as asked.
    pub(crate) fn landed(&mut self, name: &str, id: EffectId, worked: bool, now: Time) -> bool {
        let Some(it) = self.going.get_mut(name).filter(|it| it.flight == Some(id)) else { return false };
        it.flight = None;
        it.done = worked;
        if !worked {
            it.retry.failed(now);
        }
        worked
    }

    /// Those that are gone.
    pub(crate) fn done(&self) -> impl Iterator<Item = &str> {
        self.going.iter().filter(|(_, it)| it.done).map(|(name, _)| name.as_str())
    }

    /// When the next one is tried again.
    pub(crate) fn wake(&self, now: Time) -> Option<Time> {
        self.going.values().filter(|it| !it.done && it.flight.is_none()).filter_map(|it| it.retry.wait(now)).min()
    }
}

/// Has the task a container, or one in the making, that mounts this volume?
fn uses(local: &Local, name: &str) -> bool {
    let there = local.host != Host::Absent || local.flight.is_some();
    there && local.assigned.as_ref().is_some_and(|it| mounted(&it.task.spec).any(|mounted| mounted == name))
}

/// Who may still write to the anonymous volumes that a task goes on with.
pub(crate) fn held_by(tasks: &BTreeMap<TaskId, Local>, local: &Local) -> Option<TaskId> {
    if local.told_to_stop() || local.ended() {
        return None;
    }
    let mut others = tasks.values().filter(|other| other.id != local.id && other.volumes_of == local.volumes_of);
    others.find(|other| other.may_run()).map(|other| other.id)
}

/// The volume that a task has to wait for.
pub(crate) fn awaited<'a>(local: &'a Local, assignment: &Assignment) -> Option<&'a str> {
    let spec = &local.assigned.as_ref()?.task.spec;
    mounted(spec).find(|name| assignment.removed_volumes.contains(*name))
}
