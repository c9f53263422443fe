//! Golden files: what was asked for, and the spec that came of it. `BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::engine::{ExecCommand, ImageConfig, ImageInfo};
use crate::layout::Layout;
use model::{ContainerSpec, Resources, ServiceSpec, TaskId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const HOST: Host = Host { last_cap: 40, architecture: "x86_64" };

fn create(container: ContainerSpec, resources: Resources) -> CreateContainer {
    let spec = ServiceSpec {
        name: "shop_web".to_owned(),
        key: "web".to_owned(),
        stack: Some("shop".to_owned()),
        standalone: false,
        labels: BTreeMap::new(),
        mode: model::Mode::Replicated { replicas: 1 },
        container,
        restart: model::RestartPolicy::SWARM,
        resources,
        placement: model::Placement::default(),
        update: model::UpdateConfig::default(),
        rollback: model::UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: model::EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    };
    CreateContainer {
        task: TaskId(0x17),
        name: "shop_web.1".to_owned(),
        spec: Arc::new(spec),
        image: ImageInfo {
            id: "sha256:0".to_owned(),
            config: ImageConfig {
                entrypoint: words(&["/entry"]),
                cmd: words(&["serve", "--fast"]),
                env: words(&["PATH=/opt/bin:/bin", "LANG=C", "MODE=image"]),
                working_dir: "/app".to_owned(),
                ..ImageConfig::default()
            },
            layers: vec![PathBuf::from("/layers/a")],
        },
        net: NetMode::Path(PathBuf::from("/run/rswarm/netns/17")),
        hostname: "web".to_owned(),
        hosts: Vec::new(),
        resolv_conf: String::new(),
        files: Vec::new(),
        labels: BTreeMap::new(),
        volumes: BTreeMap::new(),
        volumes_of: None,
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn user(uid: u32) -> User {
    User { uid, gid: uid, groups: vec![7], home: format!("/home/{uid}") }
}

struct Extra {
    guests: Vec<Guest>,
    devices: Vec<HostDevice>,
    init: Option<PathBuf>,
}

fn build_with(create: &CreateContainer, extra: Extra) -> Result<Spec, String> {
    let folder = Layout::new(Path::new("/data"), Path::new("/run/rswarm")).container(create.task);
    let user = user(1000);
    build(&Inputs {
        create,
        folder: &folder,
        host: &HOST,
        net: &create.net,
        user: &user,
        cgroup: "/rswarm/17",
        guests: extra.guests,
        devices: extra.devices,
        init: extra.init.as_deref(),
        size: None,
    })
}

const NOTHING: Extra = Extra { guests: Vec::new(), devices: Vec::new(), init: None };

fn golden(name: &str, create: &CreateContainer, extra: Extra) {
    let mut spec = build_with(create, extra).unwrap();
    // The filter has tests of its own; here only whether there is one.
    let linux = spec.linux_mut().as_mut().unwrap();
    let filter = linux.seccomp().is_some();
    linux.set_seccomp(None);
    let mut value = serde_json::to_value(&spec).unwrap();
    put(&mut value, "filtered", json!(filter));
    // Sets, which come in any order.
    for set in value["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        set.as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    let text = format!("{value:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec/golden").join(format!("{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, want, "{name}: differs from {}", path.display());
}

#[test]
fn plain() {
    golden("plain", &create(ContainerSpec::default(), Resources::default()), NOTHING);
}

#[test]
fn limited() {
    let container = ContainerSpec {
        entrypoint: Some(words(&["/own"])),
        env: BTreeMap::from([("MODE".to_owned(), Some("mine".to_owned())), ("LANG".to_owned(), None)]),
        working_dir: Some("srv".to_owned()),
        tty: true,
        read_only: true,
        init: true,
        cap_add: words(&["NET_ADMIN"]),
        cap_drop: words(&["MKNOD", "cap_kill"]),
        no_new_privileges: true,
        ulimits: BTreeMap::from([("nofile".to_owned(), (1024, 4096)), ("core".to_owned(), (-1, -1))]),
        sysctls: BTreeMap::from([("net.core.somaxconn".to_owned(), "1000".to_owned())]),
        device_cgroup_rules: words(&["c 42:* rmw"]),
        shm_size: Some(1 << 20),
        oom_score_adj: Some(500),
        domainname: Some("example".to_owned()),
        ..ContainerSpec::default()
    };
    let resources = Resources {
        limit_nano_cpus: Some(1_500_000_000),
        limit_memory: Some(64 << 20),
        memory_swappiness: Some(10),
        limit_pids: Some(100),
        cpu_shares: Some(512),
        cpuset: Some("0-1".to_owned()),
        ..Resources::default()
    };
    let device = HostDevice {
        path: "/dev/fuse".to_owned(),
        kind: 'c',
        major: 10,
        minor: 229,
        mode: 0o20666,
        uid: 0,
        gid: 0,
        permissions: "rw".to_owned(),
    };
    let guests = vec![
        Guest {
            target: "/srv/deep/er".to_owned(),
            kind: GuestKind::Host { source: "/vol/b".into(), recursive: true, propagation: Some("rslave".to_owned()) },
            read_only: true,
        },
        Guest {
            target: "/srv".to_owned(),
            kind: GuestKind::Host { source: "/vol/a".into(), recursive: true, propagation: None },
            read_only: false,
        },
        Guest {
            target: "/dev/shm/".to_owned(),
            kind: GuestKind::Tmpfs { size: Some(4096), mode: None, options: words(&["exec"]) },
            read_only: false,
        },
        Guest {
            target: "/run/secrets/a".to_owned(),
            kind: GuestKind::File { source: "/run/rswarm/files/17/0".into() },
            read_only: true,
        },
    ];
    let extra = Extra { guests, devices: vec![device], init: Some(PathBuf::from("/run/rswarm/init")) };
    golden("limited", &create(container, resources), extra);
}

#[test]
fn privileged_on_the_host() {
    let container = ContainerSpec {
        privileged: true,
        pid_host: true,
        ipc_host: true,
        uts_host: true,
        cgroup_host: true,
        ..ContainerSpec::default()
    };
    let create = CreateContainer { net: NetMode::Host, ..create(container, Resources::default()) };
    golden("privileged", &create, NOTHING);
}

#[test]
fn entrypoint_and_command_by_docker_s_rules() {
    let with = |entrypoint: Option<&[&str]>, command: Option<&[&str]>| {
        let container = ContainerSpec {
            entrypoint: entrypoint.map(words),
            command: command.map(words),
            ..ContainerSpec::default()
        };
        arguments(&create(container, Resources::default())).map(|words| words.join(" ")).unwrap_or_default()
    };
    assert_eq!(with(None, None), "/entry serve --fast");
    assert_eq!(with(None, Some(&["other"])), "/entry other");
    assert_eq!(with(None, Some(&[])), "/entry");
    assert_eq!(with(Some(&["/own", "-x"]), None), "/own -x");
    assert_eq!(with(Some(&["/own"]), Some(&["a b"])), "/own a b");
    assert_eq!(with(Some(&[]), None), "serve --fast");
    assert_eq!(with(Some(&[""]), Some(&["sh"])), "sh");
    assert_eq!(with(Some(&[]), Some(&[])), "");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |container: ContainerSpec, resources: Resources| {
        build_with(&create(container, resources), NOTHING).unwrap_err()
    };
    let ulimit = |name: &str, soft, hard| ContainerSpec {
        ulimits: BTreeMap::from([(name.to_owned(), (soft, hard))]),
        ..ContainerSpec::default()
    };
    assert_eq!(refused(ulimit("nofiles", 1, 1), Resources::default()), "ulimit `nofiles` is not known");
    assert!(refused(ulimit("nofile", 9, 1), Resources::default()).contains("over the hard one"));
    assert!(refused(ulimit("nofile", -1, 1), Resources::default()).contains("over the hard one"));
    let memory = |limit, swap| Resources { limit_memory: limit, limit_memory_swap: swap, ..Resources::default() };
    let swap = memory(Some(100 << 20), Some(50 << 20));
    assert!(refused(ContainerSpec::default(), swap).contains("less than memory alone"));
    assert!(refused(ContainerSpec::default(), memory(Some(1024), None)).contains("the least is 6 MiB"));
    let rule = ContainerSpec { device_cgroup_rules: words(&["c 1:3"]), ..ContainerSpec::default() };
    assert!(refused(rule, Resources::default()).contains("device_cgroup_rules"));
    let seccomp = ContainerSpec { seccomp: Seccomp::Profile("{".to_owned()), ..ContainerSpec::default() };
    assert!(refused(seccomp, Resources::default()).contains("seccomp profile"));
}

#[test]
fn a_further_process_is_the_container_s_own_user_or_another() {
    let create = create(ContainerSpec { no_new_privileges: true, ..ContainerSpec::default() }, Resources::default());
    let spec = build_with(&create, NOTHING).unwrap();
    let command = ExecCommand { argv: words(&["ls"]), env: words(&["MODE=exec"]), tty: true, ..ExecCommand::default() };
    let own = exec_process(&create, &spec, &HOST, None, &command).unwrap();
    let env = own.env().clone().unwrap();
    assert!(env.contains(&"HOME=/home/1000".to_owned()) && env.contains(&"MODE=exec".to_owned()), "{env:?}");
    assert!(env.contains(&"TERM=xterm".to_owned()));
    assert_eq!((own.user().uid(), own.cwd().as_path()), (1000, Path::new("/app")));
    assert_eq!(own.no_new_privileges(), Some(true));
    assert_eq!(own.capabilities(), spec.process().as_ref().unwrap().capabilities());
    let other =
        exec_process(&create, &spec, &HOST, Some(&user(5)), &ExecCommand { privileged: true, ..command }).unwrap();
    assert!(other.env().as_ref().unwrap().contains(&"HOME=/home/5".to_owned()));
    let bounding = other.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap();
    assert_eq!((other.user().uid(), bounding.len()), (5, 41));
    assert!(exec_process(&create, &spec, &HOST, None, &ExecCommand::default()).is_err());
}
