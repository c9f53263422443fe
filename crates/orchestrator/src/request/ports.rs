//! Host ports: those that are asked for must be free, others are chosen.

use super::Refusal;
use crate::draft::Draft;
use crate::usage::{self, Published};
use model::{Protocol, Service, ServiceId, ServiceSpec};
use std::collections::BTreeSet;

/// Ports that are chosen come from here (IANA's dynamic range, which Docker uses too).
const FIRST: u16 = 49153;
const LAST: u16 = u16::MAX;

/// Chooses host ports where the spec names none; those chosen before are kept.
pub(super) fn choose(draft: &mut Draft<'_>, id: ServiceId) -> Result<(), Refusal> {
    let Some(service) = draft.cluster().services.get(&id).cloned() else { return Ok(()) };
    let mut taken: BTreeSet<(Protocol, u16)> = draft
        .cluster()
        .services
        .values()
        .filter(|other| other.id != id && !other.removing)
        .flat_map(|other| usage::published(other).map(|(_, (_, (protocol, port, _)))| (protocol, port)))
        .chain(service.spec.ports.iter().filter_map(|port| Some((port.protocol, port.published?))))
        .collect();
    let mut chosen = Vec::new();
    for (index, port) in service.spec.ports.iter().enumerate() {
        if port.published.is_some() {
            chosen.push(None);
            continue;
        }
        let before = service.chosen_port(index);
        let is_free = |number: u16| !taken.contains(&(port.protocol, number));
        let allowed = |number: u16| port.published_range.is_none_or(|(low, high)| (low..=high).contains(&number));
        let kept = before.filter(|port_before| is_free(*port_before) && allowed(*port_before));
        let number = match (kept, port.published_range) {
            (Some(kept), _) => kept,
            (None, Some((low, high))) => {
                (low..=high).find(|number| is_free(*number)).ok_or_else(|| none_free(low, high))?
            }
            (None, None) => next(draft, is_free)?,
        };
        taken.insert((port.protocol, number));
        chosen.push(Some(number));
    }
    if chosen != service.chosen_ports {
        draft.edit().edit_service(id, |service| service.chosen_ports = chosen);
    }
    Ok(())
}

fn none_free(first: u16, last: u16) -> Refusal {
    Refusal::conflict(format!("every host port from {first} to {last} is in use"))
}

/// The next free port after the last that was chosen: one just given back is not given out at once.
fn next(draft: &mut Draft<'_>, is_free: impl Fn(u16) -> bool) -> Result<u16, Refusal> {
    let last = draft.cluster().last_port;
    let start = if (FIRST..LAST).contains(&last) { last + 1 } else { FIRST };
    let found = (start..=LAST).chain(FIRST..start).find(|number| is_free(*number));
    let number = found.ok_or_else(|| none_free(FIRST, LAST))?;
    draft.edit().last_port = number;
    Ok(number)
}

/// Nobody can tell to which of two ports of a container one port of the host should lead.
pub(super) fn check_own(spec: &ServiceSpec) -> Vec<Refusal> {
    let named: Vec<(usize, Published)> = (spec.ports.iter().enumerate())
        .filter_map(|(index, port)| Some((index, (port.protocol, port.published?, port.host_ip.clone()))))
        .collect();
    let is_twice = |(index, port): &&(usize, Published)| {
        named.iter().any(|(earlier, other)| earlier < index && usage::clash(other, port))
    };
    let refusal = |(_, port): &(usize, Published)| {
        let who = usage::describe(spec);
        Refusal::invalid(format!("{who}: port {} is published twice", shown(port))).hint("choose another port for one")
    };
    named.iter().filter(is_twice).map(refusal).collect()
}

/// `127.0.0.1:80/tcp`.
fn shown((protocol, port, address): &Published) -> String {
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let at = address.as_ref().map(|address| format!("{address}:")).unwrap_or_default();
    format!("{at}{port}/{protocol}")
}

/// Ports that are asked for must not be another's; those of `checked` are not complained about again.
pub(super) fn check(draft: &Draft<'_>, service: &Service, checked: &[ServiceId]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (_, published) in usage::published(service) {
        let other = usage::of_port(draft.cluster(), service.id, &published);
        if let Some(other) = other.filter(|other| !checked.contains(&other.id)) {
            let (who, by) = (usage::describe(&service.spec), usage::describe(&other.spec));
            let text = format!("{who}: port {} is already published by {by}", shown(&published.1));
            refusals.push(Refusal::conflict(text).hint("choose another port, or take the other one down"));
        }
    }
    refusals
}
