//! `network ls`, `create`, `rm`, `connect`, `disconnect`.

use super::each;
use crate::args::object::{ConnectNetwork, CreateNetwork, DisconnectNetwork, Ls, Rm};
use crate::context::{Context, refused};
use crate::render::human::created_at;
use crate::render::list::{List, Row};
use crate::{parse, start};
use anyhow::{Context as _, Result, anyhow, bail};
use api::{ApiError, ErrorKind};
use model::{
    IpamConfig, Logins, Network, NetworkAttachment, NetworkId, NetworkSpec, Request, Response, Service, State, Task,
};
use std::sync::Arc;

pub(super) async fn ls(context: &Context, args: Ls) -> Result<u8> {
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    check(&filters)?;
    let state = context.state().await?;
    let predefined = model::Network::predefined();
    let in_cluster = state.cluster.is_some();
    let passes = |network: &&Network| {
        let driver = network.driver(in_cluster);
        super::volume::passes(&filters, &network.spec.name, driver, &network.spec.labels)
            && filters.iter().all(|(key, _)| {
                // Of several values of one key, any.
                filters.iter().filter(|(other, _)| other == key).any(|(key, value)| match key.as_str() {
                    "id" => network.id.to_string().starts_with(value.as_str()),
                    "scope" => network.scope(in_cluster) == value,
                    "type" => (value == "builtin") == is_builtin(network),
                    "dangling" => (value == "true" || value == "1") == is_dangling(network, &state),
                    _ => true,
                })
            })
    };
    let mut networks: Vec<&Network> = state.networks.iter().chain(&predefined).filter(passes).collect();
    networks.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    let whole = args.listing.no_trunc;
    let rows = networks.into_iter().map(|network| {
        Row::default()
            .with("ID", if whole { network.id.to_string() } else { network.id.short() })
            .with("Name", network.spec.name.as_str())
            .with("Driver", network.driver(in_cluster))
            .with("Scope", network.scope(in_cluster))
            .with("Internal", network.spec.internal.to_string())
            .with("IPv6", network.spec.ipv6.to_string())
            .with("Subnet", subnet(network))
            .with("CreatedAt", created_at(network.created.0))
            .labels(&network.spec.labels)
    });
    let list = List {
        headings: &[
            ("ID", "NETWORK ID"),
            ("Name", "NAME"),
            ("Driver", "DRIVER"),
            ("Scope", "SCOPE"),
            ("Internal", "INTERNAL"),
            ("IPv6", "IPV6"),
            ("Subnet", "SUBNET"),
            ("Labels", "LABELS"),
        ],
        columns: vec!["ID", "Name", "Driver", "Scope"],
        key: "ID",
        rows: rows.collect(),
    };
    context.data(&list.render(&args.listing)?)?;
    Ok(0)
}

/// Those of `host` and `none` are nobody's.
fn subnet(network: &Network) -> String {
    if network.is_predefined() { String::new() } else { network.subnet.to_string() }
}

/// What networks can be chosen by, and the words of those that have a few only.
///
/// # Errors
/// Another key, or another word.
fn check(filters: &[(String, String)]) -> Result<()> {
    for (key, value) in filters {
        let words: &[&str] = match key.as_str() {
            "name" | "id" | "driver" | "label" => continue,
            "scope" => &["local", "swarm", "global"],
            "type" => &["builtin", "custom"],
            "dangling" => &["true", "false", "1", "0"],
            _ => bail!("--filter: `{key}` is no filter: name, id, driver, scope, type, dangling and label are"),
        };
        if !words.contains(&value.as_str()) {
            bail!("--filter: `{key}={value}`: {key} is one of {}", words.join(", "));
        }
    }
    Ok(())
}

/// Nobody made it.
fn is_builtin(network: &Network) -> bool {
    network.is_default() || network.is_predefined()
}

/// Somebody made it, and nothing is on it.
fn is_dangling(network: &Network, state: &State) -> bool {
    let on_it = |task: &Arc<Task>| {
        !task.status.state.is_terminal() && task.endpoints.iter().any(|endpoint| endpoint.network == network.id)
    };
    let names_it = |service: &Service| service.spec.networks.iter().any(|it| it.network == network.spec.name);
    !is_builtin(network) && !state.tasks.iter().any(on_it) && !state.services.iter().any(names_it)
}

pub(super) async fn create(context: &Context, args: CreateNetwork) -> Result<u8> {
    if let Some(driver) = args.driver.as_deref().filter(|driver| !matches!(*driver, "bridge" | "overlay")) {
        bail!("--driver: `{driver}` is no driver: bridge and overlay are");
    }
    let spec = NetworkSpec {
        name: args.name.clone(),
        stack: None,
        driver: args.driver.clone(),
        driver_opts: parse::pairs(&args.opt).context("--opt")?,
        internal: args.internal,
        attachable: args.attachable,
        ipv6: args.ipv6,
        ipam: ipam(&args)?,
        labels: parse::pairs(&args.label).context("--label")?,
    };
    start::ensure(context).await?;
    match context.request(Request::CreateNetwork(Box::new(spec))).await? {
        Response::Done { id, .. } => context.line(&id.unwrap_or(args.name))?,
        _ => bail!("the daemon answered something else than was asked"),
    }
    Ok(0)
}

