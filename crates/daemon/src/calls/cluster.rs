//! `init`, `join`, `leave`, `join-token`, `ca`: this machine's place in a cluster. What a daemon is does not
//! change while it runs: it is written down, answered, and then the daemon begins anew.

use crate::address::{self, Links};
use crate::identity::{self, Identity, Past};
use crate::mesh::DataPath;
use crate::peers::credentials::Credentials;
use crate::peers::join;
use crate::shared::Daemon;
use crate::{autolock, clock, config, failure, node};
use api::{ApiError, InitCluster, JoinCluster, JoinToken, Joined};
use model::{ClusterId, ClusterInfo, ClusterRequest, Node, Request, Role, State};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a node that leaves waits for a manager to take notice.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where it listens and where others reach it; tried, so that a taken port is told before anything changes.
fn places(
    advertise: Option<&str>,
    listen: Option<&str>,
    towards: Option<SocketAddr>,
    links: &Links,
) -> Result<(SocketAddr, String), ApiError> {
    let listen = address::listen(listen, links).map_err(failure::invalid)?;
    let advertise = address::advertise(advertise, listen, towards, links).map_err(failure::invalid)?;
    address::check_free(listen)?;
    Ok((listen, advertise))
}

fn refuse_member(daemon: &Daemon) -> Result<(), ApiError> {
    match &daemon.membership {
        None => Ok(()),
        Some(membership) => Err(failure::hint(
            failure::conflict(format!(
                "this node is part of the cluster {} already",
                membership.identity().cluster.short()
            )),
            "`rswarm leave` takes it out",
        )),
    }
}

/// Makes a cluster of this machine.
///
/// # Errors
/// It is part of one, an address makes no sense, the port is taken, or the disk fails.
pub(crate) async fn init(daemon: &Arc<Daemon>, asked: InitCluster) -> Result<Joined, ApiError> {
    if asked.force_new_cluster {
        return force_new(daemon, asked).await;
    }
    refuse_member(daemon)?;
    let links = address::links(&daemon.run_root)?;
    let (listen, advertise) = places(asked.advertise.as_deref(), asked.listen.as_deref(), None, &links)?;
    let data_path = DataPath::choose(&asked.data_path, &links)?;
    let cluster = ClusterId(u128::from_be_bytes(config::random().map_err(|error| failure::internal(&error))?));
    let now = clock::now();
    let pki = |error: pki::Error| failure::failed(format!("make the identity of the cluster: {error}"));
    let authority = pki::new_authority(cluster, now).map_err(pki)?;
    let credentials = Credentials::own(&authority, cluster, daemon.node, now).map_err(pki)?;
    let key = credentials.key_digest();
    credentials
        .save(&identity::certificates(&daemon.data_root), &daemon.key.key())
        .map_err(|error| failure::internal(&error))?;
    let info = ClusterInfo {
        id: cluster,
        created: now,
        authority,
        next: None,
        previous: None,
        worker_secret: pki::new_secret().map_err(pki)?,
        manager_secret: pki::new_secret().map_err(pki)?,
        clients: std::collections::BTreeMap::new(),
        unlock_key: if asked.autolock { Some(autolock::new_key()?) } else { None },
    };
    let request = ClusterRequest::Init { info: Box::new(info), node: daemon.node, address: advertise.clone(), key };
    daemon.cluster.ask(Request::Group(Box::new(request))).await?;
    if asked.availability.is_some() {
        let availability = asked.availability;
        let labels = std::collections::BTreeMap::new();
        daemon.cluster.ask(Request::UpdateNode { id: daemon.node, availability, labels }).await?;
    }
    let identity = Identity { data_path, ..Identity::first(cluster, daemon.node, listen, advertise.clone()) };
    identity.save(&daemon.data_root).map_err(|error| failure::internal(&error))?;
    daemon.begin_anew();
    Ok(Joined { node: daemon.node.to_string(), role: Role::Manager, address: advertise })
}

