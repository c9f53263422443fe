//! Virtual addresses: a service has one on each of its networks, for as long as it is on it.

use crate::address::Range;
use crate::draft::Draft;
use crate::plan::allocate::Held;
use model::{EndpointMode, Network, NetworkId, NetworkMode, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Chooses what is missing, and lets go of what the spec has no use for. Those chosen before are kept: that they
/// never change is what they are for. A network without a free address gives none; the service's name then leads
/// to its tasks.
pub(super) fn choose(draft: &mut Draft<'_>, id: ServiceId) {
    let Some(service) = draft.cluster().services.get(&id).cloned() else { return };
    make_way(draft, &service);
    let mut chosen: BTreeMap<NetworkId, Ipv4Addr> = BTreeMap::new();
    let mut held = Held::default();
    for network in networks(draft, &service) {
        let before = service.vips.get(&network.id).copied().filter(|vip| network.subnet.contains((*vip).into()));
        chosen.extend(before.or_else(|| free(draft, &mut held, &network)).map(|vip| (network.id, vip)));
    }
    if chosen != service.vips {
        draft.edit().edit_service(id, |service| service.vips = chosen);
    }
}

/// The networks on which a service has an address of its own.
fn networks(draft: &Draft<'_>, service: &Service) -> Vec<Arc<Network>> {
    let spec = &service.spec;
    let one_by_one = spec.standalone || spec.endpoint_mode == EndpointMode::Dnsrr;
    if one_by_one || spec.network_mode != NetworkMode::Networks {
        return Vec::new();
    }
    let names: BTreeSet<&str> = spec.networks.iter().map(|attachment| attachment.network.as_str()).collect();
    let all = draft.cluster().networks.values();
    all.filter(|network| names.contains(network.spec.name.as_str())).cloned().collect()
}

/// Who asks for an address by number gets it; the service that had it as its virtual one gets another.
fn make_way(draft: &mut Draft<'_>, service: &Service) {
    let fixed = |attachment: &model::NetworkAttachment| attachment.ipv4_address.as_deref()?.parse::<Ipv4Addr>().ok();
    for attachment in service.spec.networks.iter() {
        let Some(address) = fixed(attachment) else { continue };
        let Some(network) = draft.cluster().network_named(&attachment.network).map(|network| network.id) else {
            continue;
        };
        let holders = draft.cluster().services.values().filter(|other| other.vips.get(&network) == Some(&address));
        for holder in holders.map(|holder| holder.id).collect::<Vec<_>>() {
            draft.edit().edit_service(holder, |service| service.vips.retain(|other, _| *other != network));
            if holder != service.id {
                choose(draft, holder);
            }
        }
    }
}

/// The highest free address: tasks get theirs from below.
fn free(draft: &Draft<'_>, held: &mut Held, network: &Network) -> Option<Ipv4Addr> {
    let mut is_free = |candidate: u32| held.is_free(draft.cluster(), network, candidate);
    Range::of(network).highest(&mut is_free).map(Ipv4Addr::from)
}
