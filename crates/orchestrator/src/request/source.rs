//! Sources that are followed: added, changed, forgotten; and what they bring.

use super::{Done, Refusal, changed, deploy, logins, stack};
use crate::cluster::{Cluster, Followed};
use crate::draft::Draft;
use model::diagnostic::{Diagnostic, Severity};
use model::{
    ObjectChange, SYNC_HISTORY, Source, SourceRequest, SourceSpec, SourceStatus, StackSpec, Sync, SyncOutcome,
    SyncRecord, SyncReport,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Diagnostics that are kept of one commit: more help nobody.
const MOST: usize = 20;

/// Changes that are kept of one sync.
pub(crate) const CHANGES: usize = 200;

pub(super) fn take(draft: &mut Draft<'_>, request: &SourceRequest) -> Result<Done, Refusal> {
    match request {
        SourceRequest::Put { spec, create } => put(draft, spec, *create),
        SourceRequest::Remove { name, down } => remove(draft, name, *down),
        SourceRequest::Suspend { name, suspended } => suspend(draft, name, *suspended),
        SourceRequest::Pin { name, commit } => pin(draft, name, commit),
        SourceRequest::Sync(sync) => take_sync(draft, sync),
        SourceRequest::Report(report) => take_report(draft, report),
    }
}

fn find(cluster: &Cluster, name: &str) -> Result<Arc<Source>, Refusal> {
    let found = cluster.sources.get(name).cloned();
    found.ok_or_else(|| Refusal::not_found(format!("no such source: {name}")).hint("`rswarm gitops ls` lists them"))
}

fn edit(draft: &mut Draft<'_>, name: &str, edit: impl FnOnce(&mut Source)) {
    if let Some(source) = draft.edit().sources.get_mut(name) {
        edit(Arc::make_mut(source));
    }
}

fn done(name: &str, action: &str) -> Done {
    Done::one(name.to_owned(), changed("source", name, action))
}

fn put(draft: &mut Draft<'_>, spec: &SourceSpec, create: bool) -> Result<Done, Refusal> {
    let name = &spec.name;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(valid) {
        let text = format!("`{name}` is no name for a source");
        return Err(Refusal::invalid(text).hint("letters, digits, `_`, `.` and `-`, a letter or digit first"));
    }
    let known = draft.cluster().sources.get(name).cloned();
    if create && known.is_some() {
        return Err(Refusal::conflict(format!("there is a source {name} already"))
            .hint("`--replace` changes it, `rswarm gitops rm` forgets it"));
    }
    for other in draft.cluster().sources.values().filter(|other| other.spec.name != *name) {
        if let Some(stack) = claims(spec).iter().find(|stack| may_touch(&other.spec, stack)) {
            let text = format!("stack {stack} is followed from source {} already", other.spec.name);
            return Err(Refusal::conflict(text).hint("a stack has one source: give the two other `--stack`s"));
        }
        if let Some(stack) = other.status.stacks.iter().find(|stack| may_touch(spec, stack)) {
            let text = format!("stack {stack} is followed from source {} already", other.spec.name);
            return Err(Refusal::conflict(text).hint("a stack has one source: give the two other `--stack`s"));
        }
    }
    let (version, status, action) = match &known {
        None => (1, SourceStatus { since: draft.now, ..SourceStatus::default() }, "created"),
        Some(known) if known.spec == *spec => return Ok(done(name, "unchanged")),
        // What was refused may be allowed by now.
        Some(known) => (known.version + 1, SourceStatus { refused: None, ..known.status.clone() }, "updated"),
    };
    let suspended = known.as_ref().is_some_and(|known| known.suspended);
    let pinned = known.and_then(|known| known.pinned.clone());
    let source = Source { spec: spec.clone(), version, suspended, pinned, status };
    draft.edit().sources.insert(name.clone(), Arc::new(source));
    Ok(done(name, action))
}

/// Stacks that are named outright.
fn claims(spec: &SourceSpec) -> Vec<String> {
    match spec.stacks.is_empty() {
        true => vec![spec.name.clone()],
        false => spec.stacks.iter().filter(|stack| !stack.contains('*')).cloned().collect(),
    }
}

/// May a source touch this stack?
pub(crate) fn may_touch(spec: &SourceSpec, stack: &str) -> bool {
    match spec.stacks.is_empty() {
        true => spec.name == stack,
        false => spec.stacks.iter().any(|pattern| matches(pattern, stack)),
    }
}

/// `*` is any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|start| rest.get(start..)).any(|rest| matches(after, rest))
}

