//! What the host routes already, so that address pools keep away from it.

use crate::kernel::link;
use crate::kernel::netlink::Socket;
use crate::names;
use model::Subnet;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// The address blocks that the host routes itself, as CIDRs in order: the fact `host_routes` of a node.
///
/// Default routes are left out, and so are the bridges of the asking daemon, which its planner knows;
/// those of other daemons on the machine are neighbours to avoid like any other.
pub fn host_routes(run_root: &Path) -> io::Result<Vec<String>> {
    let socket = Socket::route()?;
    let owner = names::owner(run_root);
    let own: BTreeSet<u32> =
        link::links(&socket)?.into_iter().filter(|link| link.group == owner).map(|link| link.index).collect();
    let mut blocks = BTreeSet::new();
    for route in link::routes(&socket)? {
        let Some(destination) = route.destination.filter(|_| route.prefix > 0) else { continue };
        if !route.interface.is_some_and(|index| own.contains(&index)) {
            blocks.extend(Subnet::parse(&format!("{destination}/{}", route.prefix)));
        }
    }
    Ok(blocks.iter().map(Subnet::to_string).collect())
}

/// The addresses of the host's links, as (link, address), loopback and the asking daemon's own bridges left
/// out: where the host may be reached.
pub fn host_addresses(run_root: &Path) -> io::Result<Vec<(String, std::net::IpAddr)>> {
    let socket = Socket::route()?;
    let owner = names::owner(run_root);
    let links = link::links(&socket)?;
    let of = |index| links.iter().find(|link| link.index == index && link.group != owner && link.up);
    let addresses = link::addresses(&socket)?.into_iter().filter(|(_, address, _)| !address.is_loopback());
    Ok(addresses.filter_map(|(index, address, _)| Some((of(index)?.name.clone(), address))).collect())
}

/// The largest IP packet, in bytes, that the link with this address of the host carries; `None`: no link has it.
pub fn link_mtu(address: std::net::IpAddr) -> io::Result<Option<u32>> {
    let socket = Socket::route()?;
    let index = link::addresses(&socket)?.into_iter().find(|(_, own, _)| *own == address).map(|(index, ..)| index);
    Ok(link::links(&socket)?.into_iter().find(|link| Some(link.index) == index).map(|link| link.mtu))
}
