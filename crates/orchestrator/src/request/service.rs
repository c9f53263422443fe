//! One service: made, changed, scaled, removed.

use super::network::{self, check_fixed};
use super::{Done, Refusal, changed, content, fields, ports, vips, volume};
use crate::cluster::{Cluster, TaskExt};
use crate::draft::Draft;
use crate::plan::dirty::replaces;
use crate::usage;
use model::{
    DEFAULT_NETWORK, Mode, NetworkAttachment, NetworkId, NetworkMode, ObjectChange, Service, ServiceId, ServiceSpec,
    Task, UpdateState, UpdateStatus,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Makes a service, or replaces its spec.
pub(super) fn put(draft: &mut Draft<'_>, spec: &ServiceSpec, create: bool) -> Result<Done, Refusal> {
    let mut spec = spec.clone();
    prepare(draft, &mut spec)?;
    if let Some(known) = draft.cluster().service_named(&spec.name).cloned() {
        if known.removing {
            return Err(being_removed(&known));
        }
        if create {
            return Err(taken(draft, &known));
        }
        if known.spec.standalone != spec.standalone {
            return Err(Refusal::conflict(format!("there is a {} already", usage::describe(&known.spec))));
        }
    }
    Refusal::all(check(draft, &spec))?;
    volume::ensure(draft, &spec);
    let (id, change) = store(draft, spec, false);
    finish(draft, id, &[])?;
    Ok(Done::one(id.to_string(), change))
}

/// Replaces the spec of a service.
pub(super) fn update(
    draft: &mut Draft<'_>,
    id: ServiceId,
    spec: &ServiceSpec,
    version: Option<u64>,
    force: bool,
) -> Result<Done, Refusal> {
    let known = find(draft, id)?;
    let who = usage::describe(&known.spec);
    if known.removing {
        return Err(being_removed(&known));
    }
    if version.is_some_and(|version| version != known.version) {
        return Err(Refusal::conflict(format!("{who} has changed meanwhile")).hint("look at it and try again"));
    }
    let same = |spec: &ServiceSpec| (spec.name.clone(), spec.key.clone(), spec.stack.clone(), spec.standalone);
    if same(spec) != same(&known.spec) {
        return Err(Refusal::invalid(format!("{who} can't get another name, or go to another stack")));
    }
    let mut spec = spec.clone();
    prepare(draft, &mut spec)?;
    Refusal::all(check(draft, &spec))?;
    volume::ensure(draft, &spec);
    let (_, mut change) = store(draft, spec, force);
    if change.action == "unchanged" && resume(draft, id) {
        change = ObjectChange { action: "updated".to_owned(), fields: vec![GOES_ON.to_owned()], ..change };
    }
    finish(draft, id, &[])?;
    Ok(Done::one(id.to_string(), change))
}

/// What is said of an update that waited for a person.
pub(crate) const GOES_ON: &str = "the update goes on";

/// An update that failed is tried again, when somebody asks for the same once more.
pub(super) fn resume(draft: &mut Draft<'_>, id: ServiceId) -> bool {
    let status = draft.cluster().services.get(&id).and_then(|service| service.update_status.as_ref());
    let waits = status.is_some_and(|status| matches!(status.state, UpdateState::Paused | UpdateState::RollbackPaused));
    if waits {
        let now = draft.now;
        draft.edit().edit_service(id, |service| service.update_status = Some(begun(now)));
    }
    waits
}

/// Puts back the spec before the last change that replaced tasks. Contents are those of then; what was
/// rolled back is kept, so that once more goes forward again.
pub(super) fn roll_back(draft: &mut Draft<'_>, id: ServiceId) -> Result<Done, Refusal> {
    let known = find(draft, id)?;
    let who = usage::describe(&known.spec);
    if known.removing {
        return Err(being_removed(&known));
    }
    let Some(previous) = known.previous.clone() else {
        return Err(Refusal::conflict(format!("{who} has no earlier spec to go back to")));
    };
    Refusal::all(check(draft, &previous))?;
    volume::ensure(draft, &previous);
    let change = changed("service", &previous.name, "updated");
    let fields = fields::differing(&known.spec, &previous);
    let now = draft.now;
    draft.edit().edit_service(id, |service| {
        service.previous = Some(std::mem::replace(&mut service.spec, previous));
        service.spec_version += 1;
        service.updated = now;
        service.update_status = standing(service.spec.mode).then(|| UpdateStatus {
            state: UpdateState::RollbackStarted,
            message: "rollback: asked for by a person".to_owned(),
            ..begun(now)
        });
    });
    finish(draft, id, &[])?;
    Ok(Done::one(id.to_string(), ObjectChange { fields, ..change }))
}

/// The most replicas of a service: each is a task that is planned and told of, and a number that was mistyped is not to
/// take the memory of all managers.
const MOST: u32 = 10_000;

/// A job has no rolling update: it begins anew.
fn standing(mode: Mode) -> bool {
    !mode.is_job()
}

/// What is left out is filled in, as it is when a stack is deployed.
pub(super) fn prepare(draft: &mut Draft<'_>, spec: &mut ServiceSpec) -> Result<(), Refusal> {
    if spec.network_mode == NetworkMode::Networks && spec.networks.is_empty() {
        spec.networks.push(NetworkAttachment { network: DEFAULT_NETWORK.to_owned(), ..NetworkAttachment::default() });
    }
    if spec.networks.iter().any(|attachment| attachment.network == DEFAULT_NETWORK) {
        network::ensure_bridge(draft)?;
    }
    Refusal::all(content::resolve(draft, spec))
}

fn being_removed(service: &Service) -> Refusal {
    Refusal::conflict(format!("{} is being removed", usage::describe(&service.spec))).hint("try again in a moment")
}

fn taken(draft: &Draft<'_>, known: &Service) -> Refusal {
    let name = &known.spec.name;
    if !known.spec.standalone {
        return Refusal::conflict(format!("the name {name} is taken by a service"));
    }
    let holder = draft.cluster().tasks_of(known.id).next().map(|task| task.id.short()).unwrap_or_default();
    Refusal::conflict(format!("the container name {name} is already in use by container {holder}"))
        .hint("remove that container, or choose another name")
}

/// Everything that is wrong with a spec against the cluster as it is.
pub(super) fn check(draft: &Draft<'_>, spec: &ServiceSpec) -> Vec<Refusal> {
    let who = usage::describe(spec);
    let mut refusals = Vec::new();
    if spec.name.is_empty() {
        refusals.push(Refusal::invalid("a service needs a name"));
    }
    let many = match spec.mode {
        Mode::Replicated { replicas } => replicas,
        Mode::ReplicatedJob { total, concurrent } => total.max(concurrent),
        Mode::Global | Mode::GlobalJob => 0,
    };
    if many > MOST {
        refusals.push(Refusal::invalid(format!("{who}: {many} replicas are more than {MOST}, which is the most")));
    }
    for text in &spec.placement.constraints {
        if let Some(problem) = crate::plan::constraint_problem(text) {
            refusals.push(Refusal::invalid(format!("{who}: placement: {problem}")));
        }
    }
    if spec.network_mode == NetworkMode::Networks {
        refusals.extend(ports::check_own(spec));
        refusals.extend(spec.networks.iter().flat_map(|attachment| check_attachment(draft, &who, spec, attachment)));
    }
    if let NetworkMode::Container(name) = &spec.network_mode
        && !draft.cluster().tasks.values().any(|task| is_called(task, name))
    {
        refusals.push(Refusal::not_found(format!("{who}: no such container: {name}")));
    }
    if let Some(name) = &spec.container.container_name {
        refusals.extend(check_name(draft, &who, spec, name));
    } else if spec.standalone {
        refusals.extend(check_name(draft, &who, spec, &spec.name));
    }
    refusals
}

fn is_called(task: &Task, name: &str) -> bool {
    task.is_live() && (task.name() == name || name.len() >= 12 && task.id.to_string().starts_with(name))
}

/// Everything that is wrong with one of its networks.
pub(super) fn check_attachment(
    draft: &Draft<'_>,
    who: &str,
    spec: &ServiceSpec,
    attachment: &NetworkAttachment,
) -> Vec<Refusal> {
    let name = &attachment.network;
    let Some(network) = draft.cluster().network_named(name) else {
        return vec![Refusal::not_found(format!("{who}: there is no network {name}"))];
    };
    let fixed: Vec<&String> = attachment.ipv4_address.iter().chain(&attachment.ipv6_address).collect();
    let mut refusals: Vec<Refusal> = fixed
        .iter()
        .filter_map(|text| check_fixed(network, text).err())
        .map(|why| Refusal::invalid(format!("{who}: {why}")))
        .collect();
    let many = matches!(spec.mode, Mode::Replicated { replicas } if replicas > 1);
    if many && let Some(address) = fixed.first() {
        refusals.push(Refusal::invalid(format!("{who}: several replicas can't all have the address {address}")));
    }
    if spec.standalone && !network.takes_containers() {
        let text = format!("{who}: network {name} takes tasks of services only");
        let hint = "say `attachable: true` where it is defined (`network create --attachable`), or run a service";
        refusals.push(Refusal::conflict(text).hint(hint));
    }
    // A service waits until it is free; whoever runs a container waits for that.
    if spec.standalone {
        refusals.extend(fixed.iter().filter_map(|text| {
            let holder = holder(draft.cluster(), network.id, text.parse().ok()?)?;
            Some(Refusal::conflict(format!("{who}: address {text} is in use by {}", holder.name())))
        }));
    }
    refusals
}

/// Who has an address of a network.
fn holder(cluster: &Cluster, network: NetworkId, address: IpAddr) -> Option<&Task> {
    let mut seats = cluster.on_network.of(network).filter(|(_, seat)| !seat.has_ended);
    let (task, _) = seats.find(|(_, seat)| seat.address == address || seat.address6 == Some(address))?;
    cluster.tasks.get(&task).map(AsRef::as_ref)
}

/// A container's name is one container's.
fn check_name(draft: &Draft<'_>, who: &str, spec: &ServiceSpec, name: &str) -> Option<Refusal> {
    if matches!(spec.mode, Mode::Replicated { replicas } if replicas > 1) {
        return Some(Refusal::invalid(format!("{who}: several replicas can't all be called {name}")));
    }
    let has_it = |other: &ServiceSpec| match &other.container.container_name {
        Some(other) => other == name,
        None => other.standalone && other.name == name,
    };
    let mut services = draft.cluster().services.values();
    let other =
        services.find(|service| service.spec.name != spec.name && !service.removing && has_it(&service.spec))?;
    let text = format!("{who}: the container name {name} is already in use by {}", usage::describe(&other.spec));
    Some(Refusal::conflict(text).hint("remove that container, or choose another name"))
}

/// Puts a spec that was checked into the draft. `force`: replace its tasks in any case.
pub(super) fn store(draft: &mut Draft<'_>, spec: ServiceSpec, force: bool) -> (ServiceId, ObjectChange) {
    let now = draft.now;
    let name = spec.name.clone();
    let Some(known) = draft.cluster().service_named(&name).cloned() else {
        let id = draft.ids.next(ServiceId);
        let service = Service::new(id, Arc::new(spec), now);
        draft.edit().services.insert(id, Arc::new(service));
        return (id, changed("service", &name, "created"));
    };
    let mut differing = fields::differing(&known.spec, &spec);
    if *known.spec == spec && !force {
        return (known.id, changed("service", &name, "unchanged"));
    }
    let replaced = force || replaces(&known.spec, &spec);
    if force && differing.is_empty() {
        differing.push("forced".to_owned());
    }
    draft.edit().edit_service(known.id, |service| {
        let before = std::mem::replace(&mut service.spec, Arc::new(spec));
        service.updated = now;
        if replaced {
            service.previous = Some(before);
            service.spec_version += 1;
            service.update_status = standing(service.spec.mode).then(|| begun(now));
        }
        if force {
            service.force_version = service.spec_version;
        }
    });
    (known.id, ObjectChange { fields: differing, ..changed("service", &name, "updated") })
}

/// The status of an update that begins.
fn begun(now: model::Time) -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::Updating,
        started: now,
        finished: None,
        message: "update in progress".to_owned(),
    }
}

