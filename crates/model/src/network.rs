//! Networks as facts, and the whole network value of one host.

use crate::ids::{NetworkId, TaskId};
use crate::mesh::{Mesh, RemoteEndpoint, VirtualAddress};
use crate::spec::{ExposedPort, Protocol};
use crate::stack::NetworkSpec;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The network of standalone containers that name none (Docker's). It is always there.
pub const DEFAULT_NETWORK: &str = "bridge";

/// An address block in CIDR form; host bits of `address` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subnet {
    /// First address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl Subnet {
    /// Parses `10.0.3.0/24`; host bits are cleared.
    pub fn parse(text: &str) -> Option<Subnet> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Some(Subnet { address: Ipv4Addr::from(u32::from(v4) & mask).into(), prefix })
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Some(Subnet { address: Ipv6Addr::from(u128::from(v6) & mask).into(), prefix })
            }
            _ => None,
        }
    }

    /// Is the address inside?
    pub fn contains(&self, address: IpAddr) -> bool {
        Subnet::parse(&format!("{address}/{}", self.prefix)).is_some_and(|other| other.address == self.address)
    }

    /// Do the two share an address?
    pub fn overlaps(&self, other: &Subnet) -> bool {
        if self.prefix <= other.prefix { self.contains(other.address) } else { other.contains(self.address) }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A network with the decisions made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// As asked for.
    pub spec: NetworkSpec,
    /// VXLAN network identifier; unused on one host.
    pub vni: u32,
    /// IPv4 block.
    pub subnet: Subnet,
    /// Address of the bridge in it.
    pub gateway: IpAddr,
    /// IPv6 block, when asked for.
    pub subnet6: Option<Subnet>,
    /// Address of the bridge in that.
    pub gateway6: Option<IpAddr>,
    /// When it was made; 0 where nobody remembers.
    #[serde(default)]
    pub created: Time,
}

impl Network {
    /// Is it the network of standalone containers that name none? It is each host's own affair.
    pub fn is_default(&self) -> bool {
        self.spec.name == DEFAULT_NETWORK && self.spec.stack.is_none()
    }

    /// `host` and `none`: always there, and nobody's to remove. They have no addresses; their blocks mean nothing.
    pub fn predefined() -> [Network; 2] {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        [("host", "host", 1), ("none", "null", 2)].map(|(name, driver, last)| Network {
            // No network that is made gets such an id: theirs are random.
            id: NetworkId(last << 80),
            spec: NetworkSpec { name: name.to_owned(), driver: Some(driver.to_owned()), ..NetworkSpec::default() },
            vni: 0,
            subnet: Subnet { address: unspecified, prefix: 0 },
            gateway: unspecified,
            subnet6: None,
            gateway6: None,
            created: Time::default(),
        })
    }

    /// Is it one of those?
    pub fn is_predefined(&self) -> bool {
        matches!(self.spec.driver.as_deref(), Some("host" | "null"))
    }

    /// Docker's word for what carries it. `in_cluster`: is this machine part of one? There the networks of stacks span
    /// all machines, whatever the file says of their driver.
    pub fn driver(&self, in_cluster: bool) -> &str {
        let unsaid = if self.scope(in_cluster) == "local" { "bridge" } else { "overlay" };
        self.spec.driver.as_deref().unwrap_or(unsaid)
    }

    /// Docker's word for how far it reaches.
    pub fn scope(&self, in_cluster: bool) -> &'static str {
        if in_cluster && !self.is_default() && !self.is_predefined() { "swarm" } else { "local" }
    }

    /// May containers of no service join it? Docker's rule: an `overlay` takes them only if it says so.
    pub fn takes_containers(&self) -> bool {
        self.spec.attachable || self.spec.driver.as_deref() != Some("overlay")
    }
}

/// A task's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which network.
    pub network: NetworkId,
    /// IPv4 address.
    pub address: IpAddr,
    /// IPv6 address, when the network has it.
    pub address6: Option<IpAddr>,
    /// Fixed MAC address, `02:42:…`.
    pub mac: Option<String>,
    /// The number of its interface (`eth2`), where that is not its place among the task's endpoints: others have gone
    /// as the container ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<u8>,
    /// Every DNS name of the task on it besides the service's own names.
    pub aliases: Vec<String>,
}

