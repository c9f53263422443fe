//! A cluster with the decisions of this moment on top; what differs in the end is what is proposed.

use crate::change::{Change, NewTask, ServiceEdit, TaskEdit};
use crate::cluster::Cluster;
use crate::explain::Wait;
use model::{Ids, Service, Task, TaskId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// State plus the changes so far. Nothing is copied before the first change.
pub(crate) struct Draft<'a> {
    base: &'a Cluster,
    work: Option<Box<Cluster>>,
    /// How often it was about to be changed.
    edits: u64,
    /// Keeps no copies to go back to.
    is_hasty: bool,
    /// It should have gone back, and could not.
    is_spoilt: bool,
    pub(crate) now: Time,
    pub(crate) ids: &'a mut Ids,
    /// Why tasks wait.
    pub(crate) waits: BTreeMap<TaskId, Wait>,
    wake: Option<Time>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Cluster, now: Time, ids: &'a mut Ids) -> Draft<'a> {
        Draft {
            base,
            work: None,
            edits: 0,
            is_hasty: false,
            is_spoilt: false,
            now: now.max(base.at),
            ids,
            waits: BTreeMap::new(),
            wake: None,
        }
    }

    /// The same without copies to go back to, which would cost each of a thousand requests that come together as
    /// much as the whole state is. Where one was needed the draft [is spoilt](Draft::is_spoilt) and made again.
    pub(crate) fn hasty(self) -> Draft<'a> {
        Draft { is_hasty: true, ..self }
    }

    /// Something is in it that should not be.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.is_spoilt
    }

    /// The state as it will be.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.work.as_deref().unwrap_or(self.base)
    }

    /// The same, to be changed.
    pub(crate) fn edit(&mut self) -> &mut Cluster {
        let base = self.base;
        self.edits += 1;
        self.work.get_or_insert_with(|| Box::new(base.clone()))
    }

    /// The state so far, to go [back to](Draft::back_to).
    pub(crate) fn save(&self) -> Saved {
        let work = if self.is_hasty { None } else { self.work.clone() };
        Saved { work, edits: self.edits }
    }

    /// As if nothing had been changed since.
    pub(crate) fn back_to(&mut self, saved: Saved) {
        if self.edits == saved.edits {
            return;
        }
        match self.is_hasty && saved.edits > 0 {
            true => self.is_spoilt = true,
            false => self.work = saved.work,
        }
    }

    /// Was this task made in this draft?
    pub(crate) fn is_new(&self, task: TaskId) -> bool {
        !self.base.tasks.contains_key(&task)
    }

    /// The revision that the cluster has when this draft is applied.
    pub(crate) fn next_revision(&self) -> u64 {
        self.base.revision + 1
    }

    /// Plan again at `time`, if it lies ahead.
    pub(crate) fn wake_at(&mut self, time: Time) {
        if time > self.now {
            self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
        }
    }

    /// A task waits; the first reason that is found is told.
    pub(crate) fn wait(&mut self, task: TaskId, wait: Wait) {
        self.waits.entry(task).or_insert(wait);
    }

    /// The state as it would be.
    pub(crate) fn into_cluster(self) -> Cluster {
        self.work.map_or_else(|| self.base.clone(), |work| *work)
    }

    /// What was decided, why tasks wait, and when to look again.
    pub(crate) fn finish(self) -> (Vec<Change>, BTreeMap<TaskId, Wait>, Option<Time>) {
        let changes = self.work.as_deref().map_or_else(Vec::new, |work| diff(self.base, work));
        (changes, self.waits, self.wake)
    }
}

/// What a [`Draft`] was.
pub(crate) struct Saved {
    work: Option<Box<Cluster>>,
    edits: u64,
}

/// Calls `look` for each key that the two sorted maps do not agree on.
fn each<'m, K: Ord + 'm, V: 'm>(
    old: impl IntoIterator<Item = (&'m K, &'m V)>,
    new: impl IntoIterator<Item = (&'m K, &'m V)>,
    is_same: impl Fn(&V, &V) -> bool,
    mut look: impl FnMut(&'m K, Option<&'m V>, Option<&'m V>),
) {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((a, x)), Some((b, y))) if a == b => {
                if !is_same(x, y) {
                    look(a, Some(x), Some(y));
                }
                old.next();
                new.next();
            }
            (Some((a, x)), other) if other.is_none_or(|(b, _)| a < b) => {
                look(a, Some(x), None);
                old.next();
            }
            (_, Some((b, y))) => {
                look(b, None, Some(y));
                new.next();
            }
            (Some(_), None) => {
                old.next();
            }
        }
    }
}

fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// The changes that make `old` into `new`, in an order in which they can be applied.
fn diff(old: &Cluster, new: &Cluster) -> Vec<Change> {
    let mut puts = Vec::new();
    let mut drops = Vec::new();
    objects(old, new, &mut puts, &mut drops);
    each(&old.services, &new.services, same, |id, old, new| match (old, new) {
        (_, None) => drops.push(Change::DropService(*id)),
        (Some(old), Some(new)) if is_small_edit(old, new) => puts.push(Change::EditService(ServiceEdit {
            id: *id,
            version: new.version,
            removing: new.removing,
            update_status: new.update_status.clone(),
        })),
        (_, Some(new)) => puts.push(Change::PutService(new.clone())),
    });
    let mut tasks_gone = Vec::new();
    for (old, new) in old.tasks.differing(&new.tasks) {
        each(old.iter(), new.iter(), Arc::ptr_eq, |id, old, new| match (old, new) {
            (_, None) => tasks_gone.push(Change::DropTask(*id)),
            (None, Some(new)) => puts.push(Change::NewTask(NewTask {
                id: *id,
                service: new.service,
                slot: new.slot,
                inherits: new.inherits,
                edit: whole(new),
            })),
            (Some(old), Some(new)) => {
                puts.extend((!same(&old.spec, &new.spec)).then_some(Change::SpecTask(*id)));
                puts.extend(edits(old, new).map(|edit| Change::EditTask(Box::new(edit))));
            }
        });
    }
    puts.extend(tasks_gone);
    puts.extend(drops);
    each(&old.stacks_removing, &new.stacks_removing, PartialEq::eq, |name, _, new| {
        puts.push(Change::Stack(name.clone(), new.copied()));
    });
    sources(old, new, &mut puts);
    if old.last_port != new.last_port {
        puts.push(Change::LastPort(new.last_port));
    }
    if old.last_vni != new.last_vni {
        puts.push(Change::LastVni(new.last_vni));
    }
    each(&old.last_address, &new.last_address, PartialEq::eq, |id, _, new| {
        puts.extend(new.map(|address| Change::LastAddress(*id, *address)));
    });
    puts
}

/// After the services, whose specs they share.
fn sources(old: &Cluster, new: &Cluster, puts: &mut Vec<Change>) {
    each(&old.sources, &new.sources, same, |name, _, source| {
        puts.push(source.map_or_else(|| Change::DropSource(name.clone()), |source| Change::PutSource(source.clone())));
    });
    each(&old.followed, &new.followed, same, |stack, _, followed| {
        puts.push(Change::Followed(stack.clone(), followed.cloned()));
    });
    each(&old.good, &new.good, same, |stack, _, good| {
        let as_followed = good.zip(new.followed.get(stack)).is_some_and(|(good, followed)| Arc::ptr_eq(good, followed));
        puts.push(match as_followed {
            true => Change::GoodAsFollowed(stack.clone()),
            false => Change::Good(stack.clone(), good.cloned()),
        });
    });
}