/// Host ports and virtual addresses, once all services of a request are in the draft. Clashes with those that were checked
/// before are told already.
pub(super) fn finish(draft: &mut Draft<'_>, id: ServiceId, checked: &[ServiceId]) -> Result<(), Refusal> {
    ports::choose(draft, id)?;
    vips::choose(draft, id);
    let Some(service) = draft.cluster().services.get(&id).cloned() else { return Ok(()) };
    Refusal::all(ports::check(draft, &service, checked))
}

/// Changes how many.
pub(super) fn scale(draft: &mut Draft<'_>, id: ServiceId, replicas: u32) -> Result<Done, Refusal> {
    let service = find(draft, id)?;
    let who = usage::describe(&service.spec);
    if service.removing {
        return Err(being_removed(&service));
    }
    let before = service.replicas().filter(|_| !service.spec.standalone);
    let Some((before, mode)) = before.zip(service.spec.mode.scaled(replicas)) else {
        return Err(Refusal::invalid(format!("{who} can't be scaled: only replicated services can")));
    };
    let spec = ServiceSpec { mode, ..(*service.spec).clone() };
    Refusal::all(check(draft, &spec))?;
    if before == replicas {
        return Ok(Done::one(id.to_string(), changed("service", &spec.name, "unchanged")));
    }
    let (_, change) = store(draft, spec, false);
    Ok(Done::one(id.to_string(), change))
}

