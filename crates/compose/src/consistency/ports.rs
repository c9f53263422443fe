//! Ports that two containers would want at once.

use crate::context::Context;
use crate::short::port_range;
use crate::tree::{At, Map, Node};
use std::collections::BTreeMap;

/// One wish for a fixed port.
struct Wish<'a> {
    service: &'a str,
    host_ip: String,
    at: At,
}

/// Reports fixed ports that two services publish, and addresses that are none.
pub(super) fn check(context: &mut Context, services: &Map) {
    let mut taken: BTreeMap<(String, u16), Vec<Wish<'_>>> = BTreeMap::new();
    for (name, service) in services {
        for port in service.items("ports") {
            one(context, name, service, port, &mut taken);
        }
    }
}

fn one<'a>(
    context: &mut Context,
    name: &'a str,
    service: &Node,
    port: &Node,
    taken: &mut BTreeMap<(String, u16), Vec<Wish<'a>>>,
) {
    if port.get("target").is_none() {
        let message = format!("a port of service `{name}` lacks a `target`");
        context.error_on("RS0305", port, message, Some("add the port in the container as `target:`".to_owned()));
    }
    let host_ip = port.get_text("host_ip").unwrap_or_default().to_owned();
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
        context.error_on("RS0519", published, message, Some(hint));
    }
    let protocol = port.get_text("protocol").unwrap_or("tcp").to_owned();
    let wishes = taken.entry((protocol.clone(), low)).or_default();
    let place = published.place();
    if let Some(other) = wishes.iter().find(|wish| collide(&wish.host_ip, &host_ip)) {
        let message = if other.service == name {
            format!("service `{name}` publishes port {low}/{protocol} twice")
        } else {
            format!("services `{}` and `{name}` both publish port {low}/{protocol}", other.service)
        };
        context.error_pair("RS0511", (place, other.at), message, "first published");
    }
    wishes.push(Wish { service: name, host_ip, at: place });
}

fn collide(one: &str, two: &str) -> bool {
    let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    one == two || any(one) || any(two)
}
