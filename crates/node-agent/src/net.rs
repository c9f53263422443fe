//! The network of this host: what it should be, and what of it is known to be there.

use crate::backoff::Retry;
use crate::effect::{EffectId, Net, NetFault};
use crate::elsewhere::{self, Others};
use crate::task::{Goal, Kind, Local, Place};
use model::{
    AssignedTask, Assignment, Endpoint, Generation, HostEndpoint, HostNet, Network, NetworkId, NetworkMode, PortSpec,
    Protocol, PublishedPort, TaskId, Time,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// How often the kernel is compared with what it should be, though nothing has changed.
const VERIFY: Duration = Duration::from_secs(600);
/// The same while a running task lacks something.
const VERIFY_FAULTY: Duration = Duration::from_secs(15);
/// How long the network of containers without one of their own stays after the last of them: one `run`
/// after the other need not make it anew. It is always there for the cluster, so nobody takes its subnet.
const LINGER: Duration = Duration::from_secs(1);
/// The longest chain of tasks that join each other's namespace.
const MAX_JOINS: usize = 8;

/// Protocol, host port, host address: what can be taken only once.
type PortKey = (Protocol, u16, Option<IpAddr>);

/// Which namespace a task runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// The host's.
    Host,
    /// That of this task.
    Of(TaskId),
    /// It joins a task that is not here.
    Lost(TaskId),
}

impl Space {
    /// As effects have it.
    ///
    /// # Errors
    /// The task that is not here.
    pub(crate) fn net(self) -> Result<Net, TaskId> {
        match self {
            Space::Host => Ok(Net::Host),
            Space::Of(owner) => Ok(Net::Task(owner)),
            Space::Lost(owner) => Err(owner),
        }
    }
}

/// The network of the host, wanted and seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nets {
    pub(crate) wanted: HostNet,
    /// What was last made true.
    pub(crate) landed: Option<HostNet>,
    pub(crate) faults: Vec<NetFault>,
    pub(crate) flight: Option<(EffectId, HostNet)>,
    /// Which assignment what is in flight was worked out from.
    pub(crate) flight_of: Option<Generation>,
    /// The newest of those that the network follows, settled.
    settled_of: Option<Generation>,
    /// What has landed since, and when each has settled.
    settling: VecDeque<(Time, Option<Generation>)>,
    /// The first of the assignments that somebody waits for now.
    awaited_from: Option<Generation>,
    pub(crate) retry: Retry,
    /// Why the last try failed as a whole.
    pub(crate) failure: Option<String>,
    verify_at: Option<Time>,
    /// Until when the default network stays though nobody is on it.
    lingers: Option<Time>,
    /// What tasks needed when `wanted` was worked out; `None`: it has to be worked out again.
    pub(crate) shape: Option<Vec<(TaskId, Needs)>>,
    /// Tasks whose port another service on this host has.
    clashes: BTreeMap<TaskId, String>,
}

impl Nets {
    /// Works out what should be.
    pub(crate) fn want(
        &mut self,
        locals: &BTreeMap<TaskId, Local>,
        assignment: &Assignment,
        goal: impl Fn(&Local) -> Goal,
        now: Time,
    ) {
        let mut wanted = HostNet::default();
        let mut held: BTreeSet<TaskId> = BTreeSet::new();
        for local in locals.values() {
            held.extend(needed_space(locals, local, goal(local)));
        }
        let before = std::mem::take(&mut self.wanted);
        for id in held {
            // The owner of a namespace may be gone while another still runs in it.
            let assigned = locals.get(&id).and_then(|local| local.assigned.as_ref());
            let Some(endpoint) = assigned.map(endpoint).or_else(|| before.endpoints.get(&id).cloned()) else {
                continue;
            };
            for attachment in &endpoint.attachments {
                let known = assignment.networks.get(&attachment.network);
                if let Some(network) = known.or_else(|| before.networks.get(&attachment.network)) {
                    wanted.networks.insert(attachment.network, network.clone());
                }
            }
            wanted.endpoints.insert(id, endpoint);
        }
        self.linger(&before, &mut wanted, now);
        for (id, zone) in &assignment.zones {
            if wanted.networks.contains_key(id) {
                wanted.zones.insert(*id, (**zone).clone());
            }
        }
        let others = Others { locals, assignment, networks: &wanted.networks };
        (wanted.remotes, wanted.vips) = (others.remotes(), others.vips(&goal));
        (wanted.mesh, wanted.ingress) = (others.mesh(), others.ingress());
        wanted.ports = self.ports(locals, assignment, &wanted.networks, goal);
        self.wanted = wanted;
    }

