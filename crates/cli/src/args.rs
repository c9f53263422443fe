//! What was typed, and nothing more: what it means is decided in [`crate::settings`] and by the
//! commands.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments here are help texts, in which brackets mean what may be left out"
)]

pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod content;
pub(crate) mod context;
pub(crate) mod gitops;
pub(crate) mod image;
pub(crate) mod login;
pub(crate) mod object;
pub(crate) mod run;
pub(crate) mod stack;
pub(crate) mod swarm;
pub(crate) mod system;

use clap::{ArgAction, Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs containers and stacks of them, on one machine or many.
#[derive(Debug, Parser)]
#[command(name = "rswarm", version, disable_version_flag = true, disable_help_subcommand = true)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "`rswarm oci` is the command line of the built-in OCI runtime.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print the version
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The same with one verb.
#[derive(Debug, Parser)]
#[command(name = "rswarm", version, disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
struct Quick {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: QuickCommand,
}

#[derive(Debug, Subcommand)]
enum QuickCommand {
    /// Check a Compose file and print what it means
    Config(stack::Config),
}

/// `config` with a verb: the objects of that name, as Docker has them beside Compose's `config`.
#[derive(Debug, Parser)]
#[command(name = "rswarm", version, disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
struct Configs {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: ConfigsCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigsCommand {
    /// Manage configs
    #[command(subcommand)]
    Config(content::Content),
}

/// Reads the words. `config` asks nobody and is over in a few milliseconds, of which making the
/// definitions of all other verbs first would be a third.
///
/// # Errors
/// Help was asked for, or the words mean nothing.
pub(crate) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    const OBJECTS: [&str; 6] = ["ls", "list", "create", "inspect", "rm", "remove"];
    if matches!(verbs(words).as_slice(), ["config", verb] if OBJECTS.contains(verb)) {
        let Configs { global, command: ConfigsCommand::Config(content) } = Configs::try_parse_from(words)?;
        return Ok(Cli { global, version: None, command: Command::Configs(content) });
    }
    if words.get(1).is_none_or(|word| word != "config") {
        return Cli::try_parse_from(words);
    }
    let Quick { global, command: QuickCommand::Config(config) } = Quick::try_parse_from(words)?;
    Ok(Cli { global, version: None, command: Command::Config(config) })
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where a daemon keeps what outlives a boot [default: /var/lib/rswarm]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// Where a daemon keeps its sockets [default: /run/rswarm]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) run_root: Option<PathBuf>,
    /// The cgroup below which containers get theirs [default: rswarm]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cgroup_parent: Option<String>,
    /// The daemon to talk to: unix://PATH, tcp://HOST[:PORT] of a manager, or ssh://[USER@]HOST[:PORT]
    /// [env: RSWARM_HOST] [default: unix://RUN-ROOT/rswarm.sock]
    #[arg(short = 'H', long, global = true, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// The context to use; `rswarm context ls` lists them [env: RSWARM_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "host")]
    pub(crate) context: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a stack from a Compose file, or change it
    Up(stack::Up),
    /// Build the images of services that have a `build`, with buildah, podman or docker
    Build(stack::Build),
    /// Show what `up` would change; exit code 0: nothing, 2: something, 1: it can't be done
    Plan(stack::Plan),
    /// Stop a stack and remove it
    Down(stack::Down),
    /// List stacks
    Ls(stack::Ls),
    /// Check a Compose file and print what it means
    Config(stack::Config),
    /// Explain an error code such as RS0104, or why a service, task or node is as it is
    Explain(stack::Explain),
    /// List containers
    Ps(container::Ps),
    /// Show the logs of containers or of a stack
    Logs(container::Logs),
    /// Run a new container
    Run(Box<run::Run>),
    /// Run a command in a running container
    Exec(container::Exec),
    /// Copy files between a container and this machine
    Cp(container::Cp),
    /// Attach to a running container
    Attach(container::Attach),
    /// Start stopped containers
    Start(container::Start),
    /// Stop running containers
    Stop(container::Stop),
    /// Restart containers
    Restart(container::Restart),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Freeze the processes of containers
    Pause(container::Names),
    /// Thaw the processes of containers
    Unpause(container::Names),
    /// Wait until containers end, then print their exit codes
    Wait(container::Names),
    /// Remove containers
    Rm(container::Rm),
    /// Show everything about containers, images, networks or volumes as JSON
    Inspect(container::Inspect),
    /// Show the processes of a container
    Top(container::Top),
    /// Show what containers use
    Stats(container::Stats),
    /// Show what happens as it happens
    Events(container::Events),
    /// Show the published ports of a container
    Port(container::Port),
    /// Log in to a registry
    Login(login::Login),
    /// Log out of a registry
    Logout(login::Logout),
    /// Download an image
    Pull(image::Pull),
    /// List images
    Images(image::Ls),
    /// Remove images
    Rmi(image::Rm),
    /// Load images from an archive
    Load(image::Load),
    /// Write images to an archive
    Save(image::Save),
    /// Make an image from the archive of a root file system
    Import(image::Import),
    /// Give an image one more name
    Tag(image::Tag),
    /// Show how an image was made
    History(image::History),
    /// Manage containers
    #[command(subcommand)]
    Container(Container),
    /// Manage images
    #[command(subcommand)]
    Image(image::Image),
    /// Manage volumes
    #[command(subcommand)]
    Volume(object::Volume),
    /// Manage networks
    #[command(subcommand)]
    Network(object::Network),
    /// Manage services
    #[command(subcommand)]
    Service(swarm::Service),
    /// Manage secrets
    #[command(subcommand)]
    Secret(content::Content),
    /// Manage configs: `config ls`, `create`, `inspect`, `rm`
    #[command(subcommand)]
    Configs(content::Content),
    /// Manage stacks
    #[command(subcommand)]
    Stack(swarm::Stack),
    /// Follow stacks from folders and git repositories
    #[command(subcommand)]
    Gitops(gitops::Gitops),
    #[command(flatten)]
    Member(cluster::Member),
    /// Back up and restore what the managers know
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// The words about clusters as Docker has them: `swarm init`, `join`, `join-token`, `leave`, …
    #[command(subcommand)]
    Swarm(cluster::Swarm),
    /// Manage nodes
    #[command(subcommand)]
    Node(swarm::Node),
    /// Look after the whole
    #[command(subcommand)]
    System(system::System),
    /// Show the versions of this program and of the daemon
    Version(system::Version),
    /// Show what the daemon is and has
    Info(system::Info),
    /// Manage contexts: daemons and clusters elsewhere, by name
    #[command(subcommand)]
    Context(context::Context),
    /// To say what its words are here.
    #[command(hide = true, disable_help_flag = true)]
    Compose {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Connect standard input and output with the daemon's socket, for `-H ssh://…`
    #[command(hide = true)]
    DialStdio,
    /// Run the daemon in the foreground
    Daemon(system::Daemon),
}

/// `container …`: the same verbs under the name that Docker gives them.
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(container::Ps),
    /// Show the logs of containers
    Logs(container::Logs),
    /// Run a new container
    Run(Box<run::Run>),
    /// Run a command in a running container
    Exec(container::Exec),
    /// Copy files between a container and this machine
    Cp(container::Cp),
    /// Attach to a running container
    Attach(container::Attach),
    /// Start stopped containers
    Start(container::Start),
    /// Stop running containers
    Stop(container::Stop),
    /// Restart containers
    Restart(container::Restart),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Freeze the processes of containers
    Pause(container::Names),
    /// Thaw the processes of containers
    Unpause(container::Names),
    /// Wait until containers end, then print their exit codes
    Wait(container::Names),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(container::Rm),
    /// Show everything about containers as JSON
    Inspect(object::InspectOne),
    /// Show the processes of a container
    Top(container::Top),
    /// Show what containers use
    Stats(container::Stats),
    /// Show the published ports of a container
    Port(container::Port),
    /// Remove all containers that have ended
    Prune(object::PruneContainers),
}

/// Is it `run` or `exec`, to judge by words that may make no sense otherwise?
pub(crate) fn hands_on_exit_code(words: &[OsString]) -> bool {
    matches!(verbs(words).as_slice(), ["run" | "exec", ..] | ["container", "run" | "exec"])
}

/// The first two words that are neither options of every command nor their values.
fn verbs(words: &[OsString]) -> Vec<&str> {
    const WITH_VALUE: [&str; 6] = ["--data-root", "--run-root", "--cgroup-parent", "-H", "--host", "--context"];
    let mut verbs = Vec::new();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let (Some(word), true) = (words.next(), verbs.len() < 2) {
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            verbs.push(word);
        }
    }
    verbs
}

