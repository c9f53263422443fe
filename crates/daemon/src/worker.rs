//! A worker's stand-in for the manager's thread: the state is what its agent was told to do and how that
//! goes. What only a manager can do is refused, with the addresses of those.

use crate::agents::Said;
use crate::cluster::{Cluster, Group, Message};
use crate::failure;
use crate::identity::Membership;
use crate::shared::Daemon;
use anyhow::{Context as _, Result};
use api::{ApiError, Call};
use model::diagnostic::Diagnostic;
use model::{
    Assignment, ClusterRequest, Node, RefusalKind, Request, Response, Role, Service, State, Task, TaskId, TaskStatus,
};
use node_agent::Agent;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use tokio::sync::{mpsc, oneshot, watch};

/// Code of what a worker refuses.
const CODE: &str = "RS9003";

/// The agent's driver's end: it answers those who look.
#[derive(Debug)]
pub(crate) struct Desk {
    looks: mpsc::UnboundedReceiver<oneshot::Sender<Arc<State>>>,
    changed: watch::Sender<u64>,
}

impl Desk {
    /// The next who looks.
    pub(crate) async fn look(&mut self) -> Option<oneshot::Sender<Arc<State>>> {
        self.looks.recv().await
    }

    /// Something may be otherwise than it was.
    pub(crate) fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// Begins to answer in place of a manager.
///
/// # Errors
/// No thread can be started.
pub(crate) fn start(membership: Arc<Membership>, said: mpsc::UnboundedSender<Said>) -> Result<(Cluster, Desk)> {
    let (sender, inbox) = std_mpsc::channel();
    let (changed, changes) = watch::channel(0);
    let (_, group) = watch::channel(Group::default());
    let (looker, looks) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || answer(&inbox, &membership, &looker, &said))
        .context("start the thread that answers on a worker")?;
    Ok((Cluster::new(sender, changes, group), Desk { looks, changed }))
}

fn answer(
    inbox: &std_mpsc::Receiver<Message>,
    membership: &Membership,
    looker: &mpsc::UnboundedSender<oneshot::Sender<Arc<State>>>,
    said: &mpsc::UnboundedSender<Said>,
) {
    while let Ok(message) = inbox.recv() {
        match message {
            Message::State(client) => {
                let _ending = looker.send(client);
            }
            Message::Request(id, request, client) => {
                if is_own(&request) {
                    let _ending = said.send(Said::Ask(id, request, client));
                } else {
                    let _left = client.send(refusal(membership));
                }
            }
            Message::Sources(client) => {
                let _left = client.send((false, Vec::new()));
            }
            Message::Info(client) => {
                let _left = client.send(None);
            }
            Message::Stop(done) => {
                let _left = done.send(());
                return;
            }
            // Nobody gets a copy of what is not here, and there are no sessions.
            _ => {}
        }
    }
}

/// Refuses on a worker what only a manager can do, before anything is done for it.
///
/// # Errors
/// This is a worker.
pub(crate) fn refuse(daemon: &Daemon) -> Result<(), ApiError> {
    let worker = daemon.membership.as_ref().filter(|membership| membership.identity().role == Role::Worker);
    match worker.map(|membership| refusal(membership)) {
        Some(Response::Refused { kind, diagnostics }) => Err(failure::refused(kind, &diagnostics)),
        _ => Ok(()),
    }
}

/// The same for a call that needs one.
///
/// # Errors
/// This is a worker.
pub(crate) fn refuse_call(daemon: &Daemon, call: &Call) -> Result<(), ApiError> {
    match call {
        Call::Cluster { request, .. } if is_own(request) => Ok(()),
        Call::Cluster { .. } | Call::Plan(_) | Call::SyncSource { .. } | Call::DiffSource(_) | Call::AdmitClient(_) => {
            refuse(daemon)
        }
        _ => Ok(()),
    }
}

/// May a node ask for it over its session? The manager sees to it that it is about the node itself.
fn is_own(request: &Request) -> bool {
    match request {
        Request::Power { .. } => true,
        Request::Group(request) => matches!(**request, ClusterRequest::Leave { .. }),
        _ => false,
    }
}

/// Who this daemon is; of a worker also what it knows.
///
/// # Errors
/// The daemon is on its way out.
pub(crate) async fn pong(daemon: &Daemon) -> Result<api::DaemonInfo, ApiError> {
    let is_worker = daemon.membership.as_ref().is_some_and(|it| it.identity().role == Role::Worker);
    let worker = if is_worker { Some(Box::new(State::clone(&*daemon.cluster.state().await?))) } else { None };
    Ok(api::DaemonInfo { worker, ..daemon.info.clone() })
}

