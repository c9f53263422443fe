//! The replicated state as a value that can be written down. Each spec is in it once, however many tasks
//! were made from it.

use crate::cluster::{Cluster, Failures, Followed, RemovingStack};
use model::{
    ClusterInfo, ConfigId, ContentSpec, Desired, Endpoint, Heritage, Logins, Network, NetworkId, Node, NodeId,
    RequestId, Response, SecretId, Service, ServiceId, ServiceSpec, Source, StackSpec, Task, TaskId, TaskState,
    TaskStatus, Time, UpdateStatus, VolumeSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state, written down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    revision: u64,
    at: Time,
    #[serde(default)]
    info: Option<Arc<ClusterInfo>>,
    specs: Vec<Arc<ServiceSpec>>,
    nodes: Vec<Arc<Node>>,
    services: Vec<ServiceRecord>,
    tasks: Vec<TaskRecord>,
    networks: Vec<Arc<Network>>,
    volumes: Vec<Arc<VolumeSpec>>,
    volumes_left: BTreeMap<String, BTreeSet<NodeId>>,
    #[serde(default)]
    homes: BTreeMap<String, BTreeSet<NodeId>>,
    #[serde(default)]
    failures: Vec<(ServiceId, NodeId, Failures)>,
    configs: BTreeMap<ConfigId, Arc<ContentSpec>>,
    secrets: BTreeMap<SecretId, Arc<ContentSpec>>,
    config_names: BTreeMap<String, ConfigId>,
    secret_names: BTreeMap<String, SecretId>,
    #[serde(default)]
    logins: BTreeMap<ServiceId, Arc<Logins>>,
    stacks_removing: BTreeMap<String, RemovingStack>,
    #[serde(default)]
    sources: Vec<Arc<Source>>,
    #[serde(default)]
    followed: Vec<FollowedRecord>,
    #[serde(default)]
    good: Vec<FollowedRecord>,
    answers: Vec<(RequestId, Arc<Response>)>,
    last_port: u16,
    #[serde(default)]
    last_vni: u32,
    last_address: BTreeMap<NetworkId, u32>,
}

/// A stack that is followed; specs by their place in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FollowedRecord {
    source: String,
    stack: StackSpec,
    services: BTreeMap<String, usize>,
}

/// A service; specs by their place in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ServiceRecord {
    id: ServiceId,
    spec: usize,
    spec_version: u64,
    force_version: u64,
    version: u64,
    previous: Option<usize>,
    removing: bool,
    chosen_ports: Vec<Option<u16>>,
    #[serde(default)]
    vips: BTreeMap<NetworkId, std::net::Ipv4Addr>,
    created: Time,
    updated: Time,
    update_status: Option<UpdateStatus>,
}

/// A task; its spec by its place in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TaskRecord {
    id: TaskId,
    service: ServiceId,
    slot: u32,
    spec: usize,
    spec_version: u64,
    node: Option<NodeId>,
    desired: Desired,
    attempt: u32,
    stopped_by_user: bool,
    stop_signal: Option<String>,
    stop_timeout: Option<u64>,
    endpoints: Vec<Endpoint>,
    status: TaskStatus,
    created: Time,
    not_before: Time,
    restarts: Vec<Time>,
    remove_volumes: bool,
    #[serde(default)]
    inherits: Option<Heritage>,
}

/// Specs seen so far, by identity.
#[derive(Default)]
struct Specs {
    list: Vec<Arc<ServiceSpec>>,
    known: BTreeMap<*const ServiceSpec, usize>,
}

impl Specs {
    fn place(&mut self, spec: &Arc<ServiceSpec>) -> usize {
        *self.known.entry(Arc::as_ptr(spec)).or_insert_with(|| {
            self.list.push(spec.clone());
            self.list.len() - 1
        })
    }
}

impl Snapshot {
    /// A config by its name, with its content.
    pub fn config(&self, name: &str) -> Option<&ContentSpec> {
        self.configs.get(self.config_names.get(name)?).map(AsRef::as_ref)
    }

    /// The cluster with its secrets; `None` if it is that of a machine of its own.
    pub fn info(&self) -> Option<&ClusterInfo> {
        self.info.as_deref()
    }

