//! `inspect` of networks and volumes in Docker's shape.

use crate::clock::rfc3339;
use model::{Network, NetworkMode, State};
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
                    "MacAddress": endpoint.mac.clone().unwrap_or_default(),
                    "IPv4Address": format!("{}/{}", endpoint.address, network.subnet.prefix),
                    "IPv6Address": v6.map(|(address, subnet)| format!("{address}/{}", subnet.prefix)).unwrap_or_default(),
                }),
            );
        }
    }
    json!({
        "Name": network.spec.name,
        "Id": network.id.to_string(),
        "Scope": "local",
        "Driver": network.spec.driver.as_deref().unwrap_or("bridge"),
        "EnableIPv4": true,
        "EnableIPv6": network.subnet6.is_some(),
        "IPAM": { "Driver": "default", "Config": ipam },
        "Internal": network.spec.internal,
        "Attachable": network.spec.attachable,
        "Ingress": false,
        "Containers": containers,
        "Options": network.spec.driver_opts,
        "Labels": network.spec.labels,
    })
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