fn remove(draft: &mut Draft<'_>, name: &str, down: bool) -> Result<Done, Refusal> {
    let source = find(draft.cluster(), name)?;
    let mut all = done(name, "removed");
    if down {
        for name in &source.status.stacks {
            let removed = stack::remove(draft, name, source.spec.prune_volumes, None)?;
            all.changes.extend(removed.changes);
            all.warnings.extend(removed.warnings);
        }
    }
    let cluster = draft.edit();
    cluster.sources.remove(name);
    cluster.followed.retain(|_, followed| followed.source != name);
    cluster.good.retain(|_, followed| followed.source != name);
    Ok(all)
}

fn suspend(draft: &mut Draft<'_>, name: &str, suspended: bool) -> Result<Done, Refusal> {
    let source = find(draft.cluster(), name)?;
    let pinned = source.pinned.clone().filter(|_| suspended);
    if source.suspended == suspended && source.pinned == pinned {
        return Ok(done(name, "unchanged"));
    }
    edit(draft, name, |source| {
        source.suspended = suspended;
        source.pinned = pinned;
        source.version += 1;
        // Whoever goes on wants to know anew.
        source.status.refused = source.status.refused.take().filter(|_| suspended);
    });
    Ok(done(name, "updated"))
}

fn pin(draft: &mut Draft<'_>, name: &str, commit: &str) -> Result<Done, Refusal> {
    find(draft.cluster(), name)?;
    edit(draft, name, |source| {
        source.pinned = Some(commit.to_owned());
        source.version += 1;
        source.status.refused = None;
    });
    Ok(done(name, "updated"))
}

/// The source, if it is still the one that was worked for.
fn current(draft: &Draft<'_>, name: &str, version: u64) -> Result<Arc<Source>, Refusal> {
    let source = find(draft.cluster(), name)?;
    match source.version == version {
        true => Ok(source),
        false => Err(Refusal::conflict(format!("source {name} was changed meanwhile"))),
    }
}

/// All stacks of a commit, or none. What is refused is part of the source's state, so it is no refusal.
fn take_sync(draft: &mut Draft<'_>, sync: &Sync) -> Result<Done, Refusal> {
    let source = current(draft, &sync.name, sync.version)?;
    let tried = source.status.refused.as_deref() == Some(sync.commit.id.as_str());
    if !sync.asked && (source.suspended || tried) {
        let why = if source.suspended { "is suspended" } else { "does not try this commit again" };
        return Err(Refusal::conflict(format!("source {} {why}", sync.name)));
    }
    let saved = draft.save();
    let logins: Vec<_> = sync.stacks.iter().map(|stack| logins::of_stack(draft.cluster(), &stack.name)).collect();
    let applied = not_ours(draft.cluster(), &source, sync).and_then(|()| apply(draft, &source.spec, sync));
    let (changes, mut warnings) = match applied {
        Ok(applied) => applied,
        Err(refusal) => {
            draft.back_to(saved);
            let report = SyncReport {
                name: sync.name.clone(),
                version: sync.version,
                commit: Some(sync.commit.clone()),
                outcome: SyncOutcome::Invalid,
                message: "the cluster refuses it".to_owned(),
                diagnostics: refusal.diagnostics,
            };
            return take_report(draft, &report);
        }
    };
    sync.stacks.iter().zip(&logins).for_each(|(stack, logins)| logins::share(draft, stack, logins));
    // What is odd in a file shows with its place in the status; what befell the commit is history.
    let told = sync.warnings.iter().filter(|warning| warning.span.is_none());
    let told: Vec<String> = told.map(|warning| warning.message.clone()).collect();
    let changed: Vec<String> = changes.iter().filter(|change| change.action != "unchanged").map(said).collect();
    warnings.splice(0..0, sync.warnings.iter().cloned());
    let now = draft.now;
    let was_applied = source.status.applied.as_ref().is_some_and(|applied| applied.id == sync.commit.id);
    let settled = is_of_applied(source.status.outcome);
    let silent = changed.is_empty() && was_applied && settled;
    edit(draft, &sync.name, |source| {
        let status = &mut source.status;
        status.stacks = sync.names.clone();
        status.seen = Some(sync.commit.clone());
        status.applied = Some(sync.commit.clone());
        status.applied_version = sync.version;
        status.refused = None;
        status.diagnostics = warnings.iter().take(MOST).cloned().collect();
        if !silent {
            (status.outcome, status.since, status.message) = (SyncOutcome::Settling, now, String::new());
            status.drift.clear();
            let changes = told.into_iter().chain(changed).take(CHANGES).collect();
            let outcome = SyncOutcome::Settling;
            record(
                status,
                SyncRecord { commit: sync.commit.clone(), at: now, changes, outcome, message: String::new() },
            );
        }
    });
    Ok(Done { id: Some(sync.name.clone()), changes, warnings })
}

