//! `context …`.

use super::Listing;
use clap::{Args, Subcommand};

/// `context …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Context {
    /// Make a context
    Create(Create),
    /// List contexts
    #[command(visible_alias = "list")]
    Ls(Listing),
    /// Use a context from now on; `default` is the daemon of this machine
    Use(Use),
    /// Print the name of the context in use
    Show,
    /// Show everything about contexts as JSON, but for their keys
    Inspect(Inspect),
    /// Change a context
    Update(Update),
    /// Remove contexts
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Write a context to a file, its key included
    Export(Export),
    /// Make a context of what `context export` or `ca client create` wrote
    Import(Import),
}

/// `context create`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["docker", "certificate_from", "from"]))]
pub(crate) struct Create {
    /// Where the daemon is: ssh://[USER@]HOST[:PORT], unix://PATH or tcp://HOST[:PORT]
    #[arg(long, value_name = "[host=]URL")]
    pub(crate) docker: Option<String>,
    /// Let this manager sign a certificate for a key made here, and talk to the managers over TLS with it
    #[arg(long, value_name = "URL|CONTEXT")]
    pub(crate) certificate_from: Option<String>,
    /// Begin with what this context is
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) from: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// How the managers are to call this client [default: USER@HOSTNAME]
    #[arg(long, value_name = "NAME", requires = "certificate_from")]
    pub(crate) client: Option<String>,
    /// How long the certificate is to hold
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    pub(crate) ttl: String,
    /// How to call it
    pub(crate) name: String,
}

/// `context use`.
#[derive(Debug, Args)]
pub(crate) struct Use {
    /// Which
    pub(crate) name: String,
}

/// `context inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// `json` or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Which; without any the one in use
    pub(crate) names: Vec<String>,
}

/// `context update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Where the daemon is
    #[arg(long, value_name = "[host=]URL")]
    pub(crate) docker: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Which
    pub(crate) name: String,
}

/// `context rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Also the one in use
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Which
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `context export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Which
    pub(crate) name: String,
    /// Where to; `-` is standard output [default: NAME.rswarmcontext]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<String>,
}

/// `context import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// How to call it
    pub(crate) name: String,
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: String,
}
