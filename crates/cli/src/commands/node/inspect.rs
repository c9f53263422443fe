//! `node inspect`, in the Engine API's shape or in lines for people.

use super::{availability, find, has_no_vote, own};
use crate::args::swarm::Inspect;
use crate::commands::inspect::{print, print_lines};
use crate::commands::tasks::capital;
use crate::context::{Context, unexpected};
use crate::render::human::{binary_size, decimal_size};
use anyhow::Result;
use api::{Call, Reply};
use model::{Node, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(in crate::commands) async fn run(context: &Context, args: Inspect) -> Result<u8> {
    let own = own(context).await?;
    let state = context.state().await?;
    let mut found = Vec::new();
    for name in &args.which.names {
        found.push(match find(&state, &own, name) {
            Ok(node) => Ok(seen(context, &state, node).await),
            Err(error) => Err(error),
        });
    }
    if args.pretty {
        return print_lines(context, found.into_iter().map(|node| node.map(|node| lines(&node))));
    }
    print(context, args.which.format.as_deref(), found)
}

/// What is known of a node, and how the others look from it.
async fn seen(context: &Context, state: &State, node: &Node) -> Value {
    let mut seen = view(node);
    if node.manager {
        seen["ManagerStatus"] = manager(node, state);
    }
    if node.mesh.is_some() && node.ready {
        match peers(context, state, node).await {
            Ok(peers) => seen["Mesh"]["Peers"] = peers.into(),
            Err(error) => seen["Mesh"]["PeersError"] = format!("{error:#}").into(),
        }
    }
    seen
}

/// How the others look from a node, or why that is not known.
async fn peers(context: &Context, state: &State, node: &Node) -> Result<Vec<Value>> {
    let rows = match context.call(Call::MeshPeers(node.id)).await? {
        Reply::MeshPeers(rows) => rows,
        other => return Err(unexpected(&other)),
    };
    let name = |id| state.nodes.iter().find(|node| node.id == id).map(|node| node.hostname.clone());
    let peer = |row: api::MeshPeerRow| {
        json!({
            "Node": row.node.to_string(),
            "Hostname": name(row.node),
            "Endpoint": row.endpoint,
            "HandshakeAge": row.handshake_age,
            "Sent": row.sent,
            "Received": row.received,
            "PathMTU": row.path_mtu,
        })
    };
    Ok(rows.into_iter().map(peer).collect())
}

/// Engine API, NodeInspect.
fn view(node: &Node) -> Value {
    let (os, architecture) = node.platform.split_once('/').unwrap_or((node.platform.as_str(), ""));
    let generic = generic(&node.generic);
    json!({
        "ID": node.id.to_string(),
        "Spec": {
            "Labels": node.labels,
            "Role": if node.manager { "manager" } else { "worker" },
            "Availability": availability(node.availability).to_lowercase(),
        },
        "Description": {
            "Hostname": node.hostname,
            "Platform": { "Architecture": architecture, "OS": os },
            "Resources": { "NanoCPUs": node.nano_cpus, "MemoryBytes": node.memory, "GenericResources": generic },
            "Engine": { "EngineVersion": node.version, "Labels": node.engine_labels },
        },
        "Status": { "State": if node.ready { "ready" } else { "down" }, "Addr": node.address.as_deref().map(bare) },
        "Mesh": node.mesh.as_ref().map(|offer| mesh(offer, node.mesh_number)),
    })
}

/// Where a node is, without the port of managers.
fn bare(address: &str) -> String {
    address.parse::<SocketAddr>().map_or_else(|_| address.to_owned(), |address| address.ip().to_string())
}

/// Engine API, ManagerStatus.
fn manager(node: &Node, state: &State) -> Value {
    json!({
        "Leader": state.leader == Some(node.id),
        "Reachability": match (node.ready, has_no_vote(state, node)) {
            (false, _) => "unreachable",
            (true, true) => "unknown",
            (true, false) => "reachable",
        },
        "Addr": node.address,
    })
}

/// Engine API, GenericResources.
pub(in crate::commands) fn generic(counts: &BTreeMap<String, u64>) -> Vec<Value> {
    let one = |(kind, count)| json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": count } });
    counts.iter().map(one).collect()
}

/// Its end of the mesh.
fn mesh(offer: &model::MeshOffer, number: Option<u32>) -> Value {
    let endpoints: Vec<String> =
        offer.addresses.iter().map(|address| SocketAddr::new(*address, offer.port).to_string()).collect();
    json!({
        "PublicKey": offer.public_key,
        "Address": number.map(model::mesh_address),
        "Endpoints": endpoints,
        "LinkMTU": offer.mtu,
    })
}

/// `--pretty`, in the order of Docker's.
fn lines(node: &Value) -> String {
    let mut out = String::new();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let capital = |value: &Value| capital(&text(value));
    let mut say = |key: &str, value: String| {
        let key = format!("{key}:");
        out += format!("{key:24}{value}").trim_end();
        out.push('\n');
    };
    say("ID", text(&node["ID"]));
    let labels = node["Spec"]["Labels"].as_object().filter(|labels| !labels.is_empty());
    if let Some(labels) = labels {
        say("Labels", String::new());
        labels.iter().for_each(|(key, value)| say(&format!(" - {key}"), text(value)));
    }
    let (description, status, resources) = (&node["Description"], &node["Status"], &node["Description"]["Resources"]);
    say("Hostname", text(&description["Hostname"]));
    say("Status", String::new());
    say(" State", capital(&status["State"]));
    say(" Availability", capital(&node["Spec"]["Availability"]));
    say(" Address", text(&status["Addr"]));
    if let Some(manager) = node.get("ManagerStatus") {
        say("Manager Status", String::new());
        say(" Address", text(&manager["Addr"]));
        say(" Raft Status", capital(&manager["Reachability"]));
        say(" Leader", if manager["Leader"] == true { "Yes" } else { "No" }.to_owned());
    }
    say("Platform", String::new());
    say(" Operating System", text(&description["Platform"]["OS"]));
    say(" Architecture", text(&description["Platform"]["Architecture"]));
    say("Resources", String::new());
    say(" CPUs", (resources["NanoCPUs"].as_u64().unwrap_or_default() / 1_000_000_000).to_string());
    say(" Memory", binary_size(resources["MemoryBytes"].as_u64().unwrap_or_default()));
    for one in resources["GenericResources"].as_array().into_iter().flatten() {
        let one = &one["DiscreteResourceSpec"];
        say(&format!(" {}", text(&one["Kind"])), text(&one["Value"]));
    }
    say("Engine Version", text(&description["Engine"]["EngineVersion"]));
    let mesh = &node["Mesh"];
    if !mesh.is_null() {
        say("Mesh", String::new());
        say(" Address", text(&mesh["Address"]));
        say(" Public Key", text(&mesh["PublicKey"]));
        let peers = mesh["Peers"].as_array();
        if peers.is_some_and(|peers| !peers.is_empty()) {
            say(" Peers", String::new());
        }
        for peer in peers.into_iter().flatten() {
            let name = peer["Hostname"].as_str().map_or_else(|| text(&peer["Node"]), str::to_owned);
            let heard = peer["HandshakeAge"].as_u64();
            let heard = heard.map_or("no handshake yet".to_owned(), |age| format!("handshake {age} s ago"));
            let bytes = |key: &str| decimal_size(peer[key].as_u64().unwrap_or_default());
            let (sent, received) = (bytes("Sent"), bytes("Received"));
            let way = peer["Endpoint"].as_str().unwrap_or("no way known");
            say(&format!("  {name}"), format!("{way}, {heard}, {sent} sent, {received} received"));
        }
        if let Some(error) = mesh.get("PeersError") {
            say(" Peers", text(error));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_lines() {
        let peer = json!({"Node": "1", "Hostname": "host2", "Endpoint": "192.0.2.2:51820", "HandshakeAge": 7,
            "Sent": 1_200_000, "Received": 3_000, "PathMTU": 1420});
        let silent = json!({"Node": "2", "Hostname": null, "Endpoint": null, "HandshakeAge": null,
            "Sent": 0, "Received": 0, "PathMTU": null});
        let gpu = json!({"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}});
        let node = json!({
            "ID": "abc",
            "Spec": {"Labels": {"disk": "ssd"}, "Role": "manager", "Availability": "active"},
            "Description": {
                "Hostname": "host1",
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 4_000_000_000_u64, "MemoryBytes": 1_u64 << 33, "GenericResources": [gpu]},
                "Engine": {"EngineVersion": "1.2.3", "Labels": {}},
            },
            "Status": {"State": "ready", "Addr": "192.0.2.1"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "192.0.2.1:2377"},
            "Mesh": {"PublicKey": "key=", "Address": "100.64.0.1", "Peers": [peer, silent]},
        });
        let expected = "\
ID:                     abc
Labels:
 - disk:                ssd
Hostname:               host1
Status:
 State:                 Ready
 Availability:          Active
 Address:               192.0.2.1
Manager Status:
 Address:               192.0.2.1:2377
 Raft Status:           Reachable
 Leader:                Yes
Platform:
 Operating System:      linux
 Architecture:          x86_64
Resources:
 CPUs:                  4
 Memory:                8GiB
 gpu:                   2
Engine Version:         1.2.3
Mesh:
 Address:               100.64.0.1
 Public Key:            key=
 Peers:
  host2:                192.0.2.2:51820, handshake 7 s ago, 1.2MB sent, 3kB received
  2:                    no way known, no handshake yet, 0B sent, 0B received
";
        assert_eq!(lines(&node), expected);
    }
}
