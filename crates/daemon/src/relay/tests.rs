//! Two daemons, one of which is asked about containers of the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::agents::Order;
use crate::identity::{Identity, Membership};
use crate::testing::{self, Put};
use crate::{api_server, views};
use api::client::Client;
use model::{ClusterId, ContainerState, Node, PowerAction, Role, State, TaskId};
use std::path::Path;
use std::sync::Mutex;

const FAR: NodeId = NodeId(2);
const LIMIT: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.unwrap()
}

/// A daemon of a cluster: requests that come to it are written down.
async fn member(root: &Path, node: NodeId, role: Role) -> (Arc<Daemon>, Put, Arc<Mutex<Vec<model::Request>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script = asked.clone();
    let answer = move |request: &model::Request, _: &mut State| {
        script.lock().unwrap().push(request.clone());
        model::Response::Done { revision: 1, id: None, changes: Vec::new(), warnings: Vec::new() }
    };
    let (daemon, put) = testing::daemon(root, answer).await;
    let listen = "127.0.0.1:0".parse().unwrap();
    let identity = Identity::new(ClusterId(1), node, role, listen, String::new());
    let mut daemon = Arc::into_inner(daemon).unwrap();
    daemon.membership = Some(Arc::new(Membership::new(root.to_owned(), identity)));
    daemon.node = node;
    daemon.info.node = node.to_string();
    let state = |state: &mut State| {
        let mut task = testing::task(7, &testing::service("web", "web", None), 1);
        task.node = Some(FAR);
        task.status.container = Some(testing::container(ContainerState::Running, None));
        assert!(views::container::is_up(&task));
        state.tasks.push(Arc::new(task));
        state.nodes.push(Node { ready: true, ..Node::new(FAR, "far") });
    };
    put.change(state);
    (Arc::new(daemon), put, asked)
}

/// A manager that leads, on a socket, and a worker that dials it.
async fn two(root: &Path) -> (Client, Arc<Daemon>, Arc<Daemon>, Arc<Mutex<Vec<model::Request>>>) {
    let (manager, _, _) = member(&root.join("near"), NodeId(1), Role::Manager).await;
    let (worker, _, asked) = member(&root.join("far"), FAR, Role::Worker).await;
    let mut orders = manager.agents.connect(FAR, 1);
    let (near, far) = (manager.clone(), worker.clone());
    tokio::spawn(async move {
        while let Some(Order::Dial(word)) = orders.recv().await {
            let (one, other) = tokio::io::duplex(4096);
            tokio::spawn(api_server::connection(far.clone(), one));
            assert!(near.agents.dialled(FAR, &word, Box::new(other)));
        }
    });
    let socket = root.join("socket");
    tokio::spawn(api_server::serve(manager.clone(), api_server::bind(&socket).unwrap()));
    (Client::unix(socket), manager, worker, asked)
}

#[tokio::test]
async fn what_its_node_has_to_do_is_done_there() {
    let root = tempfile::tempdir().unwrap();
    let (client, manager, worker, asked) = two(root.path()).await;
    // A kill counts as a stop by hand, for which the node itself asks.
    let kill = Call::Kill { container: "web.1".to_owned(), signal: "KILL".to_owned() };
    let killing = tokio::spawn(async move { client.call(&kill).await });
    let power = async {
        while asked.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(power).await;
    let request = asked.lock().unwrap().first().cloned().unwrap();
    let model::Request::Power { task: TaskId(7), action: PowerAction::Stop { .. } } = request else {
        panic!("{request:?}")
    };
    killing.abort();

    let Reply::Pong(info) = soon(ask(&manager, FAR, &Call::Ping)).await.unwrap() else { panic!("no pong") };
    assert_eq!(info.node, worker.node.to_string());
    let error =
        soon(ask(&manager, FAR, &Call::Top { container: "none".to_owned(), options: Vec::new() })).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "its refusal is passed on: {error:?}");
    assert!(soon(ask(&manager, NodeId(9), &Call::Ping)).await.is_err(), "that one is not connected");
}

#[tokio::test]
async fn sessions_archives_and_streams_reach_the_node_and_its_refusals_come_back() {
    let root = tempfile::tempdir().unwrap();
    let (client, _, worker, _) = two(root.path()).await;
    let refused = |error: api::client::ClientError| match error {
        api::client::ClientError::Api(error) => error.kind,
        other => panic!("{other:?}"),
    };
    let attach = SessionCall::Attach { container: "web.1".to_owned(), stdin: false, start: false };
    drop(soon(client.session(&attach)).await.unwrap());
    let process = api::ExecProcess { args: vec!["true".to_owned()], ..api::ExecProcess::default() };
    let exec = SessionCall::Exec { container: "web.1".to_owned(), process };
    let kind = refused(soon(client.session(&exec)).await.unwrap_err());
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict), "it is not there: {kind:?}");
    let from = DownloadCall::CopyFrom { container: "web.1".to_owned(), path: "/etc".to_owned(), follow: false };
    let kind = refused(soon(client.download(&from, |_| Ok(()))).await.unwrap_err());
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict), "nor are its files: {kind:?}");

    let mut events = soon(client.stream(&StreamCall::Events { since: Some(0), until: None })).await.unwrap();
    worker.events.emit("container", "start", "7", &[("name", "web")]);
    let mut ids = Vec::new();
    while !ids.contains(&"7".to_owned()) {
        let Some(api::StreamItem::Event(event)) = soon(events.next()).await.unwrap() else { panic!("no event") };
        ids.push(event.id);
    }

    let mut named = HeaderMap::new();
    assert_eq!(super::named(&named).unwrap(), None);
    named.insert(NODE_HEADER, HeaderValue::from_static("no node"));
    assert!(super::named(&named).is_err());
}
