//! Both sides of a session over a pipe, with a real manager on one of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::dial::{Carrier, Ended, open};
use super::{Said, SessionEnd, pair, serve};
use crate::cluster::{Cluster, Leader};
use crate::shared::Daemon;
use crate::testing;
use model::{
    AgentReport, Node, NodeId, PowerAction, Request, RequestId, Response, State, TaskReport, TaskState, TaskStatus,
    Time,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.unwrap()
}

fn machine(id: u128) -> Box<Node> {
    let mut node = crate::node::describe(NodeId(id), Path::new("/nonexistent"), &Default::default());
    node.hostname = format!("host{id}");
    Box::new(node)
}

/// A daemon whose manager leads.
async fn manager(root: &Path) -> Arc<Daemon> {
    let key = store::NodeKey::load_or_create(&root.join("key")).unwrap();
    let (prepared, cluster) = crate::drive_manager::open(&root.join("manager"), &key, None).unwrap();
    prepared.start().unwrap();
    leads(&cluster).await;
    testing::daemon_of(root, NodeId(1), cluster).await
}

async fn leads(cluster: &Cluster) {
    let mut group = cluster.group();
    soon(group.wait_for(|group| group.leader == Leader::Me)).await.unwrap();
}

/// Joins a worker's session to a manager.
fn connect(
    manager: &Arc<Daemon>,
    worker: &Arc<Daemon>,
    end: SessionEnd,
) -> (JoinHandle<()>, JoinHandle<std::io::Result<Ended>>) {
    let (one, other) = tokio::io::duplex(4096);
    let serving = tokio::spawn(serve(manager.clone(), worker.node, one));
    let mut carrier = Carrier::new(worker.clone(), end, machine(worker.node.0));
    let node = machine(worker.node.0);
    let talking = tokio::spawn(async move {
        let opened = open(other, node, None).await?;
        carrier.talk(opened, "there", Some(NodeId(1))).await
    });
    (serving, talking)
}

fn running(task: model::TaskId) -> TaskReport {
    let status =
        TaskStatus { attempt: 1, state: TaskState::Running, since: Time(1), message: String::new(), container: None };
    TaskReport { task, status, removed: false }
}

#[tokio::test]
async fn a_worker_is_told_what_to_do_and_tells_how_it_goes() {
    let (root, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manager = manager(root.path()).await;
    let (worker, _) = testing::daemon(far.path(), |_, _| Response::State(Box::default())).await;
    let worker = Arc::new(Daemon { node: NodeId(2), ..Arc::into_inner(worker).unwrap() });
    let (mut agent, end) = pair();
    let (serving, talking) = connect(&manager, &worker, end);
    soon(agent.session.wait_for(Option::is_some)).await.unwrap();

    let spec = testing::service("web", "web", None);
    let put = Request::PutService { spec: Box::new(spec), create: true };
    soon(manager.cluster.request(RequestId(1), put)).await.unwrap();
    let assigned = soon(agent.assignment.wait_for(|newest| {
        newest.as_ref().is_some_and(|assignment| assignment.node == NodeId(2) && assignment.tasks.len() == 1)
    }));
    let task = assigned.await.unwrap().as_ref().and_then(|it| it.tasks.keys().next().copied()).unwrap();

    agent.said.send(Said::Report(AgentReport { tasks: vec![running(task)], ..AgentReport::default() })).unwrap();
    let runs = |state: &State| state.tasks.iter().any(|it| it.status.state == TaskState::Running).then_some(());
    soon(manager.cluster.until(runs)).await.unwrap();

    // It may ask for what is its own, and for nothing else.
    let ask = async |id: u128, request: Request| {
        let (answer, answered) = oneshot::channel();
        agent.said.send(Said::Ask(RequestId(id), Box::new(request), answer)).unwrap();
        soon(answered).await.unwrap()
    };
    let stop = PowerAction::Stop { timeout: None, signal: None };
    assert!(matches!(ask(2, Request::Power { task, action: stop }).await, Response::Done { .. }));
    assert!(matches!(ask(3, Request::Read).await, Response::Refused { .. }));

    // Its connection breaks: it is missed, though not at once.
    talking.abort();
    soon(serving).await.unwrap();
    assert!(manager.agents.connected().is_empty());
    let lost = |state: &State| state.nodes.iter().any(|it| it.id == NodeId(2) && !it.ready).then_some(());
    soon(manager.cluster.until(lost)).await.unwrap();
    manager.cluster.stop(LIMIT).await;
}

#[tokio::test]
async fn a_newer_session_ends_the_older_and_another_node_gets_none() {
    let (root, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manager = manager(root.path()).await;
    let (worker, _) = testing::daemon(far.path(), |_, _| Response::State(Box::default())).await;
    let worker = Arc::new(Daemon { node: NodeId(2), ..Arc::into_inner(worker).unwrap() });
    let (mut first, end) = pair();
    let (serving, _) = connect(&manager, &worker, end);
    soon(first.session.wait_for(Option::is_some)).await.unwrap();
    let (mut second, end) = pair();
    let (_, _talking) = connect(&manager, &worker, end);
    soon(second.session.wait_for(Option::is_some)).await.unwrap();
    soon(serving).await.unwrap();
    assert_eq!(manager.agents.connected(), [NodeId(2)]);

    // A certificate of node 3 does not speak for node 2.
    let (one, other) = tokio::io::duplex(4096);
    let serving = tokio::spawn(serve(manager.clone(), NodeId(3), one));
    assert!(soon(open(other, machine(2), None)).await.is_err());
    soon(serving).await.unwrap();
    manager.cluster.stop(LIMIT).await;
}

#[tokio::test]
async fn a_node_dials_back_only_for_itself() {
    let (root, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manager = manager(root.path()).await;
    let (worker, _) = testing::daemon(far.path(), |_, _| Response::State(Box::default())).await;
    let worker = Arc::new(Daemon { node: NodeId(2), ..Arc::into_inner(worker).unwrap() });
    let mut orders = manager.agents.connect(worker.node, 1);
    let (dialling, asked) = (manager.clone(), worker.node);
    let dialled = tokio::spawn(async move { dialling.agents.dial(asked).await.map(drop) });
    let Some(super::frames::ToAgent::Dial(word)) = soon(orders.recv()).await else { panic!("no order") };
    let stream = || Box::new(tokio::io::duplex(64).0);
    assert!(!manager.agents.dialled(NodeId(3), &word, stream()), "another node must not answer");
    assert!(manager.agents.dialled(NodeId(2), &word, stream()));
    assert!(!manager.agents.dialled(NodeId(2), &word, stream()), "once");
    soon(dialled).await.unwrap().unwrap();
    assert!(manager.agents.dial(NodeId(9)).await.is_err(), "it is not connected");
    manager.cluster.stop(LIMIT).await;
}
