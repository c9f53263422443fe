//! `gitops …`.

use clap::{Args, Subcommand, ValueEnum};

/// `gitops …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Gitops {
    /// Follow a folder, a Compose file or a git repository
    Add(Box<Add>),
    /// List what is followed
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show how a source fares: 0 healthy, 3 on its way, 1 anything else
    Status(Status),
    /// Look for news now, and wait until they are applied or refused
    Sync(Name),
    /// Apply nothing until it is resumed
    Suspend(Name),
    /// Go on; after `rollback`, with the newest commit
    Resume(Name),
    /// Show what was done: commit, author, when, changes, outcome
    History(History),
    /// Go back to an earlier commit, and stay there until `resume`
    Rollback(Rollback),
    /// Show what applying the newest commit would change; exit code 2: something
    Diff(Diff),
    /// Follow it no more; what runs goes on running
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// `gitops add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name; the stack's too, if --stack names no other
    pub(crate) name: String,
    /// Folder, file, or https://, ssh://, USER@HOST:PATH, file:// of a repository
    #[arg(value_name = "PATH or GIT-URL")]
    pub(crate) origin: String,
    /// Branch, tag or commit
    #[arg(long = "ref", value_name = "REF", default_value = "HEAD")]
    pub(crate) reference: String,
    /// Compose file or folder inside of it; `*` for any name
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Stack that it may touch; `*` for any characters
    #[arg(long = "stack", value_name = "NAME")]
    pub(crate) stacks: Vec<String>,
    /// Ask the repository so often; 0: only when told by `sync` or a webhook
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub(crate) interval: String,
    /// Remove what is no longer in the files, volumes excepted
    #[arg(long)]
    pub(crate) prune: bool,
    /// Remove volumes that are no longer in the files, with their data
    #[arg(long)]
    pub(crate) prune_volumes: bool,
    /// Put right what somebody changes by hand
    #[arg(long)]
    pub(crate) self_heal: bool,
    /// Refuse a commit that does not come after the one that runs (a force-push)
    #[arg(long)]
    pub(crate) forward_only: bool,
    /// Go back as a whole when the services do not become healthy
    #[arg(long)]
    pub(crate) rollback: bool,
    /// How long they may take to
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) health_timeout: String,
    /// What the files may ask of the host
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) allow: Vec<Allow>,
    /// Variable for the files
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// File with a token for https: TOKEN or USER:TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<String>,
    /// File with a private key for ssh
    #[arg(long, value_name = "FILE", requires = "known_hosts")]
    pub(crate) ssh_key: Option<String>,
    /// File with the server's keys (known_hosts) for ssh
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<String>,
    /// Node that has the folder or file [default: the one that is asked]
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Refuse commits that are not signed by one of this file: allowed signers (ssh-keygen(1)), or public keys
    /// of OpenPGP in armor
    #[arg(long, value_name = "FILE")]
    pub(crate) verify: Option<String>,
    /// File with the secret that the server signs its webhooks with
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret: Option<String>,
    /// File with the secret keys (age-keygen) of configs and secrets that are encrypted with age
    #[arg(long, value_name = "FILE")]
    pub(crate) age_key: Option<String>,
    /// Change a source that is followed already
    #[arg(long)]
    pub(crate) replace: bool,
    /// Return as soon as it is known, without waiting for the first commit
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `--allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Allow {
    /// Paths of the host
    Bind,
    /// privileged, added capabilities, less confinement
    Privileged,
    /// Namespaces of the host
    Host,
    /// Devices of the host
    Device,
    /// Networks, volumes, configs and secrets of other stacks
    External,
}

/// Which source.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Source
    pub(crate) name: String,
}

/// `gitops ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `gitops status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Source
    pub(crate) name: String,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
    /// Wait until the newest commit is healthy or has failed
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `gitops history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Source
    pub(crate) name: String,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

/// `gitops rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Source
    pub(crate) name: String,
    /// Commit: the hash, or as much of it as `history` shows
    pub(crate) commit: String,
}

/// `gitops diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Source
    pub(crate) name: String,
    /// `table` (text) or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

/// `gitops rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Source
    pub(crate) name: String,
    /// Take its stacks away too
    #[arg(long)]
    pub(crate) down: bool,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people
    #[value(alias = "text")]
    Table,
    /// JSON
    Json,
}
