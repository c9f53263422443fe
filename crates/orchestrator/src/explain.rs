//! Why is it so? Reasons are data until somebody reads them.

use model::{TaskId, Time};
use std::fmt;
use std::net::IpAddr;

/// Why a task waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its restart is delayed.
    Delay(Time),
    /// The task before it in its slot still stops.
    Predecessor(TaskId),
    /// A service that it depends on.
    Dependency {
        /// Key of that service.
        service: String,
        /// What that one lacks.
        lacks: Lack,
    },
    /// The container whose network it shares.
    Joins(String),
    /// No network of that name.
    NoNetwork(String),
    /// A fixed address is in use.
    Address(IpAddr, String),
    /// A network has no address left.
    Full {
        /// Full name.
        network: String,
        /// Addresses that it can give.
        size: u64,
    },
    /// No node fits.
    Nodes(Unplaced),
}

/// What a dependency lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lack {
    /// It is not there.
    Missing,
    /// So many of its tasks have not started.
    Started(usize, usize),
    /// So many of its tasks are not healthy.
    Healthy(usize, usize),
    /// So many of its tasks have not ended yet.
    Completed(usize, usize),
    /// It ended otherwise than with 0 and is not tried again.
    Failed(String),
}

/// How many nodes were refused, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unplaced {
    pub(crate) nodes: usize,
    pub(crate) down: usize,
    pub(crate) paused: usize,
    pub(crate) drained: usize,
    /// Constraint → nodes that fail it.
    pub(crate) constraints: Vec<(String, usize)>,
    pub(crate) cpus: (usize, u64),
    pub(crate) memory: (usize, u64),
    /// Kind of a generic resource → nodes that lack it.
    pub(crate) generic: Vec<(String, usize)>,
    /// Port → nodes where it is taken.
    pub(crate) ports: Vec<(u16, usize)>,
    pub(crate) full: (usize, u32),
    pub(crate) elsewhere: usize,
}

impl Unplaced {
    /// Counts one more under `key`.
    pub(crate) fn count<K: PartialEq>(list: &mut Vec<(K, usize)>, key: K) {
        match list.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => list.push((key, 1)),
        }
    }
}

/// `1 lacks`, `2 lack`.
fn verb(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no suitable node: there is no node yet");
        }
        let mut parts = Vec::new();
        let mut some = |count: usize, one: String, many: String| {
            if count > 0 {
                parts.push(verb(count, &one, &many));
            }
        };
        some(self.down, "is down".into(), "are down".into());
        some(self.drained, "is drained".into(), "are drained".into());
        some(self.paused, "is paused".into(), "are paused".into());
        for (constraint, count) in &self.constraints {
            some(*count, format!("fails constraint {constraint}"), format!("fail constraint {constraint}"));
        }
        let memory = bytes(self.memory.1);
        some(self.memory.0, format!("lacks {memory}"), format!("lack {memory}"));
        let cpus = format!("{} CPUs", self.cpus.1 as f64 / 1e9);
        some(self.cpus.0, format!("lacks {cpus}"), format!("lack {cpus}"));
        for (kind, count) in &self.generic {
            some(*count, format!("lacks {kind}"), format!("lack {kind}"));
        }
        for (port, count) in &self.ports {
            some(*count, format!("has host port {port} in use"), format!("have host port {port} in use"));
        }
        let limit = self.full.1;
        some(
            self.full.0,
            format!("holds {limit} replicas, the most allowed"),
            format!("hold {limit} replicas, the most allowed"),
        );
        some(
            self.elsewhere,
            "is not the node of the container it joins".into(),
            "are not the node of the container it joins".into(),
        );
        write!(f, "no suitable node: {} of {}", parts.join(", "), verb(self.nodes, "node", "nodes"))
    }
}

/// `512 MiB`: the largest unit that divides without rest, else bytes.
fn bytes(count: u64) -> String {
    for (unit, size) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size && count % size == 0 {
            return format!("{} {unit}", count / size);
        }
    }
    format!("{count} bytes")
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Missing => f.write_str("is not there"),
            Lack::Started(done, all) => write!(f, "to start ({done} of {all})"),
            Lack::Healthy(done, all) => write!(f, "to be healthy ({done} of {all})"),
            Lack::Completed(done, all) => write!(f, "to complete ({done} of {all})"),
            Lack::Failed(why) => write!(f, "which failed: {why}"),
        }
    }
}

impl Wait {
    /// One sentence for people.
    pub(crate) fn sentence(&self, now: Time) -> String {
        match self {
            Wait::Delay(until) => {
                let left = until.since(now).as_millis().div_ceil(100) as f64 / 10.0;
                format!("restarts in {left} s")
            }
            Wait::Predecessor(task) => format!("waits for {} to stop, which it replaces", task.short()),
            Wait::Dependency { service, lacks: Lack::Missing } => {
                format!("depends on {service}, which is not there")
            }
            Wait::Dependency { service, lacks: lacks @ Lack::Failed(_) } => {
                format!("depends on {service}, {lacks}")
            }
            Wait::Dependency { service, lacks } => format!("waits for {service} {lacks}"),
            Wait::Joins(whose) => format!("waits for {whose}, whose network it shares"),
            Wait::NoNetwork(name) => format!("there is no network {name}"),
            Wait::Address(address, holder) => format!("address {address} is in use by {holder}"),
            Wait::Full { network, size } => format!("network {network} is full: all {size} addresses are in use"),
            Wait::Nodes(unplaced) => unplaced.to_string(),
        }
    }
}
