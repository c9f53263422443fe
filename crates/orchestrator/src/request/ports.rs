//! Host ports: those that are asked for must be free, others are chosen.

use super::Refusal;
use crate::draft::Draft;
use crate::usage;
use model::{Protocol, Service, ServiceId};
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
        let before = service.chosen_ports.get(index).copied().flatten();
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

/// Ports that are asked for must not be another's; those of `checked` are not complained about again.
pub(super) fn check(draft: &Draft<'_>, service: &Service, checked: &[ServiceId]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (_, published) in usage::published(service) {
        let other = usage::of_port(draft.cluster(), service.id, &published);
        if let Some(other) = other.filter(|other| !checked.contains(&other.id)) {
            let (_, (protocol, port, address)) = &published;
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            let at = address.as_ref().map(|address| format!("{address}:")).unwrap_or_default();
            let who = usage::describe(&service.spec);
            let text =
                format!("{who}: port {at}{port}/{protocol} is already published by {}", usage::describe(&other.spec));
            refusals.push(Refusal::conflict(text).hint("choose another port, or take the other one down"));
        }
    }
    refusals
}
