//! `service update`: Docker's flags, and those that `service create` has as well.

use super::Patience;
use crate::args::run::Health;
use clap::Args;

const ORDERS: [&str; 2] = ["stop-first", "start-first"];

/// What `service create` and `service update` say of resources, restarts and updates.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Policies {
    /// Limit of CPUs; 0 for none
    #[arg(long, value_name = "CPUS")]
    pub(crate) limit_cpu: Option<String>,
    /// Limit of memory; 0 for none
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_memory: Option<String>,
    /// Limit of processes; 0 for none
    #[arg(long, value_name = "N")]
    pub(crate) limit_pids: Option<i64>,
    /// Reserved CPUs; 0 for none
    #[arg(long, value_name = "CPUS")]
    pub(crate) reserve_cpu: Option<String>,
    /// Reserved memory; 0 for none
    #[arg(long, value_name = "BYTES")]
    pub(crate) reserve_memory: Option<String>,
    /// Reserved things of a kind that nodes have so many of (`daemon --node-generic-resource`); 0 for none
    #[arg(long, alias = "generic-resource-add", value_name = "KIND=NUMBER")]
    pub(crate) generic_resource: Vec<String>,
    /// When a task that ended is replaced
    #[arg(long, value_name = "WHEN", value_parser = ["none", "on-failure", "any"])]
    pub(crate) restart_condition: Option<String>,
    /// Wait before
    #[arg(long, value_name = "DURATION")]
    pub(crate) restart_delay: Option<String>,
    /// Give up after so many; 0 for never
    #[arg(long, value_name = "N")]
    pub(crate) restart_max_attempts: Option<u32>,
    /// Span in which they are counted
    #[arg(long, value_name = "DURATION")]
    pub(crate) restart_window: Option<String>,
    /// Tasks replaced at once; 0 for all
    #[arg(long, value_name = "N")]
    pub(crate) update_parallelism: Option<u32>,
    /// Wait between them
    #[arg(long, value_name = "DURATION")]
    pub(crate) update_delay: Option<String>,
    /// Which goes first
    #[arg(long, value_name = "ORDER", value_parser = ORDERS)]
    pub(crate) update_order: Option<String>,
    /// What to do when an update fails
    #[arg(long, value_name = "ACTION", value_parser = ["pause", "continue", "rollback"])]
    pub(crate) update_failure_action: Option<String>,
    /// How long a new task is watched
    #[arg(long, value_name = "DURATION")]
    pub(crate) update_monitor: Option<String>,
    /// Tolerated share of failures, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(crate) update_max_failure_ratio: Option<f64>,
    /// Tasks taken back at once; 0 for all
    #[arg(long, value_name = "N")]
    pub(crate) rollback_parallelism: Option<u32>,
    /// Wait between them
    #[arg(long, value_name = "DURATION")]
    pub(crate) rollback_delay: Option<String>,
    /// Which goes first
    #[arg(long, value_name = "ORDER", value_parser = ORDERS)]
    pub(crate) rollback_order: Option<String>,
    /// What to do when a rollback fails
    #[arg(long, value_name = "ACTION", value_parser = ["pause", "continue"])]
    pub(crate) rollback_failure_action: Option<String>,
    /// How long a task that was taken back is watched
    #[arg(long, value_name = "DURATION")]
    pub(crate) rollback_monitor: Option<String>,
    /// Tolerated share of failures, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(crate) rollback_max_failure_ratio: Option<f64>,
    /// One address for all tasks, or a name that leads to each
    #[arg(long, value_name = "MODE", value_parser = ["vip", "dnsrr"])]
    pub(crate) endpoint_mode: Option<String>,
    /// At most so many tasks on one node; 0 for no limit
    #[arg(long, value_name = "N")]
    pub(crate) replicas_max_per_node: Option<u32>,
    /// Tasks of a job that may run at once
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent: Option<u32>,
}

impl Policies {
    /// What they say of updates.
    pub(crate) fn update(&self) -> Rolling<'_> {
        Rolling {
            of: "update",
            parallelism: self.update_parallelism,
            delay: self.update_delay.as_deref(),
            order: self.update_order.as_deref(),
            failure_action: self.update_failure_action.as_deref(),
            monitor: self.update_monitor.as_deref(),
            max_failure_ratio: self.update_max_failure_ratio,
        }
    }

    /// What they say of rollbacks.
    pub(crate) fn rollback(&self) -> Rolling<'_> {
        Rolling {
            of: "rollback",
            parallelism: self.rollback_parallelism,
            delay: self.rollback_delay.as_deref(),
            order: self.rollback_order.as_deref(),
            failure_action: self.rollback_failure_action.as_deref(),
            monitor: self.rollback_monitor.as_deref(),
            max_failure_ratio: self.rollback_max_failure_ratio,
        }
    }
}

/// How tasks are replaced, as it was typed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rolling<'a> {
    /// How its flags begin.
    pub(crate) of: &'static str,
    pub(crate) parallelism: Option<u32>,
    pub(crate) delay: Option<&'a str>,
    pub(crate) order: Option<&'a str>,
    pub(crate) failure_action: Option<&'a str>,
    pub(crate) monitor: Option<&'a str>,
    pub(crate) max_failure_ratio: Option<f64>,
}

