//! Logins that are kept with services (`--with-registry-auth`), so that whatever node runs one can pull its image.

use super::{Done, Refusal};
use crate::cluster::Cluster;
use crate::draft::Draft;
use model::{Logins, ObjectChange, Request, ServiceSpec, StackSpec};
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

/// Those that are kept with the services of a stack: the first of a registry, where its services have different ones.
pub(crate) fn of_stack(cluster: &Cluster, stack: &str) -> Logins {
    let mut all = Logins::default();
    for (service, kept) in &cluster.logins {
        let service = cluster.services.get(service);
        if service.is_some_and(|service| service.spec.stack.as_deref() == Some(stack)) {
            all.add(kept);
        }
    }
    all
}

/// Whoever follows the stack's files has nobody's login: a service whose image is of a registry that it has no login
/// for is given the one of `known`, those that its stack had.
pub(super) fn share(draft: &mut Draft<'_>, stack: &StackSpec, known: &Logins) {
    for spec in stack.services.values() {
        let wanted = known.for_image(&spec.container.image);
        let Some(id) = draft.cluster().service_named(&spec.name).map(|service| service.id) else { continue };
        let own = draft.cluster().logins.get(&id);
        if wanted.hosts().any(|host| own.is_none_or(|own| own.get(host).is_none())) {
            draft.edit().logins.insert(id, Arc::new(wanted));
        }
    }
}

fn tell(change: &mut ObjectChange) {
    if change.action == "unchanged" {
        "updated".clone_into(&mut change.action);
    }
    if change.action == "updated" {
        change.fields.push(FIELD.to_owned());
    }
}
