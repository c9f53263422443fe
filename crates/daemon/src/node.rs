//! This machine as the cluster sees it.

use model::{Availability, Node, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What whoever runs the daemon says of the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers {
    /// For `engine.labels.KEY` in placement constraints.
    pub(crate) labels: BTreeMap<String, String>,
    /// How much there is of what services may reserve.
    pub(crate) generic: BTreeMap<String, u64>,
}

/// Describes this machine.
pub(crate) fn describe(id: NodeId, run_root: &std::path::Path, offers: &Offers) -> Node {
    let name = rustix::system::uname();
    Node {
        id,
        hostname: name.nodename().to_string_lossy().into_owned(),
        platform: format!("linux/{}", image::architecture()),
        labels: BTreeMap::new(),
        engine_labels: offers.labels.clone(),
        manager: true,
        availability: Availability::Active,
        ready: true,
        nano_cpus: cpus().saturating_mul(1_000_000_000),
        memory: memory(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generic: offers.generic.clone(),
        host_routes: overlay_net::host_routes(run_root).unwrap_or_else(|error| {
            tracing::warn!("read the routes of the host, to keep address pools off them: {error}");
            Vec::new()
        }),
        incarnation: crate::config::random().map_or(0, u64::from_le_bytes),
        ..Node::new(id, "")
    }
}

/// Processors that may be used.
pub(crate) fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// Bytes of memory of the machine.
pub(crate) fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

/// When a daemon that has started lets go of what only its start needed, and how often of what only a busy moment did.
const LIGHTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// Keeps the memory of a daemon that waits small, until it stops.
pub(crate) async fn stay_small(stop: CancellationToken) {
    let [first, again] = LIGHTER;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, again);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = runtime::let_go_of_code() {
            tracing::debug!("let go of memory that is not needed: {error}");
        }
    }
}

/// `v1`, `v2` or `hybrid`: which cgroup hierarchies are mounted.
pub(crate) fn cgroup_version() -> &'static str {
    let root = std::path::Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        "v2"
    } else if root.join("unified/cgroup.controllers").exists() {
        "hybrid"
    } else {
        "v1"
    }
}
