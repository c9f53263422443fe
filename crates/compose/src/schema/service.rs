//! Keys of a service.

use super::deploy::DEPLOY;
use super::{ANY_WHOLE, Absent, COUNT, Field, Form, Kind, Unique, field};

const BUILDERS: &str = "by buildah, podman or docker, whichever is there, where `up` or `build` runs; a commit that is followed builds nothing";
const BUILD_LATER: &str = "the builder is not told";
const CGROUP_LATER: &str = "the limit is not set";
const HOOK_LATER: &str = "the hook does not run";

const BUILD: &[Field] = &[
    field("context", Kind::Text),
    field("dockerfile", Kind::Text),
    field("dockerfile_inline", Kind::Text),
    field("entitlements", Kind::Texts(Unique::No)).not_yet(BUILD_LATER),
    field("args", Kind::Env),
    field("provenance", Kind::TextOrFlag).not_yet(BUILD_LATER),
    field("sbom", Kind::TextOrFlag).not_yet(BUILD_LATER),
    field("ssh", Kind::Ssh),
    field("labels", Kind::Labels),
    field("cache_from", Kind::Texts(Unique::No)).not_yet(BUILD_LATER),
    field("cache_to", Kind::Texts(Unique::No)).not_yet(BUILD_LATER),
    field("no_cache", Kind::Flag),
    field("no_cache_filter", Kind::OneOrMore(Unique::No)).not_yet(BUILD_LATER),
    field("additional_contexts", Kind::Labels),
    field("pull", Kind::Flag),
    field("extra_hosts", Kind::Hosts),
    field("isolation", Kind::Text).not_yet(BUILD_LATER),
    field("network", Kind::Text),
    field("target", Kind::Text),
    field("secrets", Kind::List(&Kind::Short(Form::FileMount, FILE_MOUNT), Unique::No)),
    field("shm_size", Kind::Bytes),
    field("tags", Kind::Texts(Unique::Key)),
    field("ulimits", Kind::Ulimits),
    field("platforms", Kind::Texts(Unique::No)),
    field("privileged", Kind::Flag).not_yet(BUILD_LATER),
];

const BLKIO_LIMIT: &[Field] = &[field("path", Kind::Text), field("rate", Kind::Bytes)];
const BLKIO_WEIGHT: &[Field] = &[field("path", Kind::Text), field("weight", ANY_WHOLE)];
const BLKIO: &[Field] = &[
    field("weight", Kind::Whole(0, 65535)),
    field("weight_device", Kind::List(&Kind::Strict(BLKIO_WEIGHT), Unique::No)),
    field("device_read_bps", Kind::List(&Kind::Strict(BLKIO_LIMIT), Unique::No)),
    field("device_read_iops", Kind::List(&Kind::Strict(BLKIO_LIMIT), Unique::No)),
    field("device_write_bps", Kind::List(&Kind::Strict(BLKIO_LIMIT), Unique::No)),
    field("device_write_iops", Kind::List(&Kind::Strict(BLKIO_LIMIT), Unique::No)),
];

const CREDENTIAL_SPEC: &[Field] =
    &[field("config", Kind::Text), field("file", Kind::Text), field("registry", Kind::Text)];

const DEPENDENCY: &[Field] = &[
    field("condition", Kind::Choice(&["service_started", "service_healthy", "service_completed_successfully"]))
        .required(),
    field("restart", Kind::Flag),
    field("required", Kind::Flag).keep(),
];

const DEVICE: &[Field] =
    &[field("source", Kind::Text).required(), field("target", Kind::Text), field("permissions", Kind::Text)];

const ENV_FILE: &[Field] = &[
    field("path", Kind::Text).required(),
    field("format", Kind::Choice(&["raw"])),
    field("required", Kind::Flag).keep(),
];

const EXTENDS: &[Field] = &[field("file", Kind::Text), field("service", Kind::Text).required()];

