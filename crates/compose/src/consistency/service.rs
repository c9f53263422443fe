//! Checks of one service against the rest.

use super::{Checked, undefined};
use crate::context::Context;
use crate::names::did_you_mean;
use crate::schema;
use crate::tree::{At, Node};
use std::collections::BTreeMap;

/// Reports what does not fit about a service.
pub(super) fn check(context: &mut Context, project: &Checked<'_>, name: &str, service: &Node) {
    source(context, name, service);
    network(context, project, name, service);
    references(context, project, name, service);
    dependencies(context, project, name, service);
    health(context, name, service);
    amounts(context, name, service);
    mounts(context, name, service);
    device_requests(context, name, service);
}

fn key_place(node: &Node) -> Node {
    Node { at: node.key, ..node.clone_places() }
}

fn source(context: &mut Context, name: &str, service: &Node) {
    let build = service.get("build");
    // an `extends` that is still there could not be followed, which is told
    let said = ["image", "build", "provider", "extends"];
    let known = |name: &String| name.starts_with("x-") || schema::find(schema::SERVICE, name).is_some();
    let map = service.as_map();
    // a key that nobody knows may well have been meant as the image; it is told already
    let unsaid = map.is_some_and(|map| !said.iter().any(|key| map.contains_key(key)) && map.keys().all(known));
    if unsaid {
        let message = format!("service `{name}` has neither an `image` nor a `build`");
        context.error_on("RS0501", &key_place(service), message, Some("add `image:`".to_owned()));
    }
    let Some(build) = build else { return };
    if let (Some(_), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline")) {
        let message = format!("services.{name}.build has both `dockerfile` and `dockerfile_inline`");
        context.error_on("RS0508", &key_place(inline), message, Some("keep one of them".to_owned()));
    }
    if let (Some(platforms), Some(platform)) = (build.get("platforms"), service.get("platform")) {
        let listed = platforms.as_list().into_iter().flatten().any(|item| item.as_text() == platform.as_text());
        if !listed {
            let text = platform.as_text().unwrap_or_default();
            let message = format!("services.{name}.build.platforms lacks the service's platform `{text}`");
            context.error_on("RS0509", &key_place(platforms), message, Some(format!("add `{text}` to it")));
        }
    }
}

fn network(context: &mut Context, project: &Checked<'_>, name: &str, service: &Node) {
    let mode = service.get("network_mode");
    if let (Some(_), Some(networks)) = (mode, service.get("networks"))
        && !networks.is_empty()
    {
        let message = format!("service `{name}` has both `network_mode` and `networks`");
        context.error_on("RS0508", &key_place(networks), message, Some("keep one of them".to_owned()));
    }
    if let Some(mode) = mode
        && let Some(other) = mode.as_text().and_then(|text| text.strip_prefix("service:"))
        && !project.services.contains_key(other)
        && service.get("depends_on").is_none_or(|on| on.get(other).is_none())
    {
        no_service(context, project, name, other, mode);
    }
    let known = project.section("networks");
    for (network, entry) in service.entries("networks") {
        if !known.is_some_and(|known| known.contains_key(network)) {
            let place = if entry.key.is_known() { key_place(entry) } else { entry.clone_places() };
            undefined(context, "RS0502", "network", network, name, &place, known);
        }
        addresses(context, name, network, entry);
    }
}

