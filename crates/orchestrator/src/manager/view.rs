//! What clients may see of the state.

use crate::cluster::Cluster;
use crate::explain::Wait;
use model::{State, TaskId, Time};
use std::collections::BTreeMap;

pub(super) fn state(cluster: &Cluster, waits: &BTreeMap<TaskId, Wait>, now: Time) -> State {
    let configs = cluster.config_names.iter();
    let configs = configs.filter_map(|(name, id)| Some((name.clone(), cluster.configs.get(id)?.stack.clone())));
    let secrets = cluster.secret_names.iter();
    let secrets = secrets.filter_map(|(name, id)| Some((name.clone(), cluster.secrets.get(id)?.stack.clone())));
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
        waiting: waits.iter().filter(known).map(|(id, wait)| (*id, wait.sentence(now))).collect(),
    }
}