const FILE_MOUNT: &[Field] = &[
    field("source", Kind::Text),
    field("target", Kind::Text),
    field("uid", Kind::Text),
    field("gid", Kind::Text),
    field("mode", Kind::FileMode),
];

const HEALTHCHECK: &[Field] = &[
    field("test", Kind::HealthTest),
    field("timeout", Kind::Duration).keep(),
    field("interval", Kind::Duration).keep(),
    field("retries", COUNT).keep(),
    field("start_period", Kind::Duration).keep(),
    field("start_interval", Kind::Duration).keep(),
    field("disable", Kind::Flag),
];

const HOOK: &[Field] = &[
    field("command", Kind::Command).required().absent(Absent::Null),
    field("user", Kind::Text),
    field("privileged", Kind::Flag),
    field("working_dir", Kind::Text),
    field("environment", Kind::Env),
];

const PRE_START: &[Field] = &[
    field("command", Kind::Command).absent(Absent::Null),
    field("image", Kind::Text),
    field("user", Kind::Text),
    field("privileged", Kind::Flag),
    field("working_dir", Kind::Text),
    field("environment", Kind::Env),
    field("per_replica", Kind::Flag),
];

const LOGGING: &[Field] = &[
    field("driver", Kind::Text)
        .but("with other drivers than `json-file`, `local` and `none`, logs are kept as `json-file`"),
    field("options", Kind::Options).but("`mode: non-blocking` drops no line: the container waits for a slow disk"),
];

const MODEL_USE: &[Field] = &[field("endpoint_var", Kind::Text), field("model_var", Kind::Text)];

const NETWORK_USE: &[Field] = &[
    field("aliases", Kind::Texts(Unique::Key)),
    field("driver_opts", Kind::Options).not_yet("the options are ignored"),
    field("gw_priority", ANY_WHOLE).not_yet("the first network has the default route"),
    field("interface_name", Kind::Text).not_yet("interfaces are named eth0, eth1, … in order of priority"),
    field("ipv4_address", Kind::Text),
    field("ipv6_address", Kind::Text),
    field("link_local_ips", Kind::Texts(Unique::Key)).not_yet("the addresses are not added"),
    field("mac_address", Kind::Text),
    field("priority", ANY_WHOLE),
];

const PORT: &[Field] = &[
    field("name", Kind::Text),
    field("mode", Kind::Text),
    field("host_ip", Kind::Text),
    field("target", Kind::Whole(0, 65535)).keep(),
    field("published", Kind::TextOrWhole),
    field("protocol", Kind::Text).but("other protocols than `tcp` and `udp` are refused"),
    field("app_protocol", Kind::Text).meaningless("only tools read it"),
];

const PROVIDER: &[Field] = &[field("type", Kind::Text).required(), field("options", Kind::MultiOptions)];

const MOUNT_BIND: &[Field] = &[
    field("selinux", Kind::Choice(&["z", "Z"])).not_yet("nothing is relabelled"),
    field("propagation", Kind::Text),
    field("create_host_path", Kind::Flag).keep(),
    field("recursive", Kind::Choice(&["enabled", "disabled", "writable", "readonly"])),
];
const MOUNT_VOLUME: &[Field] = &[
    field("labels", Kind::Labels).not_yet("the volume gets no labels"),
    field("nocopy", Kind::Flag),
    field("subpath", Kind::Text),
];
const MOUNT_TMPFS: &[Field] = &[field("size", Kind::Bytes), field("mode", ANY_WHOLE)];
const MOUNT_IMAGE: &[Field] = &[field("subpath", Kind::Text)];
const MOUNT: &[Field] = &[
    field("type", Kind::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]))
        .required()
        .but("`cluster`, `npipe` and `image` are refused"),
    field("source", Kind::Text),
    field("target", Kind::Text),
    field("read_only", Kind::Flag),
    field("consistency", Kind::Text).meaningless("it is a hint for Docker Desktop"),
    field("bind", Kind::Object(MOUNT_BIND)).keep(),
    field("volume", Kind::Object(MOUNT_VOLUME)).keep(),
    field("tmpfs", Kind::Object(MOUNT_TMPFS)).keep(),
    field("image", Kind::Object(MOUNT_IMAGE)).keep().not_yet("a mount of this type is an error"),
];

