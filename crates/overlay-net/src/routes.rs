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
