//! Words about the cluster: `init`, `join`, `join-token`, `leave`, `ca`, `cluster …`.

use super::swarm::Availability;
use clap::{ArgAction, Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Where a node is found, and what it may do.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Where other nodes reach this one; without it the address that it reaches them from
    #[arg(long, value_name = "ADDRESS|INTERFACE[:PORT]")]
    pub(crate) advertise_addr: Option<String>,
    /// Where its cluster port listens [default: 0.0.0.0:2377]
    #[arg(long, value_name = "ADDRESS|INTERFACE[:PORT]")]
    pub(crate) listen_addr: Option<String>,
    /// May it take tasks? [default: active]
    #[arg(long, value_name = "WHAT")]
    pub(crate) availability: Option<Availability>,
    /// Where traffic between containers of different nodes goes; without it where others reach this node
    #[arg(long, value_name = "ADDRESS|INTERFACE")]
    pub(crate) data_path_addr: Option<String>,
    /// UDP port of that traffic [default: 51820, or the first free one after it]
    #[arg(long, value_name = "PORT")]
    pub(crate) data_path_port: Option<u16>,
}

/// `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Go on alone with what this manager knows, when most managers are lost for good
    #[arg(long)]
    pub(crate) force_new_cluster: bool,
    /// Have managers ask for an unlock key after each restart, without which nothing on their disks opens
    #[arg(long, conflicts_with = "force_new_cluster")]
    pub(crate) autolock: bool,
}

/// `unlock-key`.
#[derive(Debug, Args)]
pub(crate) struct UnlockKey {
    /// Print the key only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Make a new one; managers that are up ask for that one from now on
    #[arg(long)]
    pub(crate) rotate: bool,
}

/// `cluster update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateCluster {
    /// Do managers ask for an unlock key after each restart?
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) autolock: bool,
}

/// `join`.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// What lets it in; `rswarm join-token` on a manager shows it
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Managers; one is enough
    #[arg(required = true, value_name = "HOST[:PORT]")]
    pub(crate) managers: Vec<String>,
}

/// `join-token`.
#[derive(Debug, Args)]
pub(crate) struct JoinToken {
    /// As what a machine joins
    pub(crate) role: Role,
    /// Print the token only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Make a new one; the old one lets nobody in any more
    #[arg(long)]
    pub(crate) rotate: bool,
}

/// What a machine is in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// It runs tasks
    Worker,
    /// It also keeps the state of the cluster
    Manager,
}

impl From<Role> for model::Role {
    fn from(typed: Role) -> Self {
        match typed {
            Role::Worker => model::Role::Worker,
            Role::Manager => model::Role::Manager,
        }
    }
}

/// `leave`.
#[derive(Debug, Args)]
pub(crate) struct Leave {
    /// Also as a manager, and when no manager answers
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `ca`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Ca {
    #[command(subcommand)]
    pub(crate) what: Option<CaCommand>,
    /// Replace it: all nodes get new certificates, and nothing stops meanwhile
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Do not wait until all nodes have theirs
    #[arg(short, long, requires = "rotate")]
    pub(crate) detach: bool,
    /// Print nothing while it waits
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `ca …`.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Who may manage the cluster from machines that are no nodes
    #[command(subcommand)]
    Client(Client),
}

/// `ca client …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Make a key and a certificate, and print them for `rswarm context import`
    Create(CreateClient),
    /// List clients
    #[command(visible_alias = "list")]
    Ls(super::Listing),
    /// Let clients in no more, and cut their connections
    #[command(visible_alias = "remove")]
    Rm(RemoveClients),
}

/// `ca client create`.
#[derive(Debug, Args)]
pub(crate) struct CreateClient {
    /// How long the certificate is to hold
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    pub(crate) ttl: String,
    /// How to call the client
    pub(crate) name: String,
}

/// `ca client rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveClients {
    /// Which
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `node promote`, `node demote`.
#[derive(Debug, Args)]
pub(crate) struct ChangeRole {
    /// Which
    #[arg(required = true, value_name = "NODE")]
    pub(crate) names: Vec<String>,
    /// Also when the managers that are up would be no majority any more: the cluster stops until they are
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `cluster …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Write all that the managers know into one sealed file
    Backup(Backup),
    /// Make this machine the manager that made a backup
    Restore(Restore),
    /// Change settings of the cluster
    Update(UpdateCluster),
}

/// Words about what a machine is in a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    /// Make a cluster of this machine
    Init(Init),
    /// Make this machine part of a cluster
    Join(Join),
    /// Show or replace what lets machines join
    JoinToken(JoinToken),
    /// Open this locked manager; its key is typed, or read from standard input
    Unlock,
    /// Show what locked managers open with
    UnlockKey(UnlockKey),
    /// Take this machine out of its cluster
    Leave(Leave),
    /// Show or replace the cluster's certificate authority
    Ca(Ca),
}

/// `swarm …`: Docker's words for the same.
#[derive(Debug, Subcommand)]
pub(crate) enum Swarm {
    #[command(flatten)]
    Member(Member),
    /// Change settings of the cluster
    Update(UpdateCluster),
}

/// `cluster backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Seal it with the key in this file, rather than with a new one that is printed
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Where to write it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `cluster restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Read its key from this file, rather than from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Where other nodes reach this one; without it where they reached the manager that made the backup
    #[arg(long, value_name = "ADDRESS|INTERFACE[:PORT]")]
    pub(crate) advertise_addr: Option<String>,
    /// Where its cluster port listens; without it where that of that manager did
    #[arg(long, value_name = "ADDRESS|INTERFACE[:PORT]")]
    pub(crate) listen_addr: Option<String>,
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
