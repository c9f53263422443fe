//! `up`: a stack as it should be, against the cluster as it is. All that is wrong is told at once, and
//! the same stack again changes nothing.

use super::{Done, Refusal, changed, content, network, power, service, volume};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use crate::plan::slots;
use crate::usage;
use model::diagnostic::Diagnostic;
use model::{Desired, NetworkSpec, ObjectChange, ServiceId, ServiceSpec, StackSpec, Task, TaskState, VolumeSpec};
use std::sync::Arc;

/// The code for a volume of another stack.
pub(super) const TAKEN: &str = "RS8012";

pub(super) fn deploy(
    draft: &mut Draft<'_>,
    stack: &StackSpec,
    remove_orphans: bool,
    force: bool,
) -> Result<Done, Refusal> {
    if stack.name.is_empty() {
        return Err(Refusal::invalid("a stack needs a name"));
    }
    if draft.cluster().stacks_removing.contains_key(&stack.name) {
        let refusal = Refusal::conflict(format!("stack {} is being removed", stack.name));
        return Err(refusal.hint("wait until `rswarm down` has ended"));
    }
    let mut done = Done::default();
    let mut refusals = externals(draft, stack);
    let mut note = |result: Result<ObjectChange, Refusal>| match result {
        Ok(change) => done.changes.push(change),
        Err(refusal) => refusals.push(refusal),
    };
    // Those that name their block come first, before the pool gives it to another.
    let (named, others): (Vec<_>, Vec<_>) =
        stack.networks.values().partition(|spec| spec.ipam.iter().any(|ipam| ipam.subnet.is_some()));
    for spec in named.into_iter().chain(others) {
        note(put_network(draft, stack, spec));
    }
    for spec in stack.configs.values() {
        note(content::config(draft, spec));
    }
    for spec in stack.secrets.values() {
        note(content::secret(draft, spec));
    }
    for spec in stack.volumes.values() {
        let (result, warning) = put_volume(draft, spec);
        note(result);
        done.warnings.extend(warning);
    }
    services(draft, stack, force, &mut done, &mut refusals);
    Refusal::all(refusals)?;
    orphans(draft, stack, remove_orphans, &mut done);
    Ok(done)
}

/// Objects that the stack only uses must be there.
fn externals(draft: &Draft<'_>, stack: &StackSpec) -> Vec<Refusal> {
    let cluster = draft.cluster();
    let missing = |word: &str, name: &str, is_there: bool| {
        let predefined = word == "network" && matches!(name, model::DEFAULT_NETWORK | "host" | "none");
        (!is_there && !predefined).then(|| {
            let refusal = Refusal::not_found(format!("{word} {name} is declared as external, but there is none"));
            match word {
                "network" | "volume" => refusal.hint(format!("`rswarm {word} create {name}` makes it")),
                _ => refusal.hint("the stack that it belongs to must be up"),
            }
        })
    };
    let networks = stack.external_networks.iter();
    let networks = networks.filter_map(|name| missing("network", name, cluster.network_named(name).is_some()));
    let volumes = stack.external_volumes.iter();
    let volumes = volumes.filter_map(|name| missing("volume", name, cluster.volumes.contains_key(name)));
    let configs = stack.external_configs.iter();
    let configs = configs.filter_map(|name| missing("config", name, cluster.config_names.contains_key(name)));
    let secrets = stack.external_secrets.iter();
    let secrets = secrets.filter_map(|name| missing("secret", name, cluster.secret_names.contains_key(name)));
    networks.chain(volumes).chain(configs).chain(secrets).collect()
}

fn put_network(draft: &mut Draft<'_>, stack: &StackSpec, spec: &NetworkSpec) -> Result<ObjectChange, Refusal> {
    let name = &spec.name;
    let Some(known) = draft.cluster().network_named(name).cloned() else {
        network::make(draft, spec)?;
        return Ok(changed("network", name, "created"));
    };
    if known.spec == *spec {
        return Ok(changed("network", name, "unchanged"));
    }
    if known.spec.stack != spec.stack {
        let whose = known.spec.stack.as_ref().map_or_else(|| "no stack".to_owned(), |stack| format!("stack {stack}"));
        let refusal = Refusal::conflict(format!("network {name} is there already, of {whose}"));
        return Err(refusal.hint("give it another name, or mark it `external: true` to use it as it is"));
    }
    let but_labels = NetworkSpec { labels: known.spec.labels.clone(), ..spec.clone() };
    if but_labels == known.spec {
        let mut network = (*known).clone();
        network.spec.labels = spec.labels.clone();
        draft.edit().networks.insert(network.id, Arc::new(network));
        return Ok(ObjectChange { fields: vec!["labels".to_owned()], ..changed("network", name, "updated") });
    }
    // The settings of a bridge can't change under those who are on it.
    let fields = network_fields(&known.spec, spec);
    if let Some(user) = usage::of_network(draft.cluster(), &known) {
        let text = format!("network {name} is in use by {user} and can't be changed ({})", fields.join(", "));
        return Err(
            Refusal::conflict(text).hint(format!("`rswarm down -p {}` first, or give it another name", stack.name))
        );
    }
    network::drop_network(draft, known.id);
    network::make(draft, spec)?;
    Ok(ObjectChange { fields, ..changed("network", name, "updated") })
}

