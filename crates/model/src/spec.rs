//! What the user asked for: services and the containers that they are made of. Field meanings and
//! defaults follow the Compose specification and swarmkit; `docs/semantics.md` has the table.

use crate::ids::{ConfigId, SecretId};
use crate::mode::Mode;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A service: what to run, how many, and how to change it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Full name: `PROJECT_SERVICE`, or a container's own name when `standalone`.
    pub name: String,
    /// The key in the Compose file; equals `name` outside of stacks.
    pub key: String,
    /// The stack (Compose project) it belongs to.
    pub stack: Option<String>,
    /// A container that `rswarm run` made: one task, kept after it exits, restarted in place only.
    pub standalone: bool,
    /// `deploy.labels`.
    pub labels: BTreeMap<String, String>,
    /// How many tasks and where.
    pub mode: Mode,
    /// The container of each task.
    pub container: ContainerSpec,
    /// What happens when a task ends.
    pub restart: RestartPolicy,
    /// Limits and reservations.
    pub resources: Resources,
    /// `deploy.placement`.
    pub placement: Placement,
    /// `deploy.update_config`.
    pub update: UpdateConfig,
    /// `deploy.rollback_config`.
    pub rollback: UpdateConfig,
    /// Networks, in order of attachment.
    pub networks: Vec<NetworkAttachment>,
    /// `network_mode` when it is not a list of networks.
    pub network_mode: NetworkMode,
    /// Published ports.
    pub ports: Vec<PortSpec>,
    /// Ports that others on its networks are told of beside the published ones, and names of ports: `expose`, and
    /// `name` of `ports`. No running container has to know.
    #[serde(default)]
    pub exposed: BTreeSet<ExposedPort>,
    /// `deploy.endpoint_mode`.
    pub endpoint_mode: EndpointMode,
    /// `depends_on`: other services of the stack by `key`.
    pub depends_on: BTreeMap<String, Dependency>,
}

/// `depends_on` condition (Compose spec, services, depends_on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// It runs.
    ServiceStarted,
    /// Its health check passes.
    ServiceHealthy,
    /// It ended with 0.
    ServiceCompletedSuccessfully,
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// What to wait for.
    pub condition: DependencyCondition,
    /// Restart this service after the dependency was updated.
    pub restart: bool,
    /// False: a missing dependency is only warned of.
    pub required: bool,
}

/// The container of a task. Optional fields left out fall back to the image's config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image as the user wrote it (`nginx`, `nginx:1.27`, `repo@sha256:…`).
    pub image: String,
    /// The digest that `image` meant when it was applied (`sha256:…` of the manifest or, for a local
    /// image, of its config). Set by the daemon, once per `up`.
    pub image_digest: Option<String>,
    /// Compose `pull_policy` / `run --pull`.
    pub pull_policy: PullPolicy,
    /// `container_name`.
    pub container_name: Option<String>,
    /// Replaces the image's ENTRYPOINT and drops its CMD (Docker's rule); empty list: no entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub command: Option<Vec<String>>,
    /// Added to the image's ENV; `None` removes a variable.
    pub env: BTreeMap<String, Option<String>>,
    /// `working_dir`.
    pub working_dir: Option<String>,
    /// `user`: `name|uid[:group|gid]`, looked up in the image.
    pub user: Option<String>,
    /// `group_add`.
    pub group_add: Vec<String>,
    /// `hostname`; default the short container id.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// Container labels.
    pub labels: BTreeMap<String, String>,
    /// `extra_hosts`: (name, address or `host-gateway`).
    pub extra_hosts: Vec<(String, String)>,
    /// `dns`.
    pub dns: Vec<String>,
    /// `dns_search`.
    pub dns_search: Vec<String>,
    /// `dns_opt`.
    pub dns_opt: Vec<String>,
    /// Volumes, binds, tmpfs, in the order to mount.
    pub mounts: Vec<Mount>,
    /// Config files.
    pub configs: Vec<FileRef<ConfigId>>,
    /// Secret files.
    pub secrets: Vec<FileRef<SecretId>>,
    /// `healthcheck`; `None`: the image's.
    pub healthcheck: Option<HealthCheck>,
    /// `stop_signal` name or number; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// `stop_grace_period`; default 10 s.
    pub stop_grace_period: Option<Duration>,
    /// `init`.
    pub init: bool,
    /// `tty`.
    pub tty: bool,
    /// `stdin_open`.
    pub stdin_open: bool,
    /// `read_only`.
    pub read_only: bool,
    /// `privileged`.
    pub privileged: bool,
    /// `cap_add`, upper case without `CAP_`; `ALL` allowed.
    pub cap_add: Vec<String>,
    /// `cap_drop`, same form.
    pub cap_drop: Vec<String>,
    /// `security_opt` no-new-privileges.
    pub no_new_privileges: bool,
    /// `security_opt` seccomp: default profile, `unconfined`, or the JSON text of a profile.
    pub seccomp: Seccomp,
    /// `devices`.
    pub devices: Vec<Device>,
    /// `device_cgroup_rules`.
    pub device_cgroup_rules: Vec<String>,
    /// `ulimits`: name → (soft, hard), -1 for unlimited.
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// `sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `shm_size` in bytes; default 64 MiB.
    pub shm_size: Option<u64>,
    /// `pid: host`.
    pub pid_host: bool,
    /// `ipc: host`.
    pub ipc_host: bool,
    /// `uts: host`.
    pub uts_host: bool,
    /// `cgroup: host`.
    pub cgroup_host: bool,
    /// `logging`.
    pub logging: Logging,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// `oom_kill_disable`.
    pub oom_kill_disable: bool,
    /// Remove the container and its anonymous volumes when it ends (`run --rm`).
    pub auto_remove: bool,
}

