//! `daemon`, `system …`, `version`, `info`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `daemon`.
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// An external OCI runtime (crun, runc) in place of the built-in one
    #[arg(long, value_name = "PATH")]
    pub(crate) oci_runtime: Option<PathBuf>,
    /// Registry (HOST[:PORT]) that may be spoken to without TLS
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registries: Vec<String>,
    /// Label of this machine, for placement constraints: `engine.labels.KEY == VALUE`
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// How many of a kind of thing this machine has, for services that reserve some (`generic_resources`)
    #[arg(long = "node-generic-resource", value_name = "KIND=NUMBER")]
    pub(crate) generic: Vec<String>,
    /// Listen for webhooks of git servers at this address (POST /hook/SOURCE)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) webhook: Option<std::net::SocketAddr>,
    /// Serve numbers for Prometheus at this address (GET /metrics); whoever reaches it may read them
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_addr: Option<std::net::SocketAddr>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,daemon=debug`
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// How the lines of the log look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How the lines of a daemon's log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// An object of JSON a line, for programs
    Json,
}

/// `system …`.
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Show how much disk is used
    Df(Df),
    /// Show what the daemon is and has
    Info(Info),
    /// Show what happens as it happens
    Events(super::container::Events),
    /// Remove ended containers, unused networks and untagged images
    Prune(Prune),
}

/// `system df`.
#[derive(Debug, Args)]
pub(crate) struct Df {
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// `system prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// All images that no container uses, not only untagged ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Anonymous volumes too
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// `json` or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// `json` or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}