fn network_fields(old: &NetworkSpec, new: &NetworkSpec) -> Vec<String> {
    let NetworkSpec { name: _, stack: _, driver, driver_opts, internal, attachable, ipv6, ipam, labels } = new;
    let fields = [
        ("driver", old.driver == *driver),
        ("driver_opts", old.driver_opts == *driver_opts),
        ("internal", old.internal == *internal),
        ("attachable", old.attachable == *attachable),
        ("enable_ipv6", old.ipv6 == *ipv6),
        ("ipam", old.ipam == *ipam),
        ("labels", old.labels == *labels),
    ];
    fields.into_iter().filter(|(_, same)| !same).map(|(field, _)| field.to_owned()).collect()
}

fn put_volume(draft: &mut Draft<'_>, spec: &VolumeSpec) -> (Result<ObjectChange, Refusal>, Option<Diagnostic>) {
    let name = &spec.name;
    if let Err(refusal) = volume::check(spec) {
        return (Err(refusal), None);
    }
    let Some(known) = draft.cluster().volumes.get(name).cloned() else {
        draft.edit().volumes.insert(name.clone(), Arc::new(spec.clone()));
        return (Ok(changed("volume", name, "created")), None);
    };
    if !volume::is_same(&known, spec) {
        let refusal = Refusal::conflict(format!("volume {name} is there already, with other options"));
        let hint = format!("`rswarm volume rm {name}` removes it with its data; or give it another name");
        return (Err(refusal.hint(hint)), None);
    }
    if known.stack != spec.stack {
        // Docker takes it, and says so.
        let whose = known.stack.as_ref().map_or_else(|| "no stack".to_owned(), |stack| format!("stack {stack}"));
        let warning =
            Diagnostic::warning(TAKEN, format!("volume {name} is there already, of {whose}; it is used as it is"));
        return (
            Ok(changed("volume", name, "unchanged")),
            Some(warning.hint("mark it `external: true` if that is meant")),
        );
    }
    if known.labels == spec.labels {
        return (Ok(changed("volume", name, "unchanged")), None);
    }
    draft.edit().volumes.insert(name.clone(), Arc::new(spec.clone()));
    (Ok(ObjectChange { fields: vec!["labels".to_owned()], ..changed("volume", name, "updated") }), None)
}

fn services(draft: &mut Draft<'_>, stack: &StackSpec, force: bool, done: &mut Done, refusals: &mut Vec<Refusal>) {
    let mut stored: Vec<(ServiceId, bool)> = Vec::new();
    for spec in stack.services.values() {
        let mut spec = spec.clone();
        let problems = problems(draft, stack, &mut spec);
        if !problems.is_empty() {
            refusals.extend(problems);
            continue;
        }
        volume::ensure(draft, &spec);
        let version = draft.cluster().service_named(&spec.name).map(|known| known.spec_version);
        let (id, mut change) = service::store(draft, spec, force);
        if change.action == "unchanged" {
            match revive(draft, id) {
                Ok(fields) if fields.is_empty() => {}
                Ok(fields) => change = ObjectChange { action: "updated".to_owned(), fields, ..change },
                Err(refusal) => refusals.push(refusal),
            }
        }
        let replaced = version.is_some_and(|version| {
            draft.cluster().services.get(&id).is_some_and(|service| service.spec_version != version)
        });
        stored.push((id, replaced));
        done.changes.push(change);
    }
    follow_dependencies(draft, &mut stored, done);
    let specs: Vec<&ServiceSpec> = stack.services.values().collect();
    if let Some(cycle) = service::cycle(&specs) {
        refusals.push(Refusal::invalid(format!("services depend on each other in a circle: {}", cycle.join(", "))));
    }
    let stored: Vec<ServiceId> = stored.into_iter().map(|(id, _)| id).collect();
    for (place, id) in stored.iter().enumerate() {
        refusals.extend(service::finish(draft, *id, stored.get(..place).unwrap_or_default()).err());
    }
}

