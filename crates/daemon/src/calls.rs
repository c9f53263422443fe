//! Calls with one answer.

mod client;
pub(crate) mod cluster;
mod lifecycle;
pub(crate) mod looks;
mod objects;
mod plan;
mod prune;
mod replicated;
mod top;

pub(crate) use replicated::propose;

use crate::api_server::Scope;
use crate::shared::Daemon;
use crate::{autolock, failure, images, worker};
use api::{ApiError, Call, Reply};
use std::sync::Arc;

/// Answers a call.
///
/// # Errors
/// What the client is told instead.
pub(crate) async fn answer(daemon: &Arc<Daemon>, call: Call, scope: Scope) -> Result<Reply, ApiError> {
    worker::refuse_call(daemon, &call)?;
    Ok(match call {
        Call::Ping => Reply::Pong(worker::pong(daemon).await?),
        Call::Cluster { id, request, logins } => {
            Reply::Cluster(Box::new(replicated::request(daemon, id, *request, &logins).await?))
        }
        Call::Plan(wanted) => Reply::Plan(Box::new(plan::plan(daemon, *wanted).await?)),
        Call::SyncSource { name, again } => done(crate::gitops::sync(daemon, &name, again, scope).await)?,
        Call::DiffSource(name) => crate::gitops::diff(daemon, &name, scope).await?,
        Call::ReadSource { source, known } => crate::gitops::read_here(daemon, *source, known).await?,
        Call::Containers { all, stack } => Reply::Containers(looks::rows(daemon, all, stack.as_deref()).await?),
        Call::InspectContainer(name) => Reply::Inspect(looks::inspect(daemon, &name, scope).await?),
        Call::InspectNetwork(name) => Reply::Inspect(objects::inspect_network(daemon, &name).await?),
        Call::InspectVolume(name) => Reply::Inspect(objects::inspect_volume(daemon, &name).await?),
        Call::InspectImage(name) => Reply::Inspect(images::inspect(daemon, &name).await?),
        Call::Power { container, action } => done(lifecycle::power(daemon, &container, action).await)?,
        Call::Kill { container, signal } => done(lifecycle::kill(daemon, &container, &signal).await)?,
        Call::Pause(container) => done(lifecycle::pause(daemon, &container, true).await)?,
        Call::Unpause(container) => done(lifecycle::pause(daemon, &container, false).await)?,
        Call::Wait(container) => Reply::Exited(lifecycle::wait(daemon, &container).await?),
        Call::RemoveContainer { container, force, volumes } => {
            done(lifecycle::remove(daemon, &container, force, volumes).await)?
        }
        Call::Top { container, options } => Reply::Top(top::top(daemon, &container, &options).await?),
        Call::MeshPeers(node) => Reply::MeshPeers(looks::mesh_peers(daemon, node).await?),
        Call::Stats(containers) => Reply::Stats(looks::stats(daemon, &containers, scope).await?),
        Call::Resize { container, size: (rows, columns) } => {
            let task = looks::task(daemon, &container).await?;
            daemon.engine.resize(task.id, rows, columns).await.map_err(|error| failure::engine(&error))?;
            Reply::Done
        }
        Call::Images { all: _ } => Reply::Images(images::list(daemon).await?),
        Call::History(name) => Reply::History(images::history(daemon, &name).await?),
        Call::Tag { source, target } => done(images::tag(daemon, &source, &target).await)?,
        Call::RemoveImage { reference, force } => Reply::Lines(images::remove(daemon, &reference, force).await?),
        Call::PruneImages { all } => Reply::Pruned(images::prune(daemon, all).await?),
        Call::PruneVolumes { all } => Reply::Pruned(prune::volumes(daemon, all).await?),
        Call::PruneNetworks => Reply::Pruned(prune::networks(daemon).await?),
        Call::PruneContainers => Reply::Pruned(prune::containers(daemon).await?),
        Call::VolumeUsage => Reply::Usage(objects::volume_usage(daemon).await?),
        Call::RemoveVolume(name) => done(objects::remove_volume(daemon, &name).await)?,
        Call::ContainerUsage(containers) => Reply::Usage(looks::usage(daemon, containers, scope).await?),
        Call::Volumes => Reply::Volumes(objects::volume_rows(daemon).await?),
        Call::ConfigData(name) => Reply::ConfigData(objects::config_data(daemon, &name).await?),
        Call::Init(asked) => Reply::Joined(cluster::init(daemon, asked).await?),
        Call::Join(asked) => Reply::Joined(cluster::join(daemon, asked).await?),
        Call::Leave { force } => done(cluster::leave(daemon, force).await)?,
        Call::JoinToken { role, rotate } => Reply::JoinToken(cluster::join_token(daemon, role, rotate).await?),
        Call::Unlock(_) => return Err(failure::conflict("this node is not locked")),
        Call::Autolock(on) => autolock::set(daemon, on).await?,
        Call::UnlockKey { rotate } => autolock::show(daemon, rotate).await?,
        Call::RotateAuthority => done(cluster::rotate_authority(daemon).await)?,
        Call::AdmitClient(asked) => Reply::ClientGrant(client::admit(daemon, asked).await?),
        Call::Run { id, spec, logins } => crate::sessions::run_detached(daemon, id, spec, &logins).await?,
    })
}

fn done(result: Result<(), ApiError>) -> Result<Reply, ApiError> {
    result.map(|()| Reply::Done)
}
