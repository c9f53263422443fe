//! Configs and secrets: a name means one content at a time; another content is another version.

use super::{Done, Refusal, changed};
use crate::draft::Draft;
use model::{ConfigId, ContentKind, ContentSpec, FileRef, ObjectChange, SecretId, ServiceSpec, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one content may hold, in bytes.
const MOST: usize = 1 << 20;

/// The two kinds differ in nothing but their names.
struct Kind<'d, Id> {
    word: &'static str,
    contents: &'d mut BTreeMap<Id, Arc<ContentSpec>>,
    names: &'d mut BTreeMap<String, Id>,
}

pub(super) fn config(draft: &mut Draft<'_>, content: &ContentSpec) -> Result<ObjectChange, Refusal> {
    let (id, now) = (draft.ids.next(ConfigId), draft.now);
    let cluster = draft.edit();
    put(Kind { word: "config", contents: &mut cluster.configs, names: &mut cluster.config_names }, id, content, now)
}

pub(super) fn secret(draft: &mut Draft<'_>, content: &ContentSpec) -> Result<ObjectChange, Refusal> {
    let (id, now) = (draft.ids.next(SecretId), draft.now);
    let cluster = draft.edit();
    put(Kind { word: "secret", contents: &mut cluster.secrets, names: &mut cluster.secret_names }, id, content, now)
}

/// One that belongs to no stack. Its content never changes, as in Swarm: who wants another one makes another
/// name.
pub(super) fn create(draft: &mut Draft<'_>, kind: ContentKind, content: &ContentSpec) -> Result<Done, Refusal> {
    let name = &content.name;
    let is_name = |name: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (1..=64).contains(&name.len())
            && name.chars().all(inside)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !is_name(name) {
        let refusal = Refusal::invalid(format!("`{name}` is no name of a {kind}"));
        return Err(refusal.hint("1 to 64 letters, digits, `-`, `_` and `.`, a letter or digit at both ends"));
    }
    if content.data.is_empty() {
        return Err(Refusal::invalid(format!("{kind} {name} has no content")));
    }
    if id_of(draft, kind, name).is_some() {
        let refusal = Refusal::conflict(format!("{kind} {name} is there already"));
        return Err(refusal.hint("its content never changes: give the new one another name"));
    }
    let content = ContentSpec { stack: None, ..content.clone() };
    let change = match kind {
        ContentKind::Config => config(draft, &content),
        ContentKind::Secret => secret(draft, &content),
    }?;
    Ok(Done::one(id_of(draft, kind, name).unwrap_or_default(), change))
}

fn id_of(draft: &Draft<'_>, kind: ContentKind, name: &str) -> Option<String> {
    match kind {
        ContentKind::Config => draft.cluster().config_names.get(name).map(ConfigId::to_string),
        ContentKind::Secret => draft.cluster().secret_names.get(name).map(SecretId::to_string),
    }
}

/// Takes the name away; the content goes with the last task that uses it.
pub(super) fn remove(draft: &mut Draft<'_>, kind: ContentKind, name: &str) -> Result<Done, Refusal> {
    let Some(id) = id_of(draft, kind, name) else {
        return Err(Refusal::not_found(format!("no such {kind}: {name}")));
    };
    let uses = |spec: &ServiceSpec| match kind {
        ContentKind::Config => spec.container.configs.iter().any(|file| file.name == name),
        ContentKind::Secret => spec.container.secrets.iter().any(|file| file.name == name),
    };
    let services = draft.cluster().services.values();
    // One that is being removed gets no task any more; those that it has keep what they were given.
    let users: Vec<_> = services
        .filter(|service| !service.removing && uses(&service.spec))
        .map(|service| service.spec.name.clone())
        .collect();
    if !users.is_empty() {
        return Err(Refusal::conflict(format!("{kind} {name} is in use by {}", users.join(", "))));
    }
    match kind {
        ContentKind::Config => drop(draft.edit().config_names.remove(name)),
        ContentKind::Secret => drop(draft.edit().secret_names.remove(name)),
    }
    Ok(Done::one(id, changed(&kind.to_string(), name, "removed")))
}

fn put<Id: Ord + Copy>(kind: Kind<'_, Id>, id: Id, content: &ContentSpec, now: Time) -> Result<ObjectChange, Refusal> {
    let (word, name) = (kind.word, &content.name);
    if content.data.len() > MOST {
        return Err(Refusal::invalid(format!("{word} {name} has {} bytes, the most is {MOST}", content.data.len())));
    }
    let known = kind.names.get(name).copied();
    let before = known.and_then(|known| Some((known, kind.contents.get(&known)?.clone())));
    if let Some((known, before)) = &before {
        if before.stack != content.stack {
            let whose = before.stack.as_ref().map_or_else(|| "no stack".to_owned(), |stack| format!("stack {stack}"));
            let text = format!("{word} {name} is there already, of {whose}");
            return Err(
                Refusal::conflict(text).hint("give it another name, or mark it `external: true` to use it as it is")
            );
        }
        if before.data == content.data && before.template == content.template {
            if before.labels == content.labels {
                return Ok(changed(word, name, "unchanged"));
            }
            let content = ContentSpec { created: before.created, updated: now, ..content.clone() };
            kind.contents.insert(*known, Arc::new(content));
            return Ok(ObjectChange { fields: vec!["labels".to_owned()], ..changed(word, name, "updated") });
        }
    }
    let created = before.as_ref().map_or(now, |(_, before)| before.created);
    kind.contents.insert(id, Arc::new(ContentSpec { created, updated: now, ..content.clone() }));
    kind.names.insert(name.clone(), id);
    Ok(match before {
        Some(_) => ObjectChange { fields: vec!["content".to_owned()], ..changed(word, name, "updated") },
        None => changed(word, name, "created"),
    })
}

/// Says which content each file of a spec means.
pub(super) fn resolve(draft: &Draft<'_>, spec: &mut ServiceSpec) -> Vec<Refusal> {
    let who = crate::usage::describe(spec);
    let mut refusals = files(&who, "config", &mut spec.container.configs, &draft.cluster().config_names);
    refusals.extend(files(&who, "secret", &mut spec.container.secrets, &draft.cluster().secret_names));
    refusals
}

fn files<Id: Copy>(who: &str, word: &str, files: &mut [FileRef<Id>], names: &BTreeMap<String, Id>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for file in files {
        match names.get(&file.name) {
            Some(id) => file.id = Some(*id),
            None => refusals.push(Refusal::not_found(format!("{who}: there is no {word} {}", file.name))),
        }
    }
    refusals
}
