//! Verbs that deal with containers; `run` is in [`super::run`].

use super::Listing;
use super::stack::ProjectRest;
use clap::Args;

/// `ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Show ended and waiting ones too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// `KEY=VALUE` (status, name, id, label, ancestor, network, volume, exited, health), or a
    /// Compose file whose stack to show
    #[arg(short, long, visible_alias = "file", value_name = "FILTER or FILE")]
    pub(crate) filter: Vec<String>,
    /// Only of this stack
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// The newest so many, of any state
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// The newest one, of any state
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Show how much each has written
    #[arg(short, long)]
    pub(crate) size: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Containers, or services of the stack
    #[arg(value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    /// Go on as lines come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Not before: a time (2026-01-02T15:04:05Z) or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after: a time or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The last so many lines of each container, or `all`
    #[arg(short = 'n', long, value_name = "N", default_value = "all", allow_negative_numbers = true)]
    pub(crate) tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Do not say which container wrote a line
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Compose file of the stack
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectRest,
}

/// The stack that names are services of.
#[derive(Debug, Default, Args)]
pub(crate) struct OfStack {
    /// The names are services of this stack
    #[arg(short = 'p', long = "project-name", value_name = "NAME")]
    pub(crate) project: Option<String>,
}

/// `exec`.
#[derive(Debug, Args)]
#[command(override_usage = "rswarm exec [OPTIONS] CONTAINER|SERVICE COMMAND [ARG]...")]
pub(crate) struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Give it none, which is so anyway (Compose)
    #[arg(short = 'T', long, conflicts_with = "tty")]
    pub(crate) no_tty: bool,
    /// Run it in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Set a variable (`NAME=VALUE`, or `NAME` to take the value from here)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<String>,
    /// `NAME or UID[:GROUP or GID]`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// All capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Which replica of a service
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u32>,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// The container (or service), then the command with its arguments
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_name = "CONTAINER COMMAND")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `cp`.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Keep owners; otherwise files are root's in a container, and yours on this machine
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Follow a link that SOURCE is
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Say nothing when it is done
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Which replica of a service
    #[arg(long, value_name = "N")]
    pub(crate) index: Option<u32>,
    /// `CONTAINER:PATH`, a path, or `-` for an archive from standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) from: String,
    /// `CONTAINER:PATH`, a path, or `-` for an archive to standard output
    #[arg(value_name = "DESTINATION")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Container, or service of the stack
    #[arg(value_name = "CONTAINER or SERVICE")]
    pub(crate) container: String,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Send no input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Containers, or services of the stack; with -p alone, all of it
    #[arg(required_unless_present = "project", value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    /// Attach to its output first
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Send input too
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Containers, or services of the stack; with -p alone, all of it
    #[arg(required_unless_present = "project", value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    /// Seconds before it is killed
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) time: Option<i64>,
    /// Signal to stop it with
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Containers, or services of the stack; with -p alone, all of it
    #[arg(required_unless_present = "project", value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    /// Seconds before it is killed
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) time: Option<i64>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Containers, or services of the stack; with -p alone, all of it
    #[arg(required_unless_present = "project", value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    /// Name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub(crate) signal: String,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `pause`, `unpause`, `wait`.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Containers, or services of the stack; with -p alone, all of it
    #[arg(required_unless_present = "project", value_name = "CONTAINER or SERVICE")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
    /// Kill it first if it runs; no error if it is not there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Its anonymous volumes too
    #[arg(short, long)]
    pub(crate) volumes: bool,
}

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Containers, images, networks, volumes
    #[arg(required = true, value_name = "NAME or ID")]
    pub(crate) names: Vec<String>,
    /// `json` or a Go template such as `{{.State.Status}}`
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// What the names are
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image", "network", "volume"])]
    pub(crate) kind: Option<String>,
}

/// `top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Container, or service of the stack
    #[arg(value_name = "CONTAINER or SERVICE")]
    pub(crate) container: String,
    /// Options of `ps`, such as `-o pid,comm`; none: the columns of `ps -ef`
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}

/// `stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Containers; none: all that run
    #[arg(value_name = "CONTAINER")]
    pub(crate) names: Vec<String>,
    /// Accepted for Docker's sake
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print once and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not shorten values
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Not before: a time or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// End there
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// `KEY=VALUE` (type, event, container, image, network, volume, service, label)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// `port`.
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// Container, or service of the stack
    #[arg(value_name = "CONTAINER or SERVICE")]
    pub(crate) container: String,
    /// Port in the container, such as 80 or 53/udp
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: Option<String>,
    #[command(flatten)]
    pub(crate) stack: OfStack,
}
