//! Configs and secrets: a name means one content at a time; another content is another version.

use super::{Refusal, changed};
use crate::draft::Draft;
use model::{ConfigId, ContentSpec, FileRef, ObjectChange, SecretId, ServiceSpec};
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
    let id = draft.ids.next(ConfigId);
    let cluster = draft.edit();
    put(Kind { word: "config", contents: &mut cluster.configs, names: &mut cluster.config_names }, id, content)
}

pub(super) fn secret(draft: &mut Draft<'_>, content: &ContentSpec) -> Result<ObjectChange, Refusal> {
    let id = draft.ids.next(SecretId);
    let cluster = draft.edit();
    put(Kind { word: "secret", contents: &mut cluster.secrets, names: &mut cluster.secret_names }, id, content)
}

fn put<Id: Ord + Copy>(kind: Kind<'_, Id>, id: Id, content: &ContentSpec) -> Result<ObjectChange, Refusal> {
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
            kind.contents.insert(*known, Arc::new(content.clone()));
            return Ok(ObjectChange { fields: vec!["labels".to_owned()], ..changed(word, name, "updated") });
        }
    }
    kind.contents.insert(id, Arc::new(content.clone()));
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
