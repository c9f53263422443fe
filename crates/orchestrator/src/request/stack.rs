//! `down`: a stack goes, services in reverse order of their dependencies, then the rest of it.

use super::{Done, Refusal, changed};
use crate::cluster::RemovingStack;
use crate::draft::Draft;
use crate::usage;
use model::diagnostic::Diagnostic;

pub(super) fn remove(draft: &mut Draft<'_>, name: &str, volumes: bool, timeout: Option<u64>) -> Result<Done, Refusal> {
    let of = |owner: &Option<String>| owner.as_deref() == Some(name);
    let cluster = draft.cluster();
    let services: Vec<_> = cluster.services.values().filter(|service| of(&service.spec.stack)).cloned().collect();
    let networks: Vec<_> = cluster.networks.values().filter(|network| of(&network.spec.stack)).cloned().collect();
    let owned: Vec<_> = cluster.volumes.values().filter(|volume| volumes && of(&volume.stack)).cloned().collect();
    let contents =
        |word: &'static str, list: Vec<String>| list.into_iter().map(move |name| changed(word, &name, "removed"));
    let configs =
        cluster.config_names.iter().filter(|(_, id)| cluster.configs.get(id).is_some_and(|content| of(&content.stack)));
    let configs = contents("config", configs.map(|(name, _)| name.clone()).collect());
    let secrets =
        cluster.secret_names.iter().filter(|(_, id)| cluster.secrets.get(id).is_some_and(|content| of(&content.stack)));
    let secrets = contents("secret", secrets.map(|(name, _)| name.clone()).collect());
    let mut done = Done::default();
    done.changes.extend(services.iter().map(|service| changed("service", &service.spec.name, "removed")));
    for network in &networks {
        match foreign_user(draft, name, &network.spec.name) {
            Some(user) => done.warnings.push(Diagnostic::warning(
                "RS8010",
                format!("network {} stays: it is in use by {user}", network.spec.name),
            )),
            None => done.changes.push(changed("network", &network.spec.name, "removed")),
        }
    }
    for volume in &owned {
        match foreign_volume_user(draft, name, &volume.name) {
            Some(user) => done
                .warnings
                .push(Diagnostic::warning("RS8010", format!("volume {} stays: it is in use by {user}", volume.name))),
            None => done.changes.push(changed("volume", &volume.name, "removed")),
        }
    }
    done.changes.extend(configs.chain(secrets));
    if done.changes.is_empty() {
        let text = format!("there is nothing of a stack {name} to remove");
        done.warnings.push(Diagnostic::warning("RS8011", text));
        return Ok(done);
    }
    for service in services.iter().filter(|service| !service.removing) {
        draft.edit().edit_service(service.id, |service| service.removing = true);
    }
    let tasks: Vec<_> =
        services.iter().flat_map(|service| draft.cluster().tasks_of(service.id)).map(|task| task.id).collect();
    for task in tasks {
        // What was said of an earlier stop is not said of this one.
        draft.edit().edit_task(task, |task| {
            if timeout.is_some() || !task.stopped_by_user {
                (task.stop_signal, task.stop_timeout) = (None, timeout);
            }
            task.remove_volumes |= volumes;
        });
    }
    let earlier = draft.cluster().stacks_removing.get(name).is_some_and(|earlier| earlier.volumes);
    draft.edit().stacks_removing.insert(name.to_owned(), RemovingStack { volumes: volumes || earlier });
    Ok(done)
}

/// Somebody outside of the stack who is on its network.
fn foreign_user(draft: &Draft<'_>, stack: &str, network: &str) -> Option<String> {
    let cluster = draft.cluster();
    let mut services = cluster.services.values().filter(|service| service.spec.stack.as_deref() != Some(stack));
    let user = services.find(|service| {
        service.spec.networks.iter().any(|attachment| attachment.network == network) && usage::is_up(cluster, service)
    });
    user.map(|service| usage::describe(&service.spec))
}

fn foreign_volume_user(draft: &Draft<'_>, stack: &str, volume: &str) -> Option<String> {
    let mut services = draft.cluster().services.values().filter(|service| service.spec.stack.as_deref() != Some(stack));
    let user = services.find(|service| usage::volumes_of(&service.spec).any(|name| name == volume));
    user.map(|service| usage::describe(&service.spec))
}
