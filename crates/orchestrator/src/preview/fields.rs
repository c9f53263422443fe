//! Which fields of two specs differ, old and new, in the words of the Compose file.

use model::{ExposedPort, FieldChange, HealthTest, MountSource, PortSpec, Resources, ServiceSpec};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest value that is shown whole.
const LONGEST: usize = 100;

/// One field: what is compared, and what is shown of it (`None`: it may be secret).
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    value: String,
    hidden: bool,
}

type Fields = BTreeMap<String, Shown>;

/// The fields that differ, by path. Values of variables may be secret: they are shown to those who ask.
pub(crate) fn differing(old: &ServiceSpec, new: &ServiceSpec, show_values: bool) -> Vec<FieldChange> {
    if old == new {
        return Vec::new();
    }
    let (old, new) = (flat(old, show_values), flat(new, show_values));
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differing.map(|path| change(path, old.get(path), new.get(path))).collect()
}

fn change(path: &str, old: Option<&Shown>, new: Option<&Shown>) -> FieldChange {
    let hidden = [old, new].into_iter().flatten().any(|shown| shown.hidden);
    let text = |shown: Option<&Shown>| shown.filter(|_| !hidden).map(|shown| shorten(&shown.value));
    FieldChange { path: path.to_owned(), old: text(old), new: text(new), hidden }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// Every field of a spec that is set, by path.
fn flat(spec: &ServiceSpec, show_values: bool) -> Fields {
    let mut fields = Fields::new();
    let container = &spec.container;
    // What has a form of its own is left out of the general way.
    let mut value = tree(spec);
    let mut inner = take(&mut value, "container");
    for key in ["name", "key", "standalone", "ports", "exposed", "networks", "resources"] {
        take(&mut value, key);
    }
    const SHAPED: [&str; 9] =
        ["image", "image_digest", "env", "mounts", "configs", "secrets", "seccomp", "no_new_privileges", "shm_size"];
    for key in SHAPED {
        take(&mut inner, key);
    }
    if let Some(check) = inner.get_mut("healthcheck") {
        take(check, "test");
    }
    for (key, path) in NAMES {
        let source = if key.1 { &mut inner } else { &mut value };
        spread(path, take(source, key.0), &mut fields);
    }
    for rest in [value, inner] {
        spread("", rest, &mut fields);
    }
    show(&mut fields, "image", image(container));
    for (name, value) in &container.env {
        let value = value.clone().unwrap_or_else(|| "no value".to_owned());
        fields.insert(format!("environment.{name}"), Shown { value, hidden: !show_values });
    }
    match container.healthcheck.as_ref().and_then(|check| check.test.as_ref()) {
        None => {}
        Some(HealthTest::None) => show(&mut fields, "healthcheck.test", "NONE".to_owned()),
        Some(HealthTest::Cmd(words)) => show(&mut fields, "healthcheck.test", format!("CMD {}", words.join(" "))),
        Some(HealthTest::CmdShell(line)) => show(&mut fields, "healthcheck.test", line.clone()),
    }
    if let Some(size) = container.shm_size {
        show(&mut fields, "shm_size", bytes(size));
    }
    resources(&spec.resources, &mut fields);
    if spec.placement.max_replicas_per_node == 0 {
        fields.remove("deploy.placement.max_replicas_per_node");
    }
    for mount in &container.mounts {
        let text = format!("{}{}", mounted(&mount.source), if mount.read_only { ", read-only" } else { "" });
        show(&mut fields, &format!("volumes.{}", mount.target), text);
    }
    for file in &container.configs {
        let id = file.id.map(|id| id.to_string());
        content(&mut fields, "configs", &file.name, (&file.target, file.uid, file.gid, file.mode), id);
    }
    for file in &container.secrets {
        let id = file.id.map(|id| id.to_string());
        content(&mut fields, "secrets", &file.name, (&file.target, file.uid, file.gid, file.mode), id);
    }
    if !spec.ports.is_empty() {
        show(&mut fields, "ports", spec.ports.iter().map(port).collect::<Vec<_>>().join(", "));
    }
    if !spec.exposed.is_empty() {
        show(&mut fields, "expose", spec.exposed.iter().map(exposed).collect::<Vec<_>>().join(", "));
    }
    for attachment in &spec.networks {
        show(&mut fields, &format!("networks.{}", attachment.network), "attached".to_owned());
        let mut value = tree(attachment);
        take(&mut value, "network");
        spread(&format!("networks.{}", attachment.network), value, &mut fields);
    }
    security(container, &mut fields);
    fields
}

/// Our names and those of the file, where they are not the same; true: of the container.
const NAMES: [((&str, bool), &str); 16] = [
    (("labels", false), "deploy.labels"),
    (("labels", true), "labels"),
    (("mode", false), "mode"),
    (("restart", false), "deploy.restart_policy"),
    (("placement", false), "deploy.placement"),
    (("update", false), "deploy.update_config"),
    (("rollback", false), "deploy.rollback_config"),
    (("endpoint_mode", false), "deploy.endpoint_mode"),
    (("stop_grace_period", true), "stop_grace_period"),
    (("user", true), "user"),
    (("stdin_open", true), "stdin_open"),
    (("pid_host", true), "pid: host"),
    (("ipc_host", true), "ipc: host"),
    (("uts_host", true), "uts: host"),
    (("cgroup_host", true), "cgroup: host"),
    (("depends_on", false), "depends_on"),
];

fn tree(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn take(value: &mut Value, key: &str) -> Value {
    value.as_object_mut().and_then(|map| map.remove(key)).unwrap_or(Value::Null)
}

fn show(fields: &mut Fields, path: &str, value: String) {
    fields.insert(path.to_owned(), Shown { value, hidden: false });
}

/// The leaves of a value; what is not set, empty or false by default is no field.
fn spread(path: &str, value: Value, fields: &mut Fields) {
    let join = |key: &str| match (path, key) {
        ("", key) => key.to_owned(),
        // `mode.replicated.replicas` is `replicas` to everybody.
        ("mode", "replicated" | "replicated-job") => "deploy".to_owned(),
        (path, key) => format!("{path}.{key}"),
    };
    match value {
        Value::Null | Value::Bool(false) => {}
        Value::Object(map) => match seconds(&map) {
            Some(text) => show(fields, path, text),
            None => map.into_iter().for_each(|(key, value)| spread(&join(&key), value, fields)),
        },
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => show(fields, path, list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        value => show(fields, path, inline(&value)),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(inline).collect::<Vec<_>>().join(":"),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", inline(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A duration as serde writes it.
fn seconds(map: &serde_json::Map<String, Value>) -> Option<String> {
    let (secs, nanos) = (map.get("secs")?.as_u64()?, map.get("nanos")?.as_u64()?);
    (map.len() == 2).then(|| duration(Duration::new(secs, u32::try_from(nanos).unwrap_or(0))))
}

/// `1m30s`, `5s`, `250ms`.
pub(super) fn duration(span: Duration) -> String {
    let (secs, millis) = (span.as_secs(), span.subsec_millis());
    match (secs / 60, secs % 60, millis) {
        (0, 0, 0) => "0s".to_owned(),
        (0, 0, millis) => format!("{millis}ms"),
        (0, secs, 0) => format!("{secs}s"),
        (0, secs, millis) => format!("{}s", secs as f64 + f64::from(millis) / 1000.0),
        (minutes, 0, _) => format!("{minutes}m"),
        (minutes, secs, _) => format!("{minutes}m{secs}s"),
    }
}

fn image(container: &model::ContainerSpec) -> String {
    match &container.image_digest {
        Some(digest) => format!("{} ({})", container.image, digest.get(..19).unwrap_or(digest)),
        None => container.image.clone(),
    }
}

fn mounted(source: &MountSource) -> String {
    match source {
        MountSource::Volume { name, nocopy, subpath } => {
            let inside = subpath.as_ref().map(|path| format!("/{path}")).unwrap_or_default();
            format!("volume {name}{inside}{}", if *nocopy { ", nocopy" } else { "" })
        }
        MountSource::Anonymous => "a volume of its own".to_owned(),
        MountSource::Bind { path, create: _, propagation, recursive } => {
            let propagation = propagation.as_ref().map(|word| format!(", {word}")).unwrap_or_default();
            format!("bind {path}{propagation}{}", if *recursive { "" } else { ", not recursive" })
        }
        MountSource::Tmpfs { size, mode, options } => {
            let size = size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
            let mode = mode.map(|mode| format!(", mode {mode:o}")).unwrap_or_default();
            let options = options.iter().map(|option| format!(", {option}")).collect::<String>();
            format!("tmpfs{size}{mode}{options}")
        }
    }
}

/// A file of a config or secret: where it is is shown, what is in it never.
fn content(
    fields: &mut Fields,
    section: &str,
    name: &str,
    (target, uid, gid, mode): (&str, u32, u32, u32),
    id: Option<String>,
) {
    show(fields, &format!("{section}.{name}"), format!("{target} {uid}:{gid} {mode:04o}"));
    if let Some(value) = id {
        fields.insert(format!("{section}.{name} (content)"), Shown { value, hidden: true });
    }
}

fn port(port: &PortSpec) -> String {
    let host = port.host_ip.as_ref().map(|ip| format!("{ip}:")).unwrap_or_default();
    let range = port.published_range.map(|(low, high)| format!("{low}-{high}:"));
    let published = port.published.map(|published| format!("{published}:")).or(range).unwrap_or_default();
    let mode = if port.mode == model::PortMode::Host { " (host)" } else { "" };
    format!("{host}{published}{}/{}{mode}", port.target, inline(&tree(&port.protocol)))
}

fn exposed(ports: &ExposedPort) -> String {
    let last = if ports.last == ports.first { String::new() } else { format!("-{}", ports.last) };
    let name = ports.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{}{last}/{}{name}", ports.first, inline(&tree(&ports.protocol)))
}

fn resources(resources: &Resources, fields: &mut Fields) {
    let cores = |nano: u64| (nano as f64 / 1e9).to_string();
    let shown = [
        ("deploy.resources.limits.cpus", resources.limit_nano_cpus.map(cores)),
        ("deploy.resources.limits.memory", resources.limit_memory.map(bytes)),
        ("deploy.resources.limits.pids", resources.limit_pids.map(|count| count.to_string())),
        ("deploy.resources.reservations.cpus", resources.reserve_nano_cpus.map(cores)),
        ("deploy.resources.reservations.memory", resources.reserve_memory.map(bytes)),
        ("memswap_limit", resources.limit_memory_swap.map(|size| u64::try_from(size).map_or("-1".to_owned(), bytes))),
        ("mem_swappiness", resources.memory_swappiness.map(|share| share.to_string())),
        ("cpu_shares", resources.cpu_shares.map(|shares| shares.to_string())),
        ("cpuset", resources.cpuset.clone()),
    ];
    for (path, value) in shown {
        value.into_iter().for_each(|value| show(fields, path, value));
    }
    for (kind, count) in &resources.reserve_generic {
        show(fields, &format!("deploy.resources.reservations.generic_resources.{kind}"), count.to_string());
    }
}

/// In the largest unit that it is a whole number of, as in a Compose file.
fn bytes(size: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| size != 0 && size.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{size} bytes"), |(shift, unit)| format!("{} {unit}", size >> shift))
}

fn security(container: &model::ContainerSpec, fields: &mut Fields) {
    if container.no_new_privileges {
        show(fields, "security_opt.no-new-privileges", "true".to_owned());
    }
    match &container.seccomp {
        model::Seccomp::Default => {}
        model::Seccomp::Unconfined => show(fields, "security_opt.seccomp", "unconfined".to_owned()),
        model::Seccomp::Profile(text) => {
            fields.insert("security_opt.seccomp".to_owned(), Shown { value: text.clone(), hidden: true });
        }
    }
}
