//! The replicated value: what every member of the cluster agrees on.

mod brief;
mod index;
mod runs;
mod tasks;

pub(crate) use brief::{Brief, Seat};
pub(crate) use index::Index;
pub(crate) use tasks::Tasks;

use model::{
    ClusterInfo, ConfigId, ContentSpec, Desired, Logins, Network, NetworkId, Node, NodeId, RequestId, Response,
    SecretId, Service, ServiceId, ServiceSpec, Source, StackSpec, Task, TaskId, Time, VolumeSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Answers that are kept for clients that ask again.
pub(crate) const ANSWERS: usize = 512;

/// A stack that is being taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovingStack {
    /// Its volumes go too.
    pub volumes: bool,
}

/// A stack as its source wants it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// Name of the source.
    pub source: String,
    /// The stack without its services.
    pub stack: StackSpec,
    /// Those, by full name, as they were applied.
    pub services: BTreeMap<String, Arc<ServiceSpec>>,
}

impl Followed {
    /// The stack with its services.
    pub(crate) fn whole(&self) -> StackSpec {
        let services = self.services.iter().map(|(name, spec)| (name.clone(), (**spec).clone()));
        StackSpec { services: services.collect(), ..self.stack.clone() }
    }
}

/// How often a service failed on a node lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Of which version of its spec; another one begins anew.
    pub spec_version: u64,
    /// When, oldest first.
    pub at: Vec<Time>,
}

/// The state. Values are shared, so that a copy costs little.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cluster {
    /// Counts the entries that were applied.
    pub(crate) revision: u64,
    /// Time of the last entry.
    pub(crate) at: Time,
    /// The cluster that this is, once it is one of several machines.
    pub(crate) info: Option<Arc<ClusterInfo>>,
    pub(crate) nodes: BTreeMap<NodeId, Arc<Node>>,
    pub(crate) services: BTreeMap<ServiceId, Arc<Service>>,
    pub(crate) tasks: Tasks,
    pub(crate) networks: BTreeMap<NetworkId, Arc<Network>>,
    pub(crate) volumes: BTreeMap<String, Arc<VolumeSpec>>,
    /// Volumes that were removed, with the nodes that have not said yet that their data is gone.
    pub(crate) volumes_left: BTreeMap<String, BTreeSet<NodeId>>,
    /// Nodes that hold data of a volume: those where a task that mounts it was placed.
    pub(crate) homes: BTreeMap<String, BTreeSet<NodeId>>,
    /// Failures that are not forgotten yet.
    pub(crate) failures: BTreeMap<(ServiceId, NodeId), Failures>,
    pub(crate) configs: BTreeMap<ConfigId, Arc<ContentSpec>>,
    pub(crate) secrets: BTreeMap<SecretId, Arc<ContentSpec>>,
    /// What names of configs mean now; tasks may still use an earlier content.
    pub(crate) config_names: BTreeMap<String, ConfigId>,
    pub(crate) secret_names: BTreeMap<String, SecretId>,
    /// What images of services are pulled with, where that was given: no more than the login for the one registry.
    pub(crate) logins: BTreeMap<ServiceId, Arc<Logins>>,
    pub(crate) stacks_removing: BTreeMap<String, RemovingStack>,
    /// Sources by name.
    pub(crate) sources: BTreeMap<String, Arc<Source>>,
    /// Stacks that are followed, as they should be.
    pub(crate) followed: BTreeMap<String, Arc<Followed>>,
    /// The same as they were when all was well last.
    pub(crate) good: BTreeMap<String, Arc<Followed>>,
    /// The newest answers, oldest first.
    pub(crate) answers: VecDeque<(RequestId, Arc<Response>)>,
    /// The last host port that was chosen, so that the next one is another.
    pub(crate) last_port: u16,
    /// The number of the network that was made last, so that the next one has another: a node that nobody hears of may
    /// still have that of one that is gone.
    pub(crate) last_vni: u32,
    /// The last address given out of each network, so that the next one is another.
    pub(crate) last_address: BTreeMap<NetworkId, u32>,
    /// Index: tasks of each service, and the part of them that plans ask for.
    pub(crate) members: Index<ServiceId, Brief>,
    /// Index: tasks of each node.
    pub(crate) on_node: Index<NodeId>,
    /// Index: tasks with an address of each network, and those.
    pub(crate) on_network: Index<NetworkId, Seat>,
}

impl Cluster {
    /// The tasks of a service, by id.
    pub(crate) fn tasks_of(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        self.members.of(service).filter_map(|(id, _)| self.tasks.get(&id))
    }

    /// Those of them that this is true of. Others cost next to nothing.
    pub(crate) fn tasks_where(
        &self,
        service: ServiceId,
        is_wanted: impl Fn(&Brief) -> bool,
    ) -> impl Iterator<Item = &Arc<Task>> {
        let wanted = self.members.of(service).filter(move |(_, brief)| is_wanted(brief));
        wanted.filter_map(|(id, _)| self.tasks.get(&id))
    }

