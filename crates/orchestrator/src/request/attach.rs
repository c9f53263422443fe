//! `network connect`, `network disconnect`: a container that runs joins a network, or leaves one.

use super::{Done, Refusal, changed, network, power, service, vips};
use crate::draft::Draft;
use crate::plan::allocate;
use crate::usage;
use model::{
    DEFAULT_NETWORK, Endpoint, Network, NetworkAttachment, NetworkMode, ObjectChange, Service, ServiceSpec, Task,
    TaskId,
};
use std::sync::Arc;

/// One network more, with an address of it.
pub(super) fn connect(draft: &mut Draft<'_>, id: TaskId, attachment: &NetworkAttachment) -> Result<Done, Refusal> {
    let (task, service) = find(draft, id)?;
    let (who, name) = (usage::describe(&task.spec), &attachment.network);
    if let Some(only) = Network::predefined().iter().find(|network| network.spec.name == *name) {
        return Err(Refusal::conflict(format!("{who} can't join network {}: it is no network", only.spec.name))
            .hint("run a new container with `--network`"));
    }
    if task.spec.network_mode != NetworkMode::Networks {
        let text = format!("{who} has no network of its own, and can't join {name}");
        return Err(
            Refusal::conflict(text).hint("run a new container without `--network host`, `none` or `container:`")
        );
    }
    if task.spec.networks.iter().any(|known| known.network == *name) {
        return Err(Refusal::conflict(format!("{who} is on network {name} already")));
    }
    if name == DEFAULT_NETWORK {
        network::ensure_bridge(draft)?;
    }
    Refusal::all(service::check_attachment(draft, &who, &task.spec, attachment))?;
    let Some(network) = draft.cluster().network_named(name).cloned() else {
        return Err(Refusal::not_found(format!("there is no network {name}")));
    };
    let now = draft.now;
    let endpoint = allocate::added(draft, &task, attachment, &network)
        .map_err(|wait| Refusal::conflict(format!("{who}: {}", wait.sentence(now))))?;
    edit(draft, id, &service, |spec| spec.networks.push(attachment.clone()));
    // One that has not been given addresses yet gets all of them at once.
    if task.endpoints.len() == task.spec.networks.len() {
        draft.edit().edit_task(id, |task| {
            number(&mut task.endpoints);
            let used = |number: &u8| task.endpoints.iter().any(|other| other.interface == Some(*number));
            let interface = (0..=u8::MAX).find(|number| !used(number));
            task.endpoints.push(Endpoint { interface, ..endpoint });
        });
    }
    vips::choose(draft, service.id);
    Ok(Done::one(id.to_string(), told(name, "connected", id)))
}

/// One network less.
pub(super) fn disconnect(draft: &mut Draft<'_>, id: TaskId, name: &str) -> Result<Done, Refusal> {
    let (task, service) = find(draft, id)?;
    let who = usage::describe(&task.spec);
    let Some(place) = task.spec.networks.iter().position(|known| known.network == name) else {
        return Err(Refusal::conflict(format!("{who} is not on network {name}")));
    };
    edit(draft, id, &service, |spec| drop(spec.networks.remove(place)));
    if task.endpoints.len() == task.spec.networks.len() {
        draft.edit().edit_task(id, |task| {
            number(&mut task.endpoints);
            task.endpoints.remove(place);
        });
    }
    Ok(Done::one(id.to_string(), told(name, "disconnected", id)))
}

/// A container that a person runs, with what it is kept as.
fn find(draft: &Draft<'_>, id: TaskId) -> Result<(Arc<Task>, Arc<Service>), Refusal> {
    let (task, service) = power::find(draft, id)?;
    if !service.spec.standalone {
        let text = format!("container {} is one of service {}'s", task.name(), service.spec.name);
        let hint = format!("`rswarm service update --network-add` or `--network-rm` of {}", service.spec.name);
        return Err(Refusal::conflict(text).hint(hint));
    }
    Ok((task, service))
}

/// Changes what both are to be, so that neither differs from the other: nothing is replaced.
fn edit(draft: &mut Draft<'_>, task: TaskId, service: &Service, change: impl FnOnce(&mut ServiceSpec)) {
    let mut spec = (*service.spec).clone();
    change(&mut spec);
    let (spec, now) = (Arc::new(spec), draft.now);
    draft.edit().edit_service(service.id, |service| (service.spec, service.updated) = (spec.clone(), now));
    draft.edit().edit_task(task, |task| task.spec = spec);
}

/// Interfaces keep their names whatever becomes of those before them.
fn number(endpoints: &mut [Endpoint]) {
    for (place, endpoint) in (0..=u8::MAX).zip(endpoints) {
        endpoint.interface.get_or_insert(place);
    }
}

fn told(network: &str, action: &str, task: TaskId) -> ObjectChange {
    ObjectChange { fields: vec![task.to_string()], ..changed("network", network, action) }
}
