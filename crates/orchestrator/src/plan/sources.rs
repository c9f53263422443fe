//! Stacks that are followed: is what the last commit asked for there, does it stay, and what is over?

use super::dirty::is_dirty;
use super::{remove_volume, slots};
use crate::cluster::{Cluster, Followed, TaskExt};
use crate::draft::Draft;
use crate::preview::fields;
use crate::request::{CHANGES, again, is_of_applied, last_applied, record, was_applied};
use crate::usage;
use model::{
    ContainerState, ContentSpec, Desired, FieldChange, Service, Source, SourceStatus, SyncOutcome, SyncRecord, Task,
    TaskState, Time, UpdateState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many failures of one service since a commit mean that it will not come up.
const FAILURES: usize = 3;

/// Fields of a service that drifted that are told one by one.
const FIELDS: usize = 4;

pub(crate) fn step(draft: &mut Draft<'_>) {
    if draft.cluster().sources.is_empty() {
        return;
    }
    let sources: Vec<Arc<Source>> = draft.cluster().sources.values().cloned().collect();
    let mut drifted = drift(draft.cluster());
    for source in sources {
        settle(draft, &source);
        let drift = drifted.remove(&source.spec.name).unwrap_or_default();
        keep(draft, &source.spec.name, drift);
    }
    prune(draft);
}

fn edit(draft: &mut Draft<'_>, name: &str, edit: impl FnOnce(&mut Source)) {
    if let Some(source) = draft.edit().sources.get_mut(name) {
        edit(Arc::make_mut(source));
    }
}

/// Whether what a commit asked for comes up.
enum Verdict {
    Healthy,
    Pending,
    Failed(String),
}

/// The last commit that was applied is not good yet: how it fares, and since when. That a newer one makes no
/// sense, or that the repository can't be reached meanwhile (it may be what this commit has broken), changes
/// nothing about it.
fn judged(status: &SourceStatus) -> Option<(SyncOutcome, Time)> {
    match status.outcome {
        SyncOutcome::Settling | SyncOutcome::Unhealthy => Some((status.outcome, status.since)),
        SyncOutcome::Invalid | SyncOutcome::Unreachable => {
            let last = last_applied(status).filter(|last| last.outcome == SyncOutcome::Settling)?;
            Some((last.outcome, last.at))
        }
        _ => None,
    }
}

/// Judges the last commit; goes back to the one before when that was asked for.
fn settle(draft: &mut Draft<'_>, source: &Source) {
    let Some((was, since)) = judged(&source.status) else { return };
    let name = &source.spec.name;
    let end = since.after(source.spec.patience);
    let verdict = match verdict(draft.cluster(), source, since) {
        Verdict::Pending if end <= draft.now => {
            Verdict::Failed(format!("not healthy within {} s", source.spec.patience.as_secs()))
        }
        verdict => verdict,
    };
    match (verdict, was) {
        (Verdict::Healthy, _) => {
            let good: Vec<(String, Arc<Followed>)> = of(&draft.cluster().followed, name);
            draft.edit().good.retain(|_, followed| followed.source != *name);
            draft.edit().good.extend(good);
            let now = draft.now;
            edit(draft, name, |source| {
                source.status.good = source.status.applied.clone();
                outcome(source, SyncOutcome::Healthy, String::new(), now);
            });
        }
        (Verdict::Pending, SyncOutcome::Settling) => draft.wake_at(end),
        (Verdict::Failed(why), SyncOutcome::Settling) => failed(draft, source, why),
        _ => {}
    }
}

fn of(all: &BTreeMap<String, Arc<Followed>>, source: &str) -> Vec<(String, Arc<Followed>)> {
    let ours = all.iter().filter(|(_, followed)| followed.source == source);
    ours.map(|(stack, followed)| (stack.clone(), followed.clone())).collect()
}

/// Says how the last commit that was applied fared; in the history too. What is told of a newer one, or of the
/// way to it, stays.
fn outcome(source: &mut Source, outcome: SyncOutcome, message: String, now: Time) {
    let status = &mut source.status;
    if is_of_applied(status.outcome) {
        (status.outcome, status.since) = (outcome, now);
        status.message.clone_from(&message);
    }
    if let Some(last) = status.history.iter_mut().rev().find(|record| was_applied(record)) {
        last.outcome = outcome;
        // Why it was done stays.
        if !message.is_empty() {
            last.message = message;
        }
    }
}

fn failed(draft: &mut Draft<'_>, source: &Source, why: String) {
    let name = &source.spec.name;
    let now = draft.now;
    let good: Vec<Arc<Followed>> = of(&draft.cluster().good, name).into_iter().map(|(_, good)| good).collect();
    let before = source.status.good.clone();
    let back = before.filter(|good| {
        let same = source.status.applied.as_ref().is_some_and(|applied| applied.id == good.id);
        source.spec.rollback && !source.suspended && !same
    });
    let refused = source.status.applied.as_ref().map(|applied| applied.id.clone());
    let Some(commit) = back else {
        return edit(draft, name, |source| outcome(source, SyncOutcome::Unhealthy, why, now));
    };
    match again(draft, &source.spec, &good) {
        Err(no) => {
            let text = format!("{why}; going back to {} is refused: {no}", commit.short());
            edit(draft, name, |source| outcome(source, SyncOutcome::Unhealthy, text, now));
        }
        Ok(changes) => edit(draft, name, |source| {
            outcome(source, SyncOutcome::RolledBack, why.clone(), now);
            let message = format!("back from {}: {why}", source.status.applied.as_ref().map_or("", |it| it.short()));
            source.status.applied = Some(commit.clone());
            source.status.stacks = good.iter().map(|followed| followed.stack.name.clone()).collect();
            // A newer commit that makes no sense stays what is told.
            if source.status.outcome != SyncOutcome::Invalid {
                (source.status.outcome, source.status.since) = (SyncOutcome::RolledBack, now);
                source.status.refused = refused;
                source.status.message.clone_from(&message);
            }
            let outcome = SyncOutcome::RolledBack;
            record(&mut source.status, SyncRecord { commit, at: now, changes, outcome, message });
        }),
    }
}

fn verdict(cluster: &Cluster, source: &Source, since: Time) -> Verdict {
    let followed = cluster.followed.values().filter(|followed| followed.source == source.spec.name);
    let names: BTreeSet<&String> = followed.flat_map(|followed| followed.services.keys()).collect();
    let mut verdict = Verdict::Healthy;
    for service in cluster.services.values().filter(|service| names.contains(&service.spec.name)) {
        match of_service(cluster, service, since) {
            Verdict::Healthy => {}
            Verdict::Pending => verdict = Verdict::Pending,
            failed @ Verdict::Failed(_) => return failed,
        }
    }
    verdict
}

fn of_service(cluster: &Cluster, service: &Service, since: Time) -> Verdict {
    if let Some(status) = &service.update_status {
        match status.state {
            UpdateState::Updating => return pending_or_failed(cluster, service, since),
            UpdateState::Completed => {}
            _ if status.started >= since || status.finished.is_some_and(|finished| finished >= since) => {
                return Verdict::Failed(format!("service {}: {}", service.spec.key, status.message));
            }
            UpdateState::RollbackStarted => return Verdict::Pending,
            _ => {}
        }
    }
    let live = slots::live(cluster, service.id);
    let wanted = service.replicas().map_or(live.len(), |replicas| replicas as usize);
    let up = |task: &Arc<Task>| {
        !is_dirty(service, task)
            && (task.is_serving()
                || task.stopped_by_user
                || task.has_ended() && task.status.state == TaskState::Complete)
    };
    match live.values().filter(|tasks| tasks.iter().any(up)).count() >= wanted {
        true => Verdict::Healthy,
        false => pending_or_failed(cluster, service, since),
    }
}

/// Has it failed so often since, or for good, that nobody should wait for it?
fn pending_or_failed(cluster: &Cluster, service: &Service, since: Time) -> Verdict {
    let failed = |task: &&Arc<Task>| matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
    let news = || cluster.tasks_of(service.id).filter(|task| task.created >= since && !is_dirty(service, task));
    let many = news().filter(failed).count() >= FAILURES;
    let for_good = |task: &&Arc<Task>| failed(task) && task.is_live() && task.has_ended();
    let in_place = |task: &&Arc<Task>| {
        task.status.container.as_ref().is_some_and(|container| {
            container.restart_count as usize >= FAILURES && container.state == ContainerState::Restarting
        })
    };
    let bad = news().filter(|task| many && failed(task) || for_good(task) || in_place(task));
    match bad.max_by_key(|task| (task.status.since, task.id)) {
        None => Verdict::Pending,
        Some(task) => {
            let code = task.status.container.as_ref().and_then(|container| container.exit_code);
            let why = match (task.status.message.as_str(), code) {
                ("", Some(code)) => format!("exit code {code}"),
                ("", None) => "it does not stay up".to_owned(),
                (message, _) => message.to_owned(),
            };
            Verdict::Failed(format!("{}.{}: {why}", service.spec.key, task.slot.max(1)))
        }
    }
}

/// Where services and contents differ from what the commit asked for, by source.
fn drift(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut drift: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut tell = |followed: &Followed, text: String| {
        drift.entry(followed.source.clone()).or_default().push(text);
    };
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for service in cluster.services.values() {
        let Some((stack, followed)) =
            service.spec.stack.as_ref().and_then(|stack| cluster.followed.get_key_value(stack))
        else {
            continue;
        };
        match followed.services.get(&service.spec.name) {
            Some(_) if service.removing => {}
            Some(wanted) if is_same(service, wanted) => *seen.entry(stack).or_default() += 1,
            Some(wanted) => {
                *seen.entry(stack).or_default() += 1;
                tell(followed, format!("service {} {}", service.spec.name, otherwise(wanted, service)));
            }
            None if service.removing || service.spec.standalone => {}
            None => tell(followed, format!("service {} is not in the commit", service.spec.name)),
        }
    }
    for (stack, followed) in &cluster.followed {
        if seen.get(stack.as_str()).copied().unwrap_or(0) < followed.services.len() {
            for name in followed.services.keys() {
                if cluster.service_named(name).is_none_or(|service| service.removing) {
                    tell(followed, format!("service {name} is gone"));
                }
            }
        }
        objects(cluster, followed, &mut tell);
    }
    drift
}

/// How a service differs from what the commit says.
fn otherwise(wanted: &model::ServiceSpec, service: &Service) -> String {
    let fields = fields::differing(wanted, &service.spec, false);
    let said = |field: &FieldChange| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "not set".to_owned());
        match field.hidden {
            true => field.path.clone(),
            false => format!("{} {} instead of {}", field.path, text(&field.new), text(&field.old)),
        }
    };
    let mut texts: Vec<String> = fields.iter().take(FIELDS).map(said).collect();
    if fields.len() > FIELDS {
        texts.push(format!("{} more", fields.len() - FIELDS));
    }
    match texts.is_empty() {
        true => "is not as in the commit".to_owned(),
        false => format!("is not as in the commit: {}", texts.join(", ")),
    }
}

