//! `service create`: Docker's flags.

use super::{Basics, Patience, Policies};
use clap::{Args, ValueEnum};

/// `service create`.
#[derive(Debug, Default, Args)]
#[command(override_usage = "rswarm service create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub(crate) struct Create {
    /// Name of the service
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How many tasks, and where
    #[arg(long, value_name = "MODE", default_value = "replicated")]
    pub(crate) mode: ServiceMode,
    /// How many tasks; of a job: how many are to complete
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u32>,
    /// Label of the service
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Label of its containers
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) container_label: Vec<String>,
    /// Set a variable (`NAME=VALUE`, or `NAME` to take the value from here)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<String>,
    /// Publish a port
    #[arg(short, long, value_name = "[HOST:]PORT[/PROTOCOL]")]
    pub(crate) publish: Vec<String>,
    /// Network to join: NAME, or name=NAME,alias=NAME,…; several may be given
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,
    /// DNS option
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Mount: type=volume,source=…,target=…
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount: Vec<String>,
    /// Secret: NAME, or source=NAME,target=PATH,…
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// Config: NAME, or source=NAME,target=PATH,…
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config: Vec<String>,
    /// Spread tasks over something of nodes: spread=node.labels.zone
    #[arg(long, value_name = "PREFERENCE")]
    pub(crate) placement_pref: Vec<String>,
    /// Require something of nodes, such as `node.labels.disk == ssd`
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,
    /// Words of the program in place of the image's ENTRYPOINT
    #[arg(long, value_name = "WORDS")]
    pub(crate) entrypoint: Option<String>,
    /// Further group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// Line of /etc/hosts (Docker's `--host`, which here names the daemon)
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// An init that reaps processes and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The root file system can't be written
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Set a ulimit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "ULIMIT")]
    pub(crate) ulimit: Vec<String>,
    /// Set a sysctl
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,
    #[command(flatten)]
    pub(crate) basics: Basics,
    #[command(flatten)]
    pub(crate) policies: Policies,
    /// Give the nodes that run it your login for the registry of its image, from now on
    #[arg(long)]
    pub(crate) with_registry_auth: bool,
    /// Do not ask the registry what the name of the image means now, if there is something of that name here
    #[arg(long)]
    pub(crate) no_resolve_image: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    /// The image, then the command with its arguments
    #[arg(trailing_var_arg = true, required = true, num_args = 1.., value_name = "IMAGE COMMAND")]
    pub(crate) words: Vec<String>,
}

/// `--mode`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceMode {
    /// So many tasks, wherever there is room
    #[default]
    Replicated,
    /// One on every node
    Global,
    /// So many tasks that complete
    ReplicatedJob,
    /// One on every node that completes
    GlobalJob,
}