    /// Keeps the default network for a while.
    fn linger(&mut self, before: &HostNet, wanted: &mut HostNet, now: Time) {
        let left =
            before.networks.iter().find(|(id, network)| network.is_default() && !wanted.networks.contains_key(id));
        let until = self.lingers.unwrap_or_else(|| now.after(LINGER));
        self.lingers = left.map(|_| until).filter(|until| *until > now);
        if let Some((id, network)) = left.filter(|_| self.lingers.is_some()) {
            wanted.networks.insert(*id, network.clone());
        }
    }

    /// Has the default network stayed long enough?
    pub(crate) fn lingered(&self, now: Time) -> bool {
        self.lingers.is_some_and(|until| until <= now)
    }

    /// The ports of this host. Backends here are those that this agent sees to be ready; those on other
    /// hosts are taken from the assignment.
    fn ports(
        &mut self,
        locals: &BTreeMap<TaskId, Local>,
        assignment: &Assignment,
        networks: &BTreeMap<NetworkId, Network>,
        goal: impl Fn(&Local) -> Goal,
    ) -> Vec<PublishedPort> {
        self.clashes.clear();
        let mut ports: BTreeMap<PortKey, PublishedPort> = BTreeMap::new();
        let ours = elsewhere::ours(locals, assignment);
        for port in &assignment.ports {
            let mut port = port.clone();
            port.backends.retain(|(address, _)| !ours.contains(address));
            if !port.backends.is_empty() {
                ports.insert((port.protocol, port.host_port, port.host_ip), port);
            }
        }
        // Those that run first: they have their ports already.
        let (first, then): (Vec<&Local>, Vec<&Local>) = locals.values().partition(|local| local.runs());
        for local in first.into_iter().chain(then) {
            let Some(assigned) = &local.assigned else { continue };
            let goal = goal(local);
            if !publishes(local, goal) {
                continue;
            }
            for (key, spec) in published(assigned) {
                let service = assigned.task.spec.name.clone();
                let fresh = || PublishedPort {
                    protocol: key.0,
                    host_port: key.1,
                    host_ip: key.2,
                    backends: BTreeSet::new(),
                    service: service.clone(),
                    everywhere: spec.mode == model::PortMode::Ingress,
                    admitted: BTreeSet::new(),
                };
                let port = ports.entry(key).or_insert_with(fresh);
                if port.service != service {
                    let why = format!("port {}/{} is taken by service {}", key.1, word(key.0), port.service);
                    self.clashes.insert(local.id, why);
                } else {
                    let reached = if takes_traffic(local, goal) { &mut port.backends } else { &mut port.admitted };
                    reached.extend(backends(assigned, networks).into_iter().map(|address| (address, spec.target)));
                }
            }
        }
        ports.into_values().collect()
    }

    /// Is all that is wanted there?
    pub(crate) fn is_true(&self) -> bool {
        self.flight.is_none() && self.landed.as_ref() == Some(&self.wanted)
    }

