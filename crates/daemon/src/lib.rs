//! Layer: edge.
//!
//! The daemon: it drives the pure machines (consensus, manager, agent), performs what they ask for
//! through the crates that touch the host, and serves the API. All background tasks live here.

mod address;
mod agents;
mod api_server;
mod archives;
mod autolock;
mod backup;
mod calls;
mod clock;
mod cluster;
mod config;
mod drive_agent;
mod drive_manager;
mod effects;
mod events;
mod failure;
mod gitops;
mod identity;
mod images;
mod learn;
mod locked;
mod logging;
mod logs;
mod mesh;
mod metrics;
#[cfg(test)]
mod names;
mod network;
mod node;
mod peers;
mod pin;
mod raft_net;
mod reach;
mod relay;
mod rendezvous;
mod run;
mod sessions;
mod shared;
mod small_server;
mod streams;
#[cfg(test)]
mod testing;
mod views;
mod worker;

pub use logging::LogFormat;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// How to run a daemon.
#[derive(Debug, Clone)]
pub struct DaemonArgs {
    /// What outlives a boot: log, images, volumes, containers. One daemon only.
    pub data_root: PathBuf,
    /// What does not: the socket, namespaces, shims' sockets. One daemon only.
    pub run_root: PathBuf,
    /// The cgroup below which containers get theirs.
    pub cgroup_parent: String,
    /// An external OCI runtime in place of the built-in one.
    pub oci_runtime: Option<PathBuf>,
    /// Registries that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Labels of this machine, for constraints that begin with `engine.labels`.
    pub labels: BTreeMap<String, String>,
    /// How much this machine has of what services may reserve (`generic_resources`), by its kind.
    pub generic: BTreeMap<String, u64>,
    /// Where servers of git repositories tell of news; `None`: nowhere.
    pub webhook: Option<std::net::SocketAddr>,
    /// Where numbers for Prometheus are served; `None`: nowhere.
    pub metrics: Option<std::net::SocketAddr>,
    /// What to log: a level, or a filter such as `daemon=debug`.
    pub log_level: String,
    /// How its lines look.
    pub log_format: LogFormat,
    /// This binary: runs `EXE shim …` and `EXE netd …`.
    pub exe: PathBuf,
}

/// Runs a daemon until SIGTERM or SIGINT. Containers go on running after it.
pub fn main(args: DaemonArgs) -> ExitCode {
    let exe = args.exe.clone();
    logging::start(&args.log_level, args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run::run(args));
            // A blocking task that hangs on a disk must not hold up the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            ended
        }
        Err(error) => Err(anyhow::Error::new(error).context("start the threads of the daemon")),
    };
    match ended {
        Ok(run::Ended::Stopped) => ExitCode::SUCCESS,
        Ok(run::Ended::Again(lock)) => {
            let error = again(&exe, lock);
            tracing::error!("begin anew: {error}; start the daemon again");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Executes this program again with the same words; returns only if that fails.
fn again(exe: &std::path::Path, lock: Option<store::KeyBytes>) -> std::io::Error {
    tracing::info!("beginning anew as what this node is now");
    locked::hand_over(std::process::Command::new(exe).args(std::env::args_os().skip(1)), lock)
}
