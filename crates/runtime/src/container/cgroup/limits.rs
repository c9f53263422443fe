//! Limits of the spec as files and values of either version.

use super::Error;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

/// A value for a file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
    /// It is no error when the kernel has no such file.
    pub(super) optional: bool,
}

fn set(controller: &'static str, file: &str, value: impl ToString) -> Setting {
    Setting { controller, file: file.to_owned(), value: value.to_string(), optional: false }
}

/// Version 1's controllers for a container with these limits: those that measure or bound every
/// container, and those that a limit asks for. With a version 2 hierarchy beside them CPU time and
/// freezing are done there.
pub(super) fn needed_v1(resources: &LinuxResources, hybrid: bool) -> Vec<&'static str> {
    let mut needed = vec!["blkio", "devices", "memory", "pids"];
    if !hybrid {
        needed.extend(["cpuacct", "freezer"]);
    }
    if let Some(cpu) = resources.cpu() {
        let time = cpu.shares().is_some() || cpu.quota().is_some() || cpu.period().is_some();
        let other = cpu.realtime_runtime().is_some() || cpu.realtime_period().is_some() || cpu.idle().is_some();
        if time || other || cpu.burst().is_some() {
            needed.push("cpu");
        }
        if cpu.cpus().is_some() || cpu.mems().is_some() {
            needed.push("cpuset");
        }
    }
    if resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()) {
        needed.push("hugetlb");
    }
    if let Some(network) = resources.network() {
        if network.class_id().is_some() {
            needed.push("net_cls");
        }
        if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            needed.push("net_prio");
        }
    }
    needed
}

/// As version 1 takes them.
pub(super) fn v1(resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_v1(memory, &mut all);
    }
    if let Some(cpu) = resources.cpu() {
        cpu_v1(cpu, &mut all);
    }
    if let Some(pids) = resources.pids() {
        all.push(set("pids", "pids.max", max_if(pids.limit() <= 0, pids.limit())));
    }
    if let Some(io) = resources.block_io() {
        block_io_v1(io, &mut all);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.push(set("hugetlb", &format!("hugetlb.{}.limit_in_bytes", page_size(limit.page_size())?), limit.limit()));
    }
    if let Some(network) = resources.network() {
        all.extend(network.class_id().map(|id| set("net_cls", "net_cls.classid", id)));
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            all.push(set("net_prio", "net_prio.ifpriomap", value));
        }
    }
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(Error::text("linux.resources.unified needs cgroup version 2"));
    }
    Ok(all)
}

fn max_if(unlimited: bool, value: impl ToString) -> String {
    if unlimited { "max".to_owned() } else { value.to_string() }
}

/// `2MB`, as the kernel names its files; nothing that leads elsewhere.
fn page_size(text: &str) -> Result<&str, Error> {
    let good = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    if good { Ok(text) } else { Err(Error::text(format!("{text:?} is no size of a huge page"))) }
}