    /// What there is to say in brief of each task of a service.
    pub(crate) fn briefs_of(&self, service: ServiceId) -> impl Iterator<Item = &Brief> {
        self.members.of(service).map(|(_, brief)| brief)
    }

    /// The tasks of a node, by id.
    pub(crate) fn tasks_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.on_node.of(node).filter_map(|(id, ())| self.tasks.get(&id))
    }

    /// The tasks with an address of a network, by id.
    pub(crate) fn tasks_in(&self, network: NetworkId) -> impl Iterator<Item = &Arc<Task>> {
        self.on_network.of(network).filter_map(|(id, _)| self.tasks.get(&id))
    }

    /// Has it any task?
    pub(crate) fn has_tasks(&self, service: ServiceId) -> bool {
        self.members.has(service)
    }

    /// Adds or replaces a task.
    pub(crate) fn put_task(&mut self, task: Arc<Task>) {
        if let Some(before) = self.tasks.insert(task.id, task.clone()) {
            self.forget(&before);
        }
        self.members.put(task.service, task.id, Brief::of(&task));
        if let Some(node) = task.node {
            self.on_node.put(node, task.id, ());
        }
        seats(&task).into_iter().for_each(|(network, seat)| self.on_network.put(network, task.id, seat));
    }

    /// Forgets a task.
    pub(crate) fn drop_task(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.remove(id) {
            self.forget(&task);
        }
    }

    fn forget(&mut self, task: &Task) {
        self.members.remove(task.service, task.id);
        if let Some(node) = task.node {
            self.on_node.remove(node, task.id);
        }
        task.endpoints.iter().for_each(|endpoint| self.on_network.remove(endpoint.network, task.id));
    }

    /// Changes a task in place; nothing if there is none. Its id and service stay.
    pub(crate) fn edit_task(&mut self, id: TaskId, edit: impl FnOnce(&mut Task)) {
        let _ = self.change_task(id, edit);
    }

    /// The same with a result; `None` if there is no such task.
    pub(crate) fn change_task<T>(&mut self, id: TaskId, edit: impl FnOnce(&mut Task) -> T) -> Option<T> {
        let task = Arc::make_mut(self.tasks.get_mut(id)?);
        let before = (task.node, seats(task));
        let result = edit(task);
        let after = (task.node, seats(task));
        self.members.put(task.service, id, Brief::of(task));
        if before != after {
            before.0.into_iter().for_each(|node| self.on_node.remove(node, id));
            after.0.into_iter().for_each(|node| self.on_node.put(node, id, ()));
            before.1.into_iter().for_each(|(network, _)| self.on_network.remove(network, id));
            after.1.into_iter().for_each(|(network, seat)| self.on_network.put(network, id, seat));
        }
        Some(result)
    }

    /// Changes a service in place and counts that; nothing if there is none.
    pub(crate) fn edit_service(&mut self, id: ServiceId, edit: impl FnOnce(&mut Service)) {
        if let Some(service) = self.services.get_mut(&id) {
            let service = Arc::make_mut(service);
            edit(service);
            service.version += 1;
        }
    }

    /// The service of this full name.
    pub(crate) fn service_named(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.values().find(|service| service.spec.name == name)
    }

    /// The service of a stack by its key.
    pub(crate) fn service_of(&self, stack: Option<&str>, key: &str) -> Option<&Arc<Service>> {
        self.services.values().find(|service| {
            !service.spec.standalone && service.spec.stack.as_deref() == stack && service.spec.key == key
        })
    }

    /// The network of this full name.
    pub(crate) fn network_named(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.values().find(|network| network.spec.name == name)
    }

    /// The answer that a request got before.
    pub(crate) fn answer(&self, id: RequestId) -> Option<&Arc<Response>> {
        self.answers.iter().rev().find(|(known, _)| *known == id).map(|(_, response)| response)
    }
}

/// What a task holds, by network.
fn seats(task: &Task) -> Vec<(NetworkId, Seat)> {
    task.endpoints.iter().map(|endpoint| (endpoint.network, Seat::of(task, endpoint))).collect()
}

/// What the planner and requests ask of a task.
pub(crate) trait TaskExt {
    /// It holds its slot: nobody has given it up.
    fn is_live(&self) -> bool;
    /// Nothing of its wanted attempt runs any more.
    fn has_ended(&self) -> bool;
    /// It runs now, be it healthy or not.
    fn is_running(&self) -> bool;
}

impl TaskExt for Task {
    fn is_live(&self) -> bool {
        self.desired <= Desired::Running
    }

    fn has_ended(&self) -> bool {
        self.status.state.is_terminal() && self.status.attempt >= self.attempt
    }

    fn is_running(&self) -> bool {
        self.status.state == model::TaskState::Running && self.status.attempt == self.attempt
    }
}

/// The slot that a task fills: its number, and the node where that is the slot.
pub(crate) type Slot = (u32, Option<NodeId>);

/// Which slot a task fills.
pub(crate) fn slot(task: &Task) -> Slot {
    (task.slot, if task.slot == 0 { task.node } else { None })
}