    /// The newest assignment that the network follows, of those that somebody waits for: while something newer is
    /// always wanted it is not all there at any time.
    pub(crate) fn follows(&mut self, newest: &Assignment, now: Time) -> Option<Generation> {
        while let Some((_, generation)) = self.settling.pop_front_if(|(at, _)| *at <= now) {
            self.settled_of = generation;
        }
        if !newest.awaited {
            self.awaited_from = None;
            return None;
        }
        let from = *self.awaited_from.get_or_insert(newest.generation);
        let is_settled = self.is_true() && self.settling.is_empty();
        let follows = if is_settled { Some(newest.generation) } else { self.settled_of };
        follows.filter(|generation| *generation >= from)
    }

    /// When nobody goes any more to those whom what has landed does not lead to.
    pub(crate) fn settles(&self, now: Time) -> Time {
        self.settling.back().map_or(now, |(at, _)| now.max(*at))
    }

    /// Is there something to tell the kernel?
    pub(crate) fn is_due(&self, now: Time) -> bool {
        if self.flight.is_some() || self.retry.wait(now).is_some() {
            return false;
        }
        match &self.landed {
            // A host that needs nothing is still told so once: something may be left of an earlier life.
            None => true,
            Some(landed) => *landed != self.wanted || self.verify_at.is_some_and(|at| at <= now),
        }
    }

    /// When there will be something to do, if nothing happens before.
    pub(crate) fn wake(&self, now: Time) -> Option<Time> {
        if self.flight.is_some() {
            return None;
        }
        self.retry.wait(now).or([self.verify_at, self.lingers].into_iter().flatten().min())
    }

    /// When there will be something to tell, if somebody waits for it.
    pub(crate) fn tells_at(&self) -> Option<Time> {
        self.awaited_from.and_then(|_| self.settling.front()).map(|(at, _)| *at)
    }

    pub(crate) fn land(&mut self, faults: Vec<NetFault>, settles: Duration, now: Time) {
        let Some((_, net)) = self.flight.take() else { return };
        let every = if faults.is_empty() { VERIFY } else { VERIFY_FAULTY };
        self.verify_at = (!net.endpoints.is_empty() || !faults.is_empty()).then(|| now.after(every));
        self.landed = Some(net);
        self.settling.push_back((self.settles(now).max(now.after(settles)), self.flight_of));
        self.faults = faults;
        self.retry = Retry::default();
        self.failure = None;
    }

    pub(crate) fn fail(&mut self, message: String, now: Time) {
        self.flight = None;
        // Nobody knows how far it came.
        self.landed = None;
        self.settled_of = None;
        self.settling.iter_mut().for_each(|(_, generation)| *generation = None);
        let delay = self.retry.failed(now);
        self.failure = Some(format!("{message} (trying again in {})", crate::backoff::shown(delay)));
    }

    /// May this task be started, as far as the network goes?
    pub(crate) fn place(&self, locals: &BTreeMap<TaskId, Local>, local: &Local) -> Place {
        let owner = match space(locals, local.id) {
            Space::Host => return Place::There,
            Space::Lost(task) if task == local.id => {
                return Place::Awaited("waits for the container whose network it joins, which is gone".to_owned());
            }
            Space::Lost(task) => {
                return Place::Awaited(format!("waits for container {}, whose network it joins", task.short()));
            }
            Space::Of(owner) => owner,
        };
        if owner != local.id && !locals.get(&owner).is_some_and(Local::runs) {
            return Place::Awaited(format!("waits for container {}, whose network it joins, to run", owner.short()));
        }
        let Some(assigned) = &local.assigned else { return Place::Awaited("waits for its network".to_owned()) };
        if let Some(why) = self.clashes.get(&local.id) {
            return Place::Fault(why.clone());
        }
        let ports: Vec<PortKey> = published(assigned).map(|(key, _)| key).collect();
        let ports = if assigned.task.desired == model::Desired::Ready { Vec::new() } else { ports };
        let has = |net: &HostNet| {
            net.endpoints.get(&owner).is_some_and(|there| Some(there) == self.wanted.endpoints.get(&owner))
                && ports.iter().all(|key| net.ports.iter().any(|port| key_of(port) == *key))
                && self.names_dependencies(net, assigned)
        };
        let landed = self.landed.as_ref().is_some_and(has);
        let kept = self.flight.as_ref().is_none_or(|(_, net)| has(net));
        if !landed || !kept {
            return match &self.failure {
                Some(why) => Place::Awaited(format!("network: {why}")),
                None => Place::Awaited("waits for its network".to_owned()),
            };
        }
        match self.fault(owner, &ports) {
            Some(_) if self.flight.is_some() => Place::Awaited("waits for its network".to_owned()),
            Some(why) => Place::Fault(why),
            None => Place::There,
        }
    }

