//! Layer: edge.
//!
//! The same jobs on rswarm and on Docker Engine (Swarm mode), in turns, on one machine, in one run. Prints medians and
//! their ratio. See `benches/README.md` for how to get a Docker Engine without installing one.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made is not worth going on")]

mod cluster;
mod containers;
mod docker;
mod gitops;
mod images;
mod memory;
mod mesh;
mod overlay;
mod stacks;
mod swarm;
mod table;
mod vips;
mod writes;

use std::path::PathBuf;

use docker::Docker;
use e2e::{Host, Options, Registry};
use table::Table;

const HELP: &str = "\
bench [--peer DIR] [JOB]...

  --peer DIR   a Docker Engine unpacked below DIR (DIR/usr/sbin/dockerd); without it only rswarm is measured
  JOB          stacks, run, oci, memory, pull, gitops, mesh, vips, overlay, cluster, losses, busy, writes;
               without one all of them

RSWARM_BIN names the binary to measure; use one that was built with --release.
";

/// What is compared: two machines side by side, each with a registry.
struct Lab {
    // fields are dropped in this order: what runs inside a machine ends before the machine
    registries: Vec<Registry>,
    docker: Option<Docker>,
    ours: Host,
}

/// The port of each machine's registry.
const REGISTRY: u16 = 5000;

fn main() {
    let (mut peer, mut jobs) = (None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--peer" => peer = words.next().map(PathBuf::from),
            "stacks" | "run" | "oci" | "memory" | "pull" | "gitops" | "mesh" | "vips" | "overlay" | "cluster"
            | "losses" | "busy" | "writes" => {
                jobs.push(word);
            }
            _ => return table::say(HELP),
        }
    }
    let wanted = |job: &str| jobs.is_empty() || jobs.iter().any(|word| word == job);
    let mut table = Table::default();
    // Docker has nothing beside these.
    if wanted("gitops") {
        gitops::measure(&mut table);
    }
    if wanted("mesh") {
        mesh::measure(&mut table);
    }
    if wanted("vips") {
        vips::measure(&mut table);
    }
    if wanted("overlay") {
        overlay::measure(&mut table);
    }
    if ["cluster", "losses", "busy", "writes"].into_iter().any(wanted) {
        cluster::measure(peer.as_deref(), &wanted, &mut table);
    }
    let on_one = |job: &str| matches!(job, "stacks" | "run" | "oci" | "memory" | "pull");
    if !jobs.is_empty() && !jobs.iter().any(|job| on_one(job)) {
        return table.print();
    }
    let Some(lab) = Lab::open(peer) else { return };
    if wanted("memory") {
        memory::measure(&lab, &mut table);
    }
    if wanted("run") {
        containers::run(&lab, &mut table);
    }
    if wanted("oci") {
        containers::oci(&lab, &mut table);
    }
    if wanted("stacks") {
        stacks::measure(&lab, &mut table);
    }
    if wanted("pull") {
        images::pull(&lab, &mut table);
    }
    table.print();
}

impl Lab {
    fn open(peer: Option<PathBuf>) -> Option<Lab> {
        let daemon = vec!["--insecure-registry".to_owned(), format!("127.0.0.1:{REGISTRY}")];
        let ours = Host::with(Options { daemon, quiet: true, ..Options::default() })?;
        let mut registries = vec![Registry::start(&ours, REGISTRY)];
        let docker = peer.map(|dir| Docker::start(&dir));
        registries.extend(docker.as_ref().map(|docker| Registry::start(&docker.host, REGISTRY)));
        Some(Lab { registries, docker, ours })
    }
}
