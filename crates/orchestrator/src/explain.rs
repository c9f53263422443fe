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
    Nodes(Box<Unplaced>),
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
    /// Volume → nodes that do not have it.
    pub(crate) volumes: Vec<(String, usize)>,
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

impl Unplaced {
    /// What so many nodes are or lack, in the order of the filters: count, for one node, for several.
    fn parts(&self) -> Vec<(usize, String, String)> {
        let mut parts = vec![
            (self.down, "is down".to_owned(), "are down".to_owned()),
            (self.drained, "is drained".to_owned(), "are drained".to_owned()),
            (self.paused, "is paused".to_owned(), "are paused".to_owned()),
        ];
        for (constraint, count) in &self.constraints {
            parts.push((*count, format!("fails constraint {constraint}"), format!("fail constraint {constraint}")));
        }
        for (volume, count) in &self.volumes {
            parts.push((
                *count,
                format!("is not where its data of volume {volume} is"),
                format!("are not where its data of volume {volume} is"),
            ));
        }
        let mut lack =
            |count: usize, what: String| parts.push((count, format!("lacks {what}"), format!("lack {what}")));
        lack(self.memory.0, bytes(self.memory.1));
        lack(self.cpus.0, format!("{} CPUs", self.cpus.1 as f64 / 1e9));
        self.generic.iter().for_each(|(kind, count)| lack(*count, kind.clone()));
        let mut has = |count: usize, what: String| parts.push((count, format!("has {what}"), format!("have {what}")));
        self.ports.iter().for_each(|(port, count)| has(*count, format!("host port {port} in use")));
        has(self.full.0, format!("{} of its replicas, the most allowed", self.full.1));
        let beside = "not the node of the container whose network it shares";
        parts.push((self.elsewhere, format!("is {beside}"), format!("are {beside}")));
        parts.retain(|(count, _, _)| *count > 0);
        parts
    }
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no suitable node: there is no node yet");
        }
        let word = if self.nodes == 1 { "node" } else { "nodes" };
        f.write_str("no suitable node: ")?;
        for (place, (count, one, many)) in self.parts().into_iter().enumerate() {
            let what = if count == 1 { one } else { many };
            match place {
                0 => write!(f, "{count} of {} {word} {what}", self.nodes)?,
                _ => write!(f, ", {count} {what}")?,
            }
        }
        Ok(())
    }
}

/// `512 MiB`: the largest unit that divides without rest, else bytes.
fn bytes(count: u64) -> String {
    for (unit, size) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size && count.is_multiple_of(size) {
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
            Wait::Delay(until) if *until <= now => "restarts at once".to_owned(),
            Wait::Delay(until) => {
                // A moment and not a span: the sentence is read later than it is written.
                let second = until.0.div_ceil(1000);
                let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
                format!("restarts at {hour:02}:{minute:02}:{:02} UTC", second % 60)
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