/// The log says that this machine is a cluster's first manager, but the daemon was killed before it wrote that
/// down: does so now. True: begin anew.
///
/// # Errors
/// The disk fails.
pub(crate) async fn finish_init(daemon: &Arc<Daemon>) -> Result<bool, ApiError> {
    if daemon.membership.is_some() {
        return Ok(false);
    }
    let state = daemon.cluster.state().await?;
    let Some(cluster) = &state.cluster else { return Ok(false) };
    let Some(info) = daemon.cluster.info().await? else { return Ok(false) };
    let own = state.nodes.iter().find(|node| node.id == daemon.node && node.member == Some(1));
    let Some(advertise) = own.and_then(|node| node.address.clone()) else { return Ok(false) };
    let folder = identity::certificates(&daemon.data_root);
    let credentials = Credentials::own(&info.authority, cluster.id, daemon.node, clock::now())
        .map_err(|error| failure::failed(format!("make the certificate of this node: {error}")))?;
    credentials.save(&folder, &daemon.key.key()).map_err(|error| failure::internal(&error))?;
    let listen = address::listen(None, &[]).map_err(failure::invalid)?;
    let port = advertise.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(listen.port());
    let identity = Identity::first(cluster.id, daemon.node, SocketAddr::new(listen.ip(), port), advertise);
    identity.save(&daemon.data_root).map_err(|error| failure::internal(&error))?;
    Ok(true)
}

/// Goes on alone: the others are lost, or are meant to be.
async fn force_new(daemon: &Arc<Daemon>, asked: InitCluster) -> Result<Joined, ApiError> {
    let Some(membership) = &daemon.membership else {
        return Err(failure::hint(
            failure::conflict("this machine is not part of a cluster"),
            "`rswarm init` without --force-new-cluster makes a cluster of it",
        ));
    };
    let identity = membership.identity();
    if identity.role != Role::Manager {
        return Err(failure::conflict("this node is a worker: only a manager knows the state of the cluster"));
    }
    let links = address::links(&daemon.run_root)?;
    let address = match asked.advertise.as_deref() {
        Some(text) => address::advertise(Some(text), identity.listen, None, &links).map_err(failure::invalid)?,
        None => identity.advertise.clone(),
    };
    daemon.cluster.survive().await?;
    let request = ClusterRequest::Forget { survivor: daemon.node, address: address.clone() };
    daemon.cluster.ask(Request::Group(Box::new(request))).await?;
    let changed = membership.change(|identity| {
        identity.advertise.clone_from(&address);
        identity.managers.retain(|peer| peer.node == identity.node);
        identity.managers.iter_mut().for_each(|peer| peer.address.clone_from(&address));
    });
    changed.map_err(|error| failure::internal(&error))?;
    daemon.begin_anew();
    Ok(Joined { node: daemon.node.to_string(), role: Role::Manager, address })
}

/// What this machine has of its own and would lose.
pub(crate) fn own_things(state: &State) -> Option<String> {
    let mut things = Vec::new();
    let mut count = |count: usize, one: &str, more: &str| match count {
        0 => {}
        1 => things.push(format!("1 {one}")),
        _ => things.push(format!("{count} {more}")),
    };
    count(state.services.iter().filter(|service| !service.spec.standalone).count(), "service", "services");
    count(state.services.iter().filter(|service| service.spec.standalone).count(), "container", "containers");
    count(state.sources.len(), "followed source", "followed sources");
    count(state.volumes.len(), "volume", "volumes");
    (!things.is_empty()).then(|| things.join(", "))
}

/// Makes this machine part of a cluster.
///
/// # Errors
/// It has things of its own, the token lets nobody in, or no manager answers.
pub(crate) async fn join(daemon: &Arc<Daemon>, asked: JoinCluster) -> Result<Joined, ApiError> {
    refuse_member(daemon)?;
    let token: pki::Token = asked.token.parse().map_err(|error| {
        failure::hint(failure::invalid(format!("--token: {error}")), "copy it whole from `rswarm join-token`")
    })?;
    let managers = asked.managers.iter().map(|text| address::manager(text)).collect::<Result<Vec<_>, _>>();
    let managers = managers.map_err(failure::invalid)?;
    if let Some(things) = own_things(&*daemon.cluster.state().await?) {
        return Err(failure::hint(
            failure::conflict(format!("this machine has things of its own that the cluster would not know: {things}")),
            "remove them, or join with a daemon of a fresh --data-root",
        ));
    }
    let links = address::links(&daemon.run_root)?;
    let first = managers.first().cloned().unwrap_or_default();
    let towards = tokio::task::spawn_blocking(move || address::resolve(&first)).await.map_err(failure::joined)?;
    let (listen, advertise) = places(asked.advertise.as_deref(), asked.listen.as_deref(), towards, &links)?;
    let data_path = DataPath::choose(&asked.data_path, &links)?;
    let described = node::describe(daemon.node, &daemon.run_root, &daemon.offers);
    let told = Node {
        address: Some(advertise.clone()),
        availability: asked.availability.unwrap_or(described.availability),
        ..described
    };
    let welcome = join::join(told, &token, &managers, &identity::certificates(&daemon.data_root)).await?;
    let folder = identity::certificates(&daemon.data_root);
    welcome.credentials.save(&folder, &daemon.key.key()).map_err(|error| failure::internal(&error))?;
    let mut identity = Identity::new(welcome.cluster, daemon.node, welcome.role, listen, advertise.clone());
    identity.member = welcome.member;
    identity.managers = welcome.managers;
    identity.past = Past::Joined;
    identity.data_path = data_path;
    identity.save(&daemon.data_root).map_err(|error| failure::internal(&error))?;
    daemon.begin_anew();
    Ok(Joined { node: daemon.node.to_string(), role: welcome.role, address: advertise })
}

