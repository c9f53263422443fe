//! `inspect` of networks and volumes in Docker's shape.

use crate::clock::rfc3339;
use api::MeshPeerRow;
use model::{Network, NetworkMode, State, Time};
use runtime::volume::VolumeInfo;
use serde_json::{Map, Value, json};

/// A network, by name, id or unique prefix of an id.
pub(crate) fn find_network<'a>(state: &'a State, name: &str) -> Option<&'a Network> {
    let named = state.networks.iter().find(|network| network.spec.name == name || network.id.to_string() == name);
    named.or_else(|| {
        let mut prefixed = state.networks.iter().filter(|network| network.id.to_string().starts_with(name));
        let first = prefixed.next().filter(|_| !name.is_empty())?;
        prefixed.next().is_none().then_some(first)
    })
}

/// Engine API, NetworkInspect.
pub(crate) fn network(network: &Network, state: &State) -> Value {
    let mut ipam = Vec::new();
    if !network.is_predefined() {
        ipam.push(json!({ "Subnet": network.subnet.to_string(), "Gateway": network.gateway.to_string() }));
    }
    if let Some(subnet) = network.subnet6 {
        let gateway = network.gateway6.map(|gateway| gateway.to_string()).unwrap_or_default();
        ipam.push(json!({ "Subnet": subnet.to_string(), "Gateway": gateway }));
    }
    let mut containers = Map::new();
    for task in state.tasks.iter().filter(|task| super::container::is_up(task)) {
        let without = match task.spec.network_mode {
            NetworkMode::Host => network.spec.driver.as_deref() == Some("host"),
            NetworkMode::None => network.spec.driver.as_deref() == Some("null"),
            _ => false,
        };
        if without {
            let (name, id) = (task.name(), task.id.to_string());
            let nothing =
                json!({ "Name": name, "EndpointID": id, "MacAddress": "", "IPv4Address": "", "IPv6Address": "" });
            containers.insert(id, nothing);
        }
        for endpoint in task.endpoints.iter().filter(|endpoint| endpoint.network == network.id) {
            let v6 = endpoint.address6.zip(network.subnet6);
            containers.insert(
                task.id.to_string(),
                json!({
                    "Name": task.name(),
                    "EndpointID": task.id.to_string(),
                    "MacAddress": super::mac(endpoint),
                    "IPv4Address": format!("{}/{}", endpoint.address, network.subnet.prefix),
                    "IPv6Address": v6.map(|(address, subnet)| format!("{address}/{}", subnet.prefix)).unwrap_or_default(),
                }),
            );
        }
    }
    json!({
        "Name": network.spec.name,
        "Id": network.id.to_string(),
        "Created": rfc3339(Some(network.created).filter(|created| *created > Time::default())),
        "Scope": network.scope(state.cluster.is_some()),
        "Driver": network.driver(state.cluster.is_some()),
        "EnableIPv4": true,
        "EnableIPv6": network.subnet6.is_some(),
        "IPAM": { "Driver": "default", "Config": ipam },
        "Internal": network.spec.internal,
        "Attachable": network.spec.attachable,
        "Ingress": false,
        "Containers": containers,
        "Options": network.spec.driver_opts,
        "Labels": network.spec.labels,
        "MTU": mtu(network, state),
    })
}

/// The links of the nodes that share networks, in bytes of their largest packet.
fn links(state: &State) -> impl Iterator<Item = u16> {
    state.nodes.iter().filter(|node| !node.left).filter_map(|node| Some(node.mesh.as_ref()?.mtu))
}

/// Does the network span machines?
pub(crate) fn spans(network: &Network, state: &State) -> bool {
    links(state).nth(1).is_some() && !network.is_default() && !network.is_predefined()
}

/// The largest packet of its containers, in bytes; `None`: it is not ours to say.
fn mtu(network: &Network, state: &State) -> Option<u16> {
    match spans(network, state) {
        _ if network.is_predefined() => None,
        true => Some(model::mesh_mtu(links(state)) - model::VXLAN_OVERHEAD),
        false => Some(1500),
    }
}

/// The other machines, as in NetworkInspect of an overlay, with what goes there in one piece: what their links carry,
/// and what is known of the way.
pub(crate) fn peers(rows: &[MeshPeerRow], state: &State) -> Value {
    let peer = |row: &MeshPeerRow| {
        let node = state.nodes.iter().find(|node| node.id == row.node)?;
        Some(json!({
            "Name": node.hostname,
            "IP": row.endpoint.map(|endpoint| endpoint.ip()),
            "LinkMTU": node.mesh.as_ref().map(|offer| offer.mtu),
            "PathMTU": row.path_mtu,
        }))
    };
    rows.iter().filter_map(peer).collect()
}

/// Engine API, VolumeInspect. `info`: what is on the disk; a volume that nothing mounted yet is not
/// there.
pub(crate) fn volume(spec: &model::VolumeSpec, info: Option<&VolumeInfo>) -> Value {
    json!({
        "Name": spec.name,
        "Driver": spec.driver.as_deref().unwrap_or("local"),
        "Mountpoint": info.map(|info| info.mountpoint.display().to_string()).unwrap_or_default(),
        "CreatedAt": rfc3339(info.map(|info| info.created)),
        "Scope": "local",
        "Labels": spec.labels,
        "Options": spec.driver_opts,
    })
}
