//! What of the assignments may not be as it was: found from the facts of an entry, seen once against the
//! state before it and once against the state after it. Too much is no harm, too little is.

use crate::change::Change;
use crate::cluster::Cluster;
use model::{NetworkId, NetworkMode, NodeId, Service, ServiceId, Task};
use std::collections::BTreeSet;

/// Where to look again.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Everywhere.
    pub(super) all: bool,
    pub(super) nodes: BTreeSet<NodeId>,
    /// Their names.
    pub(super) networks: BTreeSet<NetworkId>,
    /// Their published ports.
    pub(super) services: BTreeSet<ServiceId>,
    /// The way of nodes to each other.
    pub(super) mesh: bool,
}

impl Stale {
    /// Notes what an entry may change for others than itself.
    pub(super) fn note(&mut self, cluster: &Cluster, changes: &[Change]) {
        for change in changes {
            self.change(cluster, change);
        }
        self.contents(cluster, changes);
        // Whose network is joined may be another's by now.
        let joins = |service: &&std::sync::Arc<Service>| {
            matches!(service.spec.network_mode, NetworkMode::Service(_) | NetworkMode::Container(_))
        };
        for service in cluster.services.values().filter(joins) {
            self.nodes.extend(cluster.tasks_of(service.id).filter_map(|task| task.node));
        }
    }

    fn change(&mut self, cluster: &Cluster, change: &Change) {
        match change {
            Change::NewTask(new) => self.task(cluster, new.id),
            Change::EditTask(edit) => self.task(cluster, edit.id),
            Change::SpecTask(id) | Change::DropTask(id) => self.task(cluster, *id),
            Change::PutService(service) => self.service(cluster, service.id),
            Change::EditService(edit) => self.service(cluster, edit.id),
            Change::DropService(id) => self.service(cluster, *id),
            Change::PutNetwork(network) => self.network(cluster, network.id),
            Change::DropNetwork(id) => self.network(cluster, *id),
            Change::VolumeLeft(name, nodes) => {
                self.nodes.extend(nodes.iter().chain(cluster.volumes_left.get(name).into_iter().flatten()));
            }
            Change::Logins(service, _) => self.nodes.extend(cluster.tasks_of(*service).filter_map(|task| task.node)),
            Change::PutVolume(_) | Change::DropVolume(_) => self.all = true,
            Change::Cluster(_) | Change::PutNode(_) | Change::DropNode(_) => self.mesh = true,
            // [`Stale::contents`] looks for all of them at once.
            Change::PutConfig(..) | Change::DropConfig(_) | Change::PutSecret(..) | Change::DropSecret(_) => {}
            Change::VolumeHomes(..)
            | Change::Failures(..)
            | Change::NameConfig(..)
            | Change::NameSecret(..)
            | Change::Stack(..)
            | Change::PutSource(_)
            | Change::DropSource(_)
            | Change::Followed(..)
            | Change::Good(..)
            | Change::GoodAsFollowed(_)
            | Change::LastPort(_)
            | Change::LastVni(_)
            | Change::LastAddress(..) => {}
        }
    }

    /// Configs and secrets are news to those whose tasks use them; mostly they are new, and nobody does.
    fn contents(&mut self, cluster: &Cluster, changes: &[Change]) {
        let (mut configs, mut secrets) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::PutConfig(id, _) | Change::DropConfig(id) => drop(configs.insert(*id)),
                Change::PutSecret(id, _) | Change::DropSecret(id) => drop(secrets.insert(*id)),
                _ => {}
            }
        }
        if configs.is_empty() && secrets.is_empty() {
            return;
        }
        let uses = |task: &&std::sync::Arc<Task>| {
            let container = &task.spec.container;
            container.configs.iter().filter_map(|file| file.id).any(|id| configs.contains(&id))
                || container.secrets.iter().filter_map(|file| file.id).any(|id| secrets.contains(&id))
        };
        self.nodes.extend(cluster.tasks.values().filter(uses).filter_map(|task| task.node));
    }

    fn task(&mut self, cluster: &Cluster, id: model::TaskId) {
        let Some(task) = cluster.tasks.get(&id) else { return };
        self.services.insert(task.service);
        self.places(task);
    }

    fn places(&mut self, task: &Task) {
        self.nodes.extend(task.node);
        self.networks.extend(task.endpoints.iter().map(|endpoint| endpoint.network));
    }

    fn service(&mut self, cluster: &Cluster, id: ServiceId) {
        self.services.insert(id);
        cluster.tasks_of(id).for_each(|task| self.places(task));
        let Some(service) = cluster.services.get(&id) else { return };
        for attachment in &service.spec.networks {
            self.networks.extend(cluster.network_named(&attachment.network).map(|network| network.id));
        }
    }

    fn network(&mut self, cluster: &Cluster, id: NetworkId) {
        self.networks.insert(id);
        for task in cluster.tasks_in(id) {
            self.nodes.extend(task.node);
            // Its ports enter where the network is.
            self.services.insert(task.service);
        }
    }
}