/// What `service create` and `service update` say of containers in the same words.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Basics {
    /// `NAME or UID[:GROUP or GID]`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Host name of its containers
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Signal to stop with
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// How long a container may take to stop
    #[arg(long, value_name = "DURATION")]
    pub(crate) stop_grace_period: Option<String>,
    /// Log driver: json-file or none
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// Option of the log driver, such as max-size=10m
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) log_opt: Vec<String>,
    #[command(flatten)]
    pub(crate) health: Health,
}

/// `service update`.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Update {
    /// Which
    pub(crate) service: String,
    /// Replace tasks even where nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Put back the spec before the last update
    #[arg(long)]
    pub(crate) rollback: bool,
    /// Image; its tag is resolved anew
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// How many tasks
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u32>,
    /// Words of the command, in place of the image's
    #[arg(long, value_name = "WORDS")]
    pub(crate) args: Option<String>,
    /// Set a variable (`NAME=VALUE`, or `NAME` to take the value from here)
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env_add: Vec<String>,
    /// Remove a variable
    #[arg(long, value_name = "NAME")]
    pub(crate) env_rm: Vec<String>,
    /// Set a label of the service
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label_add: Vec<String>,
    /// Remove a label of the service
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// Set a label of its containers
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) container_label_add: Vec<String>,
    /// Remove a label of its containers
    #[arg(long, value_name = "KEY")]
    pub(crate) container_label_rm: Vec<String>,
    /// Publish a port
    #[arg(long, value_name = "[HOST:]PORT[/PROTOCOL]")]
    pub(crate) publish_add: Vec<String>,
    /// Publish a port of the container no more
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) publish_rm: Vec<String>,
    /// Require something of nodes, such as `node.labels.disk == ssd`
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint_add: Vec<String>,
    /// Require it no more
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint_rm: Vec<String>,
    /// Spread tasks over something of nodes: spread=node.labels.zone
    #[arg(long, value_name = "PREFERENCE")]
    pub(crate) placement_pref_add: Vec<String>,
    /// Spread them over it no more
    #[arg(long, value_name = "PREFERENCE")]
    pub(crate) placement_pref_rm: Vec<String>,
    /// Join a network: NAME, or name=NAME,alias=NAME,…
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network_add: Vec<String>,
    /// Leave a network
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network_rm: Vec<String>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns_add: Vec<String>,
    /// No DNS server any more
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns_rm: Vec<String>,
    /// DNS option
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_option_add: Vec<String>,
    /// No DNS option any more
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_option_rm: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search_add: Vec<String>,
    /// No DNS search domain any more
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search_rm: Vec<String>,
    /// Line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) host_add: Vec<String>,
    /// No such line any more: all of a name, or one
    #[arg(long, value_name = "NAME[:ADDRESS]")]
    pub(crate) host_rm: Vec<String>,
    /// Mount: type=volume,source=…,target=…; what was at the target goes
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount_add: Vec<String>,
    /// Mount nothing at this target any more
    #[arg(long, value_name = "TARGET")]
    pub(crate) mount_rm: Vec<String>,
    /// Secret: NAME, or source=NAME,target=PATH,…
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret_add: Vec<String>,
    /// No secret of this name any more
    #[arg(long, value_name = "NAME")]
    pub(crate) secret_rm: Vec<String>,
    /// Config: NAME, or source=NAME,target=PATH,…
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config_add: Vec<String>,
    /// No config of this name any more
    #[arg(long, value_name = "NAME")]
    pub(crate) config_rm: Vec<String>,
    /// Further group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Not in this group any more
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_rm: Vec<String>,
    /// Set a ulimit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "ULIMIT")]
    pub(crate) ulimit_add: Vec<String>,
    /// Leave a ulimit as it is by default
    #[arg(long, value_name = "NAME")]
    pub(crate) ulimit_rm: Vec<String>,
    /// Set a sysctl
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl_add: Vec<String>,
    /// Leave a sysctl as it is by default
    #[arg(long, value_name = "NAME")]
    pub(crate) sysctl_rm: Vec<String>,
    /// Reserve nothing of a kind any more
    #[arg(long, value_name = "KIND")]
    pub(crate) generic_resource_rm: Vec<String>,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Words of the program in place of the image's ENTRYPOINT; empty: the image's
    #[arg(long, value_name = "WORDS")]
    pub(crate) entrypoint: Option<String>,
    /// An init that reaps processes and passes signals on
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) init: Option<bool>,
    /// Give it a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) tty: Option<bool>,
    /// The root file system can't be written
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) read_only: Option<bool>,
    #[command(flatten)]
    pub(crate) basics: Basics,
    #[command(flatten)]
    pub(crate) policies: Policies,
    /// Give the nodes that run it your login for the registry of its image, in place of the one that they have
    #[arg(long)]
    pub(crate) with_registry_auth: bool,
    /// Do not ask the registry what the name of the image means now, if there is something of that name here
    #[arg(long)]
    pub(crate) no_resolve_image: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
}
