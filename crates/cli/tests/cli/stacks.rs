//! `up`, `down`, `logs`, `ls`, `config`.

use crate::fake::{Answer, Asked, Fake};
use crate::run;
use api::{ApiError, Call, ErrorKind, LogLine, Reply, StreamCall, StreamItem};
use model::{
    ContainerState, ContainerStatus, Desired, ObjectChange, Request, Response, Service, ServiceId, ServiceSpec, State,
    Task, TaskId, TaskState, TaskStatus, Time,
};
use serde_json::json;
use std::sync::{Arc, Mutex};

const FILE: &str = "name: shop\nservices:\n  web:\n    image: img\n    restart: 'no'\n";

pub(crate) fn write(fake: &Fake, text: &str) {
    std::fs::write(fake.root.path().join("compose.yaml"), text).unwrap();
}

pub(crate) fn change(kind: &str, name: &str, action: &str) -> ObjectChange {
    ObjectChange { kind: kind.to_owned(), name: name.to_owned(), action: action.to_owned(), fields: Vec::new() }
}

pub(crate) fn done(changes: Vec<ObjectChange>) -> Answer {
    let response = Response::Done { revision: 1, id: None, changes, warnings: Vec::new() };
    Answer::Reply(Reply::Cluster(Box::new(response)))
}

pub(crate) fn service(spec: ServiceSpec) -> Service {
    Service::new(ServiceId(1), Arc::new(spec), Time(0))
}

pub(crate) fn task(service: &Service, state: TaskState, message: &str) -> Task {
    let container = ContainerStatus {
        state: if state == TaskState::Running { ContainerState::Running } else { ContainerState::Exited },
        pid: 1,
        exit_code: None,
        oom_killed: false,
        restart_count: 0,
        started_at: None,
        finished_at: None,
        health: None,
        ports: Default::default(),
    };
    Task {
        id: TaskId(0xabc),
        service: service.id,
        slot: 1,
        spec: service.spec.clone(),
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
            state,
            since: Time(0),
            message: message.to_owned(),
            container: (state >= TaskState::Running).then_some(container),
        },
        created: Time(0),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: None,
    }
}

pub(crate) fn watched(services: Vec<Service>, tasks: Vec<Task>) -> StreamItem {
    let tasks = tasks.into_iter().map(Arc::new).collect();
    StreamItem::Watch(Box::new(State { services, tasks, ..State::default() }))
}

fn log(service: &str, slot: u32, line: &str) -> StreamItem {
    StreamItem::Log(LogLine {
        container: format!("shop_{service}.{slot}.abc"),
        service: service.to_owned(),
        slot,
        stream: "stdout".to_owned(),
        time: "2026-01-02T15:04:05.000000001Z".to_owned(),
        line: line.to_owned(),
        newline: true,
    })
}

/// A daemon that takes the stack, whose one service then comes to these states.
fn stack(action: &'static str, states: &'static [(TaskState, &'static str)]) -> Fake {
    let deployed: Mutex<Option<ServiceSpec>> = Mutex::new(None);
    Fake::new(move |asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(json!({}))),
        Asked::Call(Call::Cluster { request, .. }) => {
            let Request::Deploy { stack, .. } = request.as_ref() else { panic!("{request:?}") };
            *deployed.lock().unwrap() = stack.services.values().next().cloned();
            let network = change("network", "shop_default", if action == "created" { "created" } else { "unchanged" });
            done(vec![network, change("service", "shop_web", action)])
        }
        Asked::Stream(StreamCall::Watch { .. }) => {
            let service = service(deployed.lock().unwrap().clone().unwrap());
            let item = |(state, message): &(TaskState, &str)| {
                watched(vec![service.clone()], vec![task(&service, *state, message)])
            };
            Answer::Open(states.iter().map(item).collect())
        }
        Asked::Stream(StreamCall::Logs { .. }) => Answer::Items(vec![log("web", 1, "cannot open app.conf")]),
        other => panic!("{other:?}"),
    })
}

#[test]
fn up_tells_what_changes_and_ends_when_all_runs() {
    let fake = stack("created", &[(TaskState::Preparing, ""), (TaskState::Running, "")]);
    write(&fake, FILE);
    assert_eq!(
        run(&fake, &["up", "-d"]),
        "exit 0\n-- out\n-- err\nnetwork shop_default: created\nservice shop_web: created\nweb: 0/1 preparing\nweb: 1/1 running\n"
    );
    assert_eq!(run(&fake, &["up", "--quiet"]), "exit 0\n-- out\n-- err\n");
}