fn problems(draft: &mut Draft<'_>, stack: &StackSpec, spec: &mut ServiceSpec) -> Vec<Refusal> {
    let mut problems: Vec<Refusal> = service::prepare(draft, spec).err().into_iter().collect();
    let who = usage::describe(spec);
    if let Some(known) = draft.cluster().service_named(&spec.name) {
        if known.removing {
            problems.push(Refusal::conflict(format!("{who} is being removed")).hint("try again in a moment"));
        } else if known.spec.stack != spec.stack || known.spec.standalone {
            problems.push(Refusal::conflict(format!(
                "the name {} is taken by another {}",
                spec.name,
                usage::describe(&known.spec)
            )));
        }
    }
    for (key, dependency) in &spec.depends_on {
        if dependency.required && !stack.services.values().any(|other| other.key == *key) {
            problems.push(Refusal::invalid(format!("{who} depends on {key}, which is no service of the stack")));
        }
    }
    problems.extend(service::check(draft, spec));
    problems
}

/// What a person stopped, and what failed for good, is begun again by an `up` that changes nothing; what
/// has done its work is not. An update that failed is tried again.
fn revive(draft: &mut Draft<'_>, id: ServiceId) -> Result<Vec<String>, Refusal> {
    let Some(service) = draft.cluster().services.get(&id).cloned() else { return Ok(Vec::new()) };
    let mut fields = Vec::new();
    if service::resume(draft, id) {
        fields.push(service::GOES_ON.to_owned());
    }
    let idle: Vec<Arc<Task>> = draft
        .cluster()
        .tasks_of(id)
        .filter(|task| task.is_live() && (task.stopped_by_user || task.has_ended()))
        .filter(|task| task.status.state != TaskState::Complete || task.stopped_by_user)
        .cloned()
        .collect();
    for task in &idle {
        if task.stopped_by_user {
            power::start(draft, &service, task, None)?;
        } else {
            slots::lower(draft, task.id, Desired::Shutdown);
        }
    }
    if !idle.is_empty() {
        let word = if idle.len() == 1 { "container" } else { "containers" };
        fields.push(format!("{} {word} started again", idle.len()));
    }
    Ok(fields)
}

/// `depends_on: restart: true`: whoever depends so on a service that is replaced is replaced too, and who
/// shares the network of another's containers always.
fn follow_dependencies(draft: &mut Draft<'_>, stored: &mut [(ServiceId, bool)], done: &mut Done) {
    loop {
        let replaced: Vec<String> = stored
            .iter()
            .filter(|(_, replaced)| *replaced)
            .filter_map(|(id, _)| draft.cluster().services.get(id).map(|service| service.spec.key.clone()))
            .collect();
        let follower = stored.iter_mut().filter(|(_, replaced)| !replaced).find_map(|entry| {
            let service = draft.cluster().services.get(&entry.0)?.clone();
            let key = replaced.iter().find(|key| follows(&service.spec, key))?;
            Some((entry, service, key.clone()))
        });
        let Some((entry, service, key)) = follower else { return };
        entry.1 = true;
        let (_, change) = service::store(draft, (*service.spec).clone(), true);
        let fields = vec![format!("restarts with {key}")];
        match done.changes.iter_mut().find(|known| known.kind == "service" && known.name == change.name) {
            Some(known) if known.action == "created" => {}
            Some(known) => *known = ObjectChange { fields, ..change },
            None => done.changes.push(ObjectChange { fields, ..change }),
        }
    }
}

fn follows(spec: &ServiceSpec, key: &str) -> bool {
    spec.depends_on.get(key).is_some_and(|dependency| dependency.restart)
        || spec.network_mode == model::NetworkMode::Service(key.to_owned())
}

/// Services of the project that the file does not name.
fn orphans(draft: &mut Draft<'_>, stack: &StackSpec, remove: bool, done: &mut Done) {
    let orphans: Vec<_> = draft
        .cluster()
        .services
        .values()
        .filter(|service| service.spec.stack.as_deref() == Some(&stack.name) && !service.removing)
        .filter(|service| !stack.services.contains_key(&service.spec.name) && !service.spec.standalone)
        .cloned()
        .collect();
    if orphans.is_empty() {
        return;
    }
    if remove {
        for service in orphans {
            draft.edit().edit_service(service.id, |service| service.removing = true);
            done.changes.push(changed("service", &service.spec.name, "removed"));
        }
        return;
    }
    let names: Vec<&str> = orphans.iter().map(|service| service.spec.key.as_str()).collect();
    let text = format!("stack {} has services that the file does not name: {}", stack.name, names.join(", "));
    done.warnings.push(Diagnostic::warning("RS8013", text).hint("`up --remove-orphans` removes them"));
}