impl Endpoint {
    /// Its addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        both(self.address, self.address6)
    }
}

/// Where a task with these endpoints is entered from outside: in either family at the first of those that has an address
/// of it, as it leaves by the way of these too.
pub fn entrance<'e>(endpoints: impl Iterator<Item = &'e Endpoint> + Clone) -> impl Iterator<Item = IpAddr> {
    let v4 = endpoints.clone().map(|endpoint| endpoint.address).next();
    v4.into_iter().chain(endpoints.filter_map(|endpoint| endpoint.address6).take(1))
}

/// An address, and the one of the other family that goes with it.
pub(crate) fn both(address: IpAddr, address6: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    std::iter::once(address).chain(address6)
}

/// All that the network of one host should be. `overlay-net` makes the kernel agree with it; the
/// same value applied twice changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostNet {
    /// Networks that this host needs.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Network namespaces of tasks on this host.
    pub endpoints: BTreeMap<TaskId, HostEndpoint>,
    /// Published ports. A backend that is not ready to take traffic is left out by the agent.
    pub ports: Vec<PublishedPort>,
    /// Names to answer, per network.
    pub zones: BTreeMap<NetworkId, Zone>,
    /// The way to other hosts; `None`: there are none, or the network of this one is not to be part of it.
    pub mesh: Option<Mesh>,
    /// Tasks of those networks that are on other hosts.
    pub remotes: BTreeMap<NetworkId, Arc<Vec<RemoteEndpoint>>>,
    /// Virtual addresses of services on those networks. Backends here that are not ready are left out by the
    /// agent.
    pub vips: BTreeMap<NetworkId, Arc<Vec<VirtualAddress>>>,
    /// Tasks that published ports of every node lead to, or led to while they lasted, with the number of their node.
    /// Their network need not be on this host.
    pub ingress: BTreeMap<IpAddr, u32>,
}

/// The network namespace of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostEndpoint {
    /// Interfaces `eth0`, `eth1`, … in this order; empty: only loopback.
    pub attachments: Vec<Endpoint>,
    /// Answer DNS at 127.0.0.11 in it.
    pub dns: bool,
    /// Upstream resolvers if not the host's (`dns:`).
    pub dns_servers: Vec<String>,
    /// Names that mean this in it, whatever the zones say: of the only replica of a service, the service's names
    /// are its own address, so that a program can listen on its name.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// `sysctls` of the `net.` tree.
    pub sysctls: BTreeMap<String, String>,
}

/// One published port of this host, with the containers behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// `None`: every address of the host.
    pub host_ip: Option<IpAddr>,
    /// Port on the host; the planner chose one where the user did not.
    pub host_port: u16,
    /// Container addresses and ports, evenly used.
    pub backends: BTreeSet<(IpAddr, u16)>,
    /// Full name of the service, for messages.
    pub service: String,
    /// Every node publishes it (`mode: ingress`), so that connections to the backends here may come from other
    /// nodes too.
    #[serde(default)]
    pub everywhere: bool,
    /// Containers of this host, with their ports, that get nothing from here but still or already from other nodes:
    /// nodes hear at different moments that a task leaves or has become ready.
    #[serde(default)]
    pub admitted: BTreeSet<(IpAddr, u16)>,
}

/// DNS names of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Zone {
    /// Lower-case name → addresses, rotated in answers. Names: service key, full name, aliases,
    /// `tasks.NAME`, container and task names, container ids (short and long), host names.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Those of these names that lead to services whose ports are known, for SRV records.
    pub offers: BTreeMap<String, Vec<Offer>>,
}

/// Ports of one service, and where they are to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its ports, in its containers.
    pub ports: BTreeSet<ExposedPort>,
    /// Names that lead there: of the service where it has an address of its own, else of each task that can take
    /// traffic.
    pub targets: Vec<String>,
}
