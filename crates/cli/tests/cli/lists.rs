//! Lists, `inspect`, and how things that go wrong are told.

use crate::fake::{Answer, Asked, Fake};
use crate::{command, run, snapshot};
use api::{ApiError, Call, ContainerRow, ErrorKind, ImageRow, Reply, Stats};
use model::{ContainerState, TaskId, TaskState, Time, Verdict};
use serde_json::json;
use std::io::Read as _;

fn ago(seconds: u64) -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time(u64::try_from(now.as_millis()).unwrap() - seconds * 1000)
}

fn row(id: u128, name: &str) -> ContainerRow {
    ContainerRow {
        id: TaskId(id << 96),
        name: name.to_owned(),
        image: "nginx:1.27".to_owned(),
        command: "nginx -g daemon off; and more".to_owned(),
        created: ago(7200),
        state: Some(ContainerState::Running),
        task_state: TaskState::Running,
        message: String::new(),
        exit_code: None,
        started_at: Some(ago(300)),
        finished_at: None,
        health: Some(Verdict::Healthy),
        ports: vec!["0.0.0.0:8080->80/tcp".to_owned()],
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        networks: [("bridge".to_owned(), "10.0.0.2".to_owned())].into(),
        mounts: vec!["data".to_owned()],
        stack: Some("shop".to_owned()),
        service: "web".to_owned(),
        slot: 1,
        restart_count: 0,
    }
}

fn containers() -> Fake {
    let mut ended = row(0xbbbb_bbbb, "db");
    (ended.state, ended.task_state) = (Some(ContainerState::Exited), TaskState::Failed);
    (ended.exit_code, ended.finished_at, ended.created) = (Some(3), Some(ago(20)), ago(9000));
    ended.ports.clear();
    let rows = vec![row(0xaaaa_aaaa, "web"), ended];
    Fake::new(move |asked| match asked {
        Asked::Call(Call::Containers { .. }) => Answer::Reply(Reply::Containers(rows.clone())),
        other => panic!("{other:?}"),
    })
}

#[test]
fn containers_in_dockers_columns() {
    let fake = containers();
    assert_eq!(
        run(&fake, &["ps", "-a"]),
        "exit 0\n-- out\n\
         CONTAINER ID   IMAGE        COMMAND                  CREATED       STATUS                      PORTS                  NAMES\n\
         aaaaaaaa0000   nginx:1.27   \"nginx -g daemon off…\"   2 hours ago   Up 5 minutes (healthy)      0.0.0.0:8080->80/tcp   web\n\
         bbbbbbbb0000   nginx:1.27   \"nginx -g daemon off…\"   3 hours ago   Exited (3) 20 seconds ago                          db\n\
         -- err\n"
    );
    assert_eq!(run(&fake, &["ps", "-q"]), "exit 0\n-- out\naaaaaaaa0000\nbbbbbbbb0000\n-- err\n");
    let whole = "aaaaaaaa000000000000000000000000\nbbbbbbbb000000000000000000000000\n";
    assert_eq!(run(&fake, &["ps", "-q", "--no-trunc"]), format!("exit 0\n-- out\n{whole}-- err\n"));
    assert_eq!(run(&fake, &["container", "ls", "-l", "--format", "{{.Names}}"]), "exit 0\n-- out\nweb\n-- err\n");
    assert_eq!(
        run(&fake, &["ps", "--filter", "exited=3", "--format", "{{.Names}} {{.Label \"tier\"}} {{.State}}"]),
        "exit 0\n-- out\ndb front exited\n-- err\n"
    );
    let json = run(&fake, &["ps", "-f", "name=web", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(json.lines().nth(2).unwrap()).unwrap();
    assert_eq!((object["Names"].as_str(), object["Labels"].as_str()), (Some("web"), Some("tier=front")));
}

#[test]
fn a_stack_is_asked_for_by_name() {
    let fake = containers();
    run(&fake, &["ps", "-p", "shop"]);
    let call = Call::Containers { all: false, stack: Some("shop".to_owned()) };
    assert_eq!(fake.asked(), [Asked::Call(call)]);
}

#[test]
fn formats_and_filters_that_make_no_sense_are_told() {
    let fake = containers();
    assert_eq!(
        run(&fake, &["ps", "--format", "{{.Nmae}}"]),
        "exit 1\n-- out\n-- err\nerror: template: there is no field .Nmae\n"
    );
    let output = run(&fake, &["ps", "--filter", "colour=red"]);
    assert!(output.starts_with("exit 1\n") && output.contains("`colour` is no filter"), "{output}");
}

#[test]
fn images_and_stats() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::Images { .. }) => Answer::Reply(Reply::Images(vec![ImageRow {
            id: "sha256:0123456789abcdef".to_owned(),
            repository: "busybox".to_owned(),
            tag: "1".to_owned(),
            digest: None,
            created: i64::try_from(ago(3 * 86400).0 / 1000).unwrap(),
            size: 4_300_000,
        }])),
        Asked::Call(Call::Stats(_)) => Answer::Reply(Reply::Stats(vec![Stats {
            id: "0123456789abcdef".to_owned(),
            name: "box".to_owned(),
            memory: 1 << 20,
            memory_limit: 1 << 30,
            pids: 2,
            ..Stats::default()
        }])),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        run(&fake, &["images"]),
        "exit 0\n-- out\n\
         REPOSITORY   TAG       IMAGE ID       CREATED      SIZE\n\
         busybox      1         0123456789ab   3 days ago   4.3MB\n\
         -- err\n"
    );
    assert_eq!(
        run(&fake, &["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.MemPerc}} {{.PIDs}}"]),
        "exit 0\n-- out\nbox 1MiB / 1GiB 0.10% 2\n-- err\n"
    );
}

