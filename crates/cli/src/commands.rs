//! One module a verb: words → calls of the daemon → data → text.

mod attach;
mod backup;
mod build;
mod client;
mod cluster;
pub(crate) mod config;
mod content;
mod context;
mod cp;
pub(crate) mod daemon;
mod dial_stdio;
mod down;
mod events;
mod exec;
mod explain;
mod gitops;
mod history;
mod images;
mod inspect;
mod load;
mod lock;
mod login;
mod logs;
mod ls;
mod network;
mod node;
mod plan;
mod port;
mod power;
mod prune;
mod ps;
mod pull;
mod run;
mod save;
mod service;
mod stack;
mod stats;
mod system;
mod tasks;
mod top;
mod up;
mod version;
mod volume;
mod watch;

use crate::args::cluster::{Member, Swarm};
use crate::args::image::Image;
use crate::args::object::{Network, Volume};
use crate::args::swarm::{Node, Service, Stack};
use crate::args::system::System;
use crate::args::{Command, Container};
use crate::context::Context;
use crate::failure;
use anyhow::Result;

/// Runs a command; its exit code.
///
/// # Errors
/// What the user is to be told.
pub(crate) async fn run(context: &Context, command: Command) -> Result<u8> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Build(args) => build::run(context, args).await,
        Command::Plan(args) => plan::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Explain(args) => explain::run(context, args).await,
        Command::Ps(args) => ps::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Run(args) => run::run(context, *args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Cp(args) => cp::run(context, args).await,
        Command::Attach(args) => attach::run(context, args).await,
        Command::Start(args) => attach::start(context, args).await,
        Command::Stop(args) => power::stop(context, args).await,
        Command::Restart(args) => power::restart(context, args).await,
        Command::Kill(args) => power::kill(context, args).await,
        Command::Pause(args) => power::pause(context, args).await,
        Command::Unpause(args) => power::unpause(context, args).await,
        Command::Wait(args) => power::wait(context, args).await,
        Command::Rm(args) => power::rm(context, args).await,
        Command::Inspect(args) => inspect::any(context, args).await,
        Command::Top(args) => top::run(context, args).await,
        Command::Stats(args) => stats::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Port(args) => port::run(context, args).await,
        Command::Login(args) => login::login(context, args).await,
        Command::Logout(args) => login::logout(context, args).await,
        Command::Pull(args) => pull::run(context, args).await,
        Command::Images(args) => images::ls(context, args).await,
        Command::Rmi(args) => images::rm(context, args).await,
        Command::Load(args) => load::load(context, args).await,
        Command::Save(args) => save::run(context, args).await,
        Command::Import(args) => load::import(context, args).await,
        Command::Tag(args) => images::tag(context, args).await,
        Command::History(args) => history::run(context, args).await,
        Command::Container(command) => container(context, command).await,
        Command::Image(command) => image(context, command).await,
        Command::Volume(command) => volume(context, command).await,
        Command::Network(command) => network(context, command).await,
        Command::Service(command) => service(context, command).await,
        Command::Secret(command) => content::run(context, model::ContentKind::Secret, command).await,
        Command::Configs(command) => content::run(context, model::ContentKind::Config, command).await,
        Command::Stack(command) => stack(context, command).await,
        Command::Gitops(command) => gitops::run(context, command).await,
        Command::Member(word) => member(context, word).await,
        Command::Cluster(command) => backup::run(context, command).await,
        Command::Swarm(Swarm::Member(word)) => member(context, word).await,
        Command::Swarm(Swarm::Update(args)) => lock::update(context, args).await,
        Command::Compose { .. } => Err(failure::advised(
            "`compose` is no word of its own here",
            "leave it out: `rswarm up`, `down`, `logs -p PROJECT`, `ps -p PROJECT`; containers are PROJECT-SERVICE-N for \
             `exec` and the others",
        )),
        Command::Node(command) => node(context, command).await,
        Command::System(command) => system(context, command).await,
        Command::Context(command) => context::run(context, command).await,
        Command::DialStdio => dial_stdio::run(context),
        Command::Version(args) => version::run(context, args).await,
        Command::Info(args) => system::info(context, args).await,
        // `main` runs them: they need no client, and have the threads that they want.
        Command::Config(_) | Command::Daemon(_) => anyhow::bail!("this command cannot run inside of a client"),
    }
}

async fn member(context: &Context, word: Member) -> Result<u8> {
    match word {
        Member::Init(args) => cluster::init(context, args).await,
        Member::Join(args) => cluster::join(context, args).await,
        Member::JoinToken(args) => cluster::join_token(context, args).await,
        Member::Unlock => lock::unlock(context).await,
        Member::UnlockKey(args) => lock::key(context, args).await,
        Member::Leave(args) => cluster::leave(context, args).await,
        Member::Ca(args) => cluster::ca(context, args).await,
    }
}