/// Everything beside services and tasks.
fn objects(old: &Cluster, new: &Cluster, puts: &mut Vec<Change>, drops: &mut Vec<Change>) {
    if old.info != new.info {
        puts.extend(new.info.clone().map(Change::Cluster));
    }
    each(&old.nodes, &new.nodes, same, |id, _, new| match new {
        Some(node) => puts.push(Change::PutNode(node.clone())),
        None => drops.push(Change::DropNode(*id)),
    });
    each(&old.homes, &new.homes, PartialEq::eq, |name, _, new| {
        puts.push(Change::VolumeHomes(name.clone(), new.cloned().unwrap_or_else(BTreeSet::new)));
    });
    each(&old.failures, &new.failures, PartialEq::eq, |(service, node), _, new| {
        puts.push(Change::Failures(*service, *node, new.cloned()));
    });
    each(&old.networks, &new.networks, same, |id, _, new| match new {
        Some(network) => puts.push(Change::PutNetwork(network.clone())),
        None => drops.push(Change::DropNetwork(*id)),
    });
    each(&old.volumes, &new.volumes, same, |name, _, new| match new {
        Some(volume) => puts.push(Change::PutVolume(volume.clone())),
        None => drops.push(Change::DropVolume(name.clone())),
    });
    each(&old.volumes_left, &new.volumes_left, PartialEq::eq, |name, _, new| {
        puts.push(Change::VolumeLeft(name.clone(), new.cloned().unwrap_or_else(BTreeSet::new)));
    });
    each(&old.configs, &new.configs, same, |id, _, new| match new {
        Some(content) => puts.push(Change::PutConfig(*id, content.clone())),
        None => drops.push(Change::DropConfig(*id)),
    });
    each(&old.config_names, &new.config_names, PartialEq::eq, |name, _, new| {
        puts.push(Change::NameConfig(name.clone(), new.copied()));
    });
    each(&old.secrets, &new.secrets, same, |id, _, new| match new {
        Some(content) => puts.push(Change::PutSecret(*id, content.clone())),
        None => drops.push(Change::DropSecret(*id)),
    });
    each(&old.secret_names, &new.secret_names, PartialEq::eq, |name, _, new| {
        puts.push(Change::NameSecret(name.clone(), new.copied()));
    });
    each(&old.logins, &new.logins, same, |service, _, new| {
        puts.push(Change::Logins(*service, new.cloned()));
    });
}

/// Do the two differ in nothing that [`ServiceEdit`] leaves out?
fn is_small_edit(old: &Service, new: &Service) -> bool {
    let Service {
        id: _,
        spec,
        spec_version,
        force_version,
        version: _,
        previous,
        removing: _,
        chosen_ports,
        vips,
        created,
        updated,
        update_status: _,
    } = new;
    Arc::ptr_eq(&old.spec, spec)
        && old.spec_version == *spec_version
        && old.force_version == *force_version
        && old.previous == *previous
        && old.chosen_ports == *chosen_ports
        && old.vips == *vips
        && old.created == *created
        && old.updated == *updated
}

fn none(id: TaskId) -> TaskEdit {
    TaskEdit {
        id,
        node: None,
        desired: None,
        attempt: None,
        stopped_by_user: None,
        stop: None,
        endpoints: None,
        status: None,
        not_before: None,
        restarts: None,
        remove_volumes: None,
    }
}

/// All fields of a new task that are not as a task begins.
fn whole(task: &Task) -> TaskEdit {
    TaskEdit {
        node: task.node,
        desired: Some(task.desired),
        endpoints: (!task.endpoints.is_empty()).then(|| task.endpoints.clone()),
        status: (task.status.state > model::TaskState::New).then(|| Box::new(task.status.clone())),
        not_before: (task.not_before != task.created).then_some(task.not_before),
        restarts: (!task.restarts.is_empty()).then(|| task.restarts.clone()),
        stopped_by_user: task.stopped_by_user.then_some(true),
        remove_volumes: task.remove_volumes.then_some(true),
        attempt: (task.attempt > 1).then_some(task.attempt),
        ..none(task.id)
    }
}

fn edits(old: &Task, new: &Task) -> Option<TaskEdit> {
    let stop = |task: &Task| (task.stop_signal.clone(), task.stop_timeout);
    let edit = TaskEdit {
        id: new.id,
        node: new.node.filter(|_| old.node != new.node),
        desired: (old.desired != new.desired).then_some(new.desired),
        attempt: (old.attempt != new.attempt).then_some(new.attempt),
        stopped_by_user: (old.stopped_by_user != new.stopped_by_user).then_some(new.stopped_by_user),
        stop: (stop(old) != stop(new)).then(|| stop(new)),
        endpoints: (old.endpoints != new.endpoints).then(|| new.endpoints.clone()),
        status: (old.status != new.status).then(|| Box::new(new.status.clone())),
        not_before: (old.not_before != new.not_before).then_some(new.not_before),
        restarts: (old.restarts != new.restarts).then(|| new.restarts.clone()),
        remove_volumes: (old.remove_volumes != new.remove_volumes).then_some(new.remove_volumes),
    };
    (edit != none(new.id)).then_some(edit)
}
