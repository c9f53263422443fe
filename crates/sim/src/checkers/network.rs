//! At rest, names and ports lead to every task that serves, and to no other.

use crate::node::SimNode;
use crate::world::World;
use model::{ContainerState, Desired, NetworkId, PortMode, Service, State, Task, Verdict};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl World {
    /// Looks at the network of one host.
    pub(crate) fn check_network(&self, node: &str, sim: &SimNode, state: &State) -> Result<(), String> {
        let hidden = hidden(sim, state);
        let shown_here = |address: &IpAddr| !hidden.contains(address);
        for service in &state.services {
            for (id, zone) in &sim.host.net.zones {
                let network = state.networks.iter().find(|network| network.id == *id);
                let network = network.ok_or_else(|| format!("{node} has a zone of a network that is gone"))?;
                if !service.spec.networks.iter().any(|attached| attached.network == network.spec.name) {
                    continue;
                }
                let wanted = self.serving(service, state).flat_map(|task| addresses(task, *id));
                let wanted = wanted.filter(shown_here).collect();
                let lost: BTreeSet<IpAddr> = self.lost(state).flat_map(|task| addresses(task, *id)).collect();
                let mut vips = sim.host.net.vips.get(id).into_iter().flat_map(|all| all.iter());
                let vip = vips.find(|vip| vip.service == service.id);
                for name in [service.spec.key.clone(), format!("tasks.{}", service.spec.key)] {
                    let answered = zone.names.get(&name).into_iter().flatten();
                    let behind = |address: &IpAddr| match vip.filter(|vip| vip.address == *address) {
                        Some(vip) => vip.backends.iter().filter(|it| it.is_ipv4()).copied().collect(),
                        None => BTreeSet::from([*address]),
                    };
                    let led = answered.flat_map(behind).filter(|address| !lost.contains(address));
                    let led = led.filter(shown_here).collect();
                    same(&format!("{node}: name {name} of {}", service.spec.name), &wanted, &led).map_err(|why| {
                        let told = sim.order.as_ref().and_then(|order| order.zones.get(id)?.names.get(&name));
                        let tasks = state.tasks.iter().filter(|task| task.service == service.id);
                        let tasks: Vec<String> = tasks.map(|task| shown(task)).collect();
                        format!("{why}; told {told:?}, behind it {vip:?}; there are {tasks:?}")
                    })?;
                }
            }
            self.ports(node, sim, service, state)?;
        }
        Ok(())
    }

    fn ports(&self, node: &str, sim: &SimNode, service: &Service, state: &State) -> Result<(), String> {
        for (index, port) in service.spec.ports.iter().enumerate() {
            let Some(host_port) = port.published.or(service.chosen_port(index)) else {
                continue;
            };
            // Ports change with the tasks: one of an earlier spec keeps its own until it is replaced.
            let own = |task: &Task| {
                let mut ports = task.spec.ports.iter().enumerate().filter(|(_, it)| it.protocol == port.protocol);
                let chosen = |at: usize| service.chosen_port(at);
                ports.any(|(at, it)| it.published.or_else(|| chosen(at)) == Some(host_port))
            };
            let here = |task: &&Task| own(task) && (port.mode == PortMode::Ingress || task.node == Some(sim.id));
            let tasks: Vec<&Task> = self.serving(service, state).filter(here).collect();
            let wanted = tasks.iter().flat_map(|task| task.endpoints.first()).map(|endpoint| endpoint.address);
            let hidden = hidden(sim, state);
            let wanted = wanted.filter(|address| !hidden.contains(address)).collect();
            let published =
                sim.host.net.ports.iter().find(|it| it.host_port == host_port && it.protocol == port.protocol);
            let led = published.into_iter().filter(|it| it.service == service.spec.name);
            let led = led.flat_map(|it| &it.backends).map(|(address, _)| *address);
            let led = led.filter(|address| !hidden.contains(address)).collect();
            let what = format!("{node}: port {host_port} of {} ({:?})", service.spec.name, port.mode);
            let told = sim.order.as_ref().map(|order| &order.ports);
            let tasks = || state.tasks.iter().filter(|task| task.service == service.id).map(|task| shown(task));
            same(&what, &wanted, &led).map_err(|why| {
                let has = &sim.host.net.ports;
                format!("{why}; told {told:?}, has {has:?}; there are {:?}", tasks().collect::<Vec<_>>())
            })?;
        }
        Ok(())
    }

    /// The tasks of nodes that are lost. A container of a person stays where it is, whatever becomes of its
    /// node, and so does its name.
    fn lost<'s>(&'s self, state: &'s State) -> impl Iterator<Item = &'s Task> {
        let lost = |task: &&Task| self.nodes.iter().any(|sim| sim.lost && task.node == Some(sim.id));
        state.tasks.iter().map(|task| &**task).filter(lost)
    }

    /// The tasks of a service that take traffic.
    fn serving<'s>(&'s self, service: &Service, state: &'s State) -> impl Iterator<Item = &'s Task> {
        let id = service.id;
        let lost = |task: &&Task| self.nodes.iter().any(|sim| sim.lost && task.node == Some(sim.id));
        let tasks = state.tasks.iter().map(|task| &**task).filter(move |task| task.service == id);
        tasks.filter(|task| task.desired == Desired::Running && serves(task)).filter(move |task| !lost(task))
    }
}

/// Without a mesh nobody tells a host whose the addresses are that tasks of its own have given back, nor could it reach
/// them elsewhere.
fn hidden(sim: &SimNode, state: &State) -> BTreeSet<IpAddr> {
    let over = |task: &&std::sync::Arc<Task>| task.node == Some(sim.id) && task.status.state.is_terminal();
    let over = state.tasks.iter().filter(|_| !sim.meshed).filter(over);
    over.flat_map(|task| &task.endpoints).map(|endpoint| endpoint.address).collect()
}

fn shown(task: &Task) -> String {
    let addresses: Vec<IpAddr> = task.endpoints.iter().map(|endpoint| endpoint.address).collect();
    let (id, node, status) = (task.id.short(), task.node, &task.status);
    format!("{id} {:?} on {node:?} {addresses:?} {:?} {:?}", task.desired, task.spec.ports, status.state)
}

fn serves(task: &Task) -> bool {
    task.status.container.as_ref().is_some_and(|it| {
        it.state == ContainerState::Running
            && it.health.as_ref().is_none_or(|health| health.verdict == Verdict::Healthy)
    })
}

fn addresses(task: &Task, network: NetworkId) -> impl Iterator<Item = IpAddr> {
    task.endpoints.iter().filter(move |endpoint| endpoint.network == network).map(|endpoint| endpoint.address)
}

fn same(what: &str, wanted: &BTreeSet<IpAddr>, there: &BTreeSet<IpAddr>) -> Result<(), String> {
    if wanted == there { Ok(()) } else { Err(format!("{what} leads to {there:?}, not {wanted:?}")) }
}
