//! Ports that two containers would want at once.

use crate::context::Context;
use crate::short::port_range;
use crate::tree::{At, Map, Node};
use std::collections::BTreeMap;

/// One wish for a fixed port.
#[derive(Clone, Copy)]
struct Wish<'a> {
    service: &'a str,
    at: At,
}

/// Wishes for a port, by address: the first of each. Thousands of services may have the same port, each
/// at an address of its own.
#[derive(Default)]
struct Wishes<'a> {
    /// At all addresses.
    everywhere: Option<Wish<'a>>,
    /// The first of all.
    first: Option<Wish<'a>>,
    at: BTreeMap<&'a str, Wish<'a>>,
}

impl<'a> Wishes<'a> {
    /// Adds one; gives the earliest that it is in the way of.
    fn add(&mut self, host_ip: &'a str, wish: Wish<'a>) -> Option<Wish<'a>> {
        let first = *self.first.get_or_insert(wish);
        if matches!(host_ip, "" | "0.0.0.0" | "::") {
            let was_empty = self.everywhere.is_none() && self.at.is_empty();
            self.everywhere.get_or_insert(wish);
            return (!was_empty).then_some(first);
        }
        let other = self.at.get(host_ip).copied().or(self.everywhere);
        self.at.entry(host_ip).or_insert(wish);
        other
    }
}

/// Reports fixed ports that two services publish, and addresses that are none.
pub(super) fn check(context: &mut Context, services: &Map) {
    let mut taken: BTreeMap<(&str, u16), Wishes<'_>> = BTreeMap::new();
    for (name, service) in services {
        for port in service.items("ports") {
            one(context, name, service, port, &mut taken);
        }
    }
}

fn one<'a>(
    context: &mut Context,
    name: &'a str,
    service: &'a Node,
    port: &'a Node,
    taken: &mut BTreeMap<(&'a str, u16), Wishes<'a>>,
) {
    if port.get("target").is_none() {
        let message = format!("a port of service `{name}` lacks a `target`");
        context.error_on("RS0305", port, message, Some("add the port in the container as `target:`".to_owned()));
    }
    let host_ip = port.get_text("host_ip").unwrap_or_default();
    if let Some(node) = port.get("host_ip")
        && host_ip.parse::<std::net::IpAddr>().is_err()
    {
        context.error_on("RS0318", node, format!("`{host_ip}` is no address of a host"), None);
    }
    let Some(published) = port.get("published") else { return };
    let text = published.as_text().unwrap_or_default();
    let (low, high) = match port_range(text) {
        Ok(range) => range,
        Err(reason) => {
            let hint = "write a port or a range, such as `8080` or `8000-8010`".to_owned();
            return context.error_on("RS0309", published, format!("services.{name}.ports: {reason}"), Some(hint));
        }
    };
    // a port of zero, or a range, lets us choose
    if low != high || low == 0 {
        return;
    }
    if port.get_text("mode") == Some("host") && super::service::replicas(service) > 1 {
        let message = format!("the replicas of service `{name}` would all publish port {low} of their host");
        let hint = "use `mode: ingress`, or one replica per node (`mode: global`)".to_owned();
        context.warn_on("RS0519", published, message, Some(hint));
    }
    let protocol = port.get_text("protocol").unwrap_or("tcp");
    let wish = Wish { service: name, at: published.place() };
    if let Some(other) = taken.entry((protocol, low)).or_default().add(host_ip, wish) {
        let message = if other.service == name {
            format!("service `{name}` publishes port {low}/{protocol} twice")
        } else {
            format!("services `{}` and `{name}` both publish port {low}/{protocol}", other.service)
        };
        context.error_pair("RS0511", (wish.at, other.at), message, "first published");
    }
}
