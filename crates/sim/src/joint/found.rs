//! What a cluster begins with: its founder, and every node let in.

use bytes::Bytes;
use model::{
    Admission, Authority, ClusterId, ClusterInfo, ClusterRequest, Node, Request, RequestId, Response, Root, Time,
};
use orchestrator::{Manager, ManagerInput, ManagerOutput};
use std::collections::BTreeMap;

const WORKER: &str = "worker";

/// The state of a cluster of these nodes that has run nothing yet, as its log holds it.
///
/// # Errors
/// A request that must be granted was refused.
pub(super) fn state(nodes: &[Node], now: Time) -> Result<Bytes, String> {
    let mut manager = Manager::new(1);
    manager.handle(now, ManagerInput::Leading { term: 1 });
    if let Some(node) = nodes.first() {
        manager.handle(now, ManagerInput::SessionUp(Box::new(node.clone())));
        settle(&mut manager, now)?;
        let (node, address) = (node.id, address(node));
        let init = ClusterRequest::Init { info: Box::new(info(now)), node, address, key: "1".to_owned() };
        ask(&mut manager, now, 1, init)?;
    }
    for (number, node) in (2..).zip(nodes.iter().skip(1)) {
        let node = Node { key: number.to_string(), address: Some(address(node)), ..node.clone() };
        let admission = Admission { node, secret: WORKER.to_owned() };
        ask(&mut manager, now, number, ClusterRequest::Admit(Box::new(admission)))?;
    }
    serde_json::to_vec(&manager.snapshot()).map(Bytes::from).map_err(|error| error.to_string())
}

fn address(node: &Node) -> String {
    format!("{}:2377", node.hostname)
}

fn ask(manager: &mut Manager, now: Time, number: u128, what: ClusterRequest) -> Result<(), String> {
    // Far from the numbers that operators use.
    let id = RequestId(u128::MAX - number);
    manager.handle(now, ManagerInput::Request(id, Box::new(Request::Group(Box::new(what)))));
    settle(manager, now)
}

/// Everything is committed at once.
fn settle(manager: &mut Manager, now: Time) -> Result<(), String> {
    while let Some(output) = manager.poll() {
        match output {
            ManagerOutput::Propose { entry, .. } => manager.handle(now, ManagerInput::Committed(entry)),
            ManagerOutput::Reply(_, response) if !matches!(*response, Response::Done { .. }) => {
                return Err(format!("a cluster can't be founded: {response:?}"));
            }
            ManagerOutput::Reply(..) | ManagerOutput::Assign(_) | ManagerOutput::Changed { .. } => {}
        }
    }
    Ok(())
}

fn info(now: Time) -> ClusterInfo {
    let root = Root { certificate: "root".to_owned(), digest: "digest".to_owned() };
    ClusterInfo {
        id: ClusterId(1),
        created: now,
        authority: Authority { root, key: "key".to_owned() },
        next: None,
        previous: None,
        worker_secret: WORKER.to_owned(),
        manager_secret: "manager".to_owned(),
        clients: BTreeMap::new(),
        unlock_key: None,
    }
}