#[test]
fn a_second_up_says_what_stays() {
    let fake = stack("unchanged", &[(TaskState::Running, "")]);
    write(&fake, FILE);
    assert_eq!(
        run(&fake, &["up", "--force-recreate", "--scale", "web=1"]),
        "exit 0\n-- out\n-- err\nservice shop_web: unchanged\nweb: 1/1 running\n"
    );
    let asked = fake.asked();
    let deploy = asked.iter().find_map(|asked| match asked {
        Asked::Call(Call::Cluster { request, .. }) => Some(request.as_ref().clone()),
        _ => None,
    });
    assert!(matches!(deploy, Some(Request::Deploy { force_recreate: true, remove_orphans: false, .. })));
}

#[test]
fn a_replica_that_fails_is_told_with_its_last_words() {
    let fake = stack("created", &[(TaskState::Failed, "exit code 3")]);
    write(&fake, FILE);
    assert_eq!(
        run(&fake, &["up"]),
        "exit 1\n-- out\n-- err\nnetwork shop_default: created\nservice shop_web: created\nweb: 0/1 failed\n\
         error: shop did not come up\n  web.1: exit code 3\n    | cannot open app.conf\n\
         hint: `rswarm ps -p shop -a` shows how it stands, `rswarm down -p shop` gives up\n"
    );
}

#[test]
fn time_can_run_out_and_need_not_be_spent() {
    let fake = stack("created", &[(TaskState::Starting, "")]);
    write(&fake, FILE);
    let output = run(&fake, &["up", "--timeout", "300ms"]);
    assert!(
        output.starts_with("exit 1\n") && output.contains("did not come up within 0.3 s\n  web.1: starting\n"),
        "{output}"
    );
    let output = run(&fake, &["up", "--no-wait"]);
    assert_eq!(output, "exit 0\n-- out\n-- err\nnetwork shop_default: created\nservice shop_web: created\n");
}

#[test]
fn a_file_with_errors_changes_nothing() {
    let fake = stack("created", &[]);
    write(&fake, "services:\n  web:\n    imaeg: img\n    ports: ['99999:80']\n");
    let output = run(&fake, &["up"]);
    assert!(output.starts_with("exit 1\n-- out\n-- err\nerror["), "{output}");
    for part in ["compose.yaml:3:", "imaeg", "compose.yaml:4:", "99999", "^", "errors: nothing was changed"] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert!(fake.asked().is_empty());
    let output = run(&fake, &["up", "-f", "missing.yaml"]);
    assert!(output.starts_with("exit 1\n") && output.contains("missing.yaml"), "{output}");
    write(&fake, FILE);
    let output = run(&fake, &["up", "--scale", "wbe=2"]);
    assert_eq!(output, "exit 1\n-- out\n-- err\nerror: --scale: there is no service `wbe`\nhint: there are: web\n");
}

#[test]
fn what_the_daemon_refuses_is_told_line_by_line() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(json!({}))),
        Asked::Call(Call::Cluster { .. }) => Answer::Refuse(ApiError {
            kind: ErrorKind::NotFound,
            message: "service web: image a: gone\nservice db: image b: gone".to_owned(),
            hint: Some("pull them".to_owned()),
        }),
        other => panic!("{other:?}"),
    });
    write(&fake, FILE);
    assert_eq!(
        run(&fake, &["up"]),
        "exit 1\n-- out\n-- err\nerror: service web: image a: gone\nerror: service db: image b: gone\nhint: pull them\n"
    );
}

#[test]
fn down_waits_until_all_is_gone() {
    let mut spec = None;
    let fake = Fake::new(move |asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(json!({}))),
        Asked::Call(Call::Cluster { request, .. }) => match request.as_ref() {
            Request::Deploy { stack, .. } => {
                spec = stack.services.values().next().cloned();
                done(Vec::new())
            }
            Request::RemoveStack { name, volumes: true, .. } if name == "shop" => {
                done(vec![change("service", "shop_web", "removed"), change("volume", "shop_data", "removed")])
            }
            Request::RemoveStack { .. } => Answer::Reply(Reply::Cluster(Box::new(Response::Refused {
                kind: model::RefusalKind::NotFound,
                diagnostics: vec![model::diagnostic::Diagnostic::error("RS0001", "no such stack")],
            }))),
            Request::Read => Answer::Reply(Reply::Cluster(Box::new(Response::State(Box::default())))),
            other => panic!("{other:?}"),
        },
        Asked::Stream(StreamCall::Watch { .. }) => {
            let mut service = service(spec.clone().unwrap());
            service.removing = true;
            let task = task(&service, TaskState::Running, "");
            Answer::Items(vec![watched(vec![service], vec![task])])
        }
        other => panic!("{other:?}"),
    });
    write(&fake, FILE);
    run(&fake, &["up", "--no-wait"]);
    assert_eq!(
        run(&fake, &["down", "-v"]),
        "exit 0\n-- out\n-- err\nvolume shop_data: removed\nweb: stopping 1\nweb: removed\n"
    );
    assert_eq!(
        run(&fake, &["down", "-p", "other"]),
        "exit 0\n-- out\n-- err\nwarning: there is no stack `other`: nothing to remove\n"
    );
}

