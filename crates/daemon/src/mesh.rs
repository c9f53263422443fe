//! This node's end of the mesh: what it offers the others.

use crate::address::Links;
use crate::failure;
use api::ApiError;
use model::{MESH_PORT, MeshOffer};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

/// How many ports after the usual one are tried where nobody chose one: daemons may share a machine.
const TRIES: u16 = 100;
/// Of a link that is not found: Ethernet's.
const USUAL_MTU: u16 = 1500;

/// Where traffic between nodes goes, as decided when the node became part of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DataPath {
    /// The address that others send to; `None`: the advertised one.
    pub(crate) address: Option<IpAddr>,
    /// UDP port.
    pub(crate) port: u16,
}

impl Default for DataPath {
    fn default() -> Self {
        DataPath { address: None, port: MESH_PORT }
    }
}

impl DataPath {
    /// What was asked for, or what is free. Tried, so that a taken port is told before anything changes.
    ///
    /// # Errors
    /// The port is taken, or the address makes no sense.
    pub(crate) fn choose(asked: &api::DataPath, links: &Links) -> Result<DataPath, ApiError> {
        let address = asked.address.as_deref().map(|text| {
            crate::address::own(text, links).map_err(|why| failure::invalid(format!("--data-path-addr {text}: {why}")))
        });
        let free = |port: u16| UdpSocket::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
        let port = match asked.port {
            Some(port) => free(port).map(|_| port).map_err(|error| {
                failure::conflict(format!("--data-path-port {port}: the mesh cannot listen there: {error}"))
            })?,
            None => (MESH_PORT..MESH_PORT + TRIES).find(|port| free(*port).is_ok()).unwrap_or(MESH_PORT),
        };
        Ok(DataPath { address: address.transpose()?, port })
    }

    /// What others are told.
    ///
    /// # Errors
    /// There is no key, or the kernel does not say which addresses the host has.
    pub(crate) fn offer(&self, data_root: &Path, run_root: &Path, advertise: &str) -> std::io::Result<MeshOffer> {
        let advertised = advertise.parse::<SocketAddr>().ok().map(|address| address.ip());
        let first = self.address.or(advertised);
        let own = overlay_net::host_addresses(run_root)?.into_iter().map(|(_, address)| address);
        let local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut addresses: Vec<IpAddr> = first.into_iter().collect();
        for address in own.filter(|address| !local(address)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mtu = first.map(overlay_net::link_mtu).transpose()?.flatten();
        let mtu = mtu.map_or(USUAL_MTU, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
        Ok(MeshOffer { public_key: overlay_net::mesh::own_key(data_root)?, port: self.port, addresses, mtu })
    }
}