fn said(change: &ObjectChange) -> String {
    let fields = if change.fields.is_empty() { String::new() } else { format!(" ({})", change.fields.join("; ")) };
    format!("{} {} {}{fields}", change.kind, change.name, change.action)
}

pub(crate) fn record(status: &mut SourceStatus, record: SyncRecord) {
    status.history.push_back(record);
    while status.history.len() > SYNC_HISTORY {
        status.history.pop_front();
    }
}

/// Is it of a commit that was applied, not of one that only was looked at?
pub(crate) fn was_applied(record: &SyncRecord) -> bool {
    is_of_applied(record.outcome)
}

/// Does it say how an applied commit fares, and not why a newer one could not be applied, or not even be looked at?
pub(crate) fn is_of_applied(outcome: SyncOutcome) -> bool {
    !matches!(outcome, SyncOutcome::Invalid | SyncOutcome::Unreachable)
}

/// The last commit that was applied, and how it fared.
pub(crate) fn last_applied(status: &SourceStatus) -> Option<&SyncRecord> {
    status.history.iter().rev().find(|record| was_applied(record))
}

/// A source touches the stacks that it was given, and none that another one follows.
fn not_ours(cluster: &Cluster, source: &Source, sync: &Sync) -> Result<(), Refusal> {
    let mut refusals = Vec::new();
    let names: BTreeSet<&String> = sync.names.iter().chain(sync.stacks.iter().map(|stack| &stack.name)).collect();
    for stack in names {
        if !may_touch(&source.spec, stack) {
            let text = format!("source {} may not touch stack {stack}", source.spec.name);
            refusals.push(Refusal::conflict(text).hint(format!("allow it: `gitops add … --stack {stack}`")));
        }
        let mut others = cluster.sources.values().filter(|other| other.spec.name != source.spec.name);
        if let Some(other) = others.find(|other| other.status.stacks.contains(stack)) {
            let text = format!("stack {stack} is followed from source {} already", other.spec.name);
            refusals.push(Refusal::conflict(text));
        }
    }
    Refusal::all(refusals)
}

type Applied = (Vec<ObjectChange>, Vec<Diagnostic>);