/// What a failed update put back itself is nobody's drift.
fn is_same(service: &Service, wanted: &Arc<model::ServiceSpec>) -> bool {
    let back = service.update_status.as_ref().is_some_and(|status| {
        matches!(
            status.state,
            UpdateState::RollbackStarted | UpdateState::RollbackPaused | UpdateState::RollbackCompleted
        ) && status.message != BY_HAND
    });
    back || Arc::ptr_eq(&service.spec, wanted) || service.spec == *wanted
}

/// What is said of a rollback that a person asked for.
const BY_HAND: &str = "rollback: asked for by a person";

fn objects(cluster: &Cluster, followed: &Followed, tell: &mut impl FnMut(&Followed, String)) {
    let stack = &followed.stack;
    for name in stack.networks.keys().filter(|name| cluster.network_named(name).is_none()) {
        tell(followed, format!("network {name} is gone"));
    }
    for name in stack.volumes.keys().filter(|name| !cluster.volumes.contains_key(*name)) {
        tell(followed, format!("volume {name} is gone"));
    }
    let configs = stack.configs.iter().filter(|(name, wanted)| {
        let known = cluster.config_names.get(*name).and_then(|id| cluster.configs.get(id));
        known.is_none_or(|known| known.data != wanted.data)
    });
    configs.for_each(|(name, _)| tell(followed, format!("config {name} is not as in the commit")));
    let secrets = stack.secrets.iter().filter(|(name, wanted)| {
        let known = cluster.secret_names.get(*name).and_then(|id| cluster.secrets.get(id));
        known.is_none_or(|known| known.data != wanted.data)
    });
    secrets.for_each(|(name, _)| tell(followed, format!("secret {name} is not as in the commit")));
}