    /// How many services are in it.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// The same with `own` as its only manager, which a backup of the state makes of the machine that it is
    /// restored on. `place`: where others reach that and the name of its key, in a cluster. The other managers
    /// hold another truth: they may come back only with a token.
    #[must_use]
    pub fn restored_on(mut self, own: NodeId, place: Option<(String, String)>) -> Snapshot {
        for node in self.nodes.iter_mut().filter(|node| node.manager && node.id != own) {
            *node = Arc::new(node.departed());
        }
        let known = self.nodes.iter().position(|node| node.id == own);
        let known = known.map_or_else(|| Arc::new(Node::new(own, "")), |at| self.nodes.swap_remove(at));
        let (member, address, key) = match place {
            Some((address, key)) => (Some(1), Some(address), key),
            None => (None, None, String::new()),
        };
        self.nodes.push(Arc::new(Node { manager: true, left: false, member, address, key, ..(*known).clone() }));
        // Nothing runs there as far as anybody knows. Workers go on, and say so.
        let gone: BTreeSet<NodeId> =
            self.nodes.iter().filter(|node| node.left || node.id == own).map(|node| node.id).collect();
        for task in self.tasks.iter_mut().filter(|task| task.node.is_some_and(|node| gone.contains(&node))) {
            if !task.status.state.is_terminal() {
                task.status.state = task.status.state.min(TaskState::Assigned);
                (task.status.message, task.status.container) = (String::new(), None);
            }
        }
        self.revision += 1;
        self
    }
}

impl From<&Cluster> for Snapshot {
    fn from(cluster: &Cluster) -> Snapshot {
        let mut specs = Specs::default();
        let services = cluster.services.values().map(|service| service_record(&mut specs, service)).collect();
        let tasks = cluster.tasks.values().map(|task| task_record(&mut specs, task)).collect();
        let followed = cluster.followed.values().map(|one| followed_record(&mut specs, one)).collect();
        let good = cluster.good.values().map(|one| followed_record(&mut specs, one)).collect();
        Snapshot {
            sources: cluster.sources.values().cloned().collect(),
            followed,
            good,
            revision: cluster.revision,
            at: cluster.at,
            info: cluster.info.clone(),
            specs: specs.list,
            nodes: cluster.nodes.values().cloned().collect(),
            services,
            tasks,
            networks: cluster.networks.values().cloned().collect(),
            volumes: cluster.volumes.values().cloned().collect(),
            volumes_left: cluster.volumes_left.clone(),
            homes: cluster.homes.clone(),
            failures: cluster
                .failures
                .iter()
                .map(|((service, node), known)| (*service, *node, known.clone()))
                .collect(),
            configs: cluster.configs.clone(),
            secrets: cluster.secrets.clone(),
            config_names: cluster.config_names.clone(),
            secret_names: cluster.secret_names.clone(),
            logins: cluster.logins.clone(),
            stacks_removing: cluster.stacks_removing.clone(),
            answers: cluster.answers.iter().cloned().collect(),
            last_port: cluster.last_port,
            last_vni: cluster.last_vni,
            last_address: cluster.last_address.clone(),
        }
    }
}

fn followed_record(specs: &mut Specs, followed: &Followed) -> FollowedRecord {
    let Followed { source, stack, services } = followed;
    let services = services.iter().map(|(name, spec)| (name.clone(), specs.place(spec))).collect();
    FollowedRecord { source: source.clone(), stack: stack.clone(), services }
}

fn followed(specs: &[Arc<ServiceSpec>], record: FollowedRecord) -> Option<(String, Arc<Followed>)> {
    let named = record.services.into_iter().map(|(name, place)| Some((name, specs.get(place)?.clone())));
    let services = named.collect::<Option<BTreeMap<_, _>>>()?;
    let followed = Followed { source: record.source, stack: record.stack, services };
    Some((followed.stack.name.clone(), Arc::new(followed)))
}

fn service_record(specs: &mut Specs, service: &Service) -> ServiceRecord {
    let Service {
        id,
        spec,
        spec_version,
        force_version,
        version,
        previous,
        removing,
        chosen_ports,
        vips,
        created,
        updated,
        update_status,
    } = service;
    ServiceRecord {
        id: *id,
        spec: specs.place(spec),
        spec_version: *spec_version,
        force_version: *force_version,
        version: *version,
        previous: previous.as_ref().map(|previous| specs.place(previous)),
        removing: *removing,
        chosen_ports: chosen_ports.clone(),
        vips: vips.clone(),
        created: *created,
        updated: *updated,
        update_status: update_status.clone(),
    }
}