const WATCH: &[Field] = &[
    field("path", Kind::Text).required(),
    field("action", Kind::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])).required(),
    field("target", Kind::Text),
    field("exec", Kind::Object(HOOK)).absent(Absent::NoHook),
    field("include", Kind::OneOrMore(Unique::No)),
    field("ignore", Kind::OneOrMore(Unique::No)),
    field("initial_sync", Kind::Flag),
];
const DEVELOP: &[Field] = &[field("watch", Kind::List(&Kind::Object(WATCH), Unique::No))];

/// A service.
pub(crate) const SERVICE: &[Field] = &[
    field("annotations", Kind::Labels).not_yet("the container gets no annotations"),
    field("attach", Kind::Flag).keep().meaningless("`up` does not attach; see `logs -f`"),
    field("blkio_config", Kind::Strict(BLKIO)).keep().not_yet(CGROUP_LATER),
    field("build", Kind::Short(Form::Build, BUILD)).keep().but(BUILDERS),
    field("cap_add", Kind::Texts(Unique::Key)),
    field("cap_drop", Kind::Texts(Unique::Key)),
    field("cgroup", Kind::Choice(&["host", "private"])),
    field("cgroup_parent", Kind::Text).not_yet("the container stays in the daemon's control group"),
    field("command", Kind::Command).keep().absent(Absent::Null),
    field("configs", Kind::List(&Kind::Short(Form::FileMount, FILE_MOUNT), Unique::Mount)),
    field("container_name", Kind::Text),
    field("cpu_count", Kind::Whole(0, i64::MAX)).meaningless("it limits Windows containers"),
    field("cpu_percent", Kind::Whole(0, 100)).meaningless("it limits Windows containers"),
    field("cpu_period", Kind::Whole(0, i64::MAX)),
    field("cpu_quota", Kind::Whole(i64::MIN, i64::MAX)),
    field("cpu_rt_period", ANY_WHOLE).not_yet(CGROUP_LATER),
    field("cpu_rt_runtime", ANY_WHOLE).not_yet(CGROUP_LATER),
    field("cpu_shares", Kind::Whole(0, i64::MAX)),
    field("cpus", Kind::Number),
    field("cpuset", Kind::Text),
    field("credential_spec", Kind::Object(CREDENTIAL_SPEC)).keep().meaningless("it is for Windows containers"),
    field("depends_on", Kind::Names(Form::DependsOn, DEPENDENCY)),
    field("deploy", Kind::Nullable(DEPLOY)).keep(),
    field("develop", Kind::Nullable(DEVELOP)).keep().not_yet("nothing is watched"),
    field("device_cgroup_rules", Kind::Texts(Unique::Once)),
    field("devices", Kind::List(&Kind::Short(Form::Device, DEVICE), Unique::Target))
        .but("what is no path, such as a name of CDI, gives no device"),
    field("dns", Kind::Addresses),
    field("dns_opt", Kind::Texts(Unique::Key)),
    field("dns_search", Kind::OneOrMore(Unique::Key)),
    field("domainname", Kind::Text),
    field("entrypoint", Kind::Command).keep().absent(Absent::Null),
    field("env_file", Kind::List(&Kind::Short(Form::EnvFile, ENV_FILE), Unique::Path)),
    field("environment", Kind::Env),
    field("expose", Kind::Loose(Unique::Value))
        .but("it opens nothing, for containers of a network reach every port of each other: it gives SRV records"),
    field("extends", Kind::Short(Form::Extends, EXTENDS)),
    field("external_links", Kind::Texts(Unique::Once)).not_yet("the names are not added"),
    field("extra_hosts", Kind::Hosts),
    field("gpus", Kind::Gpus).not_yet("the container gets no GPU"),
    field("group_add", Kind::Loose(Unique::Once)),
    field("healthcheck", Kind::Object(HEALTHCHECK)).keep(),
    field("hostname", Kind::Text),
    field("image", Kind::Text),
    field("init", Kind::Flag).keep(),
    field("ipc", Kind::Text).but("in place of another container's namespace there is one of its own"),
    field("isolation", Kind::Text).meaningless("it is for Windows containers"),
    field("label_file", Kind::OneOrMore(Unique::No)),
    field("labels", Kind::Labels),
    field("links", Kind::Texts(Unique::Key)),
    field("logging", Kind::Object(LOGGING)).keep(),
    field("mac_address", Kind::Text),
    field("mem_limit", Kind::Bytes),
    field("mem_reservation", Kind::Bytes),
    field("mem_swappiness", Kind::Bytes),
    field("memswap_limit", Kind::Bytes),
    field("models", Kind::Names(Form::Models, MODEL_USE)).not_yet("no model is started"),
    field("network_mode", Kind::Text).but("`bridge` is the project's default network"),
    field("networks", Kind::Names(Form::Networks, NETWORK_USE)),
    field("oom_kill_disable", Kind::Flag),
    field("oom_score_adj", Kind::Whole(-1000, 1000)),
    field("pid", Kind::Text).but("in place of another container's namespace there is one of its own"),
    field("pids_limit", ANY_WHOLE),
    field("platform", Kind::Text),
    field("ports", Kind::List(&Kind::Short(Form::Port, PORT), Unique::Port)),
    field("post_start", Kind::List(&Kind::Object(HOOK), Unique::No)).not_yet(HOOK_LATER),
    field("pre_start", Kind::List(&Kind::Object(PRE_START), Unique::No)).not_yet(HOOK_LATER),
    field("pre_stop", Kind::List(&Kind::Object(HOOK), Unique::No)).not_yet(HOOK_LATER),
    field("privileged", Kind::Flag),
    field("profiles", Kind::Texts(Unique::Key)),
    field("provider", Kind::Object(PROVIDER)).keep().not_yet("the service is left out"),
    field("pull_policy", Kind::Text)
        .but("with `daily`, `weekly`, `refresh` and `every_…` the image is fetched when it is missing"),
    field("pull_refresh_after", Kind::Text).not_yet("the image is fetched when it is missing"),
    field("read_only", Kind::Flag),
    field("restart", Kind::Text),
    field("runtime", Kind::Text).not_yet("the daemon's runtime is used"),
    field("scale", COUNT).keep(),
    field("secrets", Kind::List(&Kind::Short(Form::Secret, FILE_MOUNT), Unique::Mount)),
    field("security_opt", Kind::Texts(Unique::Once)).but("`apparmor`, `label` and `systempaths` change nothing"),
    field("shm_size", Kind::Bytes),
    field("stdin_open", Kind::Flag),
    field("stop_grace_period", Kind::Duration).keep(),
    field("stop_signal", Kind::Text),
    field("storage_opt", Kind::Options).not_yet("the disk is not limited"),
    field("sysctls", Kind::Labels),
    field("tmpfs", Kind::OneOrMore(Unique::Key)),
    field("tty", Kind::Flag),
    field("ulimits", Kind::Ulimits),
    field("use_api_socket", Kind::Flag).not_yet("the socket is not mounted"),
    field("user", Kind::Text),
    field("userns_mode", Kind::Text).only(&["host"], "there is one user namespace for all"),
    field("uts", Kind::Text),
    field("volumes", Kind::List(&Kind::Short(Form::Mount, MOUNT), Unique::Target)),
    field("volumes_from", Kind::Texts(Unique::Once)).but("`container:NAME` gives nothing"),
    field("working_dir", Kind::Text),
];
