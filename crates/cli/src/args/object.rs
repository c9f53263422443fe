//! `volume …`, `network …`, and what such families share.

use super::Listing;
use clap::{Args, Subcommand};

/// `… inspect` of one kind.
#[derive(Debug, Args)]
pub(crate) struct InspectOne {
    /// Which
    #[arg(required = true, value_name = "NAME or ID")]
    pub(crate) names: Vec<String>,
    /// `json` or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// `container prune`, `network prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneContainers {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `volume …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Make a volume
    Create(CreateVolume),
    /// Show everything about volumes as JSON
    Inspect(InspectOne),
    /// Remove volumes with their data
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove anonymous volumes that nothing uses
    Prune(PruneVolumes),
}

/// `network …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Make a network
    Create(CreateNetwork),
    /// Show everything about networks as JSON
    Inspect(InspectOne),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove networks that nothing uses
    Prune(PruneContainers),
    /// Have a container join a network, as it runs
    Connect(ConnectNetwork),
    /// Have a container leave a network, as it runs
    Disconnect(DisconnectNetwork),
}

/// `network connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectNetwork {
    /// Further DNS name on the network
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// Fixed IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<std::net::Ipv4Addr>,
    /// Fixed IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<std::net::Ipv6Addr>,
    /// Which network
    pub(crate) network: String,
    /// Which container
    pub(crate) container: String,
}

/// `network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct DisconnectNetwork {
    /// Docker's; a container is never asked here
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Which network
    pub(crate) network: String,
    /// Which container
    pub(crate) container: String,
}

/// `volume ls`, `network ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// `KEY=VALUE` (name, driver, label; networks: id, scope, type, dangling)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `volume rm`, `network rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// No error if it is not there
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `volume create`.
#[derive(Debug, Args)]
pub(crate) struct CreateVolume {
    /// Name; without one a random one
    pub(crate) name: Option<String>,
    /// Driver
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub(crate) driver: String,
    /// Option of the driver (type, o, device)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// Label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
}

/// `volume prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneVolumes {
    /// Named ones too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `network create`.
#[derive(Debug, Args)]
pub(crate) struct CreateNetwork {
    /// Name
    pub(crate) name: String,
    /// `bridge` or `overlay`: both span the machines of a cluster, and `overlay` takes services only, if not --attachable
    #[arg(short, long, value_name = "DRIVER")]
    pub(crate) driver: Option<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// Block of addresses, such as 10.20.0.0/24
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,
    /// Address of the bridge
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Part of the block that addresses come from
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_range: Vec<String>,
    /// Address to keep free
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) aux_address: Vec<String>,
    /// No way out
    #[arg(long)]
    pub(crate) internal: bool,
    /// Standalone containers may join (they always may on one machine)
    #[arg(long)]
    pub(crate) attachable: bool,
    /// IPv6 addresses too
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
}
