//! Placement that no node can satisfy: constraints that make no sense, or not together.

use crate::context::Context;
use crate::names::did_you_mean;
use crate::tree::{Node, shorten};

/// What every node has, beside its labels.
const DESCRIPTORS: [&str; 5] = ["node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch"];
/// What the labels of nodes and of their engines start with.
const LABELS: [&str; 2] = ["node.labels.", "engine.labels."];
const ROLES: [&str; 2] = ["manager", "worker"];

/// A constraint in its parts.
struct Constraint<'a> {
    descriptor: &'a str,
    equal: bool,
    value: &'a str,
    node: &'a Node,
}

/// Reports placement of a service that can't be.
pub(super) fn check(context: &mut Context, name: &str, service: &Node) {
    let Some(placement) = service.get("deploy").and_then(|deploy| deploy.get("placement")) else { return };
    let mut known: Vec<Constraint<'_>> = Vec::new();
    for (index, node) in placement.items("constraints").iter().enumerate() {
        let Some(text) = node.as_text() else { continue };
        match parse(text, node) {
            Ok(constraint) => {
                if let Some(other) = known.iter().find(|other| contradict(other, &constraint)) {
                    let message = format!(
                        "no node can satisfy both constraints of service `{name}`: `{}` and `{}`",
                        shorten(other.node.as_text().unwrap_or_default()),
                        shorten(text)
                    );
                    context.error_pair("RS0522", (node.place(), other.node.place()), message, "the other constraint");
                }
                known.push(constraint);
            }
            Err((reason, hint)) => {
                let path = format!("services.{name}.deploy.placement.constraints[{index}]");
                context.error_on("RS0521", node, format!("{path}: {reason}"), Some(hint));
            }
        }
    }
    one_node(context, name, service, placement, &known);
}

/// Swarm's form: `node.labels.disk == ssd`, `node.role != manager`.
fn parse<'a>(text: &'a str, node: &'a Node) -> Result<Constraint<'a>, (String, String)> {
    let shape = || {
        let hint = "write `node.labels.disk == ssd` or `node.role != manager`".to_owned();
        (format!("`{}` is no constraint", shorten(text)), hint)
    };
    let (at, equal) = match (text.find("=="), text.find("!=")) {
        (Some(same), Some(other)) => (same.min(other), same < other),
        (Some(same), None) => (same, true),
        (None, Some(other)) => (other, false),
        (None, None) => return Err(shape()),
    };
    let (descriptor, value) = (text[..at].trim(), text[at + 2..].trim());
    if descriptor.is_empty() || value.is_empty() {
        return Err(shape());
    }
    let labels = LABELS.iter().any(|prefix| descriptor.strip_prefix(prefix).is_some_and(|key| !key.is_empty()));
    if !labels && !DESCRIPTORS.contains(&descriptor) {
        let hint = did_you_mean(descriptor, DESCRIPTORS.into_iter()).filter(|hint| hint.starts_with("did"));
        let all = || format!("nodes have {}, node.labels.KEY and engine.labels.KEY", DESCRIPTORS.join(", "));
        return Err((format!("no node has a `{}`", shorten(descriptor)), hint.unwrap_or_else(all)));
    }
    if equal && descriptor == "node.role" && !ROLES.iter().any(|role| role.eq_ignore_ascii_case(value)) {
        return Err((
            format!("`{}` is no role of a node", shorten(value)),
            "the roles are manager and worker".to_owned(),
        ));
    }
    Ok(Constraint { descriptor, equal, value, node })
}

/// Can no node satisfy both? Values are compared without regard to case, as Swarm does.
fn contradict(one: &Constraint<'_>, two: &Constraint<'_>) -> bool {
    let same = one.value.eq_ignore_ascii_case(two.value);
    one.descriptor == two.descriptor
        && match (one.equal, two.equal) {
            (true, true) => !same,
            (false, false) => one.descriptor == "node.role" && !same,
            _ => same,
        }
}

/// More replicas on one node than a node may have.
fn one_node(context: &mut Context, name: &str, service: &Node, placement: &Node, known: &[Constraint<'_>]) {
    let Some(most) = placement.get_int("max_replicas_per_node").filter(|most| *most > 0) else { return };
    let Some(only) = known.iter().find(|constraint| constraint.equal && constraint.descriptor == "node.id") else {
        return;
    };
    let wanted = super::service::replicas(service);
    let replicated =
        service.get("deploy").and_then(|deploy| deploy.get_text("mode")).is_none_or(|mode| mode == "replicated");
    if replicated && wanted > most {
        let message = format!(
            "service `{name}` has {wanted} replicas, but only {most} may run on a node, and `{}` leaves one node",
            shorten(only.node.as_text().unwrap_or_default())
        );
        context.error_on("RS0522", only.node, message, None);
    }
}
