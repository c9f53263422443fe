//! Logins that are kept with services (`--with-registry-auth`), so that whatever node runs one can pull its image.

use super::{Done, Refusal};
use crate::draft::Draft;
use model::{Logins, ObjectChange, Request, ServiceSpec};
use std::sync::Arc;

/// What is said of a service whose login is another one.
const FIELD: &str = "registry login";

/// Takes a request, and gives each service that it names the login for the registry of its image, or none where there
/// is none.
pub(super) fn take(draft: &mut Draft<'_>, request: &Request, logins: &Logins) -> Result<Done, Refusal> {
    let specs: Vec<&ServiceSpec> = match request {
        Request::Deploy { stack, .. } => stack.services.values().collect(),
        Request::Apply { wanted, .. } => wanted.stack.services.values().collect(),
        Request::PutService { spec, .. } | Request::UpdateService { spec, .. } => vec![spec],
        _ => return Err(Refusal::invalid("logins of registries go with services only")),
    };
    if logins.is_too_much() {
        return Err(Refusal::invalid("the logins of registries are longer than any that there are"));
    }
    let mut done = super::done(draft, request)?;
    for spec in specs {
        let Some(id) = draft.cluster().service_named(&spec.name).map(|service| service.id) else { continue };
        let own = logins.for_image(&spec.container.image);
        let known = draft.cluster().logins.get(&id);
        if known.map_or(own.is_empty(), |known| **known == own) {
            continue;
        }
        match own.is_empty() {
            true => drop(draft.edit().logins.remove(&id)),
            false => drop(draft.edit().logins.insert(id, Arc::new(own))),
        }
        let changes = done.changes.iter_mut().filter(|change| change.kind == "service" && change.name == spec.name);
        changes.for_each(tell);
    }
    Ok(done)
}

fn tell(change: &mut ObjectChange) {
    if change.action == "unchanged" {
        "updated".clone_into(&mut change.action);
    }
    if change.action == "updated" {
        change.fields.push(FIELD.to_owned());
    }
}
