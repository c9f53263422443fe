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

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Availability, NodeId};

    #[test]
    fn constraints_against_a_node() {
        let node = Node {
            id: NodeId(7),
            hostname: "Alpha".to_owned(),
            platform: "linux/amd64".to_owned(),
            labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            engine_labels: [("rack".to_owned(), "a==b".to_owned())].into(),
            manager: true,
            availability: Availability::Active,
            ready: true,
            nano_cpus: 1,
            memory: 1,
            generic: [].into(),
            host_routes: Vec::new(),
            incarnation: 0,
            ..Node::new(NodeId(7), "")
        };
        let yes = [
            "node.labels.disk==ssd",
            "node.labels.disk == SSD",
            "node.labels.none != x",
            "node.hostname==alpha",
            "node.role != worker",
            "node.platform.os == linux",
            "node.platform.arch == amd64",
            "engine.labels.rack == a==b",
        ];
        yes.iter().for_each(|text| assert!(fits(text, &node), "{text}"));
        let no =
            ["node.labels.disk!=ssd", "node.labels.none == x", "node.colour != red", "nonsense", "node.id ==", "== x"];
        no.iter().for_each(|text| assert!(!fits(text, &node), "{text}"));
        assert!(problem("node.colour == red").is_some_and(|text| text.contains("node.hostname")));
        assert_eq!(problem("node.labels.x==y"), None);
    }
}
