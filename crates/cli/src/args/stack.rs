//! `up`, `plan`, `down`, `ls`, `config`, `explain`.

use clap::{Args, ValueEnum};

/// Which project: the options that Compose has before its verbs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Project {
    /// Compose file; several are merged in this order; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    #[command(flatten)]
    pub(crate) rest: ProjectRest,
}

/// The same without `-f`, which is `--follow` in `logs`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectRest {
    /// Project name
    #[arg(short = 'p', long = "project-name", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// File with variables in place of `.env`
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<String>,
    /// Profile to switch on; `*` for all
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// Folder that relative paths start from
    #[arg(long = "project-directory", value_name = "DIR")]
    pub(crate) directory: Option<String>,
}

/// What `up` does, and `plan` shows, beyond what the files say.
#[derive(Debug, Default, Args)]
pub(crate) struct Changes {
    /// Run so many of a service
    #[arg(long, value_name = "SERVICE=N")]
    pub(crate) scale: Vec<String>,
    /// Replace containers even where nothing changed
    #[arg(long)]
    pub(crate) force_recreate: bool,
    /// Remove services of the project that the file does not have
    #[arg(long)]
    pub(crate) remove_orphans: bool,
}

/// `up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Accepted for Compose's sake: services always run in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Accepted for Compose's sake: waiting is the default
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    /// Return as soon as the change is accepted
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Give up waiting after so long (seconds, or a duration such as 2m)
    #[arg(long, visible_alias = "wait-timeout", value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Build images anew that services have a `build` for; without it those that are not here
    #[arg(long, conflicts_with = "no_build")]
    pub(crate) build: bool,
    /// Build nothing
    #[arg(long)]
    pub(crate) no_build: bool,
    /// When to pull images; without it each service's `pull_policy` decides
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<Pull>,
    /// Swarm's word for some of that.
    #[arg(skip)]
    pub(crate) resolve: Resolve,
    /// Give the nodes that run its services your logins for the registries of their images, from now on
    #[arg(long)]
    pub(crate) with_registry_auth: bool,
    /// Print less
    #[arg(short, long, visible_alias = "quiet-pull")]
    pub(crate) quiet: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before something is removed
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Go on: apply the files again as often as they, or files that they name, are saved
    #[arg(short, long, conflicts_with_all = ["dry_run", "plan", "no_wait", "wait", "timeout"])]
    pub(crate) watch: bool,
    /// These services only, and those that they depend on; the others of the stack stay as they are
    #[arg(value_name = "SERVICE", conflicts_with_all = ["remove_orphans", "plan"])]
    pub(crate) services: Vec<String>,
    /// Apply a plan that `plan --out` saved, if the state is still the one that it was made on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "dry_run", "scale", "force_recreate", "remove_orphans", "pull"])]
    pub(crate) plan: Option<String>,
}

/// `build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Use nothing that earlier builds left
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask the registry for the images that these begin with
    #[arg(long)]
    pub(crate) pull: bool,
    /// Give the builder a value for an `ARG`: NAME=VALUE, or NAME for that of the environment
    #[arg(long, value_name = "ARG")]
    pub(crate) build_arg: Vec<String>,
    /// Print what the builder says only if it fails
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) project: Project,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Format of the plan
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: PlanFormat,
    /// Save the plan for `up --plan`; contents of secrets are in the file, which only its owner can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<String>,
    /// Show values of variables too, old and new; they may be secret
    #[arg(long)]
    pub(crate) show_values: bool,
    /// Print nothing: the exit code says whether something changes
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `plan --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// Lines for people
    Text,
    /// JSON
    Json,
}

/// `--pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Ask the registry each time
    Always,
    /// Fetch what is not here
    Missing,
    /// Only what is here
    Never,
}

/// `--resolve-image`: which names of images are looked up at their registries, although there is something of that
/// name here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resolve {
    /// All, as each deployment does with Swarm
    Always,
    /// Those that their service does not have yet
    Changed,
    /// None
    #[default]
    Never,
}

/// `down`.
#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Remove the stack's volumes too, with their data
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Accepted for Compose's sake: everything of the project goes
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Seconds that each container gets before it is killed, in place of its own grace period; below 0: for ever
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Give up waiting after so long (seconds, or a duration such as 2m)
    #[arg(long, value_name = "DURATION")]
    pub(crate) wait_timeout: Option<String>,
    /// Return as soon as the change is accepted
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print less
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Accepted for Compose's sake: stacks of which nothing runs are always shown
    #[arg(short, long)]
    pub(crate) all: bool,
    /// `name=REGEX-FREE-TEXT`: names that contain the text
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// `config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) project: Project,
    /// Print the services, one a line
    #[arg(long, group = "what")]
    pub(crate) services: bool,
    /// Print the images, one a line
    #[arg(long, group = "what")]
    pub(crate) images: bool,
    /// Print the volumes, one a line
    #[arg(long, group = "what")]
    pub(crate) volumes: bool,
    /// Print the networks, one a line
    #[arg(long, group = "what")]
    pub(crate) networks: bool,
    /// Print the profiles, one a line
    #[arg(long = "profiles", id = "list_profiles", group = "what")]
    pub(crate) profiles: bool,
    /// Print a digest of a service's configuration (`*`: of every service)
    #[arg(long, value_name = "SERVICE", group = "what")]
    pub(crate) hash: Option<String>,
    /// Tell where a value came from, such as `services.web.ports[0].published`
    #[arg(long, value_name = "KEY.PATH", group = "what")]
    pub(crate) explain: Option<String>,
    /// Format of the whole
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    pub(crate) format: ConfigFormat,
    /// Only check
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write to a file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
    /// Leave variables as they are
    #[arg(long)]
    pub(crate) no_interpolate: bool,
    /// Leave short syntax and paths as they are
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    pub(crate) no_path_resolution: bool,
    /// Do not check that what services name is there, and that nothing contradicts itself
    #[arg(long)]
    pub(crate) no_consistency: bool,
    /// Ask the registries what the tags of images mean now, and pin them to their digests
    #[arg(long)]
    pub(crate) resolve_image_digests: bool,
    /// Registry that may be asked without TLS, or with TLS that can't be verified
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registries: Vec<String>,
    /// Only these services, and what they depend on
    #[arg(value_name = "SERVICE")]
    pub(crate) only: Vec<String>,
}

/// `config --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConfigFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code, as errors show it, or the name or id of a service, task, container or node; without it all codes are
    /// listed
    #[arg(value_name = "CODE|SERVICE|TASK|NODE")]
    pub(crate) what: Option<String>,
}