#[test]
fn inspect_finds_what_a_name_means() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::InspectVolume(name)) if name == "data" => {
            Answer::Reply(Reply::Inspect(json!({ "Name": "data", "Labels": { "a": "b" } })))
        }
        _ => Answer::Refuse(ApiError::new(ErrorKind::NotFound, "nothing")),
    });
    assert_eq!(run(&fake, &["inspect", "--format", "{{index .Labels \"a\"}}", "data"]), "exit 0\n-- out\nb\n-- err\n");
    assert_eq!(
        run(&fake, &["volume", "inspect", "data"]),
        "exit 0\n-- out\n[\n    {\n        \"Labels\": {\n            \"a\": \"b\"\n        },\n        \"Name\": \"data\"\n    }\n]\n-- err\n"
    );
    let output = run(&fake, &["inspect", "nobody"]);
    assert!(output.starts_with("exit 1\n-- out\n[]\n-- err\nerror: no such object: nobody\nhint: "), "{output}");
}

#[test]
fn no_daemon_is_told_with_advice() {
    let fake = containers();
    std::fs::remove_file(fake.socket()).unwrap();
    let output = run(&fake, &["ps"]);
    let path = fake.socket().display().to_string();
    assert_eq!(
        output,
        format!(
            "exit 1\n-- out\n-- err\nerror: no daemon answers at {path}: No such file or directory (os error 2)\n\
             hint: `rswarm daemon` starts one, `rswarm up` does too; -H or --run-root name another\n"
        )
    );
    let output = run(&fake, &["run", "img"]);
    assert!(output.starts_with("exit 125\n"), "no daemon is started at a socket that was named: {output}");
}

#[test]
fn words_that_mean_nothing_are_answered_with_the_nearest() {
    let fake = containers();
    for (words, code, told) in [
        (vec!["runn"], 2, "run"),
        (vec!["stop"], 2, "CONTAINER"),
        // The code of what runs is handed on: this one says that nothing ran.
        (vec!["run", "--memroy", "1g", "img"], 125, "--memory"),
        (vec!["container", "exec", "--tyy", "box", "sh"], 125, "--tty"),
    ] {
        let output = run(&fake, &words);
        let head = format!("exit {code}\n-- out\n-- err\nerror: ");
        assert!(output.starts_with(&head) && output.contains(told), "{output}");
    }
    assert!(run(&fake, &["--version"]).starts_with("exit 0\n-- out\nrswarm "));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::Containers { .. }) => {
            Answer::Reply(Reply::Containers((0..5000).map(|id| row(id, "web")).collect()))
        }
        other => panic!("{other:?}"),
    });
    let mut child = command(&fake, &["ps"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    assert_eq!(snapshot(child), "exit 0\n-- out\n-- err\n");
}
