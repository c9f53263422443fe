//! What the tests run: shims, an OCI runtime, and a daemon that is there to be killed.

use model::{ServiceSpec, TaskId};
use runtime::Engine;
use runtime::engine::{CreateContainer, EngineConfig, Error, ImageConfig, ImageInfo, NetMode, StartOptions};
use runtime::signal::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "shim" => runtime::shim::main(rest),
        Some((verb, rest)) if verb == "oci" => runtime::oci::main(rest),
        Some((verb, rest)) if verb == "churn" => match churn(rest) {
            Some(code) => code,
            None => ExitCode::from(64),
        },
        _ => ExitCode::from(64),
    }
}

/// Makes, starts, stops and removes containers until it is killed.
fn churn(args: &[OsString]) -> Option<ExitCode> {
    let [data_root, run_root, layer, cgroup_parent, count, oci_runtime @ ..] = args else { return None };
    let config = EngineConfig {
        data_root: PathBuf::from(data_root),
        run_root: PathBuf::from(run_root),
        cgroup_parent: cgroup_parent.to_str()?.to_owned(),
        exe: std::env::current_exe().ok()?,
        oci_runtime: oci_runtime.first().map(PathBuf::from),
    };
    let (layer, count) = (PathBuf::from(layer), count.to_str()?.parse::<u128>().ok()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().ok()?;
    runtime.block_on(async move {
        let (engine, _events) = Engine::open(config).await.ok()?;
        let mut lives = tokio::task::JoinSet::new();
        for number in 0..count {
            lives.spawn(live(engine.clone(), layer.clone(), TaskId(5000 + number)));
        }
        while lives.join_next().await.is_some() {}
        Some(ExitCode::SUCCESS)
    })
}

async fn live(engine: Engine, layer: PathBuf, task: TaskId) {
    loop {
        let options = StartOptions { attempt: 1, ..StartOptions::default() };
        match engine.create_and_start(create(&layer, task), options.clone()).await {
            Err(Error::Exists(_)) => {
                // Left by an earlier daemon: as it is, or started again.
                let _running = engine.start(task, options).await;
            }
            Err(error) => panic!("start {task}: {error}"),
            Ok(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(u64::try_from(task.0 % 7).unwrap_or(0) * 10)).await;
        let _never_ran = engine.stop(task, Signal::TERM, Duration::from_millis(20)).await;
        if let Err(error) = engine.remove(task, true).await {
            panic!("remove {task}: {error}");
        }
    }
}

fn create(layer: &std::path::Path, task: TaskId) -> CreateContainer {
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let container = model::ContainerSpec {
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        ..model::ContainerSpec::default()
    };
    let spec = ServiceSpec {
        name: "churn".to_owned(),
        key: "churn".to_owned(),
        stack: None,
        standalone: true,
        labels: BTreeMap::new(),
        mode: model::Mode::Replicated { replicas: 1 },
        container,
        restart: model::RestartPolicy::SWARM,
        resources: model::Resources::default(),
        placement: model::Placement::default(),
        update: model::UpdateConfig::default(),
        rollback: model::UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Host,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: model::EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    };
    CreateContainer {
        task,
        name: "churn".to_owned(),
        spec: Arc::new(spec),
        image: ImageInfo {
            id: "sha256:churn".to_owned(),
            config: ImageConfig { volumes: ["/data".to_owned()].into(), ..ImageConfig::default() },
            layers: vec![layer.to_owned()],
        },
        net: NetMode::Host,
        hostname: "churn".to_owned(),
        hosts: Vec::new(),
        resolv_conf: String::new(),
        files: Vec::new(),
        labels: BTreeMap::new(),
        volumes: BTreeMap::new(),
        volumes_of: None,
    }
}
