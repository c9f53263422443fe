//! What clients may see of the state.

use crate::cluster::Cluster;
use crate::explain::Wait;
use crate::plan;
use model::{ContentSpec, ContentView, Credentials, Source, State, TaskId, Time};
use std::collections::BTreeMap;

/// In place of what is shown to nobody.
const HIDDEN: &str = "***";

pub(super) fn state(cluster: &Cluster, waits: &BTreeMap<TaskId, Wait>, now: Time) -> State {
    let configs = cluster.config_names.values();
    let configs = configs.filter_map(|id| Some(content(id.to_string(), cluster.configs.get(id)?)));
    let secrets = cluster.secret_names.values();
    let secrets = secrets.filter_map(|id| Some(content(id.to_string(), cluster.secrets.get(id)?)));
    let known = |(id, _): &(&TaskId, &Wait)| cluster.tasks.contains_key(id);
    State {
        revision: cluster.revision,
        services: cluster.services.values().map(|service| (**service).clone()).collect(),
        tasks: cluster.tasks.values().cloned().collect(),
        networks: cluster.networks.values().map(|network| (**network).clone()).collect(),
        volumes: cluster.volumes.values().map(|volume| (**volume).clone()).collect(),
        nodes: cluster.nodes.values().map(|node| (**node).clone()).collect(),
        configs: configs.collect(),
        secrets: secrets.collect(),
        sources: cluster.sources.values().map(|source| shown(source)).collect(),
        leader: None,
        voters: Vec::new(),
        avoided: plan::avoided(cluster, now),
        cluster: cluster.info.as_ref().map(|info| info.view()),
        waiting: waits.iter().filter(known).map(|(id, wait)| (*id, wait.sentence(now))).collect(),
        leaving: cluster.stacks_removing.keys().cloned().collect(),
    }
}

fn content(id: String, content: &ContentSpec) -> ContentView {
    ContentView {
        id,
        name: content.name.clone(),
        stack: content.stack.clone(),
        labels: content.labels.clone(),
        created: content.created,
        updated: content.updated,
    }
}

/// Without credentials, and without values of variables, which may be secret as well.
fn shown(source: &Source) -> Source {
    let mut source = source.clone();
    let credentials = &mut source.spec.credentials;
    let Credentials { token, ssh_key, known_hosts: _, allowed_signers: _, webhook, age_keys } = credentials;
    let secrets = [token, ssh_key, webhook, age_keys];
    secrets.into_iter().flatten().for_each(|secret| *secret = HIDDEN.to_owned());
    source.spec.env.values_mut().for_each(|value| *value = HIDDEN.to_owned());
    source
}
