//! The manager's thread over a real log.

mod group;

use super::*;
use crate::cluster::Message;
use model::{AgentReport, Assignment, Node, NodeId, Request, RequestId, Response, VolumeSpec};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn node() -> Node {
    crate::node::describe(NodeId(1), Path::new("/nonexistent"), &Default::default())
}

fn begin(root: &Path) -> (Running, Cluster) {
    let key = NodeKey::load_or_create(&root.join("key")).unwrap();
    let (prepared, cluster) = open(root, &key, None).unwrap();
    (prepared.start().unwrap(), cluster)
}

/// Connects an agent; its assignments come out.
fn connect(cluster: &Cluster) -> watch::Receiver<Option<Arc<Assignment>>> {
    let (assign, assignments) = watch::channel(None);
    cluster.tell(Message::SessionUp { node: Box::new(node()), session: 1, assign });
    assignments
}

async fn volume(cluster: &Cluster, id: u128, name: &str) -> Response {
    let spec = VolumeSpec { name: name.to_owned(), ..VolumeSpec::default() };
    cluster.request(RequestId(id), Request::CreateVolume(Box::new(spec))).await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_a_repeated_request_gets_its_answer_again() {
    let root = tempfile::tempdir().unwrap();
    let (running, cluster) = begin(root.path());
    let _assignments = connect(&cluster);
    let first = volume(&cluster, 7, "data").await;
    assert!(matches!(first, Response::Done { .. }), "{first:?}");
    cluster.stop(LIMIT).await;
    tokio::time::timeout(LIMIT, running.ended()).await.unwrap();
    drop(cluster);

    let (_running, cluster) = begin(root.path());
    let _assignments = connect(&cluster);
    assert_eq!(volume(&cluster, 7, "data").await, first, "the same answer again");
    let state = cluster.state().await.unwrap();
    assert_eq!(state.volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>(), ["data"]);
    cluster.stop(LIMIT).await;
}

#[tokio::test]
async fn an_agent_gets_its_assignment_and_those_who_watch_are_woken() {
    let root = tempfile::tempdir().unwrap();
    let (_running, cluster) = begin(root.path());
    let mut changes = cluster.changes();
    let mut assignments = connect(&cluster);
    let spec = crate::testing::service("shop_web", "web", Some("shop"));
    let mut stack = model::StackSpec { name: "shop".to_owned(), ..model::StackSpec::default() };
    stack.services.insert("shop_web".to_owned(), spec);
    let deploy = Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false };
    let answer = cluster.request(RequestId(1), deploy).await.unwrap();
    assert!(matches!(answer, Response::Done { .. }), "{answer:?}");
    let assigned = async {
        loop {
            assignments.changed().await.unwrap();
            let assignment = assignments.borrow_and_update().clone();
            if let Some(assignment) = assignment.filter(|assignment| !assignment.tasks.is_empty()) {
                return assignment;
            }
        }
    };
    let assignment = tokio::time::timeout(LIMIT, assigned).await.unwrap();
    assert_eq!(assignment.tasks.len(), 1);
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    cluster.tell(Message::Report(NodeId(1), AgentReport::default()));
    cluster.stop(LIMIT).await;
}

#[test]
fn a_damaged_log_is_not_taken_for_an_empty_one() {
    let root = tempfile::tempdir().unwrap();
    let key = NodeKey::load_or_create(&root.path().join("key")).unwrap();
    drop(open(root.path(), &key, None).unwrap());
    for file in std::fs::read_dir(root.path().join("raft")).unwrap().flatten() {
        if file.file_name() != "lock" {
            std::fs::write(file.path(), b"no log of ours, and longer than a header would be, to be sure").unwrap();
        }
    }
    let error = open(root.path(), &key, None).err().map(|error| format!("{error:#}"));
    assert!(error.as_ref().is_some_and(|text| text.contains("raft")), "{error:?}");
}