/// Drift is told, and put right where that was asked for.
fn keep(draft: &mut Draft<'_>, name: &str, mut drift: Vec<String>) {
    let Some(source) = draft.cluster().sources.get(name).cloned() else { return };
    if !drift.is_empty() && source.spec.self_heal && !source.suspended {
        let followed: Vec<Arc<Followed>> =
            of(&draft.cluster().followed, name).into_iter().map(|(_, followed)| followed).collect();
        match again(draft, &source.spec, &followed) {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => {
                let now = draft.now;
                let message = format!("put right: {}", drift.join("; "));
                edit(draft, name, |source| {
                    let status = &mut source.status;
                    let commit = status.applied.clone().unwrap_or_default();
                    if is_of_applied(status.outcome) {
                        (status.outcome, status.since) = (SyncOutcome::Settling, now);
                    }
                    let outcome = SyncOutcome::Settling;
                    record(status, SyncRecord { commit, at: now, changes, outcome, message });
                });
                drift.clear();
            }
            Err(no) => drift.push(format!("it can't be put right: {no}")),
        }
    }
    let told = draft.cluster().sources.get(name).is_some_and(|source| source.status.drift == drift);
    if !told {
        edit(draft, name, |source| source.status.drift = drift);
    }
}

/// What the stacks own, the commit does not name and nobody uses any more goes, where that was asked for.
fn prune(draft: &mut Draft<'_>) {
    let cluster = draft.cluster();
    let owner = |stack: &Option<String>| {
        let followed = cluster.followed.get(stack.as_ref()?)?;
        let source = cluster.sources.get(&followed.source).filter(|source| !source.suspended)?;
        // Data can't be had again: while it may still go back to the commit before, that keeps its volumes.
        let proven = source.status.good.is_some() && source.status.good == source.status.applied;
        Some((followed, source.spec.prune, source.spec.prune_volumes && proven))
    };
    let mut gone: Vec<(&Followed, &str, String)> = Vec::new();
    for spec in cluster.networks.values().map(|network| &network.spec) {
        if let Some((followed, true, _)) = owner(&spec.stack)
            && !followed.stack.networks.contains_key(&spec.name)
        {
            gone.push((followed, "network", spec.name.clone()));
        }
    }
    for volume in cluster.volumes.values() {
        if let Some((followed, _, true)) = owner(&volume.stack)
            && !followed.stack.volumes.contains_key(&volume.name)
        {
            gone.push((followed, "volume", volume.name.clone()));
        }
    }
    let of = |content: Option<&Arc<ContentSpec>>| match owner(&content?.stack) {
        Some((followed, true, _)) => Some(followed),
        _ => None,
    };
    for (name, id) in &cluster.config_names {
        if let Some(followed) = of(cluster.configs.get(id)).filter(|it| !it.stack.configs.contains_key(name)) {
            gone.push((followed, "config", name.clone()));
        }
    }
    for (name, id) in &cluster.secret_names {
        if let Some(followed) = of(cluster.secrets.get(id)).filter(|it| !it.stack.secrets.contains_key(name)) {
            gone.push((followed, "secret", name.clone()));
        }
    }
    let gone: Vec<(String, &str, String)> =
        gone.into_iter().map(|(followed, kind, name)| (followed.source.clone(), kind, name)).collect();
    for (source, kind, name) in gone {
        if drop_one(draft, kind, &name) {
            edit(draft, &source, |source| pruned(source, &format!("{kind} {name} removed")));
        }
    }
}

