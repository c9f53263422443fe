//! Values and a scripted daemon for unit tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use model::{
    ContainerSpec, Desired, Mode, RestartPolicy, ServiceId, ServiceSpec, State, Task, TaskId, TaskState, TaskStatus,
    Time,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(crate) fn service(name: &str, key: &str, stack: Option<&str>) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        key: key.to_owned(),
        stack: stack.map(str::to_owned),
        standalone: false,
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        container: ContainerSpec { image: "busybox".to_owned(), ..ContainerSpec::default() },
        restart: RestartPolicy::SWARM,
        resources: model::Resources::default(),
        placement: model::Placement::default(),
        update: model::UpdateConfig::default(),
        rollback: model::UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: model::EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    }
}

pub(crate) fn task(id: u128, spec: &ServiceSpec, slot: u32) -> Task {
    Task {
        id: TaskId(id),
        service: ServiceId(1),
        slot,
        spec: Arc::new(spec.clone()),
        spec_version: 1,
        node: None,
        desired: Desired::Running,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: Vec::new(),
        status: TaskStatus {
            attempt: 1,
            state: TaskState::Running,
            since: Time(1),
            message: String::new(),
            container: None,
        },
        created: Time(1),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: None,
    }
}

/// A daemon whose manager is a script: it shows the state that was last put, and answers requests by
/// `answer`. Its engine has no containers.
pub(crate) async fn daemon(
    root: &std::path::Path,
    answer: impl FnMut(&model::Request, &mut State) -> model::Response + Send + 'static,
) -> (Arc<crate::shared::Daemon>, Put) {
    let (sender, inbox) = std::sync::mpsc::channel();
    let (changed, changes) = tokio::sync::watch::channel(0);
    let (_, group) = tokio::sync::watch::channel(crate::cluster::Group {
        leader: crate::cluster::Leader::Me,
        ..crate::cluster::Group::default()
    });
    let state = Arc::new(Mutex::new(State::default()));
    let put = Put { state: state.clone(), changed: Arc::new(changed) };
    let script = put.clone();
    std::thread::spawn(move || manage(&inbox, &script, answer));
    (daemon_of(root, model::NodeId(1), crate::cluster::Cluster::new(sender, changes, group)).await, put)
}

/// A daemon with this manager, or what stands in for one.
pub(crate) async fn daemon_of(
    root: &std::path::Path,
    node: model::NodeId,
    cluster: crate::cluster::Cluster,
) -> Arc<crate::shared::Daemon> {
    let (engine, _events) = runtime::Engine::open(runtime::engine::EngineConfig {
        data_root: root.join("data"),
        run_root: root.join("run"),
        cgroup_parent: "rswarm-test".to_owned(),
        exe: "/nonexistent".into(),
        oci_runtime: None,
    })
    .await
    .unwrap();
    let info = api::DaemonInfo {
        life: 0,
        worker: None,
        locked: false,
        version: "0".to_owned(),
        pid: 1,
        data_root: String::new(),
        run_root: String::new(),
        cgroup: "v2".to_owned(),
        oci_runtime: "built-in".to_owned(),
        node: String::new(),
    };
    std::fs::create_dir_all(root.join("data")).unwrap();
    let store::Found::Open(key) = store::KeyFile::find(&root.join("data/node-key")).unwrap() else { panic!("locked") };
    let daemon = crate::shared::Daemon {
        key,
        node,
        info,
        run_root: root.join("run"),
        offers: crate::node::Offers::default(),
        cluster,
        engine,
        images: crate::images::Images::open(&root.join("data"), &[]).await.unwrap(),
        events: crate::events::Events::new(),
        network: crate::network::Network::new(root.join("run"), root.join("data"), root.join("rswarm")),
        rendezvous: crate::rendezvous::Rendezvous::default(),
        endings: crate::shared::Endings::default(),
        gitops: crate::gitops::Gitops::new(root.join("data"), root.join("run")),
        data_root: root.join("data"),
        membership: None,
        peers: None,
        agents: crate::agents::Switchboard::default(),
        in_session: tokio::sync::watch::channel(None).1,
        again: tokio_util::sync::CancellationToken::new(),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    Arc::new(daemon)
}

/// Changes the state that a scripted manager shows.
#[derive(Clone)]
pub(crate) struct Put {
    state: Arc<Mutex<State>>,
    changed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Put {
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        state.revision += 1;
        self.changed.send_replace(state.revision);
    }
}

fn manage(
    inbox: &std::sync::mpsc::Receiver<crate::cluster::Message>,
    put: &Put,
    mut answer: impl FnMut(&model::Request, &mut State) -> model::Response,
) {
    use crate::cluster::Message;
    while let Ok(message) = inbox.recv() {
        match message {
            Message::Request(_, request, client) => {
                let mut response = None;
                put.change(|state| response = Some(answer(&request, state)));
                let _left = client.send(response.unwrap());
            }
            Message::State(client) => {
                let _left = client.send(Arc::new(put.state.lock().unwrap().clone()));
            }
            Message::Stop(done) | Message::Retire(done) => {
                let _left = done.send(());
            }
            Message::Info(client) => {
                let _left = client.send(None);
            }
            Message::Raft(_)
            | Message::Step(..)
            | Message::Survive(_)
            | Message::Snapshot(_)
            | Message::Sources(_)
            | Message::Logins(..)
            | Message::SessionUp { .. }
            | Message::Described(_)
            | Message::SessionLost { .. }
            | Message::Report(..) => {}
        }
    }
}

/// A container in this state.
pub(crate) fn container(state: model::ContainerState, exit_code: Option<i32>) -> model::ContainerStatus {
    model::ContainerStatus {
        state,
        pid: 7,
        exit_code,
        oom_killed: false,
        restart_count: 0,
        started_at: None,
        finished_at: None,
        health: None,
        ports: BTreeMap::new(),
    }
}
