//! What applying a stack would do, on a copy of the state: the same requests, the same planner. So the
//! plan that is shown is the plan that is done.

pub(crate) mod basis;
pub(crate) mod fields;
mod rehearsal;

use crate::cluster::Cluster;
use crate::draft::Draft;
use crate::plan::dirty::replaces;
use crate::request;
use crate::snapshot::Snapshot;
use model::{
    Ids, ObjectChange, ObjectPlan, PlanAction, Response, Service, ServicePlan, ServiceSpec, StackPlan, Time,
    UpdateOrder, Wanted,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ids in a preview name nothing that will ever be; any seed will do.
const SEED: u64 = 0;

/// What applying `wanted` at this moment would change.
///
/// # Errors
/// The refusal that it would meet.
pub fn preview(snapshot: Snapshot, wanted: &Wanted, now: Time) -> Result<StackPlan, Response> {
    of(&Cluster::from(snapshot), wanted, now)
}

/// The same for a state at hand.
pub(crate) fn of(cluster: &Cluster, wanted: &Wanted, now: Time) -> Result<StackPlan, Response> {
    let mut wanted = wanted.clone();
    keep_digests(cluster, &mut wanted);
    let mut ids = Ids::new(SEED);
    let mut draft = Draft::new(cluster, now, &mut ids);
    let (changes, warnings) = match request::apply(&mut draft, &wanted) {
        Response::Done { changes, warnings, .. } => (changes, warnings),
        refused => return Err(refused),
    };
    let mut after = draft.into_cluster();
    // Whoever follows the stack would put this back at once; what is shown is how it would go otherwise.
    (after.sources, after.followed, after.good) = Default::default();
    let rehearsed = rehearsal::run(&after, &wanted.stack.name, now);
    Ok(StackPlan {
        stack: wanted.stack.name.clone(),
        revision: cluster.revision,
        basis: basis::of(cluster, &wanted.stack),
        services: changes
            .iter()
            .filter(|change| change.kind == "service")
            .map(|change| service(cluster, &after, change, wanted.show_values))
            .collect(),
        objects: objects(cluster, &wanted, &changes),
        rounds: rehearsed.rounds,
        unfinished: rehearsed.unfinished,
        waiting: rehearsed.waiting,
        warnings,
    })
}

/// An image that is not here has no digest yet. Of a name that stays, what runs is what the name means
/// until somebody has asked.
fn keep_digests(cluster: &Cluster, wanted: &mut Wanted) {
    for spec in wanted.stack.services.values_mut().filter(|spec| spec.container.image_digest.is_none()) {
        let known = cluster.service_named(&spec.name).map(|service| &service.spec.container);
        if let Some(known) = known.filter(|known| known.image == spec.container.image) {
            spec.container.image_digest = known.image_digest.clone();
        }
    }
}

fn action(word: &str) -> PlanAction {
    match word {
        "created" => PlanAction::Create,
        "updated" => PlanAction::Change,
        "removed" => PlanAction::Remove,
        _ => PlanAction::Stay,
    }
}

fn service(before: &Cluster, after: &Cluster, change: &ObjectChange, show_values: bool) -> ServicePlan {
    let old = before.service_named(&change.name).map(|service| &**service);
    let removed = change.action == "removed";
    let new = after.service_named(&change.name).map(|service| &**service).filter(|_| !removed);
    let spec = new.or(old).map(|service| service.spec.clone());
    let (fields, notes) = match (old, new) {
        (Some(old), Some(new)) => (fields::differing(&old.spec, &new.spec, show_values), notes(change)),
        _ => (Vec::new(), Vec::new()),
    };
    let replaces = match (old, new) {
        (Some(old), Some(new)) => renews(before, old, new),
        _ => false,
    };
    ServicePlan {
        name: change.name.clone(),
        key: spec.as_ref().map_or_else(|| change.name.clone(), |spec| spec.key.clone()),
        action: action(&change.action),
        image: spec.as_ref().map(|spec| spec.container.image.clone()).unwrap_or_default(),
        replicas: (old.and_then(Service::replicas), new.and_then(Service::replicas)),
        replaces,
        how: spec.filter(|_| replaces).map(|spec| how(&spec)).unwrap_or_default(),
        fields,
        notes,
    }
}

/// Are there tasks that this replaces?
fn renews(before: &Cluster, old: &Service, new: &Service) -> bool {
    new.spec_version != old.spec_version
        && (new.force_version == new.spec_version || replaces(&old.spec, &new.spec))
        && before.has_tasks(old.id)
}

/// What is said besides the fields that differ.
fn notes(change: &ObjectChange) -> Vec<String> {
    let said = |text: &&String| {
        text.starts_with("restarts with ")
            || text.ends_with(" started again")
            || *text == "forced"
            || **text == *request::GOES_ON
    };
    change.fields.iter().filter(said).cloned().collect()
}

/// In words, how an update goes.
fn how(spec: &ServiceSpec) -> String {
    let update = &spec.update;
    let many = match update.parallelism {
        0 => "all at once".to_owned(),
        count => format!("{count} at a time"),
    };
    let order = match update.order {
        UpdateOrder::StopFirst => "old stops first",
        UpdateOrder::StartFirst => "new starts first",
    };
    match update.delay.is_zero() {
        true => format!("{many}, {order}"),
        false => format!("{many}, {order}, {} between", fields::duration(update.delay)),
    }
}

/// Networks, volumes, configs and secrets that change.
fn objects(cluster: &Cluster, wanted: &Wanted, changes: &[ObjectChange]) -> Vec<ObjectPlan> {
    let changed = changes.iter().filter(|change| change.kind != "service" && change.action != "unchanged");
    let mut objects: Vec<ObjectPlan> = changed
        .map(|change| ObjectPlan {
            kind: change.kind.clone(),
            name: change.name.clone(),
            action: action(&change.action),
            fields: change.fields.clone(),
        })
        .collect();
    let gone = leftovers(cluster, wanted).into_iter();
    objects.extend(gone.map(|(kind, name)| ObjectPlan {
        kind: kind.to_owned(),
        name,
        action: PlanAction::Remove,
        fields: Vec::new(),
    }));
    objects
}

/// What the project owns, the stack does not name, and pruning takes: kind and name.
fn leftovers(cluster: &Cluster, wanted: &Wanted) -> Vec<(&'static str, String)> {
    let stack = &wanted.stack;
    let ours = |owner: &Option<String>| owner.as_deref() == Some(stack.name.as_str());
    let mut gone = Vec::new();
    if wanted.prune {
        let networks = cluster.networks.values().filter(|network| ours(&network.spec.stack));
        let networks = networks.filter(|network| !stack.networks.contains_key(&network.spec.name));
        gone.extend(networks.map(|network| ("network", network.spec.name.clone())));
        gone.extend(contents("config", &cluster.config_names, &cluster.configs, &ours, &stack.configs));
        gone.extend(contents("secret", &cluster.secret_names, &cluster.secrets, &ours, &stack.secrets));
    }
    if wanted.prune_volumes {
        let volumes = cluster.volumes.values().filter(|volume| ours(&volume.stack));
        let volumes = volumes.filter(|volume| !stack.volumes.contains_key(&volume.name));
        gone.extend(volumes.map(|volume| ("volume", volume.name.clone())));
    }
    gone
}

fn contents<Id: Ord>(
    kind: &'static str,
    names: &BTreeMap<String, Id>,
    contents: &BTreeMap<Id, Arc<model::ContentSpec>>,
    ours: &impl Fn(&Option<String>) -> bool,
    wanted: &BTreeMap<String, model::ContentSpec>,
) -> Vec<(&'static str, String)> {
    let owned = names.iter().filter(|(_, id)| contents.get(id).is_some_and(|content| ours(&content.stack)));
    owned.filter(|(name, _)| !wanted.contains_key(*name)).map(|(name, _)| (kind, name.clone())).collect()
}