/// What goes with a commit is part of what it did, also when it goes later.
fn pruned(source: &mut Source, change: &str) {
    let last = source.status.history.iter_mut().rev().find(|record| was_applied(record));
    if let Some(last) = last.filter(|last| last.changes.len() < CHANGES) {
        last.changes.push(change.to_owned());
    }
}

/// Removes one of these unless somebody uses it; true: it is gone.
fn drop_one(draft: &mut Draft<'_>, kind: &str, name: &str) -> bool {
    let cluster = draft.cluster();
    match kind {
        "network" => {
            let network = cluster.network_named(name).cloned();
            let Some(network) = network.filter(|network| usage::of_network(cluster, network).is_none()) else {
                return false;
            };
            draft.edit().networks.remove(&network.id);
            draft.edit().last_address.remove(&network.id);
        }
        "volume" if usage::of_volume(cluster, name).is_some() => {
            release(draft, name);
            return false;
        }
        "volume" => remove_volume(draft.edit(), name),
        // Contents go with their last user; the names are free at once.
        "config" => drop(draft.edit().config_names.remove(name)),
        "secret" => drop(draft.edit().secret_names.remove(name)),
        _ => return false,
    }
    true
}

/// Containers of the stack that have ended, and are kept only to be looked at, go before their volume can.
fn release(draft: &mut Draft<'_>, volume: &str) {
    let cluster = draft.cluster();
    let mounts = |spec: &model::ServiceSpec| usage::volumes_of(spec).any(|name| name == volume);
    if cluster.services.values().any(|service| mounts(&service.spec)) {
        return;
    }
    let owner = cluster.volumes.get(volume).and_then(|volume| volume.stack.as_ref());
    let kept = cluster.tasks.values().filter(|task| mounts(&task.spec) && task.spec.stack.as_ref() == owner);
    let kept: Vec<_> = kept.filter(|task| task.has_ended() && !task.is_live()).map(|task| task.id).collect();
    kept.into_iter().for_each(|task| slots::lower(draft, task, Desired::Remove));
}
