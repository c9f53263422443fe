//! `ca client …`: who may manage the cluster from machines that are no nodes.

use crate::args::Listing;
use crate::args::cluster::{Client, CreateClient, RemoveClients};
use crate::context::{Context, now, unexpected};
use crate::contexts::Stored;
use crate::endpoint::Endpoint;
use crate::parse;
use crate::render::human;
use crate::render::list::{List, Row};
use anyhow::{Context as _, Result, anyhow, bail};
use api::{AdmitClient, Call, Reply};
use base64::Engine as _;
use model::{ClusterRequest, ClusterView, Request};
use std::time::Duration;

pub(super) async fn run(context: &Context, command: Client) -> Result<u8> {
    match command {
        Client::Create(args) => create(context, args).await,
        Client::Ls(listing) => ls(context, &listing).await,
        Client::Rm(args) => rm(context, args).await,
    }
}

async fn create(context: &Context, args: CreateClient) -> Result<u8> {
    let stored = enrol(&context.client, args.name.clone(), &args.ttl, String::new()).await?;
    context.data(&stored.to_text()?)?;
    context.printer.hint(&format!(
        "`rswarm context import NAME FILE` there; whoever has the file may do everything, until `rswarm ca client rm {}`",
        args.name
    ));
    Ok(0)
}

/// Lets a manager sign a certificate for a key that is made here and goes nowhere.
///
/// # Errors
/// The manager can't be reached, or refuses.
pub(super) async fn enrol(
    client: &api::client::Client,
    name: String,
    ttl: &str,
    description: String,
) -> Result<Stored> {
    let lifetime = parse::duration(ttl).context("--ttl")?.as_secs();
    let key = pki::Key::generate().context("make a key")?;
    let request = base64::engine::general_purpose::STANDARD.encode(key.request().context("ask for a certificate")?);
    let grant = match client.call(&Call::AdmitClient(AdmitClient { name, request, lifetime })).await? {
        Reply::ClientGrant(grant) => grant,
        other => return Err(unexpected(&other)),
    };
    let roots = grant.roots.iter().map(|root| pki::root(root)).collect::<Result<_, _>>();
    let roots = roots.context("the authority that the manager names")?;
    let credentials = pki::Credentials::new(key, &grant.certificate, roots).context("what the manager signed")?;
    if grant.managers.is_empty() {
        bail!("the manager names no address under which it can be reached");
    }
    let endpoint: Endpoint = format!("tcp://{}", grant.managers.join(",")).parse()?;
    Ok(Stored::new(description, &endpoint, Some(&credentials)))
}

async fn cluster(context: &Context) -> Result<ClusterView> {
    let state = context.state().await?;
    state.cluster.ok_or_else(|| anyhow!("this machine is not part of a cluster: `rswarm init` makes one of it"))
}

async fn ls(context: &Context, listing: &Listing) -> Result<u8> {
    let cluster = cluster(context).await?;
    let now = now();
    let mut clients: Vec<_> = cluster.clients.iter().collect();
    clients.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    let rows = clients.into_iter().map(|(id, client)| {
        let trusted = cluster.roots.iter().any(|root| root.digest == client.issuer);
        let expires = match client.expires.0.checked_sub(now) {
            _ if !trusted => "Ended (the authority was replaced)".to_owned(),
            None => "Ended".to_owned(),
            Some(left) => format!("in {}", human::span(Duration::from_millis(left))),
        };
        Row::default()
            .with("ID", if listing.no_trunc { id.to_string() } else { id.short() })
            .with("Name", client.name.as_str())
            .with("CreatedAt", human::ago(client.created.0, now))
            .with("Expires", expires)
    });
    let list = List {
        headings: &[("ID", "ID"), ("Name", "NAME"), ("CreatedAt", "CREATED"), ("Expires", "EXPIRES")],
        columns: vec!["Name", "CreatedAt", "Expires"],
        key: "Name",
        rows: rows.collect(),
    };
    context.data(&list.render(listing)?)?;
    Ok(0)
}

async fn rm(context: &Context, args: RemoveClients) -> Result<u8> {
    super::each(context, &args.names, |name| async move {
        let request = ClusterRequest::RemoveClient { name: name.clone() };
        context.request(Request::Group(Box::new(request))).await?;
        Ok(Some(name))
    })
    .await
}