#[test]
fn logs_of_a_stack_say_whose_lines_they_are() {
    let fake = Fake::new(|asked| match asked {
        Asked::Stream(StreamCall::Logs { stack: Some(_), .. }) => {
            Answer::Items(vec![log("worker", 1, "one"), log("db", 2, "two")])
        }
        Asked::Stream(StreamCall::Logs { containers, .. }) if containers == &["box"] => {
            Answer::Items(vec![log("box", 1, "alone")])
        }
        Asked::Stream(_) => Answer::Refuse(ApiError::new(ErrorKind::NotFound, "no such container: nobody")),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        run(&fake, &["logs", "-p", "shop", "--tail", "5", "-f"]),
        "exit 0\n-- out\nworker-1  | one\ndb-2      | two\n-- err\n"
    );
    let Some(Asked::Stream(StreamCall::Logs { follow, tail, .. })) = fake.asked().pop() else { panic!() };
    assert_eq!((follow, tail), (true, Some(5)));
    assert_eq!(run(&fake, &["logs", "-t", "box"]), "exit 0\n-- out\n2026-01-02T15:04:05.000000001Z alone\n-- err\n");
    assert_eq!(run(&fake, &["logs", "nobody"]), "exit 1\n-- out\n-- err\nerror: no such container: nobody\n");
    let output = run(&fake, &["logs"]);
    assert!(output.starts_with("exit 1\n") && output.contains("whose logs?"), "{output}");
    write(&fake, FILE);
    assert!(run(&fake, &["logs", "--no-log-prefix"]).contains("-- out\none\ntwo\n"));
}

#[test]
fn config_needs_no_daemon() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    write(&fake, FILE);
    assert_eq!(run(&fake, &["config", "--services"]), "exit 0\n-- out\nweb\n-- err\n");
    assert_eq!(run(&fake, &["config", "--images"]), "exit 0\n-- out\nimg\n-- err\n");
    assert_eq!(run(&fake, &["config", "-q"]), "exit 0\n-- out\n-- err\n");
    let output = run(&fake, &["config", "--format", "json", "-o", "out.json"]);
    assert_eq!(output, "exit 0\n-- out\n-- err\n");
    let text = std::fs::read(fake.root.path().join("out.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap()["name"], "shop");
    let output = run(&fake, &["config", "--hash", "wbe"]);
    assert!(output.contains("error: --hash: there is no service `wbe`\nhint: there are: web\n"), "{output}");
}

#[test]
fn stacks_are_listed_with_their_states() {
    let mut spec = None;
    let fake = Fake::new(move |asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(json!({}))),
        Asked::Call(Call::Cluster { request, .. }) => match request.as_ref() {
            Request::Deploy { stack, .. } => {
                spec = stack.services.values().next().cloned();
                done(Vec::new())
            }
            Request::Read => {
                let service = service(spec.clone().unwrap());
                let tasks = vec![Arc::new(task(&service, TaskState::Running, ""))];
                let state = State { services: vec![service], tasks, ..State::default() };
                Answer::Reply(Reply::Cluster(Box::new(Response::State(Box::new(state)))))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    write(&fake, FILE);
    run(&fake, &["up", "--no-wait"]);
    assert_eq!(
        run(&fake, &["ls"]),
        "exit 0\n-- out\nNAME      STATUS       SERVICES\nshop      running(1)   1\n-- err\n"
    );
    assert_eq!(run(&fake, &["ls", "-q"]), "exit 0\n-- out\nshop\n-- err\n");
    assert_eq!(
        run(&fake, &["ls", "--format", "json"]),
        "exit 0\n-- out\n[{\"ConfigFiles\":\"\",\"Name\":\"shop\",\"Services\":1,\"Status\":\"running(1)\"}]\n-- err\n"
    );
}