    /// Can the task find by name what it was held back for? A start that overtakes the names would make
    /// `depends_on` worth little.
    fn names_dependencies(&self, net: &HostNet, assigned: &AssignedTask) -> bool {
        let networks = || assigned.task.endpoints.iter().map(|endpoint| &endpoint.network);
        assigned
            .task
            .spec
            .depends_on
            .keys()
            .all(|name| networks().all(|network| behind(net, network, name) == behind(&self.wanted, network, name)))
    }

    fn fault(&self, owner: TaskId, ports: &[PortKey]) -> Option<String> {
        let concerns = |fault: &&NetFault| match fault {
            NetFault::Endpoint { task, .. } => *task == owner,
            NetFault::Port { protocol, host_port, host_ip, .. } => ports.contains(&(*protocol, *host_port, *host_ip)),
        };
        self.faults.iter().find(concerns).map(|fault| match fault {
            NetFault::Endpoint { message, .. } | NetFault::Port { message, .. } => message.clone(),
        })
    }

    /// Does it run in another namespace than it should, or may it?
    pub(crate) fn has_moved(&self, locals: &BTreeMap<TaskId, Local>, local: &Local) -> bool {
        let Some(runs_in) = local.space.filter(|_| local.may_run()) else { return false };
        space(locals, local.id) != Space::Of(runs_in)
    }

    /// What a running task lacks.
    pub(crate) fn complaint(&self, local: &Local) -> Option<String> {
        if self.faults.is_empty() {
            return None;
        }
        let ports: Vec<PortKey> = published(local.assigned.as_ref()?).map(|(key, _)| key).collect();
        self.fault(local.id, &ports)
    }
}

/// What a name leads to: its addresses, and the tasks behind those that are virtual.
fn behind<'n>(
    net: &'n HostNet,
    network: &NetworkId,
    name: &str,
) -> Option<(&'n Vec<IpAddr>, Vec<&'n model::VirtualAddress>)> {
    let addresses = net.zones.get(network)?.names.get(name)?;
    let vips = net.vips.get(network).into_iter().flat_map(|all| all.iter());
    Some((addresses, vips.filter(|vip| addresses.contains(&vip.address)).collect()))
}

/// Which namespace a task runs in.
pub(crate) fn space(locals: &BTreeMap<TaskId, Local>, task: TaskId) -> Space {
    let mut at = task;
    for _ in 0..MAX_JOINS {
        let Some(assigned) = locals.get(&at).and_then(|local| local.assigned.as_ref()) else { return Space::Lost(at) };
        match (assigned.joins, &assigned.task.spec.network_mode) {
            (Some(next), _) => at = next,
            (None, NetworkMode::Host) => return Space::Host,
            (None, NetworkMode::Service(_) | NetworkMode::Container(_)) => return Space::Lost(at),
            (None, NetworkMode::Networks | NetworkMode::None) => return Space::Of(at),
        }
    }
    Space::Lost(at)
}

/// The namespace that a task needs: the one that it runs in, else its own. One that waits for another's
/// does not keep that in being.
fn needed_space(locals: &BTreeMap<TaskId, Local>, local: &Local, goal: Goal) -> Option<TaskId> {
    if !holds(local, goal) {
        return None;
    }
    let runs = local.may_run();
    match space(locals, local.id) {
        _ if runs && local.space.is_some() => local.space,
        Space::Of(owner) if runs || owner == local.id => Some(owner),
        Space::Of(_) | Space::Host | Space::Lost(_) => None,
    }
}

