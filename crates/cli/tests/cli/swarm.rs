//! `service …`, `stack …`, `node …`.

use crate::fake::{Answer, Asked, Fake};
use crate::run;
use crate::stacks::{change, done, service, task, watched, write};
use api::{Call, DaemonInfo, Reply, StreamCall};
use model::{
    Availability, ContainerSpec, Desired, EndpointMode, Mode, NetworkMode, Node, NodeId, Placement, PortMode, PortSpec,
    Protocol, Request, Resources, Response, RestartPolicy, Service, ServiceId, ServiceSpec, State, Task, TaskId,
    TaskState, UpdateConfig,
};
use serde_json::Value;
use std::sync::Arc;

fn spec(key: &str, mode: Mode) -> ServiceSpec {
    ServiceSpec {
        name: format!("shop_{key}"),
        key: key.to_owned(),
        stack: Some("shop".to_owned()),
        standalone: false,
        labels: [("tier".to_owned(), key.to_owned())].into(),
        mode,
        container: ContainerSpec {
            image: "img:1".to_owned(),
            image_digest: Some("sha256:aa".to_owned()),
            env: [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), Some("2".to_owned()))].into(),
            ..ContainerSpec::default()
        },
        restart: RestartPolicy::SWARM,
        resources: Resources::default(),
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: NetworkMode::Networks,
        ports: vec![PortSpec {
            target: 80,
            published: Some(8080),
            published_range: None,
            host_ip: None,
            protocol: Protocol::Tcp,
            mode: PortMode::Ingress,
        }],
        exposed: Default::default(),
        endpoint_mode: EndpointMode::default(),
        depends_on: Default::default(),
    }
}

fn web() -> Service {
    let mut web = service(spec("web", Mode::Replicated { replicas: 2 }));
    web.id = ServiceId(0xaa << 120);
    web.version = 7;
    web
}

fn tasks(service: &Service) -> Vec<Task> {
    let make = |id: u128, slot, state, message| {
        let mut task = task(service, state, message);
        (task.id, task.slot, task.node) = (TaskId(id << 120), slot, Some(NodeId(0xee << 120)));
        task
    };
    let mut failed = make(3, 1, TaskState::Failed, "exit code 3");
    failed.desired = Desired::Shutdown;
    vec![failed, make(1, 1, TaskState::Running, ""), make(2, 2, TaskState::Preparing, "")]
}

fn state() -> State {
    let service = web();
    let node = Node {
        id: NodeId(0xee << 120),
        hostname: "host1".to_owned(),
        platform: "linux/amd64".to_owned(),
        labels: Default::default(),
        engine_labels: Default::default(),
        manager: true,
        availability: Availability::Active,
        ready: true,
        nano_cpus: 2_000_000_000,
        memory: 1 << 30,
        generic: Default::default(),
        host_routes: Vec::new(),
        version: "9.9.9".to_owned(),
        incarnation: 0,
        ..Node::new(NodeId(0xee << 120), "")
    };
    let tasks = tasks(&service).into_iter().map(Arc::new).collect();
    State { services: vec![service], tasks, nodes: vec![node], ..State::default() }
}

/// Answers with the state; changes are taken, and have come to their end at once.
fn cluster() -> Fake {
    Fake::new(|asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Pong(DaemonInfo {
            life: 0,
            worker: None,
            locked: false,
            version: "9.9.9".to_owned(),
            pid: 1,
            data_root: "/d".to_owned(),
            run_root: "/r".to_owned(),
            cgroup: "v2".to_owned(),
            oci_runtime: "built-in".to_owned(),
            node: NodeId(0xee << 120).to_string(),
        })),
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(serde_json::json!({}))),
        Asked::Call(Call::Cluster { request, .. }) => match request.as_ref() {
            Request::Read => Answer::Reply(Reply::Cluster(Box::new(Response::State(Box::new(state()))))),
            Request::RemoveStack { .. } => done(vec![change("network", "shop_default", "removed")]),
            _ => done(vec![change("service", "shop_web", "updated")]),
        },
        Asked::Stream(StreamCall::Watch { .. }) => {
            let service = web();
            let mut tasks = tasks(&service);
            tasks.retain(|task| task.desired == Desired::Running);
            tasks.iter_mut().for_each(|task| task.status = task_running(&service));
            Answer::Items(vec![watched(vec![service], tasks)])
        }
        Asked::Stream(StreamCall::Logs { .. }) => Answer::Items(Vec::new()),
        other => panic!("{other:?}"),
    })
}

