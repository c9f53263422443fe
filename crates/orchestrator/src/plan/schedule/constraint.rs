//! Placement constraints and descriptors of nodes (`node.labels.disk == ssd`).

use model::Node;

/// A constraint in its parts: descriptor, equal or not, value.
fn parse(text: &str) -> Option<(&str, bool, &str)> {
    let (at, equal) = match (text.find("=="), text.find("!=")) {
        (Some(a), Some(b)) => (a.min(b), a < b),
        (Some(a), None) => (a, true),
        (None, Some(b)) => (b, false),
        (None, None) => return None,
    };
    let (descriptor, value) = (text.get(..at)?.trim(), text.get(at + 2..)?.trim());
    (!descriptor.is_empty() && !value.is_empty()).then_some((descriptor, equal, value))
}

/// What is wrong with a constraint, if anything is.
pub(crate) fn problem(text: &str) -> Option<String> {
    let Some((descriptor, _, _)) = parse(text) else {
        return Some(format!("`{text}` is no constraint (`node.labels.disk == ssd`, `node.role != manager`)"));
    };
    let known =
        matches!(descriptor, "node.id" | "node.hostname" | "node.role" | "node.platform.os" | "node.platform.arch")
            || ["node.labels.", "engine.labels."]
                .iter()
                .any(|prefix| descriptor.len() > prefix.len() && descriptor.starts_with(prefix));
    (!known).then(|| {
        format!(
            "`{descriptor}` is nothing that a node has: node.id, node.hostname, node.role, node.platform.os, node.platform.arch, node.labels.KEY, engine.labels.KEY"
        )
    })
}

/// Does the node satisfy it? Values are compared without regard to case, as swarmkit does. One that makes
/// no sense fits nowhere.
pub(crate) fn fits(text: &str, node: &Node) -> bool {
    let Some((descriptor, equal, wanted)) = parse(text) else { return false };
    value(descriptor, node).eq_ignore_ascii_case(wanted) == equal && problem(text).is_none()
}

/// What a node has for a descriptor; empty where it has nothing.
pub(crate) fn value(descriptor: &str, node: &Node) -> String {
    let (os, arch) = node.platform.split_once('/').unwrap_or((&node.platform, ""));
    match descriptor {
        "node.id" => node.id.to_string(),
        "node.hostname" => node.hostname.clone(),
        "node.role" => if node.manager { "manager" } else { "worker" }.to_owned(),
        "node.platform.os" => os.to_owned(),
        "node.platform.arch" => arch.to_owned(),
        _ => {
            let labels = descriptor.strip_prefix("node.labels.").map(|key| (&node.labels, key));
            let labels =
                labels.or_else(|| descriptor.strip_prefix("engine.labels.").map(|key| (&node.engine_labels, key)));
            labels.and_then(|(labels, key)| labels.get(key)).cloned().unwrap_or_default()
        }
    }
}