/// A block a subnet; gateways, ranges and reserved addresses go to the block that holds them.
fn ipam(args: &CreateNetwork) -> Result<Vec<IpamConfig>> {
    let mut blocks = Vec::new();
    for text in &args.subnet {
        let subnet =
            model::Subnet::parse(text).ok_or_else(|| anyhow!("--subnet: `{text}` is no block of addresses"))?;
        blocks.push((subnet, IpamConfig { subnet: Some(text.clone()), ..IpamConfig::default() }));
    }
    for v6 in [false, true] {
        let mut of_kind = blocks.iter().filter(|(subnet, _)| subnet.address.is_ipv6() == v6);
        if let (Some(_), Some((second, _))) = (of_kind.next(), of_kind.next()) {
            bail!("--subnet: {second} is one too many: a network has one block of IPv4 addresses and one of IPv6");
        }
    }
    let address = |text: &str, flag: &str| {
        let plain = text.split('/').next().unwrap_or(text);
        plain.parse::<std::net::IpAddr>().map_err(|_| anyhow!("{flag}: `{text}` is no address"))
    };
    let mut place = |text: &str, flag: &str, put: &mut dyn FnMut(&mut IpamConfig)| -> Result<()> {
        let address = address(text, flag)?;
        match blocks.iter_mut().find(|(subnet, _)| subnet.contains(address)) {
            Some((_, config)) => put(config),
            None => bail!("{flag}: {text} is in none of the blocks of --subnet"),
        }
        Ok(())
    };
    for text in &args.gateway {
        place(text, "--gateway", &mut |config| config.gateway = Some(text.clone()))?;
    }
    for text in &args.ip_range {
        place(text, "--ip-range", &mut |config| config.ip_range = Some(text.clone()))?;
    }
    for text in &args.aux_address {
        let (name, value) = parse::pair(text).context("--aux-address")?;
        place(&value, "--aux-address", &mut |config| {
            config.aux_addresses.insert(name.clone(), value.clone());
        })?;
    }
    Ok(blocks.into_iter().map(|(_, config)| config).collect())
}

pub(super) async fn rm(context: &Context, args: Rm) -> Result<u8> {
    let state = context.state().await?;
    let (state, force) = (&state, args.force);
    each(context, &args.names, |name| async move {
        let mut predefined = Network::predefined().into_iter();
        if predefined.any(|network| network.spec.name == name || network.id.to_string() == name) {
            let text = format!("network {name} is predefined and can't be removed");
            return Err(api::client::ClientError::Api(ApiError::new(ErrorKind::Invalid, text)).into());
        }
        let Some(id) = find(state, &name)? else {
            if force {
                return Ok(None);
            }
            return Err(api::client::ClientError::Api(ApiError::new(
                ErrorKind::NotFound,
                format!("no such network: {name}"),
            ))
            .into());
        };
        match context.propose(Request::RemoveNetwork(id), Logins::default()).await? {
            Response::Refused { kind, diagnostics } => Err(refused(kind, &diagnostics).into()),
            _ => Ok(Some(name)),
        }
    })
    .await
}

pub(super) async fn connect(context: &Context, args: ConnectNetwork) -> Result<u8> {
    let state = context.state().await?;
    let attachment = NetworkAttachment {
        network: named(&state, &args.network)?,
        aliases: args.alias,
        ipv4_address: args.ip.map(|address| address.to_string()),
        ipv6_address: args.ip6.map(|address| address.to_string()),
        mac_address: None,
    };
    let task = api::names::container(&state, &args.container)?.id;
    context.request(Request::Connect { task, attachment }).await?;
    Ok(0)
}

pub(super) async fn disconnect(context: &Context, args: DisconnectNetwork) -> Result<u8> {
    let state = context.state().await?;
    let task = api::names::container(&state, &args.container)?.id;
    context.request(Request::Disconnect { task, network: named(&state, &args.network)? }).await?;
    Ok(0)
}

/// The full name of a network; what names none is for the daemon to refuse.
pub(super) fn named(state: &State, wanted: &str) -> Result<String> {
    let id = find(state, wanted)?;
    let network = state.networks.iter().find(|network| Some(network.id) == id);
    Ok(network.map_or_else(|| wanted.to_owned(), |network| network.spec.name.clone()))
}

/// By name, id, or a prefix of the id that means one network.
fn find(state: &State, wanted: &str) -> Result<Option<NetworkId>> {
    let exact = state.networks.iter().find(|network| network.spec.name == wanted || network.id.to_string() == wanted);
    if let Some(network) = exact {
        return Ok(Some(network.id));
    }
    let prefixed: Vec<&Network> = state
        .networks
        .iter()
        .filter(|network| !wanted.is_empty() && network.id.to_string().starts_with(wanted))
        .collect();
    match prefixed.as_slice() {
        [] => Ok(None),
        [network] => Ok(Some(network.id)),
        _ => bail!("`{wanted}` may mean several networks: give more digits"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::args::{Cli, Command, object};
    use clap::Parser as _;

    fn made(line: &str) -> Result<Vec<IpamConfig>> {
        let words = ["rswarm", "network", "create"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Network(object::Network::Create(args)) => ipam(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_go_to_the_block_that_holds_them() {
        let blocks = made(
            "--subnet 10.9.0.0/16 --subnet fd00::/64 --gateway fd00::1 --gateway 10.9.0.1 --ip-range 10.9.5.0/24 \
             --aux-address host=10.9.0.9 net",
        )
        .unwrap();
        assert_eq!(blocks[0].gateway.as_deref(), Some("10.9.0.1"));
        assert_eq!(blocks[0].ip_range.as_deref(), Some("10.9.5.0/24"));
        assert_eq!(blocks[0].aux_addresses["host"], "10.9.0.9");
        assert_eq!(blocks[1].gateway.as_deref(), Some("fd00::1"));
        assert!(made("--gateway 10.0.0.1 net").is_err());
        assert!(made("--subnet 10.0.0.0 net").is_err());
    }
}
