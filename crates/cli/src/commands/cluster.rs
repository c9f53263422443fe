//! `init`, `join`, `join-token`, `leave`, `ca`: a machine's place in a cluster.

use crate::args::cluster::{Ca, CaCommand, ChangeRole, Init, Join, JoinToken, Leave, Place};
use crate::context::{Context, unexpected};
use crate::failure::advised;
use anyhow::{Result, bail};
use api::{Call, InitCluster, JoinCluster, Reply};
use model::{Availability, ClusterRequest, NodeId, Request};
use std::time::Duration;

/// How long a daemon may take to begin anew.
const BACK: Duration = Duration::from_secs(20);

/// How often a change that takes its time is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn init(context: &Context, args: Init) -> Result<u8> {
    crate::start::ensure(context).await?;
    let before = life(context).await?;
    let Place { advertise_addr, listen_addr, availability, data_path_addr, data_path_port } = args.place;
    let call = Call::Init(InitCluster {
        advertise: advertise_addr,
        listen: listen_addr,
        availability: availability.map(Availability::from),
        data_path: api::DataPath { address: data_path_addr, port: data_path_port },
        force_new_cluster: args.force_new_cluster,
        autolock: args.autolock,
    });
    let joined = match context.call(call).await? {
        Reply::Joined(joined) => joined,
        other => return Err(unexpected(&other)),
    };
    back(context, before).await?;
    let token = token(context, model::Role::Worker, false).await?;
    context.line(&format!("Cluster initialized: current node ({}) is now a manager.", joined.node))?;
    context.line("\nTo add a worker to this cluster, run the following command:\n")?;
    context.line(&format!("    rswarm join --token {} {}", token.token, token.address))?;
    context.line("\nTo add a manager to this cluster, run 'rswarm join-token manager' and follow the instructions.")?;
    if args.autolock {
        super::lock::tell(context, Call::UnlockKey { rotate: false }).await?;
    }
    Ok(0)
}

pub(super) async fn join(context: &Context, args: Join) -> Result<u8> {
    crate::start::ensure(context).await?;
    let before = life(context).await?;
    let Place { advertise_addr, listen_addr, availability, data_path_addr, data_path_port } = args.place;
    let call = Call::Join(JoinCluster {
        token: args.token,
        managers: args.managers,
        advertise: advertise_addr,
        listen: listen_addr,
        availability: availability.map(Availability::from),
        data_path: api::DataPath { address: data_path_addr, port: data_path_port },
    });
    let joined = match context.call(call).await? {
        Reply::Joined(joined) => joined,
        other => return Err(unexpected(&other)),
    };
    back(context, before).await?;
    context.line(&format!("This node joined a cluster as a {}.", joined.role))?;
    Ok(0)
}

/// Which life of the daemon this is: what it is asked for now makes it begin anew.
pub(super) async fn life(context: &Context) -> Result<u64> {
    Ok(super::node::own(context).await?.life)
}

/// Waits until the daemon is another than that one: it has begun anew as what it is now.
pub(super) async fn back(context: &Context, before: u64) -> Result<()> {
    let began = tokio::time::Instant::now();
    while began.elapsed() < BACK {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Ok(Reply::Pong(info)) = context.call(Call::Ping).await
            && info.life != before
        {
            return Ok(());
        }
    }
    Err(advised("the change is made, but the daemon has not come back", "look into its log, and start it again"))
}

pub(super) async fn join_token(context: &Context, args: JoinToken) -> Result<u8> {
    let role = model::Role::from(args.role);
    let token = token(context, role, args.rotate).await?;
    if args.quiet {
        context.line(&token.token)?;
        return Ok(0);
    }
    if args.rotate {
        context.line(&format!("Successfully rotated {role} join token.\n"))?;
    }
    context.line(&format!("To add a {role} to this cluster, run the following command:\n"))?;
    context.line(&format!("    rswarm join --token {} {}\n", token.token, token.address))?;
    Ok(0)
}

async fn token(context: &Context, role: model::Role, rotate: bool) -> Result<api::JoinToken> {
    match context.call(Call::JoinToken { role, rotate }).await? {
        Reply::JoinToken(token) => Ok(token),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn leave(context: &Context, args: Leave) -> Result<u8> {
    let before = life(context).await?;
    context.order(Call::Leave { force: args.force }).await?;
    back(context, before).await?;
    context.line("Node left the cluster.")?;
    Ok(0)
}

pub(super) async fn ca(context: &Context, args: Ca) -> Result<u8> {
    if let Some(CaCommand::Client(command)) = args.what {
        return super::client::run(context, command).await;
    }
    if args.rotate {
        context.order(Call::RotateAuthority).await?;
        if !args.detach {
            rotated(context, args.quiet).await?;
        }
    }
    let state = context.state().await?;
    let Some(cluster) = state.cluster else {
        bail!("this machine is not part of a cluster: `rswarm init` makes one of it");
    };
    if let Some(root) = cluster.roots.first() {
        context.data(&root.certificate)?;
    }
    Ok(0)
}

/// Waits until every node has a certificate of the new authority.
async fn rotated(context: &Context, quiet: bool) -> Result<()> {
    let mut told = String::new();
    loop {
        let state = context.state().await?;
        let Some(cluster) = state.cluster.filter(|cluster| cluster.rotating) else { return Ok(()) };
        let renewed = |node: &&model::Node| cluster.roots.first().is_some_and(|root| node.trust.issuer == root.digest);
        let counted: Vec<_> = state.nodes.iter().filter(|node| !node.left).collect();
        let text = format!(
            "{} of {} nodes have a certificate of the authority that signs now",
            counted.iter().copied().filter(renewed).count(),
            counted.len()
        );
        if text != told && !quiet {
            context.printer.say(&text);
        }
        told = text;
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) async fn change_role(context: &Context, args: ChangeRole, role: model::Role) -> Result<u8> {
    let own = super::node::own(context).await?;
    let state = context.state().await?;
    let (own, state, force) = (&own, &state, args.force);
    super::each(context, &args.names, |name| async move {
        let node = super::node::find(state, own, &name)?;
        let already = node.role() == role;
        set_role(context, node.id, role, force).await?;
        Ok(Some(match (role, already) {
            (model::Role::Manager, false) => format!("Node {name} promoted to a manager in the cluster."),
            (model::Role::Worker, false) => format!("Manager {name} demoted in the cluster."),
            (role, true) => format!("Node {name} is already a {role}."),
        }))
    })
    .await
}

pub(super) async fn set_role(context: &Context, id: NodeId, role: model::Role, force: bool) -> Result<()> {
    let request = ClusterRequest::SetRole { id, role, force };
    context.request(Request::Group(Box::new(request))).await.map(|_| ())
}
