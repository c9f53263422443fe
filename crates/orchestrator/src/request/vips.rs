//! Virtual addresses: a service has one on each of its networks, for as long as it, or a task of it, is on it.

use crate::address::{Range, derived6};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use crate::plan::allocate::Held;
use model::{EndpointMode, Network, NetworkId, NetworkMode, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Chooses what is missing, and lets go of what the spec has no use for. Those chosen before are kept: that they
/// never change is what they are for. A network without a free address gives none; the service's name then leads
/// to its tasks.
pub(crate) fn choose(draft: &mut Draft<'_>, id: ServiceId) {
    let Some(service) = draft.cluster().services.get(&id).cloned() else { return };
    make_way(draft, &service);
    let mut chosen: BTreeMap<NetworkId, Ipv4Addr> = BTreeMap::new();
    let mut held = Held::default();
    for network in networks(draft, &service) {
        let before = service.vips.get(&network.id).copied().filter(|vip| network.subnet.contains((*vip).into()));
        chosen.extend(before.or_else(|| free(draft, &mut held, &network)).map(|vip| (network.id, vip)));
    }
    // Tasks of an earlier spec are called by it until they are replaced, which may take long, or be given up.
    if !one_by_one(&service) {
        let tasks = draft.cluster().tasks_of(id).filter(|task| !task.has_ended());
        let left = tasks.flat_map(|task| task.endpoints.iter().map(|endpoint| endpoint.network));
        chosen.extend(left.filter_map(|network| Some((network, *service.vips.get(&network)?))).collect::<Vec<_>>());
    }
    if chosen != service.vips {
        draft.edit().edit_service(id, |service| service.vips = chosen);
    }
}

/// The networks on which a service has an address of its own.
fn networks(draft: &Draft<'_>, service: &Service) -> Vec<Arc<Network>> {
    let spec = &service.spec;
    if one_by_one(service) || spec.network_mode != NetworkMode::Networks {
        return Vec::new();
    }
    let names: BTreeSet<&str> = spec.networks.iter().map(|attachment| attachment.network.as_str()).collect();
    let all = draft.cluster().networks.values();
    all.filter(|network| names.contains(network.spec.name.as_str())).cloned().collect()
}

/// Is there no address for all of its tasks?
fn one_by_one(service: &Service) -> bool {
    service.spec.standalone || service.spec.endpoint_mode == EndpointMode::Dnsrr
}

/// Who asks for an address by number gets it; the service that had it as its virtual one gets another.
fn make_way(draft: &mut Draft<'_>, service: &Service) {
    for attachment in service.spec.networks.iter() {
        let fixed =
            [&attachment.ipv4_address, &attachment.ipv6_address].map(|text| text.as_ref()?.parse::<IpAddr>().ok());
        if fixed == [None, None] {
            continue;
        }
        let Some(named) = draft.cluster().network_named(&attachment.network).cloned() else { continue };
        let network = named.id;
        let is_asked = |vip: &Ipv4Addr| {
            let own = [Some((*vip).into()), derived6(&named, (*vip).into()).map(IpAddr::V6)];
            own.into_iter().flatten().any(|own| fixed.contains(&Some(own)))
        };
        let holders = draft.cluster().services.values().filter(|other| other.vips.get(&network).is_some_and(is_asked));
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