fn find(draft: &Draft<'_>, id: ServiceId) -> Result<Arc<Service>, Refusal> {
    draft.cluster().services.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("no such service: {id}")))
}

/// Removes a service with its tasks; it is gone when they are.
pub(super) fn remove(draft: &mut Draft<'_>, id: ServiceId, force: bool, volumes: bool) -> Result<Done, Refusal> {
    let service = find(draft, id)?;
    let name = service.spec.name.clone();
    if service.spec.standalone && !force {
        let running = draft.cluster().tasks_of(id).any(|task| task.is_running() && !service.removing);
        if running {
            return Err(Refusal::conflict(format!("container {name} is running")).hint("stop it first, or use -f"));
        }
    }
    if volumes {
        let tasks: Vec<_> = draft.cluster().tasks_of(id).map(|task| task.id).collect();
        tasks.into_iter().for_each(|task| draft.edit().edit_task(task, |task| task.remove_volumes = true));
    }
    if !service.removing {
        draft.edit().edit_service(id, |service| service.removing = true);
    }
    Ok(Done::one(id.to_string(), changed("service", &name, "removed")))
}

/// Keys of a stack's services that some chain of `depends_on` leads back to.
pub(super) fn cycle(specs: &[&ServiceSpec]) -> Option<Vec<String>> {
    let mut left: BTreeSet<&str> = specs.iter().map(|spec| spec.key.as_str()).collect();
    loop {
        let free: Vec<&str> = specs
            .iter()
            .filter(|spec| left.contains(spec.key.as_str()))
            .filter(|spec| !spec.depends_on.keys().any(|key| left.contains(key.as_str())))
            .map(|spec| spec.key.as_str())
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|key| {
            left.remove(key);
        });
    }
    (!left.is_empty()).then(|| left.into_iter().map(str::to_owned).collect())
}
