//! `service …`, `stack …`, `node …`: Swarm's words for the same objects.

mod create;
mod update;

pub(crate) use create::{Create, ServiceMode};
pub(crate) use update::{Basics, Policies, Rolling, Update};

use super::Listing;
use super::object::InspectOne;
use super::stack::Resolve;
use clap::{Args, Subcommand, ValueEnum};

/// `service …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Create a service
    Create(Box<Create>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// List the tasks of services, with their history
    Ps(Tasks),
    /// Show everything about services as JSON
    Inspect(Inspect),
    /// Show the logs of services
    Logs(Logs),
    /// Change how many tasks services have
    Scale(Scale),
    /// Change a service
    Update(Box<Update>),
    /// Put back the spec before the last update
    Rollback(Rollback),
    /// Remove services with their tasks
    #[command(visible_alias = "remove")]
    Rm(RemoveServices),
}

/// `service ls`, `node ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// `KEY=VALUE` (services: id, name, label, mode, stack; nodes: id, name, label, role)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `service ps`, `node ps`.
#[derive(Debug, Args)]
pub(crate) struct Tasks {
    /// Which
    #[arg(required = true, value_name = "NAME or ID")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) list: TaskList,
}

/// How tasks are listed.
#[derive(Debug, Args)]
pub(crate) struct TaskList {
    /// `KEY=VALUE` (id, name, node, desired-state)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Show ids of nodes, not their names
    #[arg(long)]
    pub(crate) no_resolve: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `service inspect` and `node inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Lines for people in place of JSON
    #[arg(long, conflicts_with = "format")]
    pub(crate) pretty: bool,
    #[command(flatten)]
    pub(crate) which: InspectOne,
}

/// `service logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Services or tasks
    #[arg(required = true, value_name = "SERVICE or TASK")]
    pub(crate) names: Vec<String>,
    /// Go on as lines come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Not before: a time (2026-01-02T15:04:05Z) or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The last so many lines of each task, or `all`
    #[arg(short = 'n', long, value_name = "N", default_value = "all", allow_negative_numbers = true)]
    pub(crate) tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Do not say which task wrote a line
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// How a task is called that wrote a line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Who {
    /// Without its id
    #[arg(long)]
    pub(crate) no_task_ids: bool,
    /// With its whole id
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// With the id of its node in place of the name
    #[arg(long)]
    pub(crate) no_resolve: bool,
}

/// Whether a command waits.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Patience {
    /// Return as soon as the change is accepted
    #[arg(short, long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) detach: bool,
    /// Print less
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `service scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Which, and how many
    #[arg(required = true, value_name = "SERVICE=N")]
    pub(crate) services: Vec<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// `service rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Which
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// `service rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveServices {
    /// Which
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) names: Vec<String>,
}

/// `stack …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Start a stack from a Compose file, or change it
    #[command(visible_alias = "up")]
    Deploy(Deploy),
    /// List stacks
    #[command(visible_alias = "list")]
    Ls(super::stack::Ls),
    /// List the tasks of a stack, with their history
    Ps(StackTasks),
    /// List the services of a stack
    Services(StackServices),
    /// Remove stacks
    #[command(visible_aliases = ["remove", "down"])]
    Rm(RemoveStacks),
}

/// `stack deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Name of the stack
    pub(crate) stack: String,
    /// Compose file; several are merged in this order; `-` is standard input
    #[arg(short = 'c', long = "compose-file", required = true, value_name = "FILE", value_delimiter = ',')]
    pub(crate) files: Vec<String>,
    /// Remove services of the stack that the file does not have
    #[arg(long)]
    pub(crate) prune: bool,
    /// Which names of images are looked up at their registries, though there is something of that name here
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub(crate) resolve_image: Resolve,
    /// Give the nodes that run its services your logins for the registries of their images, from now on
    #[arg(long)]
    pub(crate) with_registry_auth: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// `stack ps`.
#[derive(Debug, Args)]
pub(crate) struct StackTasks {
    /// Which
    pub(crate) stack: String,
    #[command(flatten)]
    pub(crate) list: TaskList,
}

/// `stack services`.
#[derive(Debug, Args)]
pub(crate) struct StackServices {
    /// Which
    pub(crate) stack: String,
    #[command(flatten)]
    pub(crate) list: Ls,
}

/// `stack rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveStacks {
    /// Which
    #[arg(required = true, value_name = "STACK")]
    pub(crate) stacks: Vec<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// `node …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// List the tasks of nodes, with their history
    Ps(NodeTasks),
    /// Show everything about nodes as JSON
    Inspect(Inspect),
    /// Change a node
    Update(UpdateNode),
    /// Make managers of nodes
    Promote(super::cluster::ChangeRole),
    /// Make workers of managers
    Demote(super::cluster::ChangeRole),
    /// Forget nodes that are down
    #[command(visible_alias = "remove")]
    Rm(RemoveNodes),
}

/// `node update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateNode {
    /// Which
    pub(crate) node: String,
    /// May it take tasks?
    #[arg(long, value_name = "WHAT")]
    pub(crate) availability: Option<Availability>,
    /// Does it manage the cluster?
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Set a label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label_add: Vec<String>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
}

/// `node update --role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Keeps the state
    Manager,
    /// Runs tasks only
    Worker,
}

impl From<Role> for model::Role {
    fn from(role: Role) -> model::Role {
        match role {
            Role::Manager => model::Role::Manager,
            Role::Worker => model::Role::Worker,
        }
    }
}

/// `node update --availability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Availability {
    /// It takes tasks
    Active,
    /// It keeps what it has
    Pause,
    /// It gives up what it has
    Drain,
}

impl From<Availability> for model::Availability {
    fn from(typed: Availability) -> Self {
        match typed {
            Availability::Active => model::Availability::Active,
            Availability::Pause => model::Availability::Pause,
            Availability::Drain => model::Availability::Drain,
        }
    }
}

/// `node rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveNodes {
    /// Which
    #[arg(required = true, value_name = "NODE")]
    pub(crate) names: Vec<String>,
    /// Also a node that is up: it is cut off at once
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `node ps`.
#[derive(Debug, Args)]
pub(crate) struct NodeTasks {
    /// Which; without one this node
    #[arg(value_name = "NODE")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) list: TaskList,
}
