//! `run`: Docker's flags.

use super::stack::Pull;
use clap::{ArgAction, Args};

/// `run`.
#[derive(Debug, Default, Args)]
#[command(override_usage = "rswarm run [OPTIONS] IMAGE [COMMAND] [ARG]...", disable_help_flag = true)]
pub(crate) struct Run {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<String>,
    /// When to pull the image
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<Pull>,
    /// Print no progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) process: Process,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) storage: Storage,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) security: Security,
    #[command(flatten)]
    pub(crate) health: Health,
    /// The image, then the command with its arguments
    #[arg(trailing_var_arg = true, required = true, num_args = 1.., value_name = "IMAGE COMMAND")]
    pub(crate) words: Vec<String>,
}

/// What runs and how it ends.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct Process {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set a variable (`NAME=VALUE`, or `NAME` to take the value from here)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// `NAME or UID[:GROUP or GID]`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Further group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Program in place of the image's ENTRYPOINT; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(crate) restart: String,
    /// Label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<String>,
    /// An init that reaps processes and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Signal to stop it with
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds before it is killed
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// json-file or none
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// Option of the log driver, such as max-size=10m
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) log_opt: Vec<String>,
}

/// How it is reached and what it reaches.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// Publish a port: [[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL], ranges allowed
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// Publish every port that the image exposes
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Port to publish with -P besides those of the image
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<String>,
    /// NAME, host, none or container:NAME
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
    /// Further DNS name on the network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// Fixed IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// Fixed IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Fixed MAC address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac_address: Option<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Domain name
    #[arg(long, value_name = "NAME")]
    pub(crate) domainname: Option<String>,
    /// Entry of /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// DNS option
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
}

/// Files.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct Storage {
    /// Mount a volume or a path of the host: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    pub(crate) volume: Vec<String>,
    /// Mount in the long form: type=bind,source=…,target=…
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount: Vec<String>,
    /// Mount memory: TARGET[:OPTIONS]
    #[arg(long, value_name = "TMPFS")]
    pub(crate) tmpfs: Vec<String>,
    /// The root file system can't be written
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Give it a device: PATH[:PATH[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Vec<String>,
    /// Rule of the devices cgroup, such as `c 1:3 rwm`
    #[arg(long, value_name = "RULE")]
    pub(crate) device_cgroup_rule: Vec<String>,
}

/// What it may use.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Memory in bytes, with a unit such as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Memory and swap together; -1: swap without limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Memory to reserve
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_reservation: Option<String>,
    /// How readily memory is swapped, 0 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) memory_swappiness: Option<u32>,
    /// CPUs, such as 1.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,
    /// Relative weight, default 1024
    #[arg(short, long, value_name = "N")]
    pub(crate) cpu_shares: Option<u64>,
    /// CPUs to run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Processes and threads; -1: no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// NAME=SOFT[:HARD]
    #[arg(long, value_name = "ULIMIT")]
    pub(crate) ulimit: Vec<String>,
    /// Kernel parameter: NAME=VALUE
    #[arg(long, value_name = "SYSCTL")]
    pub(crate) sysctl: Vec<String>,
    /// How readily it is killed when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(crate) oom_score_adj: Option<i32>,
    /// Do not kill it when memory runs out
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
}

/// What it may do.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct Security {
    /// Give it a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// All capabilities and devices, no filters
    #[arg(long)]
    pub(crate) privileged: bool,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// PID namespace: host
    #[arg(long, value_name = "MODE")]
    pub(crate) pid: Option<String>,
    /// IPC namespace: host or private
    #[arg(long, value_name = "MODE")]
    pub(crate) ipc: Option<String>,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE")]
    pub(crate) uts: Option<String>,
    /// Cgroup namespace: host or private
    #[arg(long, value_name = "MODE")]
    pub(crate) cgroupns: Option<String>,
}

/// How its health is checked.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Health check")]
pub(crate) struct Health {
    /// Command that the shell runs
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Between checks, default 30s
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_interval: Option<String>,
    /// A check that takes longer fails, default 30s
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_timeout: Option<String>,
    /// Failures in a row that mean unhealthy, default 3
    #[arg(long, value_name = "N")]
    pub(crate) health_retries: Option<u32>,
    /// Failures before this age do not count
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_period: Option<String>,
    /// Between checks during the start period, default 5s
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_interval: Option<String>,
    /// No health check, not even the image's
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
}