fn task_record(specs: &mut Specs, task: &Task) -> TaskRecord {
    let Task {
        id,
        service,
        slot,
        spec,
        spec_version,
        node,
        desired,
        attempt,
        stopped_by_user,
        stop_signal,
        stop_timeout,
        endpoints,
        status,
        created,
        not_before,
        restarts,
        remove_volumes,
        inherits,
    } = task;
    TaskRecord {
        id: *id,
        service: *service,
        slot: *slot,
        spec: specs.place(spec),
        spec_version: *spec_version,
        node: *node,
        desired: *desired,
        attempt: *attempt,
        stopped_by_user: *stopped_by_user,
        stop_signal: stop_signal.clone(),
        stop_timeout: *stop_timeout,
        endpoints: endpoints.clone(),
        status: status.clone(),
        created: *created,
        not_before: *not_before,
        restarts: restarts.clone(),
        remove_volumes: *remove_volumes,
        inherits: *inherits,
    }
}

impl From<Snapshot> for Cluster {
    /// A record whose spec is not in the list is left out: it can't have been written by us.
    fn from(snapshot: Snapshot) -> Cluster {
        let specs = &snapshot.specs;
        let mut cluster = Cluster {
            revision: snapshot.revision,
            at: snapshot.at,
            info: snapshot.info,
            nodes: snapshot.nodes.into_iter().map(|node| (node.id, node)).collect(),
            networks: snapshot.networks.into_iter().map(|network| (network.id, network)).collect(),
            volumes: snapshot.volumes.into_iter().map(|volume| (volume.name.clone(), volume)).collect(),
            volumes_left: snapshot.volumes_left,
            homes: snapshot.homes,
            failures: snapshot.failures.into_iter().map(|(service, node, known)| ((service, node), known)).collect(),
            configs: snapshot.configs,
            secrets: snapshot.secrets,
            config_names: snapshot.config_names,
            secret_names: snapshot.secret_names,
            logins: snapshot.logins,
            stacks_removing: snapshot.stacks_removing,
            sources: snapshot.sources.into_iter().map(|source| (source.spec.name.clone(), source)).collect(),
            followed: snapshot.followed.into_iter().filter_map(|record| followed(specs, record)).collect(),
            good: snapshot.good.into_iter().filter_map(|record| followed(specs, record)).collect(),
            answers: snapshot.answers.into(),
            last_port: snapshot.last_port,
            last_vni: snapshot.last_vni,
            last_address: snapshot.last_address,
            ..Cluster::default()
        };
        let services = snapshot.services.into_iter().filter_map(|record| service(specs, record));
        cluster.services = services.map(|service| (service.id, Arc::new(service))).collect();
        for task in snapshot.tasks.into_iter().filter_map(|record| task(specs, record)) {
            cluster.put_task(Arc::new(task));
        }
        cluster
    }
}

fn service(specs: &[Arc<ServiceSpec>], record: ServiceRecord) -> Option<Service> {
    Some(Service {
        id: record.id,
        spec: specs.get(record.spec)?.clone(),
        spec_version: record.spec_version,
        force_version: record.force_version,
        version: record.version,
        previous: match record.previous {
            Some(place) => Some(specs.get(place)?.clone()),
            None => None,
        },
        removing: record.removing,
        chosen_ports: record.chosen_ports,
        vips: record.vips,
        created: record.created,
        updated: record.updated,
        update_status: record.update_status,
    })
}

fn task(specs: &[Arc<ServiceSpec>], record: TaskRecord) -> Option<Task> {
    Some(Task {
        id: record.id,
        service: record.service,
        slot: record.slot,
        spec: specs.get(record.spec)?.clone(),
        spec_version: record.spec_version,
        node: record.node,
        desired: record.desired,
        attempt: record.attempt,
        stopped_by_user: record.stopped_by_user,
        stop_signal: record.stop_signal,
        stop_timeout: record.stop_timeout,
        endpoints: record.endpoints,
        status: record.status,
        created: record.created,
        not_before: record.not_before,
        restarts: record.restarts,
        remove_volumes: record.remove_volumes,
        inherits: record.inherits,
    })
}