fn task_running(service: &Service) -> model::TaskStatus {
    task(service, TaskState::Running, "").status
}

fn requests(fake: &Fake) -> Vec<Request> {
    let asked = fake.asked().into_iter().filter_map(|asked| match asked {
        Asked::Call(Call::Cluster { request, .. }) if *request != Request::Read => Some(*request),
        _ => None,
    });
    asked.collect()
}

#[test]
fn services_in_swarms_columns() {
    let fake = cluster();
    let list = "exit 0\n-- out\n\
        ID             NAME       MODE         REPLICAS   IMAGE     PORTS\n\
        aa0000000000   shop_web   replicated   1/2        img:1     *:8080->80/tcp\n-- err\n";
    assert_eq!(run(&fake, &["service", "ls"]), list);
    assert_eq!(run(&fake, &["stack", "services", "shop"]), list);
    assert_eq!(
        run(&fake, &["service", "ls", "-q", "-f", "name=shop", "-f", "label=tier"]),
        "exit 0\n-- out\naa0000000000\n-- err\n"
    );
    assert_eq!(run(&fake, &["service", "ls", "-q", "-f", "mode=global"]), "exit 0\n-- out\n-- err\n");
    let output = run(&fake, &["stack", "services", "nope"]);
    assert_eq!(output, "exit 1\n-- out\n-- err\nerror: nothing found in stack: nope\n");
}

#[test]
fn tasks_with_their_history() {
    let fake = cluster();
    let template = "{{.ID}}|{{.Name}}|{{.Node}}|{{.DesiredState}}|{{.Error}}";
    let listed = "exit 0\n-- out\n010000000000|shop_web.1|host1|Running|\n\
        030000000000| \\_ shop_web.1|host1|Shutdown|\"exit code 3\"\n\
        020000000000|shop_web.2|host1|Running|\n-- err\n";
    for words in [["service", "ps", "shop_web"], ["stack", "ps", "shop"], ["node", "ps", "self"]] {
        let words: Vec<&str> = words.into_iter().chain(["--format", template]).collect();
        assert_eq!(run(&fake, &words), listed, "{words:?}");
    }
    let filtered = run(&fake, &["service", "ps", "-q", "-f", "desired-state=running", "aa"]);
    assert_eq!(filtered, "exit 0\n-- out\n010000000000\n020000000000\n-- err\n");
    let unknown = run(&fake, &["service", "ps", "nope"]);
    assert!(unknown.starts_with("exit 1\n-- out\n-- err\nerror: no such service: nope\n"), "{unknown}");
}

#[test]
fn a_service_is_shown_in_the_shape_of_the_engine() {
    let fake = cluster();
    let output = run(&fake, &["service", "inspect", "shop_web"]);
    let json = output.strip_prefix("exit 0\n-- out\n").and_then(|rest| rest.strip_suffix("-- err\n")).unwrap();
    let value: Value = serde_json::from_str(json).unwrap();
    let at = |path: &str| value.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("/0/Spec/TaskTemplate/ContainerSpec/Image"), "img:1@sha256:aa");
    assert_eq!(at("/0/Spec/Mode/Replicated/Replicas"), 2);
    assert_eq!(at("/0/Endpoint/Ports/0/PublishedPort"), 8080);
    assert_eq!(at("/0/Version/Index"), 7);
    let pretty = run(&fake, &["service", "inspect", "--pretty", "shop_web"]);
    assert!(
        pretty.contains("Replicas:       1/2\n") && pretty.contains("Port:           *:8080->80/tcp\n"),
        "{pretty}"
    );
    let empty = "{{with .Spec.TaskTemplate}}{{.ContainerSpec.User}}|{{.ContainerSpec.Command}}|{{.Resources.Limits.Pids}}{{end}}\
        {{if .UpdateStatus}}updated{{end}}";
    assert_eq!(run(&fake, &["service", "inspect", "-f", empty, "shop_web"]), "exit 0\n-- out\n|[]|0\n-- err\n");
    assert!(!output.contains("UpdateStatus") && !output.contains("\"User\""), "{output}");
    assert_eq!(run(&fake, &["node", "inspect", "-f", "{{.Status.State}}", "self"]), "exit 0\n-- out\nready\n-- err\n");
    let pretty = run(&fake, &["node", "inspect", "--pretty", "self"]);
    assert!(pretty.contains("\nHostname:               host1\nStatus:\n State:                 Ready\n"), "{pretty}");
    let nodes = run(&fake, &["node", "ls", "--format", "{{.ID}} {{.Hostname}} {{.Status}} {{.EngineVersion}}"]);
    assert_eq!(nodes, "exit 0\n-- out\nee0000000000 * host1 Ready 9.9.9\n-- err\n");
}

