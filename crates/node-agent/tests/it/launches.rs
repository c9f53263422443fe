//! What a container is started with.

use crate::rig::*;
use model::*;
use node_agent::{Agent, Effect, Launch, Machine, Net};
use std::sync::Arc;
use std::time::Duration;

/// The launch of the first task of an order.
fn launched(change: impl FnOnce(&mut Rig)) -> Launch {
    let mut rig = Rig::new();
    rig.agent = Agent::new(NODE, 1).on(Machine { hostname: "n1".to_owned(), platform: "linux/amd64".to_owned() });
    rig.input(node_agent::AgentInput::Found { observed: Vec::new(), ledger: None });
    change(&mut rig);
    rig.assign();
    for _ in 0..100 {
        let (id, effect) = rig.open.remove(0);
        match effect {
            Effect::CreateAndStart(launch) if launch.task == TaskId(1) => return *launch,
            effect => {
                let result = rig.succeed(&effect);
                rig.input(node_agent::AgentInput::Done(id, result));
            }
        }
    }
    unreachable!("task 1 was not started");
}

fn of(spec: ServiceSpec) -> Launch {
    launched(|rig| _ = rig.add(1, &spec))
}

#[test]
fn a_service_gets_the_labels_that_tools_look_for() {
    let mut spec = service();
    spec.container.labels.insert("mine".to_owned(), "1".to_owned());
    let labels = of(spec.clone()).labels;
    for (name, value) in [
        ("mine", "1"),
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.container-number", "1"),
        ("com.docker.stack.namespace", "shop"),
        ("com.docker.swarm.service.name", "shop_web"),
    ] {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
    }
    spec.standalone = true;
    spec.stack = None;
    assert_eq!(of(spec).labels.len(), 1);
}

#[test]
fn names_are_those_of_docker() {
    let launch = of(service());
    assert_eq!(launch.hostname, TaskId(1).short());
    assert_eq!(launch.hosts.lines, [([10, 0, 1, 1].into(), vec![TaskId(1).short()])]);
    assert_eq!((launch.net, launch.dns), (Net::Task(TaskId(1)), true));

    let mut spec = service();
    spec.container.hostname = Some("web".to_owned());
    spec.container.domainname = Some("example.org".to_owned());
    spec.container.extra_hosts = vec![
        ("db".to_owned(), "192.0.2.7".to_owned()),
        ("six".to_owned(), "[2001:db8::1]".to_owned()),
        ("up".to_owned(), "host-gateway".to_owned()),
    ];
    let launch = of(spec);
    assert_eq!(
        launch.hosts.lines,
        [
            ([10, 0, 1, 1].into(), vec!["web.example.org".to_owned(), "web".to_owned()]),
            ([192, 0, 2, 7].into(), vec!["db".to_owned()]),
            ("2001:db8::1".parse().unwrap(), vec!["six".to_owned()]),
            ([10, 0, 1, 1].into(), vec!["up".to_owned()]),
        ]
    );
    assert!(launch.hosts.gateway.is_empty(), "its bridge is the host");
}

#[test]
fn the_hosts_network_needs_no_namespace() {
    let mut spec = service();
    spec.network_mode = NetworkMode::Host;
    let launch = launched(|rig| {
        rig.add(1, &spec);
        rig.change(TaskId(1), |task| task.endpoints.clear());
    });
    assert_eq!((launch.net, launch.dns, launch.hostname.as_str()), (Net::Host, false, "n1"));
    spec.network_mode = NetworkMode::None;
    let launch = launched(|rig| {
        rig.add(1, &spec);
        rig.change(TaskId(1), |task| task.endpoints.clear());
    });
    assert_eq!((launch.net, launch.dns), (Net::Task(TaskId(1)), false));
}

#[test]
fn a_joined_namespace_brings_its_name() {
    let mut spec = service();
    spec.network_mode = NetworkMode::Service("web".to_owned());
    let launch = launched(|rig| {
        let mut owner = service();
        owner.container.hostname = Some("owner".to_owned());
        let owner = rig.add(2, &owner);
        rig.add(1, &spec);
        rig.change(TaskId(1), |task| task.endpoints.clear());
        rig.order.tasks.get_mut(&TaskId(1)).unwrap().joins = Some(owner);
    });
    assert_eq!((launch.net, launch.dns, launch.hostname.as_str()), (Net::Task(TaskId(2)), true, "owner"));
}

