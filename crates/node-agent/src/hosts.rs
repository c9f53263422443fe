//! What the /etc/hosts of a container says.

use crate::effect::{Hosts, Net, WriteHosts};
use crate::net::{Space, space};
use crate::task::Local;
use crate::template::{self, Machine};
use model::{AssignedTask, Assignment, Endpoint, HostLines, ServiceSpec, Task, TaskId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What that of a container that is there should say. `None`: nothing that could be known.
pub(crate) fn wanted(
    locals: &BTreeMap<TaskId, Local>,
    assigned: &AssignedTask,
    assignment: &Assignment,
    machine: &Machine,
) -> Option<WriteHosts> {
    let task = &assigned.task;
    let net = space(locals, task.id).net().ok()?;
    let spec = template::fill(task, &assigned.name, machine);
    let hostname = hostname(locals, task.id, &spec, machine);
    let hosts = of(locals, task, &spec, &hostname, net, assignment).ok()?;
    Some(WriteHosts { task: task.id, net, hosts })
}

/// Its own addresses, then those that the spec adds.
///
/// # Errors
/// A sentence: what makes no sense.
pub(crate) fn of(
    locals: &BTreeMap<TaskId, Local>,
    task: &Task,
    spec: &ServiceSpec,
    hostname: &str,
    net: Net,
    assignment: &Assignment,
) -> Result<Hosts, String> {
    let mut hosts = Hosts { lines: own(task, hostname, spec.container.domainname.as_deref()), gateway: Vec::new() };
    for (name, target) in &spec.container.extra_hosts {
        if target == "host-gateway" {
            hosts.gateway.push(name.clone());
            continue;
        }
        let bare = target.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse().map_err(|_| format!("extra_hosts: `{target}` of `{name}` is no address"))?;
        hosts.lines.push((address, vec![name.clone()]));
    }
    if !hosts.gateway.is_empty()
        && let Some(gateway) = gateway(locals, net, assignment)
    {
        hosts.lines.push((gateway, std::mem::take(&mut hosts.gateway)));
    }
    Ok(hosts)
}

/// The host as seen from a namespace: the bridge of its first network that has a way out.
fn gateway(locals: &BTreeMap<TaskId, Local>, net: Net, assignment: &Assignment) -> Option<IpAddr> {
    let Net::Task(owner) = net else { return None };
    let assigned = locals.get(&owner)?.assigned.as_ref()?;
    let networks = assigned.task.endpoints.iter().filter_map(|endpoint| assignment.networks.get(&endpoint.network));
    networks.min_by_key(|network| network.spec.internal).map(|network| network.gateway)
}

/// The spec's; else that of the namespace's owner, which is the short id of a container of its own.
pub(crate) fn hostname(
    locals: &BTreeMap<TaskId, Local>,
    task: TaskId,
    spec: &ServiceSpec,
    machine: &Machine,
) -> String {
    if let Some(hostname) = &spec.container.hostname {
        return hostname.clone();
    }
    match space(locals, task) {
        Space::Host if !machine.hostname.is_empty() => machine.hostname.clone(),
        Space::Of(owner) if owner != task => {
            let assigned = locals.get(&owner).and_then(|local| local.assigned.as_ref());
            let filled = assigned.map(|it| template::fill(&it.task, &it.name, machine));
            filled.and_then(|spec| spec.container.hostname.clone()).unwrap_or_else(|| owner.short())
        }
        _ => task.short(),
    }
}

/// A line for each address of the task, with its full name where it has one.
fn own(task: &Task, hostname: &str, domain: Option<&str>) -> HostLines {
    let mut names = Vec::new();
    match domain {
        Some(domain) if !domain.is_empty() => names.extend([format!("{hostname}.{domain}"), hostname.to_owned()]),
        _ => {
            names.push(hostname.to_owned());
            // `hostname: web.example.org` means both names (Docker).
            names.extend(hostname.split_once('.').map(|(short, _)| short.to_owned()).filter(|short| !short.is_empty()));
        }
    }
    task.endpoints.iter().flat_map(Endpoint::addresses).map(|address| (address, names.clone())).collect()
}