#[test]
fn scaling_says_how_many_and_waits() {
    let fake = cluster();
    let output = run(&fake, &["service", "scale", "shop_web=2", "nope=1"]);
    assert!(
        output.starts_with("exit 1\n-- out\nshop_web scaled to 2\n-- err\nerror: no such service: nope"),
        "{output}"
    );
    assert!(output.ends_with("web: 2/2 running\n"), "{output}");
    assert_eq!(requests(&fake), [Request::Scale { id: ServiceId(0xaa << 120), replicas: 2 }]);
    assert!(run(&fake, &["service", "scale", "shop_web"]).starts_with("exit 1\n"));
}

#[test]
fn an_update_changes_what_its_flags_name() {
    let fake = cluster();
    let words = "service update -d --image img:2 --env-add B=3 --env-add C=4 --env-rm A --replicas 5 \
        --publish-add 9090:80 --label-rm tier --update-parallelism 0 --limit-memory 64m shop_web";
    let output = run(&fake, &words.split_whitespace().collect::<Vec<_>>());
    assert_eq!(output, "exit 0\n-- out\nshop_web\n-- err\nservice shop_web: updated\n");
    let Some(Request::UpdateService { id, spec: sent, version, force }) = requests(&fake).pop() else { panic!() };
    assert_eq!((id, version, force), (ServiceId(0xaa << 120), Some(7), false));
    let mut wanted = spec("web", Mode::Replicated { replicas: 5 });
    (wanted.container.image, wanted.container.image_digest) = ("img:2".to_owned(), None);
    wanted.container.env = [("B".to_owned(), Some("3".to_owned())), ("C".to_owned(), Some("4".to_owned()))].into();
    // Beside what is published already.
    let another = PortSpec { published: Some(9090), ..wanted.ports[0].clone() };
    wanted.ports.push(another);
    wanted.labels.clear();
    wanted.update.parallelism = 0;
    wanted.resources.limit_memory = Some(64 << 20);
    assert_eq!(*sent, wanted);
    let nonsense = run(&fake, &["service", "update", "--limit-memory", "x", "shop_web"]);
    assert!(nonsense.contains("--limit-memory") && requests(&fake).len() == 1, "{nonsense}");
}

#[test]
fn rolling_back_and_forcing_are_requests_of_their_own() {
    let fake = cluster();
    assert!(run(&fake, &["service", "rollback", "-d", "shop_web"]).starts_with("exit 0\n-- out\nshop_web\n"));
    assert!(run(&fake, &["service", "update", "-d", "--rollback", "shop_web"]).starts_with("exit 0\n"));
    assert!(run(&fake, &["service", "update", "-d", "--force", "shop_web"]).starts_with("exit 0\n"));
    let asked = requests(&fake);
    let id = ServiceId(0xaa << 120);
    assert_eq!(asked[..2], [Request::RollbackService(id), Request::RollbackService(id)]);
    let Request::UpdateService { spec: sent, force: true, .. } = &asked[2] else { panic!("{asked:?}") };
    assert_eq!(**sent, *web().spec);
    for flag in [&["--force"][..], &["--network-rm", "x"], &["--image", "x"], &["--no-healthcheck"]] {
        let words: Vec<&str> = ["service", "update", "--rollback", "shop_web"].iter().chain(flag).copied().collect();
        let said = run(&fake, &words);
        assert!(said.starts_with("exit 1\n") && said.contains("other flags can't be given along"), "{said}");
    }
    assert_eq!(requests(&fake).len(), asked.len());
}

#[test]
fn services_stacks_and_nodes_are_removed_or_changed() {
    let fake = cluster();
    assert_eq!(run(&fake, &["service", "rm", "shop_web"]), "exit 0\n-- out\nshop_web\n-- err\n");
    assert_eq!(run(&fake, &["stack", "rm", "-d", "shop"]), "exit 0\n-- out\n-- err\nnetwork shop_default: removed\n");
    let update = ["node", "update", "--availability", "drain", "--label-add", "disk=ssd", "--label-rm", "old", "host1"];
    assert_eq!(run(&fake, &update), "exit 0\n-- out\nhost1\n-- err\n");
    assert_eq!(run(&fake, &["node", "rm", "host1"]), "exit 0\n-- out\nhost1\n-- err\n");
    let id = NodeId(0xee << 120);
    let labels = [("disk".to_owned(), Some("ssd".to_owned())), ("old".to_owned(), None)].into();
    assert_eq!(
        requests(&fake),
        [
            Request::RemoveService { id: ServiceId(0xaa << 120), force: true, volumes: false },
            Request::RemoveStack { name: "shop".to_owned(), volumes: false, timeout: None },
            Request::UpdateNode { id, availability: Some(Availability::Drain), labels },
            Request::RemoveNode { id, force: false },
        ]
    );
}

