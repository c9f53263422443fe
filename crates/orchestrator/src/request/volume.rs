//! `volume create`, `volume rm`.

use super::{Done, Refusal, changed};
use crate::draft::Draft;
use crate::plan::remove_volume;
use crate::usage;
use model::VolumeSpec;
use std::sync::Arc;

/// Makes a volume; the same again is no error (Docker).
pub(super) fn create(draft: &mut Draft<'_>, spec: &VolumeSpec) -> Result<Done, Refusal> {
    let mut spec = spec.clone();
    if spec.name.is_empty() {
        spec.name = format!("{:032x}{:032x}", draft.ids.next(|id| id), draft.ids.next(|id| id));
    }
    check(&spec)?;
    let name = spec.name.clone();
    if let Some(known) = draft.cluster().volumes.get(&name) {
        if !is_same(known, &spec) {
            let text = format!("there is a volume {name} already, with another driver or other options");
            return Err(Refusal::conflict(text).hint("choose another name, or remove the volume first"));
        }
        return Ok(Done::one(name.clone(), changed("volume", &name, "unchanged")));
    }
    draft.edit().volumes.insert(name.clone(), Arc::new(spec));
    Ok(Done::one(name.clone(), changed("volume", &name, "created")))
}

/// Is it one that we can make?
pub(super) fn check(spec: &VolumeSpec) -> Result<(), Refusal> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !spec.name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !spec.name.chars().all(valid) {
        let text = format!("`{}` is no name for a volume", spec.name);
        return Err(Refusal::invalid(text).hint("letters, digits, `_`, `.` and `-`, a letter or digit first"));
    }
    match spec.driver.as_deref() {
        None | Some("" | "local") => Ok(()),
        Some(other) => {
            let text = format!("volume {}: there is no volume driver `{other}`", spec.name);
            Err(Refusal::invalid(text).hint("the only driver is `local`"))
        }
    }
}

/// Do both mean the same data?
pub(super) fn is_same(a: &VolumeSpec, b: &VolumeSpec) -> bool {
    a.driver_opts == b.driver_opts
}

/// Forgets a volume that nobody mounts, and deletes its data.
pub(super) fn remove(draft: &mut Draft<'_>, name: &str) -> Result<Done, Refusal> {
    if !draft.cluster().volumes.contains_key(name) {
        return Err(Refusal::not_found(format!("no such volume: {name}")));
    }
    if let Some(user) = usage::of_volume(draft.cluster(), name) {
        return Err(Refusal::conflict(format!("volume {name} is in use by {user}")));
    }
    remove_volume(draft.edit(), name);
    Ok(Done::one(name.to_owned(), changed("volume", name, "removed")))
}

/// Knows every volume that a spec mounts by name; those that are new are plain local ones. A name with a
/// placeholder is one volume for each task, which the task's node makes and knows.
pub(super) fn ensure(draft: &mut Draft<'_>, spec: &model::ServiceSpec) {
    let missing: Vec<String> = usage::volumes_of(spec)
        .filter(|name| !name.contains("{{") && !draft.cluster().volumes.contains_key(*name))
        .map(str::to_owned)
        .collect();
    for name in missing {
        let volume = VolumeSpec { name: name.clone(), ..VolumeSpec::default() };
        draft.edit().volumes.insert(name, Arc::new(volume));
    }
}