fn memory_v1(memory: &LinuxMemory, all: &mut Vec<Setting>) {
    if let Some(limit) = memory.limit() {
        all.push(set("memory", "memory.limit_in_bytes", limit));
    }
    // A kernel without swap accounting has no such file; the limit of memory holds all the same.
    if let Some(swap) = memory.swap() {
        all.push(Setting { optional: true, ..set("memory", "memory.memsw.limit_in_bytes", swap) });
    }
    if let Some(reservation) = memory.reservation() {
        all.push(set("memory", "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(kernel_tcp) = memory.kernel_tcp() {
        all.push(Setting { optional: true, ..set("memory", "memory.kmem.tcp.limit_in_bytes", kernel_tcp) });
    }
    // Docker says -1 for "leave it", which arrives as a huge number.
    if let Some(swappiness) = memory.swappiness().filter(|value| *value <= 200) {
        all.push(set("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        all.push(set("memory", "memory.oom_control", 1));
    }
}

fn cpu_v1(cpu: &LinuxCpu, all: &mut Vec<Setting>) {
    let shares = cpu.shares().filter(|shares| *shares > 0).map(|shares| set("cpu", "cpu.shares", shares));
    // The period first: a quota is checked against it.
    let period = cpu.period().filter(|period| *period > 0).map(|period| set("cpu", "cpu.cfs_period_us", period));
    let quota = cpu.quota().filter(|quota| *quota != 0).map(|quota| set("cpu", "cpu.cfs_quota_us", quota));
    let burst = cpu.burst().map(|burst| set("cpu", "cpu.cfs_burst_us", burst));
    let idle = cpu.idle().map(|idle| set("cpu", "cpu.idle", idle));
    let rt_period = cpu.realtime_period().map(|period| set("cpu", "cpu.rt_period_us", period));
    let rt_runtime = cpu.realtime_runtime().map(|runtime| set("cpu", "cpu.rt_runtime_us", runtime));
    let cpus = cpu.cpus().as_ref().map(|cpus| set("cpuset", "cpuset.cpus", cpus));
    let mems = cpu.mems().as_ref().map(|mems| set("cpuset", "cpuset.mems", mems));
    all.extend([shares, period, quota, burst, idle, rt_period, rt_runtime, cpus, mems].into_iter().flatten());
}

fn block_io_v1(io: &LinuxBlockIo, all: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight > 0) {
        // Only the BFQ scheduler has weights in current kernels.
        all.push(Setting { optional: true, ..set("blkio", "blkio.bfq.weight", weight) });
    }
    for (file, device) in throttles(io) {
        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        all.push(set("blkio", &format!("blkio.throttle.{file}_device"), value));
    }
}

fn throttles(io: &LinuxBlockIo) -> Vec<(&'static str, LinuxThrottleDevice)> {
    let kinds = [
        ("read_bps", io.throttle_read_bps_device()),
        ("write_bps", io.throttle_write_bps_device()),
        ("read_iops", io.throttle_read_iops_device()),
        ("write_iops", io.throttle_write_iops_device()),
    ];
    kinds.into_iter().flat_map(|(kind, list)| list.iter().flatten().map(move |device| (kind, *device))).collect()
}

/// As version 2 takes them.
pub(super) fn v2(resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_v2(memory, &mut all)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_v2(cpu, &mut all);
    }
    if let Some(pids) = resources.pids() {
        all.push(set("pids", "pids.max", max_if(pids.limit() <= 0, pids.limit())));
    }
    if let Some(io) = resources.block_io() {
        block_io_v2(io, &mut all);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.push(set("hugetlb", &format!("hugetlb.{}.max", page_size(limit.page_size())?), limit.limit()));
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        if file.contains('/') || !file.contains('.') {
            return Err(Error::text(format!("linux.resources.unified: {file:?} is no file of a cgroup")));
        }
        all.push(set("unified", file, value));
    }
    Ok(all)
}

fn memory_v2(memory: &LinuxMemory, all: &mut Vec<Setting>) -> Result<(), Error> {
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        all.push(set("memory", "memory.max", max_if(limit < 0, limit)));
    }
    // The spec counts memory and swap together, version 2 swap alone.
    match (memory.swap(), memory.limit()) {
        (Some(swap), _) if swap < 0 => {
            all.push(Setting { optional: true, ..set("memory", "memory.swap.max", "max") });
        }
        (Some(swap), Some(limit)) if swap > 0 && limit > 0 => {
            let alone = swap.checked_sub(limit).filter(|alone| *alone >= 0);
            let alone = alone.ok_or_else(|| {
                Error::text(format!("memory and swap together ({swap}) can't be less than memory ({limit})"))
            })?;
            all.push(Setting { optional: true, ..set("memory", "memory.swap.max", alone) });
        }
        (Some(swap), _) if swap > 0 => {
            return Err(Error::text("a limit of memory and swap together needs a limit of memory"));
        }
        _ => {}
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        all.push(set("memory", "memory.low", max_if(reservation < 0, reservation)));
    }
    Ok(())
}

/// Shares of 2 to 262144 on a scale of 1 to 10000, in the way all runtimes do it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn cpu_v2(cpu: &LinuxCpu, all: &mut Vec<Setting>) {
    if let Some(idle) = cpu.idle() {
        all.push(set("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        all.push(set("cpu", "cpu.weight", weight(shares)));
    }
    if cpu.quota().is_some() || cpu.period().is_some() {
        let quota = cpu.quota().unwrap_or(0);
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(100_000);
        all.push(set("cpu", "cpu.max", format!("{} {period}", max_if(quota <= 0, quota))));
    }
    if let Some(burst) = cpu.burst() {
        all.push(set("cpu", "cpu.max.burst", burst));
    }
    if let Some(cpus) = cpu.cpus() {
        all.push(set("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems() {
        all.push(set("cpuset", "cpuset.mems", mems));
    }
}

fn block_io_v2(io: &LinuxBlockIo, all: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight > 0) {
        all.push(Setting { optional: true, ..set("io", "io.bfq.weight", weight) });
    }
    for (kind, device) in throttles(io) {
        let word = match kind {
            "read_bps" => "rbps",
            "write_bps" => "wbps",
            "read_iops" => "riops",
            _ => "wiops",
        };
        all.push(set("io", "io.max", format!("{}:{} {word}={}", device.major(), device.minor(), device.rate())));
    }
}