#[test]
fn a_stack_is_deployed_under_the_name_that_is_given() {
    let fake = cluster();
    write(&fake, "services:\n  web:\n    image: img\n");
    let output = run(&fake, &["stack", "deploy", "-d", "--prune", "-c", "compose.yaml", "shop"]);
    assert!(output.starts_with("exit 0\n"), "{output}");
    let Some(Request::Deploy { stack, remove_orphans: true, force_recreate: false }) = requests(&fake).pop() else {
        panic!()
    };
    assert_eq!(stack.name, "shop");
}

#[test]
fn logins_are_kept_by_nobody_unless_it_is_asked_for() {
    let fake = cluster();
    write(&fake, "services:\n  web:\n    image: a:5000/img\n  db:\n    image: b:5000/img\n");
    std::fs::create_dir(fake.root.path().join(".docker")).unwrap();
    let file = fake.root.path().join(".docker/config.json");
    std::fs::write(&file, r#"{"auths": {"a:5000": {"registrytoken": "t"}}}"#).unwrap();
    let mine = |words: &str| {
        let mut command = crate::command(&fake, &words.split(' ').collect::<Vec<_>>());
        let said = crate::snapshot(command.env("HOME", fake.root.path()).spawn().unwrap());
        assert!(said.starts_with("exit 0\n"), "{words}: {said}");
        let calls = fake.asked().into_iter().rev();
        let mut calls = calls.filter_map(|asked| match asked {
            Asked::Call(Call::Cluster { request, logins, .. }) if *request != Request::Read => Some((*request, logins)),
            _ => None,
        });
        (calls.next().unwrap(), said)
    };
    for words in [
        "service create -d --name x a:5000/img",
        "service update -d --image a:5000/img shop_web",
        "stack deploy -d -c compose.yaml shop",
        "up --no-wait -f compose.yaml",
    ] {
        let ((request, logins), _) = mine(words);
        assert!(!matches!(request, Request::WithLogins { .. }), "{words}");
        assert_eq!(logins.hosts().collect::<Vec<_>>(), ["a:5000"], "{words}");
        let ((request, logins), said) = mine(&words.replacen(" -", " --with-registry-auth -", 1));
        let Request::WithLogins { request: inner, logins: kept } = request else { panic!("{words}: {request:?}") };
        assert!(logins.is_empty() && !matches!(*inner, Request::WithLogins { .. }), "they are sent once");
        assert_eq!(kept.hosts().collect::<Vec<_>>(), ["a:5000"], "{words}");
        assert!(!said.contains("warning"), "{said}");
    }
    // The image stays, and so its digest: there is nothing to ask the registry.
    let ((_, logins), _) = mine("service update -d --replicas 3 shop_web");
    assert!(logins.is_empty());
    let ((request, _), said) = mine("service update -d --with-registry-auth shop_web");
    assert!(matches!(request, Request::WithLogins { logins, .. } if logins.is_empty()));
    assert!(said.contains("config.json has no login for docker.io"), "{said}");
    // One that is to be kept is not left out in silence.
    std::fs::write(&file, "{").unwrap();
    let words = ["service", "update", "-d", "--with-registry-auth", "--image", "a:5000/img", "shop_web"];
    let said = crate::snapshot(crate::command(&fake, &words).env("HOME", fake.root.path()).spawn().unwrap());
    assert!(said.starts_with("exit 1\n") && said.contains("look for a login for a:5000"), "{said}");
}

#[test]
fn logs_of_a_service_follow_its_stack() {
    let fake = cluster();
    run(&fake, &["service", "logs", "-f", "--tail", "3", "shop_web"]);
    let Some(Asked::Stream(StreamCall::Logs { stack, services, follow: true, tail: Some(3), .. })) = fake.asked().pop()
    else {
        panic!()
    };
    assert_eq!((stack.as_deref(), services), (Some("shop"), vec!["web".to_owned()]));
}