/// What only a manager can do.
fn refusal(membership: &Membership) -> Response {
    let addresses: Vec<String> = membership.identity().managers.iter().map(|peer| peer.address.clone()).collect();
    let text = match addresses.is_empty() {
        true => "this node is a worker: run this on a manager".to_owned(),
        false => format!("this node is a worker: run this on a manager ({})", addresses.join(", ")),
    };
    Response::Refused { kind: RefusalKind::Conflict, diagnostics: vec![Diagnostic::error(CODE, text)] }
}

/// The state as this node knows it.
pub(crate) fn state(agent: &Agent, node: &Node, revision: u64) -> State {
    let statuses: BTreeMap<TaskId, TaskStatus> = agent.statuses().collect();
    let own = State { revision, nodes: vec![node.clone()], ..State::default() };
    match agent.assignment() {
        Some(assignment) => of(assignment, &statuses, own),
        None => own,
    }
}

fn of(assignment: &Assignment, statuses: &BTreeMap<TaskId, TaskStatus>, own: State) -> State {
    let task = |assigned: &model::AssignedTask| match statuses.get(&assigned.task.id) {
        Some(status) if status.attempt >= assigned.task.status.attempt => {
            Arc::new(Task { status: status.clone(), ..(*assigned.task).clone() })
        }
        _ => assigned.task.clone(),
    };
    let tasks: Vec<Arc<Task>> = assignment.tasks.values().map(task).collect();
    let services: BTreeMap<_, _> = tasks.iter().map(|task| (task.service, service(task))).collect();
    State {
        services: services.into_values().collect(),
        tasks,
        networks: assignment.networks.values().cloned().collect(),
        volumes: assignment.volumes.values().cloned().collect(),
        ..own
    }
}

/// As much of a service as one of its tasks tells.
fn service(task: &Task) -> Service {
    let service = Service::new(task.service, task.spec.clone(), task.created);
    Service { spec_version: task.spec_version, version: 0, ..service }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::identity::{Identity, Peer};
    use crate::testing;
    use model::{AssignedTask, ClusterId, NodeId, PowerAction, RequestId, Role, TaskState, Time};
    use std::time::Duration;

    fn membership() -> Arc<Membership> {
        let listen = "127.0.0.1:2377".parse().unwrap();
        let mut identity = Identity::new(ClusterId(1), NodeId(2), Role::Worker, listen, "10.0.0.2:2377".to_owned());
        let address = "10.0.0.1:2377".to_owned();
        identity.managers.push(Peer { node: NodeId(1), member: 1, address });
        Arc::new(Membership::new("/nonexistent".into(), identity))
    }

    #[tokio::test]
    async fn only_what_becomes_of_a_container_is_passed_on() {
        let (said, mut asked) = mpsc::unbounded_channel();
        let (cluster, mut desk) = start(membership(), said).unwrap();
        let refused = cluster.request(RequestId(1), Request::RemoveVolume("data".to_owned())).await.unwrap();
        let Response::Refused { diagnostics, .. } = refused else { panic!("{refused:?}") };
        let text = &diagnostics.first().unwrap().message;
        assert_eq!(text, "this node is a worker: run this on a manager (10.0.0.1:2377)");

        let power = Request::Power { task: TaskId(7), action: PowerAction::Start };
        let asking = tokio::spawn({
            let cluster = cluster.clone();
            async move { cluster.request(RequestId(2), power).await }
        });
        let Some(Said::Ask(RequestId(2), _, answer)) = asked.recv().await else { panic!("nothing was asked") };
        // Without a session nobody answers, and the client is told so.
        drop(answer);
        assert!(asking.await.unwrap().is_err());

        let looking = tokio::spawn({
            let cluster = cluster.clone();
            async move { cluster.state().await }
        });
        desk.look().await.unwrap().send(Arc::new(State { revision: 9, ..State::default() })).unwrap();
        assert_eq!(looking.await.unwrap().unwrap().revision, 9);
        cluster.stop(Duration::from_secs(5)).await;
    }

    #[test]
    fn what_a_task_does_now_is_what_its_node_says() {
        let spec = testing::service("web", "web", Some("shop"));
        let assigned = |id| {
            let task = Arc::new(testing::task(id, &spec, 1));
            (task.id, AssignedTask { name: task.name(), task, ports: Vec::new(), joins: None })
        };
        let assignment = Assignment {
            tasks: [assigned(1), assigned(2)].into(),
            ..Assignment::empty(model::Generation::default(), NodeId(2))
        };
        let status = |attempt, state| TaskStatus {
            attempt,
            state,
            since: Time(5),
            message: String::new(),
            container: Some(testing::container(model::ContainerState::Exited, Some(3))),
        };
        let statuses = [(TaskId(1), status(1, TaskState::Failed)), (TaskId(2), status(0, TaskState::Failed))].into();
        let state = of(&assignment, &statuses, State::default());
        let states: Vec<_> = state.tasks.iter().map(|task| task.status.state).collect();
        assert_eq!(states, [TaskState::Failed, TaskState::Running], "what is told of an attempt before is no news");
        assert_eq!(state.services.len(), 1);
    }
}
