//! Counters of a running container.

use super::Stats;
use crate::container::{self, Cgroup};

/// Reads the cgroup, and the interfaces of the network namespace if it is the container's own.
pub(super) fn read(cgroup: &str, pid: u32, own_net: bool) -> Result<Stats, container::Error> {
    let stats = Cgroup::open(cgroup)?.stats()?;
    let (net_rx, net_tx) = match own_net {
        // A process that ends at this moment has sent nothing more.
        true => interfaces(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default()),
        false => (0, 0),
    };
    Ok(Stats {
        cpu_ns: stats.cpu_ns,
        memory: stats.memory,
        memory_limit: stats.memory_limit,
        net_rx,
        net_tx,
        block_read: stats.block_read,
        block_write: stats.block_write,
        pids: stats.pids,
    })
}

/// Bytes received and sent by all interfaces of `/proc/PID/net/dev` but loopback.
fn interfaces(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if let (false, Some(received), Some(sent)) = (name.trim() == "lo", numbers.first(), numbers.get(8)) {
            sum = (sum.0 + received, sum.1 + sent);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::interfaces;

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1500      10    0    0    0     0          0         0     2500      12    0    0    0     0       0          0
  eth1:10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0
";
        assert_eq!(interfaces(text), (1510, 2520));
        assert_eq!(interfaces("nonsense: 1 2\n:"), (0, 0));
    }
}