/// Names that `ulimits` may have (getrlimit(2), without the prefix; Docker's set).
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// When to fetch an image (Compose `pull_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Fetch if it is not here.
    #[default]
    Missing,
    /// Ask the registry each time.
    Always,
    /// Only what is here.
    Never,
}

/// Which seccomp filter a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile in Docker's JSON form.
    Profile(String),
}

/// One mount of a container (Compose `volumes`, `tmpfs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where in the container; absolute.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum MountSource {
    /// A named volume (full name).
    Volume {
        /// Full name in the volume store.
        name: String,
        /// Do not copy the image's content up on first use.
        nocopy: bool,
        /// Only this folder of the volume.
        subpath: Option<String>,
    },
    /// A volume that lives with the container.
    Anonymous,
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// Make the folder when it is missing (short syntax).
        create: bool,
        /// `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
        propagation: Option<String>,
        /// False for `recursive: disabled`.
        recursive: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None` for half of memory.
        size: Option<u64>,
        /// Permission bits, default 0o1777.
        mode: Option<u32>,
        /// Further mount options (`noexec`, `uid=…`).
        options: Vec<String>,
    },
}

/// A config or secret as a file in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef<Id> {
    /// Full name of the config or secret.
    pub name: String,
    /// Which content; `None` until `deploy` resolved the name.
    pub id: Option<Id>,
    /// Absolute path in the container (secrets default to `/run/secrets/NAME`, configs to `/NAME`).
    pub target: String,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// Permission bits, default 0o444.
    pub mode: u32,
}

/// `healthcheck` (Docker reference, HEALTHCHECK).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// What to run; `None` takes the image's.
    pub test: Option<HealthTest>,
    /// Between checks; default 30 s.
    pub interval: Option<Duration>,
    /// A check that takes longer fails; default 30 s.
    pub timeout: Option<Duration>,
    /// Failures in a row that mean unhealthy; default 3.
    pub retries: Option<u32>,
    /// Failures before this age do not count; default 0.
    pub start_period: Option<Duration>,
    /// Between checks during the start period; default 5 s.
    pub start_interval: Option<Duration>,
}

impl HealthCheck {
    /// Between checks, and the longest that one may take, where nobody says otherwise (Docker reference).
    pub const INTERVAL: Duration = Duration::from_secs(30);
    /// Failures in a row that mean unhealthy, where nobody says otherwise.
    pub const RETRIES: u32 = 3;
}

/// Before SIGKILL, where nobody says otherwise (Compose specification).
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// The command of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthTest {
    /// Switched off.
    None,
    /// Run as it is.
    Cmd(Vec<String>),
    /// Run by `/bin/sh -c`.
    CmdShell(String),
}

/// `logging`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Logging {
    /// `json-file` (default) or `none`.
    pub driver: Option<String>,
    /// `max-size`, `max-file`, `labels`, …
    pub options: BTreeMap<String, String>,
}

/// A host device given to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// When a task that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which endings.
    pub condition: RestartCondition,
    /// Who does it.
    pub scope: RestartScope,
    /// Wait before (scope Replace); default 5 s.
    pub delay: Duration,
    /// Give up after so many restarts (within `window`); `None` never.
    pub max_attempts: Option<u32>,
    /// Span in which restarts are counted against `max_attempts`; zero counts all.
    pub window: Duration,
}

impl RestartPolicy {
    /// swarmkit's default: any, after 5 s, without end.
    pub const SWARM: RestartPolicy = RestartPolicy {
        condition: RestartCondition::Any,
        scope: RestartScope::Replace,
        delay: Duration::from_secs(5),
        max_attempts: None,
        window: Duration::ZERO,
    };
}

/// Which endings lead to a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// Never.
    None,
    /// Other than exit 0 (and unhealthy).
    OnFailure,
    /// All.
    Any,
    /// All; but not after a daemon restart when it had been stopped by hand (Docker).
    UnlessStopped,
}

/// Who restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartScope {
    /// The agent starts the same container again (`restart:`), with moby's back-off: 100 ms,
    /// doubling to 1 min, reset after 10 s of running.
    InPlace,
    /// The orchestrator makes a new task for the slot (`deploy.restart_policy`), after `delay`.
    Replace,
}

/// Limits and reservations of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU limit in billionths of a core.
    pub limit_nano_cpus: Option<u64>,
    /// Memory limit in bytes.
    pub limit_memory: Option<u64>,
    /// Memory plus swap in bytes (Docker `memswap_limit`), -1 for unlimited swap.
    pub limit_memory_swap: Option<i64>,
    /// `mem_swappiness` 0 to 100.
    pub memory_swappiness: Option<u32>,
    /// `pids_limit`.
    pub limit_pids: Option<i64>,
    /// CPU reservation in billionths of a core.
    pub reserve_nano_cpus: Option<u64>,
    /// Memory reservation in bytes.
    pub reserve_memory: Option<u64>,
    /// `cpu_shares`.
    pub cpu_shares: Option<u64>,
    /// `cpuset`.
    pub cpuset: Option<String>,
    /// Generic resources: kind → count.
    pub reserve_generic: BTreeMap<String, u64>,
}

/// `deploy.placement`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// `node.labels.disk == ssd`.
    pub constraints: Vec<String>,
    /// Spread over these descriptors, most important first.
    pub spread: Vec<String>,
    /// At most so many on one node; 0 unlimited.
    pub max_replicas_per_node: u32,
}

/// `deploy.update_config` and `rollback_config` (swarmkit defaults).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Slots at once; 0 all.
    pub parallelism: u32,
    /// Wait between batches.
    pub delay: Duration,
    /// What to do when it fails.
    pub failure_action: FailureAction,
    /// How long a new task is watched.
    pub monitor: Duration,
    /// Tolerated share of failures, 0 to 1.
    pub max_failure_ratio: f64,
    /// Which goes first.
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        UpdateConfig {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: Duration::from_secs(5),
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// What a failed update does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Stop and wait for a person.
    Pause,
    /// Go on.
    Continue,
    /// Back to the previous spec.
    Rollback,
}

/// Whether the old task stops before the new one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// Old stops, then new starts.
    StopFirst,
    /// New runs (and is healthy), then old stops.
    StartFirst,
}

/// A service on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAttachment {
    /// Full name of the network.
    pub network: String,
    /// Further DNS names on it.
    pub aliases: Vec<String>,
    /// Fixed address.
    pub ipv4_address: Option<String>,
    /// Fixed address.
    pub ipv6_address: Option<String>,
    /// `mac_address`.
    pub mac_address: Option<String>,
}

/// `network_mode`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The networks that are listed.
    #[default]
    Networks,
    /// The host's namespace.
    Host,
    /// Only loopback.
    None,
    /// The namespace of another service's (`key`) task.
    Service(String),
    /// The namespace of another container, by id or name.
    Container(String),
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// Port in the container.
    pub target: u16,
    /// Port on the host; `None`: one is chosen.
    pub published: Option<u16>,
    /// First and last of the ports that it is chosen from; `None`: from those that are nobody's.
    #[serde(default)]
    pub published_range: Option<(u16, u16)>,
    /// Host address; `None`: all.
    pub host_ip: Option<String>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// `ingress` or `host`.
    pub mode: PortMode,
}

/// Ports of a container that others are told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExposedPort {
    /// The first of them, in the container.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What it is called, in lower case: `http`.
    pub name: Option<String>,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `ports.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// On every node.
    Ingress,
    /// Only on the node of the task.
    Host,
}

/// `deploy.endpoint_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointMode {
    /// One virtual address.
    #[default]
    Vip,
    /// DNS names all tasks.
    Dnsrr,
}
