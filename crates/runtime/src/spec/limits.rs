//! Limits: cgroups, rlimits, sysctls, devices.

use super::Inputs;
use crate::engine::NetMode;
use model::{ContainerSpec, ULIMITS};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Microseconds over which a CPU limit is kept (Docker).
const CPU_PERIOD: u64 = 100_000;

/// Least memory that a container may be limited to, in bytes: with less nothing starts (Docker).
const MEMORY: u64 = 6 << 20;

/// Nodes that every container may use: null, zero, full, random, urandom, tty, ptmx, terminals.
const USUAL_DEVICES: [(u32, Option<u32>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

pub(super) fn resources(inputs: &Inputs<'_>) -> Result<Value, String> {
    let wanted = &inputs.create.spec.resources;
    let container = &inputs.create.spec.container;
    let mut all = json!({"devices": devices(inputs)?});
    let mut memory = serde_json::Map::new();
    if let Some(limit) = wanted.limit_memory.filter(|limit| *limit > 0) {
        if limit < MEMORY {
            return Err(format!("a memory limit of {limit} bytes is too little: the least is 6 MiB"));
        }
        memory.insert("limit".to_owned(), json!(limit));
        // Docker: as much swap again as memory.
        let swap = match wanted.limit_memory_swap.filter(|swap| *swap != 0) {
            Some(swap) => swap,
            None => i64::try_from(limit.saturating_mul(2)).unwrap_or(i64::MAX),
        };
        if swap >= 0 && u64::try_from(swap).is_ok_and(|swap| swap < limit) {
            return Err(format!("memory and swap together ({swap}) are less than memory alone ({limit})"));
        }
        memory.insert("swap".to_owned(), json!(swap));
    }
    if let Some(swappiness) = wanted.memory_swappiness {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    if container.oom_kill_disable {
        memory.insert("disableOOMKiller".to_owned(), json!(true));
    }
    if !memory.is_empty() {
        super::put(&mut all, "memory", Value::Object(memory));
    }
    let mut cpu = serde_json::Map::new();
    if let Some(nano) = wanted.limit_nano_cpus.filter(|nano| *nano > 0) {
        // The kernel takes no less than a millisecond.
        let quota = (u128::from(nano) * u128::from(CPU_PERIOD) / 1_000_000_000).max(1000);
        cpu.insert("quota".to_owned(), json!(i64::try_from(quota).unwrap_or(i64::MAX)));
        cpu.insert("period".to_owned(), json!(CPU_PERIOD));
    }
    if let Some(shares) = wanted.cpu_shares.filter(|shares| *shares > 0) {
        cpu.insert("shares".to_owned(), json!(shares));
    }
    if let Some(cpus) = wanted.cpuset.as_ref().filter(|cpus| !cpus.is_empty()) {
        cpu.insert("cpus".to_owned(), json!(cpus));
    }
    if !cpu.is_empty() {
        super::put(&mut all, "cpu", Value::Object(cpu));
    }
    if let Some(limit) = wanted.limit_pids.filter(|limit| *limit > 0) {
        super::put(&mut all, "pids", json!({"limit": limit}));
    }
    Ok(all)
}

fn devices(inputs: &Inputs<'_>) -> Result<Vec<Value>, String> {
    let container = &inputs.create.spec.container;
    if container.privileged {
        return Ok(vec![json!({"allow": true, "access": "rwm"})]);
    }
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        // Making nodes is harmless, using them is not.
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    for (major, minor) in USUAL_DEVICES {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            super::put(&mut rule, "minor", json!(minor));
        }
        rules.push(rule);
    }
    for device in &inputs.devices {
        rules.push(json!({
            "allow": true,
            "type": device.kind.to_string(),
            "major": device.major,
            "minor": device.minor,
            "access": device.permissions,
        }));
    }
    rules.extend(self::rules(container)?);
    Ok(rules)
}

/// `device_cgroup_rules`.
pub(super) fn rules(container: &ContainerSpec) -> Result<Vec<Value>, String> {
    let read =
        |text: &String| rule(text).ok_or_else(|| format!("device_cgroup_rules: `{text}` is not like `c 42:* rwm`"));
    container.device_cgroup_rules.iter().map(read).collect()
}

/// `c 42:* rwm`.
fn rule(text: &str) -> Option<Value> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = *words.as_slice() else { return None };
    let (major, minor) = numbers.split_once(':')?;
    let good = matches!(kind, "a" | "b" | "c") && access.chars().all(|letter| "rwm".contains(letter));
    let mut rule = json!({"allow": true, "type": kind, "access": access});
    for (name, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            super::put(&mut rule, name, json!(number.parse::<u32>().ok()?));
        }
    }
    good.then_some(rule)
}

/// As in OCI: a list of name, soft and hard.
pub(super) fn rlimits(container: &ContainerSpec) -> Result<Vec<Value>, String> {
    let mut list = Vec::new();
    for (name, (soft, hard)) in &container.ulimits {
        let name = name.to_ascii_lowercase();
        if !ULIMITS.contains(&name.as_str()) {
            return Err(format!("ulimit `{name}` is not known"));
        }
        let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        if number(*soft) > number(*hard) {
            return Err(format!("ulimit {name}: the soft limit {soft} is over the hard one {hard}"));
        }
        let name = format!("RLIMIT_{}", name.to_ascii_uppercase());
        list.push(json!({"type": name, "soft": number(*soft), "hard": number(*hard)}));
    }
    Ok(list)
}

/// Asked for, and Docker's: in a network namespace of its own anybody may ping and use low ports.
pub(super) fn sysctls(container: &ContainerSpec, net: &NetMode) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if *net != NetMode::Host {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    all.extend(container.sysctls.clone());
    all
}