/// Takes this machine out of its cluster. Its containers are removed; data of volumes stays.
///
/// # Errors
/// It is in none, is a manager and is not forced, or no manager takes notice and it is not forced.
pub(crate) async fn leave(daemon: &Arc<Daemon>, force: bool) -> Result<(), ApiError> {
    let Some(membership) = &daemon.membership else {
        return Err(failure::conflict("this machine is not part of a cluster"));
    };
    let identity = membership.identity();
    if identity.role == Role::Manager && !force {
        let last = identity.managers.iter().all(|peer| peer.node == identity.node);
        let text = if last {
            "this node is the last manager: when it leaves, the cluster and its state are lost"
        } else {
            "this node is a manager: when it leaves, the others need its vote no less"
        };
        let advice = if last {
            "`rswarm leave --force` does it"
        } else {
            "demote it first: `rswarm node demote self`; if the others have removed it already: `rswarm leave --force`"
        };
        return Err(failure::hint(failure::conflict(text), advice));
    }
    // Who has been removed has nobody left to tell.
    let force = force || membership.is_forgotten();
    let ask = || {
        let request = ClusterRequest::Leave { id: daemon.node, force };
        tokio::time::timeout(FAREWELL, daemon.cluster.ask(Request::Group(Box::new(request))))
    };
    let mut told = ask().await;
    if matches!(told, Ok(Err(_))) && !force {
        // The session may have ended with the answer on its way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !membership.is_forgotten() {
            told = ask().await;
        }
    }
    match told {
        Ok(Ok(_)) => {}
        _ if force || membership.is_forgotten() => {
            tracing::warn!("leaving without a manager's notice: `rswarm node rm` on one of them forgets it")
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            return Err(failure::hint(
                failure::failed("no manager has taken notice"),
                "try again, or `rswarm leave --force` and `rswarm node rm` on a manager",
            ));
        }
    }
    membership.change(|identity| identity.past = Past::Left).map_err(|error| failure::internal(&error))?;
    daemon.begin_anew();
    Ok(())
}

pub(crate) fn no_cluster() -> ApiError {
    failure::hint(
        failure::conflict("this machine is not part of a cluster"),
        "`rswarm init` makes a cluster of it, `rswarm join` makes it part of another one",
    )
}

/// Shows what lets machines in, or makes a new one first.
///
/// # Errors
/// It is no manager of a cluster.
pub(crate) async fn join_token(daemon: &Arc<Daemon>, role: Role, rotate: bool) -> Result<JoinToken, ApiError> {
    let pki = |error: pki::Error| failure::failed(format!("make a token: {error}"));
    let membership = daemon.membership.as_ref().ok_or_else(no_cluster)?;
    if rotate {
        let secret = pki::new_secret().map_err(pki)?;
        daemon.cluster.ask(Request::Group(Box::new(ClusterRequest::RotateToken { role, secret }))).await?;
    } else {
        // So that what was rotated elsewhere is seen.
        daemon.cluster.ask(Request::Read).await?;
    }
    let info = daemon.cluster.info().await?.ok_or_else(no_cluster)?;
    let secret = match role {
        Role::Manager => &info.manager_secret,
        Role::Worker => &info.worker_secret,
    };
    let token = pki::Token::new(&info.authority.root.digest, secret).map_err(pki)?;
    Ok(JoinToken { token: token.to_string(), address: membership.identity().advertise.clone() })
}

/// Begins to replace the authority.
///
/// # Errors
/// It is no manager of a cluster, or is being replaced already.
pub(crate) async fn rotate_authority(daemon: &Arc<Daemon>) -> Result<(), ApiError> {
    let info = daemon.cluster.info().await?.ok_or_else(no_cluster)?;
    let authority = pki::new_authority(info.id, clock::now())
        .map_err(|error| failure::failed(format!("make a new authority: {error}")))?;
    daemon.cluster.ask(Request::Group(Box::new(ClusterRequest::RotateAuthority(authority)))).await.map(|_| ())
}