#[test]
fn placeholders_are_filled_in() {
    let mut spec = service();
    spec.labels.insert("tier.name".to_owned(), "front".to_owned());
    spec.container.hostname = Some("{{.Service.Name}}-{{.Task.Slot}}".to_owned());
    let text = "{{ .Node.Hostname }} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}} {{.Task.Name}} \
                {{index .Service.Labels \"tier.name\"}} {{.Other}} {{open";
    spec.container.env.insert("A".to_owned(), Some(text.to_owned()));
    spec.container.env.insert("B".to_owned(), None);
    spec.container.mounts = vec![Mount {
        target: "/data".to_owned(),
        source: MountSource::Volume { name: "data-{{.Task.Slot}}".to_owned(), nocopy: false, subpath: None },
        read_only: false,
    }];
    let launch = of(spec);
    let container = &launch.spec.container;
    assert_eq!(launch.hostname, "shop_web-1");
    let name = format!("shop_web.1.{}", TaskId(1));
    assert_eq!(container.env["A"].as_deref(), Some(&*format!("n1 linux/amd64 {name} front {{{{.Other}}}} {{{{open")));
    assert!(matches!(&container.mounts[0].source, MountSource::Volume { name, .. } if name == "data-1"));
}

fn file<Id>(id: Id, target: &str) -> FileRef<Id> {
    FileRef { name: "app".to_owned(), id: Some(id), target: target.to_owned(), uid: 3, gid: 4, mode: 0o400 }
}

#[test]
fn an_image_is_prepared_with_the_login_of_its_own_service() {
    let mut rig = Rig::new();
    rig.add(1, &service());
    let login = |word: &str| [("a:5000".to_owned(), Login::Bearer(word.to_owned()))].into_iter().collect::<Logins>();
    let own = rig.order.tasks[&TaskId(1)].task.service;
    rig.order.logins = [(own, Arc::new(login("own"))), (ServiceId(own.0 + 1), Arc::new(login("other")))].into();
    rig.assign();
    let prepare = rig.open.iter().find_map(|(_, effect)| match effect {
        Effect::Prepare(prepare) => Some(prepare),
        _ => None,
    });
    let prepare = prepare.unwrap();
    assert_eq!(*prepare.logins, login("own"));
    assert!(!format!("{prepare:?}").contains("own\""), "{prepare:?}");
}

#[test]
fn contents_come_as_files_and_a_missing_one_is_waited_for() {
    let content = |data: &str, template| ContentSpec {
        name: "app".to_owned(),
        data: data.as_bytes().to_vec(),
        template,
        ..ContentSpec::default()
    };
    let mut spec = service();
    spec.container.env.insert("A".to_owned(), Some("{{.Service.Name}}.{{.Task.Slot}}".to_owned()));
    spec.container.configs = vec![file(ConfigId(1), "/app.conf")];
    spec.container.secrets = vec![file(SecretId(2), "/run/secrets/app")];
    let launch = launched(|rig| {
        rig.add(1, &spec);
        let text =
            "{{.Service.Name}} {{ env \"A\" }}{{env \"NONE\"}} {{secret \"app\"}} {{config `app.conf`}} {{.Else}}";
        rig.order.configs.insert(ConfigId(1), content(text, true));
        rig.order.secrets.insert(SecretId(2), content("{{.Service.Name}}", false));
    });
    let files: Vec<(&str, Arc<Vec<u8>>, bool)> =
        launch.files.iter().map(|file| (file.target.as_str(), file.data.clone(), file.secret)).collect();
    let own = "{{.Service.Name}} {{ env \"A\" }}{{env \"NONE\"}} {{secret \"app\"}} {{config `app.conf`}} {{.Else}}";
    let config = format!("shop_web shop_web.1 {{{{.Service.Name}}}} {own} {{{{.Else}}}}");
    assert_eq!(files[0], ("/app.conf", Arc::new(config.into_bytes()), false));
    assert_eq!(files[1], ("/run/secrets/app", Arc::new(b"{{.Service.Name}}".to_vec()), true));

    let mut rig = Rig::new();
    let id = rig.add(1, &spec);
    rig.assign();
    rig.live(Duration::from_secs(1));
    assert_eq!(rig.message(id), "waits for the content of config app");
}

#[test]
fn only_named_volumes_of_the_task_come_along() {
    let mut spec = service();
    spec.container.mounts = vec![
        Mount {
            target: "/a".to_owned(),
            source: MountSource::Volume { name: "shop_a".to_owned(), nocopy: false, subpath: None },
            read_only: false,
        },
        Mount { target: "/b".to_owned(), source: MountSource::Anonymous, read_only: false },
    ];
    let launch = launched(|rig| {
        rig.add(1, &spec);
        for name in ["shop_a", "shop_b"] {
            let volume = VolumeSpec { name: name.to_owned(), ..VolumeSpec::default() };
            rig.order.volumes.insert(name.to_owned(), volume);
        }
    });
    assert_eq!(launch.volumes.keys().collect::<Vec<_>>(), ["shop_a"]);
}