fn addresses(context: &mut Context, name: &str, network: &str, entry: &Node) {
    let check = |key: &str, fits: &dyn Fn(&str) -> bool| {
        entry.get(key).filter(|node| !node.as_text().is_some_and(fits)).map(|node| (node.clone(), key.to_owned()))
    };
    let wrong = [
        check("ipv4_address", &|text| text.parse::<std::net::Ipv4Addr>().is_ok()),
        check("ipv6_address", &|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
    ];
    for (node, key) in wrong.into_iter().flatten() {
        let text = node.as_text().unwrap_or_default();
        let message = format!("services.{name}.networks.{network}.{key}: `{text}` is no such address");
        context.error_on("RS0319", &node, message, None);
    }
}

fn references(context: &mut Context, project: &Checked<'_>, name: &str, service: &Node) {
    for mount in service.items("volumes") {
        if let (Some("volume"), Some(volume)) = (mount.get_text("type"), mount.get("source")) {
            let known = project.section("volumes");
            let text = volume.as_text().unwrap_or_default();
            if !text.is_empty() && !known.is_some_and(|known| known.contains_key(text)) {
                undefined(context, "RS0503", "volume", text, name, volume, known);
            }
        }
        if mount.get_text("type") == Some("bind") && mount.get("source").is_none() {
            let message = format!("a bind mount of service `{name}` lacks a `source`");
            context.error_on("RS0305", mount, message, Some("add the path of the host as `source:`".to_owned()));
        }
        if mount.get("target").is_none() {
            let message = format!("a mount of service `{name}` lacks a `target`");
            context.error_on("RS0305", mount, message, Some("add the path in the container as `target:`".to_owned()));
        }
    }
    let build_secrets = service.get("build").map(|build| build.items("secrets")).unwrap_or_default();
    for (code, section, what, items) in [
        ("RS0504", "secrets", "secret", service.items("secrets")),
        ("RS0504", "secrets", "secret", build_secrets),
        ("RS0505", "configs", "config", service.items("configs")),
    ] {
        let known = project.section(section);
        for item in items {
            let source = item.get_text("source").unwrap_or_default();
            if !known.is_some_and(|known| known.contains_key(source)) {
                undefined(context, code, what, source, name, item.get("source").unwrap_or(item), known);
            }
        }
    }
    for (model, entry) in service.entries("models") {
        let known = project.section("models");
        if !known.is_some_and(|known| known.contains_key(model)) {
            undefined(context, "RS0505", "model", model, name, &key_place(entry), known);
        }
    }
}

fn dependencies(context: &mut Context, project: &Checked<'_>, name: &str, service: &Node) {
    for (other, entry) in service.entries("depends_on") {
        if project.services.contains_key(other) {
            continue;
        }
        let required = entry.get("required").and_then(Node::as_bool).unwrap_or(true);
        if required || !project.inactive.contains(other) {
            let place = if entry.key.is_known() { key_place(entry) } else { entry.clone_places() };
            no_service(context, project, name, other, &place);
        }
    }
}

fn no_service(context: &mut Context, project: &Checked<'_>, name: &str, other: &str, place: &Node) {
    if project.inactive.contains(other) {
        let message = format!("service `{name}` needs `{other}`, which no active profile has");
        let hint = "activate its profile with `--profile`, or write `required: false`".to_owned();
        return context.error_on("RS0506", place, message, Some(hint));
    }
    let message = format!("service `{name}` needs the service `{other}`, which is not defined");
    let hint = did_you_mean(other, project.services.keys().map(String::as_str));
    context.error_on("RS0506", place, message, hint);
}

fn health(context: &mut Context, name: &str, service: &Node) {
    let Some(test) = service.get("healthcheck").and_then(|health| health.get("test")) else { return };
    let Some(first) = test.as_list().and_then(|items| items.first()) else { return };
    if !matches!(first.as_text(), Some("CMD" | "CMD-SHELL" | "NONE")) {
        let text = first.as_text().unwrap_or_default();
        let message = format!("services.{name}.healthcheck.test starts with `{text}`");
        context.error_on("RS0518", first, message, Some("start the list with CMD, CMD-SHELL or NONE".to_owned()));
    }
}

/// Two keys that say the same thing must say it alike.
fn amounts(context: &mut Context, name: &str, service: &Node) {
    let deploy = service.get("deploy");
    let resources = deploy.and_then(|deploy| deploy.get("resources"));
    let limits = resources.and_then(|resources| resources.get("limits"));
    let reserved = resources.and_then(|resources| resources.get("reservations"));
    let pairs = [
        ("scale", "replicas", deploy, "deploy.replicas"),
        ("cpus", "cpus", limits, "deploy.resources.limits.cpus"),
        ("mem_limit", "memory", limits, "deploy.resources.limits.memory"),
        ("mem_reservation", "memory", reserved, "deploy.resources.reservations.memory"),
        ("pids_limit", "pids", limits, "deploy.resources.limits.pids"),
    ];
    for (key, inner, section, path) in pairs {
        if let (Some(one), Some(two)) = (service.get(key), section.and_then(|section| section.get(inner)))
            && one.value != two.value
        {
            let message = format!("service `{name}` says different things in `{key}` and `{path}`");
            context.error_two(
                "RS0509",
                one.place(),
                message,
                ("the other value", two.place()),
                Some("keep one of them".to_owned()),
            );
        }
    }
    reservations(context, name, service, limits, reserved);
    one_name_many_replicas(context, name, service);
}

fn size(node: Option<&Node>) -> Option<f64> {
    match &node?.value {
        crate::tree::Value::Text(text) => text.parse().ok(),
        crate::tree::Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn reservations(context: &mut Context, name: &str, service: &Node, limits: Option<&Node>, reserved: Option<&Node>) {
    let limit =
        |key: &str, short: &str| limits.and_then(|limits| limits.get(key)).or_else(|| service.get(short)).cloned();
    let wants = |key: &str, short: &str| {
        reserved.and_then(|reserved| reserved.get(key)).or_else(|| service.get(short)).cloned()
    };
    for (what, limit, wanted) in [
        ("memory", limit("memory", "mem_limit"), wants("memory", "mem_reservation")),
        ("cpus", limit("cpus", "cpus"), wants("cpus", "")),
    ] {
        if let (Some(most), Some(least)) = (size(limit.as_ref()), size(wanted.as_ref()))
            && least > most
            && let (Some(limit), Some(wanted)) = (limit, wanted)
        {
            let message = format!("service `{name}` reserves more {what} than its limit allows");
            context.error_two("RS0513", wanted.place(), message, ("the limit", limit.place()), None);
        }
    }
}

/// How many replicas a service asks for.
pub(super) fn replicas(service: &Node) -> i64 {
    let deploy = service.get("deploy");
    service.get_int("scale").or_else(|| deploy.and_then(|deploy| deploy.get_int("replicas"))).unwrap_or(1)
}

fn one_name_many_replicas(context: &mut Context, name: &str, service: &Node) {
    let Some(fixed) = service.get("container_name") else { return };
    if replicas(service) > 1 {
        let message =
            format!("service `{name}` has {} replicas, but only one can have its `container_name`", replicas(service));
        context.error_on("RS0510", fixed, message, Some("remove `container_name`, or run one replica".to_owned()));
    }
}

/// Devices are asked for by number or by id.
fn device_requests(context: &mut Context, name: &str, service: &Node) {
    let reserved = service.get("deploy").and_then(|deploy| deploy.get("resources")?.get("reservations"));
    let devices = reserved.map(|reserved| reserved.items("devices")).unwrap_or_default();
    for request in devices.iter().chain(service.items("gpus")) {
        if let (Some(count), Some(_)) = (request.get("count"), request.get("device_ids")) {
            let message = format!("service `{name}` asks for devices both by `count` and by `device_ids`");
            context.error_on("RS0508", count, message, Some("keep one of them".to_owned()));
        }
    }
}

fn mounts(context: &mut Context, name: &str, service: &Node) {
    let mut seen: BTreeMap<String, At> = BTreeMap::new();
    let tmpfs = service.items("tmpfs").iter().filter_map(|node| {
        let text = node.as_text()?;
        Some((text.split_once(':').map_or(text, |(path, _)| path).to_owned(), node.place()))
    });
    let volumes = service.items("volumes").iter().filter_map(|node| {
        let target = node.get("target")?;
        Some((target.as_text()?.to_owned(), target.place()))
    });
    for (target, at) in tmpfs.chain(volumes) {
        if let Some(first) = seen.insert(target.clone(), at) {
            let message = format!("service `{name}` mounts two things at `{target}`");
            context.error_pair("RS0512", (at, first), message, "first mounted");
        }
    }
}