async fn container(context: &Context, command: Container) -> Result<u8> {
    match command {
        Container::Ls(args) => ps::run(context, args).await,
        Container::Logs(args) => logs::run(context, args).await,
        Container::Run(args) => run::run(context, *args).await,
        Container::Exec(args) => exec::run(context, args).await,
        Container::Cp(args) => cp::run(context, args).await,
        Container::Attach(args) => attach::run(context, args).await,
        Container::Start(args) => attach::start(context, args).await,
        Container::Stop(args) => power::stop(context, args).await,
        Container::Restart(args) => power::restart(context, args).await,
        Container::Kill(args) => power::kill(context, args).await,
        Container::Pause(args) => power::pause(context, args).await,
        Container::Unpause(args) => power::unpause(context, args).await,
        Container::Wait(args) => power::wait(context, args).await,
        Container::Rm(args) => power::rm(context, args).await,
        Container::Inspect(args) => inspect::one(context, "container", args).await,
        Container::Top(args) => top::run(context, args).await,
        Container::Stats(args) => stats::run(context, args).await,
        Container::Port(args) => port::run(context, args).await,
        Container::Prune(args) => prune::containers(context, args).await,
    }
}

async fn image(context: &Context, command: Image) -> Result<u8> {
    match command {
        Image::Ls(args) => images::ls(context, args).await,
        Image::Pull(args) => pull::run(context, args).await,
        Image::Inspect(args) => inspect::one(context, "image", args).await,
        Image::History(args) => history::run(context, args).await,
        Image::Tag(args) => images::tag(context, args).await,
        Image::Rm(args) => images::rm(context, args).await,
        Image::Prune(args) => prune::images(context, args).await,
        Image::Load(args) => load::load(context, args).await,
        Image::Save(args) => save::run(context, args).await,
        Image::Import(args) => load::import(context, args).await,
    }
}

async fn volume(context: &Context, command: Volume) -> Result<u8> {
    match command {
        Volume::Ls(args) => volume::ls(context, args).await,
        Volume::Create(args) => volume::create(context, args).await,
        Volume::Inspect(args) => inspect::one(context, "volume", args).await,
        Volume::Rm(args) => volume::rm(context, args).await,
        Volume::Prune(args) => prune::volumes(context, args).await,
    }
}

async fn network(context: &Context, command: Network) -> Result<u8> {
    match command {
        Network::Ls(args) => network::ls(context, args).await,
        Network::Create(args) => network::create(context, args).await,
        Network::Inspect(args) => inspect::one(context, "network", args).await,
        Network::Rm(args) => network::rm(context, args).await,
        Network::Prune(args) => prune::networks(context, args).await,
        Network::Connect(args) => network::connect(context, args).await,
        Network::Disconnect(args) => network::disconnect(context, args).await,
    }
}

async fn service(context: &Context, command: Service) -> Result<u8> {
    match command {
        Service::Create(args) => service::create::run(context, *args).await,
        Service::Ls(args) => service::ls::run(context, args, None).await,
        Service::Ps(args) => service::ps(context, args).await,
        Service::Inspect(args) => service::inspect::run(context, args).await,
        Service::Logs(args) => service::logs(context, args).await,
        Service::Scale(args) => service::change::scale(context, args).await,
        Service::Update(args) => service::change::update(context, *args).await,
        Service::Rollback(args) => service::change::rollback(context, args).await,
        Service::Rm(args) => service::rm(context, args).await,
    }
}

async fn stack(context: &Context, command: Stack) -> Result<u8> {
    match command {
        Stack::Deploy(args) => stack::deploy(context, args).await,
        Stack::Ls(args) => ls::run(context, args).await,
        Stack::Ps(args) => stack::ps(context, args).await,
        Stack::Services(args) => stack::services(context, args).await,
        Stack::Rm(args) => stack::rm(context, args).await,
    }
}

async fn node(context: &Context, command: Node) -> Result<u8> {
    match command {
        Node::Ls(args) => node::ls(context, args).await,
        Node::Ps(args) => node::ps(context, args).await,
        Node::Inspect(args) => node::inspect::run(context, args).await,
        Node::Update(args) => node::update(context, args).await,
        Node::Promote(args) => cluster::change_role(context, args, model::Role::Manager).await,
        Node::Demote(args) => cluster::change_role(context, args, model::Role::Worker).await,
        Node::Rm(args) => node::rm(context, args).await,
    }
}

async fn system(context: &Context, command: System) -> Result<u8> {
    match command {
        System::Df(args) => system::df(context, args).await,
        System::Info(args) => system::info(context, args).await,
        System::Events(args) => events::run(context, args).await,
        System::Prune(args) => prune::system(context, args).await,
    }
}

/// Does the same for each name; those that fail are told, the rest is done all the same.
///
/// # Errors
/// One failed: all has been said.
async fn each<F, Fut>(context: &Context, names: &[String], work: F) -> Result<u8>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<Option<String>>>,
{
    let mut code = 0;
    // At once, answers in the order of the names: ten `stop`s take as long as the slowest.
    let mut all = futures_util::stream::FuturesOrdered::new();
    for name in names {
        all.push_back(work(name.clone()));
    }
    use futures_util::StreamExt as _;
    while let Some(result) = all.next().await {
        match result {
            Ok(Some(line)) => context.line(&line)?,
            Ok(None) => {}
            Err(error) => code = crate::failure::tell(context.printer, &error).max(1),
        }
    }
    Ok(code)
}
