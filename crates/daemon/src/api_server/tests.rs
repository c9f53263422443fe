//! The API from a client's side, over a real socket, with a scripted manager behind it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::testing::{self, Put};
use api::client::{Client, ClientError};
use api::{Call, Reply, SessionCall, StreamCall, StreamItem};
use model::{ContainerState, ObjectChange, PowerAction, RequestId, State, TaskState};
use std::time::Duration;

struct World {
    daemon: Arc<Daemon>,
    put: Put,
    client: Client,
    server: tokio::task::JoinHandle<()>,
    _root: tempfile::TempDir,
}

async fn world(answer: impl FnMut(&model::Request, &mut State) -> model::Response + Send + 'static) -> World {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("run")).unwrap();
    let (daemon, put) = testing::daemon(root.path(), answer).await;
    let path = root.path().join("run/rswarm.sock");
    // A stale socket of a daemon that was killed is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let server = tokio::spawn(serve(daemon.clone(), listener));
    World { daemon, put, client: Client::unix(path), server, _root: root }
}

fn done() -> model::Response {
    model::Response::Done { revision: 1, id: None, changes: Vec::new(), warnings: Vec::new() }
}

fn boxed(state: ContainerState, exit_code: Option<i32>) -> Arc<model::Task> {
    let mut spec = testing::service("box", "box", None);
    spec.standalone = true;
    let mut task = testing::task(0xb0 << 120, &spec, 1);
    task.status.container = Some(testing::container(state, exit_code));
    Arc::new(task)
}

fn api_error(error: ClientError) -> ApiError {
    match error {
        ClientError::Api(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_are_answered_and_refusals_have_their_kind() {
    let world = world(|_, _| done()).await;
    assert!(matches!(world.client.call(&Call::Ping).await.unwrap(), Reply::Pong(_)));
    let error = api_error(world.client.call(&Call::InspectContainer("nope".to_owned())).await.unwrap_err());
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("nope"), "{error}");
    world.put.change(|state| state.tasks.push(boxed(ContainerState::Running, None)));
    let Reply::Containers(rows) = world.client.call(&Call::Containers { all: false, stack: None }).await.unwrap()
    else {
        panic!("no rows");
    };
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["box"]);
    let kill = Call::Kill { container: "box".to_owned(), signal: "NOPE".to_owned() };
    assert_eq!(api_error(world.client.call(&kill).await.unwrap_err()).kind, ErrorKind::Invalid);
    let remove = Call::RemoveContainer { container: "box".to_owned(), force: false, volumes: false };
    assert_eq!(api_error(world.client.call(&remove).await.unwrap_err()).kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn stop_returns_when_it_has_stopped_and_wait_with_the_code() {
    let world = world(|request, _| {
        assert!(matches!(request, model::Request::Power { action: PowerAction::Stop { .. }, .. }));
        done()
    })
    .await;
    world.put.change(|state| state.tasks.push(boxed(ContainerState::Running, None)));
    let action = PowerAction::Stop { timeout: None, signal: None };
    let client = world.client.clone();
    let stop = tokio::spawn(async move { client.call(&Call::Power { container: "box".to_owned(), action }).await });
    let client = world.client.clone();
    let wait = tokio::spawn(async move { client.call(&Call::Wait("box".to_owned())).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!stop.is_finished() && !wait.is_finished());
    world.put.change(|state| state.tasks = vec![boxed(ContainerState::Exited, Some(5))]);
    assert_eq!(stop.await.unwrap().unwrap(), Reply::Done);
    assert_eq!(wait.await.unwrap().unwrap(), Reply::Exited(5));
}

#[tokio::test]
async fn changes_of_the_cluster_are_told_as_events() {
    let world = world(|_, _| model::Response::Done {
        revision: 2,
        id: Some("abc".to_owned()),
        changes: vec![ObjectChange {
            kind: "volume".to_owned(),
            name: "data".to_owned(),
            action: "created".to_owned(),
            fields: Vec::new(),
        }],
        warnings: Vec::new(),
    })
    .await;
    let mut events = world.client.stream(&StreamCall::Events { since: None, until: None }).await.unwrap();
    let spec = model::VolumeSpec { name: "data".to_owned(), ..model::VolumeSpec::default() };
    let request = model::Request::CreateVolume(Box::new(spec));
    world
        .client
        .call(&Call::Cluster { id: RequestId(1), request: Box::new(request), logins: model::Logins::default() })
        .await
        .unwrap();
    let Some(StreamItem::Event(event)) = events.next().await.unwrap() else { panic!("no event") };
    assert_eq!((event.kind.as_str(), event.action.as_str(), event.id.as_str()), ("volume", "create", "abc"));
}

#[tokio::test]
async fn a_volume_that_cannot_be_is_refused_before_anything_is_agreed_upon() {
    let world = world(|request, _| panic!("nothing is to be proposed: {request:?}")).await;
    for (name, driver) in [("data", "rexray"), ("no/name", "local")] {
        let spec = model::VolumeSpec { name: name.to_owned(), driver: Some(driver.to_owned()), ..Default::default() };
        let request = Box::new(model::Request::CreateVolume(Box::new(spec)));
        let call = Call::Cluster { id: RequestId(1), request, logins: model::Logins::default() };
        let refused = world.client.call(&call).await.unwrap_err();
        assert_eq!(api_error(refused).kind, ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_stack_is_watched_until_it_is_gone() {
    let world = world(|_, _| done()).await;
    world.put.change(|state| {
        state.tasks.push(Arc::new(testing::task(1, &testing::service("s_web", "web", Some("s")), 1)));
    });
    let mut watch = world.client.stream(&StreamCall::Watch { stack: "s".to_owned() }).await.unwrap();
    let seen = |item| match item {
        Some(StreamItem::Watch(state)) => Some(state.tasks.first().map(|task| task.status.state)),
        _ => None,
    };
    assert_eq!(seen(watch.next().await.unwrap()), Some(Some(TaskState::Running)));
    world.put.change(|state| Arc::make_mut(&mut state.tasks[0]).status.state = TaskState::Failed);
    assert_eq!(seen(watch.next().await.unwrap()), Some(Some(TaskState::Failed)));
    world.put.change(|state| state.tasks.clear());
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_session_that_cannot_be_is_refused_before_the_upgrade() {
    let world = world(|_, _| done()).await;
    let call = SessionCall::Attach { container: "nope".to_owned(), stdin: false, start: false };
    assert_eq!(api_error(world.client.session(&call).await.unwrap_err()).kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn the_server_ends_with_the_daemon_even_while_clients_listen() {
    let world = world(|_, _| done()).await;
    let mut events = world.client.stream(&StreamCall::Events { since: None, until: None }).await.unwrap();
    world.daemon.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), world.server).await.unwrap().unwrap();
    let _ended_or_cut_off = events.next().await;
}