/// Does the task need its namespace: it runs, or is about to, or its last answers go out?
fn holds(local: &Local, goal: Goal) -> bool {
    match goal {
        Goal::Run | Goal::Ready => true,
        Goal::Stop | Goal::Gone => local.may_run() || matches!(local.flight, Some((_, Kind::Stop))),
        Goal::Hold => local.runs(),
    }
}

/// What a task needs of the network; the network is worked out anew when it changes for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    space: bool,
    up: bool,
    ports: bool,
    traffic: bool,
}

/// What this task needs of the network.
pub(crate) fn needs(local: &Local, goal: Goal) -> Needs {
    Needs {
        space: holds(local, goal),
        up: local.may_run(),
        ports: publishes(local, goal),
        traffic: takes_traffic(local, goal),
    }
}

pub(crate) fn takes_traffic(local: &Local, goal: Goal) -> bool {
    goal == Goal::Run && local.serves()
}

/// Does the task hold its published ports?
fn publishes(local: &Local, goal: Goal) -> bool {
    match goal {
        Goal::Ready => false,
        goal => holds(local, goal),
    }
}

fn endpoint(assigned: &AssignedTask) -> HostEndpoint {
    let container = &assigned.task.spec.container;
    let sysctls = container.sysctls.iter().filter(|(name, _)| name.starts_with("net."));
    HostEndpoint {
        attachments: assigned.task.endpoints.clone(),
        dns: !assigned.task.endpoints.is_empty(),
        dns_servers: container.dns.clone(),
        names: own_names(assigned),
        sysctls: sysctls.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// The names of a service in its only replica.
fn own_names(assigned: &AssignedTask) -> BTreeMap<String, Vec<IpAddr>> {
    let spec = &assigned.task.spec;
    if spec.standalone || !matches!(spec.mode, model::Mode::Replicated { replicas: 1 }) {
        return BTreeMap::new();
    }
    let mut names = BTreeMap::new();
    for (attachment, endpoint) in spec.networks.iter().zip(&assigned.task.endpoints) {
        let all = [&spec.key, &spec.name].into_iter().chain(&attachment.aliases);
        for name in all.map(|name| name.to_lowercase()) {
            names.entry(name).or_insert_with(|| endpoint.addresses().collect());
        }
    }
    names
}

/// Every address of a task.
pub(crate) fn addresses(assigned: &AssignedTask) -> impl Iterator<Item = IpAddr> {
    assigned.task.endpoints.iter().flat_map(Endpoint::addresses)
}

/// Where traffic from a published port goes: the task's addresses on networks with a way out.
fn backends(assigned: &AssignedTask, networks: &BTreeMap<NetworkId, Network>) -> Vec<IpAddr> {
    let open = |endpoint: &&Endpoint| networks.get(&endpoint.network).is_some_and(|network| !network.spec.internal);
    model::entrance(assigned.task.endpoints.iter().filter(open)).collect()
}

/// The ports that a task publishes on its host. With the host's network or another's namespace there are none.
fn published(assigned: &AssignedTask) -> impl Iterator<Item = (PortKey, &PortSpec)> {
    let own = assigned.joins.is_none() && assigned.task.spec.network_mode == NetworkMode::Networks;
    assigned.ports.iter().filter(move |_| own).filter_map(|port| {
        let host_ip = port.host_ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok());
        port.published.map(|host_port| ((port.protocol, host_port, host_ip), port))
    })
}

/// Host ports by container port, as told of a container: `80/tcp` → host ports.
pub(crate) fn chosen_ports(assigned: &AssignedTask) -> BTreeMap<String, Vec<u16>> {
    let mut chosen: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (key, port) in published(assigned) {
        chosen.entry(format!("{}/{}", port.target, word(port.protocol))).or_default().push(key.1);
    }
    chosen
}

fn key_of(port: &PublishedPort) -> PortKey {
    (port.protocol, port.host_port, port.host_ip)
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
