//! What a cgroup uses.

use super::{Cgroup, Error};

/// One reading of a cgroup; counters are totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Nanoseconds of CPU.
    pub cpu_ns: u64,
    /// Bytes without inactive page cache.
    pub memory: u64,
    /// Limit in bytes; `None`: none.
    pub memory_limit: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Version 1 says "no limit" with the largest number of whole pages.
const V1_UNLIMITED: u64 = 1 << 62;

/// The number after a key on a line of its own.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).and_then(|(_, value)| value.trim().parse().ok())
}

pub(super) fn read(cgroup: &Cgroup) -> Result<CgroupStats, Error> {
    let mut stats = CgroupStats::default();
    match (&cgroup.v2, cgroup.controller("cpuacct")) {
        (Some(folder), _) => {
            stats.cpu_ns = field(&folder.read("cpu.stat")?, "usage_usec").unwrap_or(0).saturating_mul(1000);
        }
        (None, Some(folder)) => stats.cpu_ns = folder.number("cpuacct.usage")?.unwrap_or(0),
        (None, None) => {}
    }
    if let Some(folder) = cgroup.controller("memory") {
        let (usage, limit, inactive) = if cgroup.unified {
            ("memory.current", "memory.max", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
        };
        let used = folder.number(usage)?.unwrap_or(0);
        let cache = folder.read("memory.stat").ok().and_then(|text| field(&text, inactive)).unwrap_or(0);
        stats.memory = used.saturating_sub(cache);
        stats.memory_limit = folder.number(limit)?.filter(|limit| *limit < V1_UNLIMITED);
    }
    if let Some(folder) = cgroup.controller("pids") {
        stats.pids = folder.number("pids.current")?.unwrap_or(0);
    }
    (stats.block_read, stats.block_write) = block_io(cgroup)?;
    Ok(stats)
}

/// Bytes read and written.
fn block_io(cgroup: &Cgroup) -> Result<(u64, u64), Error> {
    if cgroup.unified {
        let Some(folder) = &cgroup.v2 else { return Ok((0, 0)) };
        // Without the io controller there is no such file.
        let text = if folder.has("io.stat") { folder.read("io.stat")? } else { String::new() };
        return Ok((sum_v2(&text, "rbytes="), sum_v2(&text, "wbytes=")));
    }
    let Some(folder) = cgroup.controller("blkio") else { return Ok((0, 0)) };
    let file = "blkio.throttle.io_service_bytes_recursive";
    let text = if folder.has(file) { folder.read(file)? } else { String::new() };
    Ok((sum_v1(&text, "Read"), sum_v1(&text, "Write")))
}

/// Lines of `8:0 Read 4096`.
fn sum_v1(text: &str, word: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let mut parts = line.split_whitespace().skip(1);
        (parts.next() == Some(word)).then(|| parts.next()?.parse::<u64>().ok()).flatten()
    });
    values.fold(0, u64::saturating_add)
}

/// Lines of `8:0 rbytes=4096 wbytes=0 …`.
fn sum_v2(text: &str, key: &str) -> u64 {
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix(key));
    words.filter_map(|value| value.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_fields() {
        assert_eq!(sum_v1("8:0 Read 10\n8:0 Write 5\n8:16 Read 1\nTotal 16\n", "Read"), 11);
        assert_eq!(sum_v2("8:0 rbytes=10 wbytes=5 rios=1\n8:16 rbytes=7 wbytes=0\n", "rbytes="), 17);
        assert_eq!(field("low 0\noom 2\noom_kill 1\n", "oom_kill"), Some(1));
        assert_eq!(field("inactive_file 5", "active_file"), None);
    }
}