/// How a list is printed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Listing {
    /// `table`, `table TEMPLATE`, `json`, or a Go template such as `{{.Names}}`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Print ids (or names) only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not shorten values
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn no_two_options_of_a_command_are_the_same() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_verb_is_known_behind_global_options() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in
            ["rswarm run", "rswarm -H unix:///x exec -z", "rswarm --host=x container run --bad", "rswarm run ps"]
        {
            assert!(hands_on_exit_code(&words(line)), "{line}");
        }
        for line in ["rswarm", "rswarm ps --bad", "rswarm -H run ps", "rswarm container ls run", "rswarm ps run"] {
            assert!(!hands_on_exit_code(&words(line)), "{line}");
        }
    }

    #[test]
    fn config_is_read_the_same_alone_and_among_all_verbs() {
        for line in [
            "rswarm config",
            "rswarm config --help",
            "rswarm config -h",
            "rswarm config --bad",
            "rswarm config --format xml",
            "rswarm config -H",
            "rswarm config -f a -f b --profile p -q -H unix:///x",
            "rswarm config --hash '*' --services",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let text = |parsed: Result<Cli, clap::Error>| match parsed {
                Ok(cli) => format!("{:?} {:?}", cli.global, cli.command),
                Err(error) => error.to_string(),
            };
            assert_eq!(text(parse(&words)), text(Cli::try_parse_from(&words)), "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for words in [["rswarm", "-H", "unix:///x", "ps"], ["rswarm", "ps", "-H", "unix:///x"]] {
            let host = Cli::try_parse_from(words).map(|cli| cli.global.host);
            assert_eq!(host.ok().flatten().as_deref(), Some("unix:///x"));
        }
    }
}