fn apply(draft: &mut Draft<'_>, spec: &SourceSpec, sync: &Sync) -> Result<Applied, Refusal> {
    let (mut changes, mut warnings, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in &sync.stacks {
        match follow(draft, spec, wanted) {
            Ok(done) => {
                changes.extend(done.changes);
                warnings.extend(done.warnings);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    let gone: BTreeSet<String> =
        find(draft.cluster(), &spec.name)?.status.stacks.difference(&sync.names).cloned().collect();
    for name in gone {
        draft.edit().followed.remove(&name);
        draft.edit().good.remove(&name);
        if spec.prune {
            match stack::remove(draft, &name, spec.prune_volumes, None) {
                Ok(done) => changes.extend(done.changes),
                Err(refusal) => refusals.push(refusal),
            }
        } else {
            let text = format!("stack {name} is no longer in the source; it is left as it is");
            warnings.push(Diagnostic::warning("RS8015", text).hint("`--prune` removes what is no longer there"));
        }
    }
    Refusal::all(refusals)?;
    Ok((changes, warnings))
}

/// Applies one stack, and remembers it as what should be.
fn follow(draft: &mut Draft<'_>, spec: &SourceSpec, wanted: &StackSpec) -> Result<Done, Refusal> {
    let done = deploy::deploy(draft, wanted, spec.prune, false)?;
    // A person who uses another's volume is warned; a source could read what it was not given.
    if let Some(taken) = done.warnings.iter().find(|warning| warning.code == deploy::TAKEN) {
        return Err(Refusal::conflict(taken.message.clone()).hint("a source uses volumes of its own stacks only"));
    }
    let services: BTreeMap<_, _> = wanted
        .services
        .keys()
        .filter_map(|name| Some((name.clone(), draft.cluster().service_named(name)?.spec.clone())))
        .collect();
    let stack = StackSpec { services: BTreeMap::new(), ..wanted.clone() };
    let followed = Followed { source: spec.name.clone(), stack, services };
    draft.edit().followed.insert(wanted.name.clone(), Arc::new(followed));
    Ok(done)
}

/// Applies again what should be; the draft stays as it was when that is refused.
pub(crate) fn again(
    draft: &mut Draft<'_>,
    spec: &SourceSpec,
    followed: &[Arc<Followed>],
) -> Result<Vec<String>, String> {
    let saved = draft.save();
    let mut changes = Vec::new();
    for one in followed {
        match follow(draft, spec, &one.whole()) {
            Ok(done) => changes.extend(done.changes.iter().filter(|change| change.action != "unchanged").map(said)),
            Err(refusal) => {
                draft.back_to(saved);
                let texts: Vec<String> = refusal.diagnostics.into_iter().map(|it| it.message).collect();
                return Err(texts.join("; "));
            }
        }
    }
    Ok(changes)
}

/// What could not be applied, or not be fetched. The same again changes nothing.
fn take_report(draft: &mut Draft<'_>, report: &SyncReport) -> Result<Done, Refusal> {
    let source = current(draft, &report.name, report.version)?;
    let status = &source.status;
    let mut next = status.clone();
    if let Some(commit) = &report.commit {
        next.seen = Some(commit.clone());
    }
    let invalid = report.outcome == SyncOutcome::Invalid;
    let now = draft.now;
    match report.outcome {
        SyncOutcome::Invalid | SyncOutcome::Unreachable => {
            next.outcome = report.outcome;
            next.message.clone_from(&report.message);
            next.diagnostics = errors_first(&report.diagnostics);
        }
        // Reachable again, and nothing is new: how it was before is looked at again.
        _ if !is_of_applied(status.outcome) => {
            (next.outcome, next.message) = resumed(status, report);
            next.diagnostics = Vec::new();
        }
        _ => {}
    }
    if invalid {
        next.refused = report.commit.as_ref().map(|commit| commit.id.clone());
    }
    if next == *status {
        return Ok(done(&report.name, "unchanged"));
    }
    next.since = now;
    if invalid && status.seen.as_ref().map(|seen| &seen.id) != report.commit.as_ref().map(|commit| &commit.id) {
        let commit = report.commit.clone().unwrap_or_default();
        let message = next.diagnostics.first().map_or_else(|| report.message.clone(), |it| it.message.clone());
        record(&mut next, SyncRecord { commit, at: now, changes: Vec::new(), outcome: report.outcome, message });
    }
    edit(draft, &report.name, |source| source.status = next);
    Ok(done(&report.name, "updated"))
}

/// How it stands once the repository answers again, and says nothing new.
fn resumed(status: &SourceStatus, report: &SyncReport) -> (SyncOutcome, String) {
    let newest = report.commit.as_ref().map(|commit| &commit.id);
    let back = last_applied(status).filter(|last| {
        last.outcome == SyncOutcome::RolledBack && newest.is_some() && newest == status.refused.as_ref()
    });
    match (back, &status.applied) {
        (Some(back), _) => (SyncOutcome::RolledBack, back.message.clone()),
        (None, Some(_)) => (SyncOutcome::Settling, String::new()),
        (None, None) => (SyncOutcome::New, String::new()),
    }
}

fn errors_first(diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let of = |severity| diagnostics.iter().filter(move |it| it.severity == severity);
    of(Severity::Error).chain(of(Severity::Warning)).take(MOST).cloned().collect()
}
